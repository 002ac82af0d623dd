"""What somebody says about memories, kept as a job until there is something that applies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from memos.forget import missing
from memos.ports.stores import RecordStore
from memos.types import Batch, Job, Scope

LABEL: Final = "feedback"


@dataclass(frozen=True, slots=True)
class Said:
    """One piece of feedback.

    Attributes:
        id: Makes a repeated call harmless; unique over all accounts.
        text: What was said.
        memories: The memories that it is about; erasing one of them erases it too.
        session: The conversation that it was said in.
    """

    id: str
    text: str
    memories: tuple[str, ...] = ()
    session: str | None = None


async def keep(records: RecordStore, scope: Scope, cube: str, said: Said) -> None:
    """Store feedback durably, in one cube.

    Raises:
        NotFound: One of the memories does not exist there.
        Forbidden: The scope may not write the cube.
    """
    await _check(records, scope, cube, said.memories)
    job = Job(
        id=said.id,
        label=LABEL,
        account=scope.account,
        cube=cube,
        payload={"text": said.text, "session": said.session, "by": scope.principal},
        scope_key=cube,
        memories=said.memories,
    )
    await records.apply(Batch(None, scope.account, cube, jobs=(job,)), scope)


async def _check(records: RecordStore, scope: Scope, cube: str, ids: Sequence[str]) -> None:
    if not ids:
        return
    found = await records.get(ids, scope)
    held = {memory.id for memory in found if memory.place.cube == cube}
    for id in ids:
        if id not in held:
            raise await missing(records, id, scope)
