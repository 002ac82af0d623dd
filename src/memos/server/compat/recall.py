"""Searching and listing as MemOS does it: one answer per kind of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import anyio

from memos.options import ListOptions, SearchOptions
from memos.retrieve.pipeline import SearchResult
from memos.retrieve.recipe import named
from memos.server.compat.items import relativities
from memos.server.compat.selectors import BUCKETS, Tree, both, of_bucket
from memos.server.deps import Visit
from memos.telemetry import span
from memos.types import Memory

_PAGE: Final = 1000
_TEXTS: Final = "text_mem"
_PAGE_KIND: Final = "page"
_NEIGHBOUR: Final = 0.8
"""What a neighbour is worth, as a share of the memory that it stands beside: MemOS's."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search asks for.

    Attributes:
        query: The question.
        user: The end user who acts.
        cubes: The cubes that are read.
        limits: MemOS's lists, and how many of each at most; those with 0 stay empty.
        where: The filter, in our form.
        least: The least ``relativity``; 0 keeps all.
        options: Further options of ``search``.
        texts: Those for the texts alone.
    """

    query: str
    user: str
    cubes: Sequence[str]
    limits: Mapping[str, int]
    where: Tree | None = None
    least: float = 0.0
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    texts: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Scored:
    """A memory, and how well it answers, from 0 to 1; None where nothing was asked."""

    memory: Memory
    relativity: float | None


async def search(visit: Visit, wanted: Wanted) -> dict[str, list[Scored]]:
    """Return what was found, list by list; a chat model is asked for the texts alone, if at all."""
    found: dict[str, list[Scored]] = {bucket: [] for bucket in BUCKETS}

    usual = named(visit.tenants.engine.settings.search.recipe)
    plain: Mapping[str, object] = {"recipe": usual.alone()}

    async def look(bucket: str, limit: int) -> None:
        options: dict[str, Any] = {
            **wanted.options,
            **(wanted.texts if bucket == _TEXTS else plain),
            "user": wanted.user,
            "cubes": wanted.cubes,
            "limit": limit,
            "where": both(of_bucket(bucket), wanted.where),
        }
        result = await visit.mos.search(wanted.query, **cast("SearchOptions", options))
        found[bucket] = _scored(result, wanted.least)

    with span("search_seconds"):
        first, *rest = [(bucket, limit) for bucket, limit in wanted.limits.items() if limit > 0]
        await look(*first)  # refuses what is malformed, and embeds the question for the others
        async with anyio.create_task_group() as tasks:
            for bucket, limit in rest:
                tasks.start_soon(look, bucket, limit)
    return found


def _scored(result: SearchResult, least: float) -> list[Scored]:
    """Return the hits of a search that are good enough, each followed by its neighbours.

    Nothing is known of how well pages of the web answer: they pass any bound.
    """
    found: list[Scored] = []
    for hit, score in zip(result.hits, relativities(result), strict=True):
        if hit.memory.kind == _PAGE_KIND:
            found.append(Scored(hit.memory, max(score, least)))
        elif score >= least:
            found.append(Scored(hit.memory, score))
            near = round(score * _NEIGHBOUR, 4)
            found += [Scored(memory, near) for memory in hit.neighbours]
    return found


async def listed(
    visit: Visit, user: str, cubes: Sequence[str], where: Tree | None = None
) -> list[Memory]:
    """Return all memories of cubes that a filter selects, in the order they were recorded."""
    options: dict[str, Any] = {"user": user, "cubes": cubes, "limit": _PAGE, "where": where}
    memories: list[Memory] = []
    while True:
        page = await visit.mos.get_all(**cast("ListOptions", options))
        memories += page.items
        if page.next is None:
            return memories
        options["cursor"] = page.next
