"""Whole cubes and conversations in and out: dump, load, and what a cube holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Unpack, cast

from anyio import from_thread

from memos import options as opt
from memos._offload import Offload
from memos.cubes import sources
from memos.cubes.dump import Dump, DumpResult
from memos.cubes.load import Incoming, Load, LoadResult, Target
from memos.errors import InvalidInput, NotFound
from memos.importing import Importer, ImportResult
from memos.ingest.exports.conversations import Format
from memos.mos import MemoryOperations, Parts
from memos.network import Policy
from memos.options import Who
from memos.ports.stores import AccountStore
from memos.ports.transfer import CubeStats, OnConflict, Transfer
from memos.progress import Progress, unseen
from memos.types import Access, Cube, Scope
from memos.users.access import Gate
from memos.users.service import check_id, owning


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
        network: What addresses may be reached.
        now: The clock.
    """

    dump: Dump | None
    load: Load | None
    transfer: Transfer | None
    gate: Gate
    accounts: AccountStore
    user: str
    network: Policy
    now: Callable[[], datetime]


class TransferOperations(MemoryOperations):
    """What can be done with cubes and exports as a whole, over parts that ``build`` composed.

    Attributes:
        importer: What ``import_chats`` reads exports with.
    """

    def __init__(self, parts: Parts, transfer: TransferParts) -> None:
        super().__init__(parts)
        self._transfer = transfer
        self._reading = Offload(2)
        self.importer = Importer(self.add, self._reading)

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
        sha256: str | None = None,
        progress: Progress | None = None,
        **who: Unpack[Who],
    ) -> LoadResult:
        """Load a dump into a new cube, or merge it into one that exists, as a whole or not at all.

        Args:
            source: A dump of ours or of MemOS: a directory, an archive, the http(s) address of an
                archive, or a repository as ``git+https://...`` with an optional ``#branch``.
            on_conflict: What to do about memories that the cube has with other content: ``fail``
                loads nothing, ``keep`` leaves the cube's own, ``replace`` makes the other a new
                version of it.
            sha256: What the archive, or the ``manifest.json`` of a directory, must have.
            progress: Called with (versions done, versions in all).
            **who: See ``Who``; the cube is the one that was dumped when none is named.

        Raises:
            InvalidInput: There is no dump.
            DataError: It is damaged, unfinished, or of a newer format; nothing was loaded.
            Conflict: Memories conflict under ``fail``; the cube is another user's, or was embedded
                with another model. Nothing was loaded.
            Forbidden: The user may not write the cube, or the address is not a public one.
            StoreError: The dump cannot be fetched, or the store failed.
        """
        opt.known(who, Who)
        policy = cast("OnConflict", opt.one_of(on_conflict, OnConflict, "on_conflict"))
        return await self._load(source, policy, sha256, progress, who, fresh=False)

    async def _load(
        self,
        source: Path | str,
        policy: OnConflict,
        sha256: str | None,
        progress: Progress | None,
        who: Who,
        *,
        fresh: bool,
    ) -> LoadResult:
        load = _able(self._transfer.load)
        opening = partial(
            sources.opened, source, load.embedder.name, self._transfer.network, expected=sha256
        )

        def work() -> LoadResult:
            with opening() as incoming:
                choose = self._founded if fresh else self._target
                target = from_thread.run(choose, who, incoming)
                return from_thread.run(load.read, incoming, target, policy, progress)

        return await self._reading.run(work)

    async def init_from_dir(
        self,
        source: Path | str,
        *,
        sha256: str | None = None,
        progress: Progress | None = None,
        **who: Unpack[Who],
    ) -> LoadResult:
        """Make a new cube of a dump; as ``load``, but never into a cube that exists.

        Args:
            source: See ``load``.
            sha256: See ``load``.
            progress: See ``load``.
            **who: See ``Who``; the cube is called as the one that was dumped when none is named.

        Raises:
            Conflict: A cube of that id exists.
        """
        opt.known(who, Who)
        return await self._load(source, "fail", sha256, progress, who, fresh=True)

    async def import_chats(
        self,
        source: Path | str,
        *,
        format: Format | None = None,
        progress: Progress | None = None,
        **who: Unpack[Who],
    ) -> ImportResult:
        """Remember the conversations that another program exported, each as a session.

        Messages keep their ids and times, so an import that was interrupted, or that comes again
        with a later export, stores only what is new.

        Args:
            source: ChatGPT's or Claude's ``conversations.json`` or the .zip around it, messages as
                JSON or JSONL, a Markdown file or a folder of them.
            format: ``chatgpt``, ``claude``, ``messages`` or ``markdown``; found out when None.
            progress: Called with (bytes read, bytes in all).
            **who: See ``Who``; the user's own cube when none is named.

        Raises:
            InvalidInput: There is nothing that can be imported.
            NotFound: The user or the cube does not exist.
        """
        opt.known(who, Who)
        form = None if format is None else cast("Format", opt.one_of(format, Format, "format"))
        return await self.importer.read(Path(source), form, progress or unseen, {**who})

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
        user = opt.name(who.get("user"), "user") or self._transfer.user
        cube = opt.name(who.get("cube"), "cube") or incoming.cube
        try:
            return Target(cube, await self._transfer.gate.scope(user, [cube], "write"))
        except NotFound as missing:
            if missing.code != "unknown_cube":
                raise
        return await self._founded(who, incoming)

    async def _founded(self, who: Who, incoming: Incoming) -> Target:
        """Return the entries that will make a new cube."""
        user = opt.name(who.get("user"), "user") or self._transfer.user
        cube = opt.name(who.get("cube"), "cube") or incoming.cube
        check_id("cube", cube)
        scope = await self._transfer.gate.founding(user, cube)
        made = Cube(cube, scope.account, incoming.name or cube, user, self._transfer.now())
        return Target(cube, scope, (made, owning(made)))


def _able(part: opt.T | None) -> opt.T:
    if part is None:
        raise InvalidInput(
            "this record store cannot move whole cubes; the embedded one can", code="no_transfer"
        )
    return part
