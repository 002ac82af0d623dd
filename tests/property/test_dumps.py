"""Dump, load, dump: the same bytes, for random cubes with everything that a cube can hold."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from memos.cubes import sources
from memos.cubes.dump import Dump
from memos.cubes.load import Load, Target
from memos.errors import Conflict, NotFound
from memos.network import Policy
from memos.ports.backend import Opened
from memos.testing.fakes import HashEmbedder
from memos.testing.strategies import histories, text
from memos.types import Batch, Cube, Scope

from .conftest import Engines

MADE = datetime(2026, 1, 1, tzinfo=UTC)
SCOPE = {"home": "write"}


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    try:
        yield path
    finally:
        shutil.rmtree(path)


async def dump(opened: Opened, account: str, cube: str, target: Path) -> None:
    assert opened.transfer
    assert opened.blobs
    work = Dump(opened.transfer, opened.blobs, "0", lambda: MADE)
    scope = Scope(account, "zoe", {cube: "write"})
    await work.write(Cube(cube, account, "Home", "zoe", MADE), scope, target, None)


async def load(opened: Opened, account: str, cube: str, source: Path) -> None:
    assert opened.transfer
    assert opened.blobs
    embedder = HashEmbedder()
    work = Load(opened.transfer, opened.blobs, embedder, lambda: MADE)
    target = Target(cube, Scope(account, "zoe", {cube: "write"}))
    with sources.opened(source, embedder.name, Policy()) as incoming:
        await work.read(incoming, target, "fail", None)


async def fill(opened: Opened, account: str, batches: list[Batch]) -> None:
    assert opened.records
    for batch in batches:
        with suppress(Conflict, NotFound):
            await opened.records.apply(batch, Scope(account, "zoe", dict(SCOPE)))


def bytes_of(path: Path) -> dict[str, bytes]:
    """Return the files, and what the manifest says beside the cube's own id and its digest."""
    found = {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }
    manifest = json.loads(found["manifest.json"])
    del manifest["cube"], manifest["sha256"]
    return {**found, "manifest.json": json.dumps(manifest).encode()}


def retold(batch: Batch, words: str) -> Batch:
    """Give the memories of a batch a text of any characters."""
    puts = tuple(
        structs.replace(put, memory=structs.replace(put.memory, text=put.memory.text + words))
        for put in batch.puts
    )
    return structs.replace(batch, puts=puts)


@settings(max_examples=40)
@given(data=st.data(), words=text())
def test_dump_load_dump_gives_the_same_bytes(
    engines: Engines, data: st.DataObject, words: str
) -> None:
    account = engines.account()
    batches = [retold(batch, words) for batch in data.draw(histories(account))]
    engines.each(lambda opened: fill(opened, account, batches))
    with folder() as where:
        for opened, other in (
            (engines.reference, engines.embedded),
            (engines.embedded, engines.reference),
        ):
            name = "reference" if opened is engines.reference else "embedded"
            first, second = where / f"{name}-1", where / f"{name}-2"
            archive = where / f"{name}.memcube"
            engines.portal.call(dump, opened, account, "home", first)
            engines.portal.call(dump, opened, account, "home", archive)
            engines.portal.call(load, other, account, f"from-{name}", first)
            engines.portal.call(dump, other, account, f"from-{name}", second)
            assert bytes_of(first) == bytes_of(second)
            # The archive tells the same, and loads into what holds it already.
            engines.portal.call(load, other, account, f"from-{name}", archive)
            third = where / f"{name}-3"
            engines.portal.call(dump, other, account, f"from-{name}", third)
            assert bytes_of(first) == bytes_of(third)


@settings(max_examples=40)
@given(data=st.data(), split=st.integers(0, 10))
def test_merging_agrees_in_both_engines(engines: Engines, data: st.DataObject, split: int) -> None:
    account = engines.account()
    batches = data.draw(histories(account))
    with folder() as where:
        engines.portal.call(fill, engines.reference, account, batches)
        dumped = where / "dump"
        engines.portal.call(dump, engines.reference, account, "home", dumped)
        homes = [
            structs.replace(
                batch,
                cube="merged",
                puts=tuple(
                    structs.replace(
                        p,
                        memory=structs.replace(
                            p.memory, place=structs.replace(p.memory.place, cube="merged")
                        ),
                    )
                    for p in batch.puts
                ),
                heads=(),
                jobs=(),
            )
            for batch in batches[:split]
        ]

        async def merge(opened: Opened) -> list[tuple[Any, ...]]:
            assert opened.records
            assert opened.transfer
            assert opened.blobs
            scope = Scope(account, "zoe", {"merged": "write"})
            for batch in homes:
                with suppress(Conflict, NotFound):
                    await opened.records.apply(batch, scope)
            if await opened.records.embedder("merged", scope) not in (None, "hash-32"):
                return []
            work = Load(opened.transfer, opened.blobs, HashEmbedder(), lambda: MADE)
            with sources.opened(dumped, "hash-32", Policy()) as incoming:
                await work.read(incoming, Target("merged", scope), "replace", None)
            found: list[tuple[Any, ...]] = []
            async with opened.transfer.snapshot("merged", scope) as state:
                for version in (await state.versions(0, 1000)).versions:
                    m = version.memory
                    found.append(
                        (m.id, m.version, m.text, m.info, version.ended is None, version.holds)
                    )
                found += [(stone.id,) for stone in await state.tombstones("", 1000)]
                found += [(link,) for link in await state.links(None, 1000)]
            return sorted(found, key=repr)

        one, two = engines.each(merge)
        assert one == two
