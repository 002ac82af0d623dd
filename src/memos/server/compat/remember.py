"""Remembering and deleting what bodies of the dialects name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from memos.errors import InvalidInput, NotFound
from memos.filters import parse, selects_everything
from memos.options import AddOptions
from memos.server.compat import callers
from memos.server.compat.selectors import Tree, both
from memos.server.compat.selectors import where as plain
from memos.server.compat.unbuilt import NotBuilt
from memos.server.deps import Visit
from memos.telemetry import span
from memos.types import Memory

DEFAULT_SESSION: Final = "default_session"
_PARTS: Final = frozenset({"text", "file", "image_url", "input_audio"})


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be remembered, for whom and where.

    Attributes:
        user: The end user.
        cubes: The cubes that get it, each the whole.
        contents: Texts and lists of messages, in order.
        options: Further options of ``add``.
    """

    user: str
    cubes: Sequence[str]
    contents: Sequence[object]
    options: Mapping[str, object] = field(default_factory=dict[str, object])


def contents_of(messages: object, text: str | None, path: str | None) -> list[object]:
    """Return what a body wants remembered: messages in any of MemOS's forms, a text.

    Raises:
        InvalidInput: There is nothing, or a path on this machine is named.
    """
    if path is not None:
        raise InvalidInput(
            "doc_path: files of the server's machine are not read for callers; send the text as "
            "memory_content",
            code="no_server_files",
        )
    given = [part for part in (_messages(messages), text) if part]
    if not given:
        raise InvalidInput("there is nothing to remember: give messages", code="empty")
    return given


async def remember(visit: Visit, told: Told) -> list[Memory]:
    """Store everything in every cube, and return the memories that hold it."""
    visit.trail.cubes = tuple(dict.fromkeys((*visit.trail.cubes, *told.cubes)))
    visit.caller.limits.check_write()
    await visit.gate.scope(
        told.user, told.cubes, "write"
    )  # nothing is written where not all of it may be
    held: list[Memory] = []
    with span("add_seconds"):
        for cube in told.cubes:
            ids: list[str] = []
            for content in told.contents:
                options: dict[str, Any] = {**told.options, "user": told.user, "cube": cube}
                ids += (await visit.mos.add(content, **cast("AddOptions", options))).ids
            scope = await callers.scope_of(visit, told.user, [cube])
            held += await visit.tenants.engine.records.get(list(dict.fromkeys(ids)), scope)
    return held


async def erase_named(
    visit: Visit, ids: Sequence[str], user: str | None, cubes: Sequence[str] | None
) -> None:
    """Erase memories by their ids: all of them, or none.

    Raises:
        NotFound: One of them is not there for this caller; nothing was erased.
    """
    visit.caller.limits.check_write()
    held = await callers.locate(visit, ids, user, cubes)
    known = {found.memory.id for found in held}
    if missing := [id for id in ids if id not in known]:
        raise NotFound(f"there is no memory {missing[0]!r:.200}", code="unknown_memory")
    by_place: dict[tuple[str, str], list[str]] = {}
    for found in held:
        by_place.setdefault((found.user, found.memory.place.cube), []).append(found.memory.id)
    visit.trail.target = ids[0] if len(ids) == 1 else None
    for (acting, cube), named in by_place.items():
        await visit.mos.forget(named, user=acting, cube=cube, mode="erase")


async def erase_selected(
    visit: Visit, where: Tree, user: str | None, cubes: Sequence[str] | None
) -> None:
    """Erase what a filter selects: of an end user, of named cubes, or of all that is reached."""
    visit.caller.limits.check_write()
    if user is not None:
        acting = await callers.subject(visit, user)
        places = dict.fromkeys(await callers.reaching(visit, acting, cubes or ()), acting)
    elif cubes:
        places = {cube: await callers.owner(visit, None, cube) for cube in cubes}
    else:
        places = await callers.everywhere(visit)
    visit.trail.cubes = tuple(places)
    for cube, acting in places.items():
        await visit.mos.forget(where=where, user=acting, cube=cube, mode="erase")


def selector(where: Tree | None, **fields: str | None) -> Tree:
    """Return the filter of a deletion: what is named, and the given filter.

    Raises:
        InvalidInput: It would select everything.
    """
    named = [{name: value} for name, value in fields.items() if value is not None]
    if (where is None and not named) or (
        where is not None and selects_everything(parse(plain(where)))
    ):
        raise InvalidInput(
            "an empty selector would delete everything; name what to delete", code="no_selector"
        )
    return both(*named, plain(where))


def refuse_unbuilt(*asked: tuple[bool, str, str]) -> None:
    """Refuse a body that asks for what is not built.

    Raises:
        NotBuilt: Naming the first field that does.
    """
    for wanted, name, why in asked:
        if wanted:
            raise NotBuilt(f"{name}: {why}")


def _messages(messages: object) -> object:
    """Return messages in OpenAI's form; parts without a role are one message of the user's."""
    if not isinstance(messages, list):
        return messages
    entries = cast("list[Mapping[str, object]]", messages)
    loose = entries and all("role" not in one and one.get("type") in _PARTS for one in entries)
    if not loose:
        return entries
    for part in entries:
        file = part.get("file")
        if isinstance(file, Mapping) and "path" in file:
            contents_of(None, None, str(cast("object", file["path"])))
    return [{"role": "user", "content": list(entries)}]
