"""Whole cubes and conversations in and out: dump, load, and what a cube holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Unpack, cast

from memos import options as opt
from memos._offload import Offload
from memos.cubes import sources
from memos.cubes.dump import Dump, DumpResult
from memos.cubes.load import Incoming, Load, LoadResult, Target
from memos.errors import InvalidInput, NotFound
from memos.options import Who
from memos.ports.stores import AccountStore
from memos.ports.transfer import CubeStats, OnConflict, Transfer
from memos.types import Access, Cube, Scope
from memos.users.access import Gate
from memos.users.service import check_id, owning

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TransferParts:
    """What ``build`` composes ``TransferOperations`` from.

    Attributes:
        dump: Writes dumps; None when the record store cannot move whole cubes.
        load: Reads them.
        transfer: The port behind both.
        gate: Decides who may.
        accounts: Where cubes are entered.
        user: Who acts when a call names nobody.
        now: The clock.
    """

    dump: Dump | None
    load: Load | None
    transfer: Transfer | None
    gate: Gate
    accounts: AccountStore
    user: str
    now: Callable[[], datetime]


class TransferOperations:
    """What can be done with cubes as a whole, over parts that ``build`` composed."""

    def __init__(self, parts: TransferParts) -> None:
        self._transfer = parts
        self._reading = Offload(2)

    async def dump(
        self, target: Path | str, *, progress: Progress | None = None, **who: Unpack[Who]
    ) -> DumpResult:
        """Write a cube with its whole history into a new directory or a ``.memcube`` archive.

        It holds one state of the cube, whatever is written meanwhile; never settings or secrets.
        It appears under its name when it is complete.

        Args:
            target: The directory, new or empty, or a new file whose name ends in ``.memcube``.
            progress: Called with (versions done, versions in all).
            **who: See ``Who``; the user's own cube when none is named.

        Raises:
            InvalidInput: The target exists and is not empty.
            NotFound: The user or the cube does not exist.
            StoreError: It cannot be written, or the store failed.
        """
        opt.known(who, Who)
        dump = _able(self._transfer.dump)
        scope, cube = await self._readable(who)
        found = await self._transfer.accounts.get_entry(Cube, scope.account, cube)
        if found is None:
            raise NotFound(f"cube {cube!r} does not exist", code="unknown_cube")
        return await dump.write(found, scope, Path(target), progress)

    async def load(
        self,
        source: Path | str,
        *,
        on_conflict: OnConflict = "fail",
        progress: Progress | None = None,
        **who: Unpack[Who],
    ) -> LoadResult:
        """Load a dump into a new cube, or merge it into one that exists, as a whole or not at all.

        Args:
            source: A dump: a directory or an archive.
            on_conflict: What to do about memories that the cube has with other content: ``fail``
                loads nothing, ``keep`` leaves the cube's own, ``replace`` makes the other a new
                version of it.
            progress: Called with (versions done, versions in all).
            **who: See ``Who``; the cube is the one that was dumped when none is named.

        Raises:
            InvalidInput: There is no dump.
            DataError: It is damaged, unfinished, or of a newer format; nothing was loaded.
            Conflict: Memories conflict under ``fail``; the cube is another user's, or was embedded
                with another model. Nothing was loaded.
            Forbidden: The user may not write the cube.
        """
        opt.known(who, Who)
        load = _able(self._transfer.load)
        policy = cast("OnConflict", opt.one_of(on_conflict, OnConflict, "on_conflict"))
        opening = sources.opened(Path(source), load.embedder.name)
        incoming = await self._reading.run(opening.__enter__)
        try:
            target = await self._target(who, incoming)
            return await load.read(incoming, target, policy, progress)
        finally:
            opening.__exit__(None, None, None)

    async def stats(self, **who: Unpack[Who]) -> CubeStats:
        """Count what a cube holds.

        Raises:
            NotFound: The user or the cube does not exist.
        """
        opt.known(who, Who)
        scope, cube = await self._readable(who)
        return await _able(self._transfer.transfer).stats(cube, scope)

    async def _readable(self, who: Who) -> tuple[Scope, str]:
        user = opt.name(who.get("user"), "user") or self._transfer.user
        cube = opt.name(who.get("cube"), "cube") or user
        need: Access = "read"
        return await self._transfer.gate.scope(user, [cube], need), cube

    async def _target(self, who: Who, incoming: Incoming) -> Target:
        """Return the cube to load into, or the entries that will make a new one."""
        gate = self._transfer.gate
        user = opt.name(who.get("user"), "user") or self._transfer.user
        cube = opt.name(who.get("cube"), "cube") or incoming.cube
        try:
            return Target(cube, await gate.scope(user, [cube], "write"))
        except NotFound as missing:
            if missing.code != "unknown_cube":
                raise
        check_id("cube", cube)
        scope = await gate.founding(user, cube)
        made = Cube(cube, scope.account, incoming.name or cube, user, self._transfer.now())
        return Target(cube, scope, (made, owning(made)))


def _able(part: opt.T | None) -> opt.T:
    if part is None:
        raise InvalidInput(
            "this record store cannot move whole cubes; the embedded one can", code="no_transfer"
        )
    return part
