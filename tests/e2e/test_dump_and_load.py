"""Cubes leave and come back: whole, verified, and never half."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from memos import MOS
from memos.cubes import format as form
from memos.errors import Conflict, DataError, Forbidden, InvalidInput, NotFound, StoreError
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

DATA = Path(__file__).parents[1] / "data"


def opened(home: Path, **options: object) -> MOS:
    return MOS.open(Settings(home=home, **options), embedder=HashEmbedder())  # type: ignore[arg-type]


@pytest.fixture
def filled(mos: MOS, tmp_path: Path) -> MOS:
    notes = tmp_path / "notes.md"
    notes.write_text("# Kiln\n\nIt arrives on Friday. 𝄞 窑 \U0010fffd", encoding="utf-8")
    mos.add(notes)
    messages = [{"role": "user", "content": f"message {n} 你好", "message_id": n} for n in range(9)]
    mos.add(messages, session="s1", info={"deep": {"er": [1, 1.5, None, "ß"]}})
    (id,) = mos.add("The rent is 940.").ids
    mos.update(id, text="The rent is 980.")
    (hidden,) = mos.add("hidden").ids
    mos.forget(hidden)
    (gone,) = mos.add("erased for good").ids
    mos.forget(gone, mode="erase")
    return mos


def test_a_cube_moves_to_another_home(filled: MOS, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = filled.dump(tmp_path / "dump", progress=lambda *step: seen.append(step))
    assert (result.memories, result.versions, result.tombstones, result.blobs) == (12, 13, 1, 1)
    assert seen[-1] == (13, 13)
    with opened(tmp_path / "fresh") as other:
        loaded = other.load(tmp_path / "dump", cube="moved")
        assert (loaded.created, loaded.memories, loaded.embedded) == (True, 12, 0)
        hit = other.search("What is the rent?", cube="moved").hits[0].memory
        assert hit.text == "The rent is 980."
        assert [m.text for m in other.history(hit.id, cube="moved")] == [
            "The rent is 940.",
            "The rent is 980.",
        ]
        # A message that is known is known there too.
        again = other.add(
            [{"role": "user", "content": "message 3 你好", "message_id": 3}],
            session="s1",
            cube="moved",
        )
        assert again.stored == (False,)
        assert all(finding.ok for finding in other.check())
        assert other.stats(cube="moved").erased == 1
    # The file that a passage was made from came along, and goes when its passage is erased.
    blobs = [p for p in (tmp_path / "fresh" / "blobs").rglob("*") if p.is_file()]
    assert [blob.read_bytes() for blob in blobs] == [(tmp_path / "notes.md").read_bytes()]


def test_init_from_dir_makes_a_new_cube_and_never_merges(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "dump")
    made = filled.init_from_dir(tmp_path / "dump", cube="fresh")
    assert (made.created, made.memories) == (True, 12)
    assert len(filled.get_all(cube="fresh").items) == 11  # one is retired
    with pytest.raises(Conflict) as taken:
        filled.init_from_dir(tmp_path / "dump", cube="fresh")
    assert taken.value.code == "exists"
    with pytest.raises(Conflict):
        filled.init_from_dir(tmp_path / "dump")


def test_it_is_read_only_to_readers(filled: MOS, tmp_path: Path) -> None:
    filled.users.create("lin")
    filled.dump(tmp_path / "dump")
    with pytest.raises(NotFound):
        filled.dump(tmp_path / "other", user="lin", cube="default")
    with pytest.raises(Conflict) as taken:  # the dump's own cube is somebody else's
        filled.load(tmp_path / "dump", user="lin")
    assert taken.value.code == "exists"
    assert filled.load(tmp_path / "dump", user="lin", cube="lin").memories == 12


def test_targets_that_are_taken(filled: MOS, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine", encoding="utf-8")
    (tmp_path / "taken.memcube").write_text("mine", encoding="utf-8")
    for name in ("full", "taken.memcube", "full/note"):
        with pytest.raises(InvalidInput) as refused:
            filled.dump(tmp_path / name)
        assert refused.value.code == "target_exists"
    (tmp_path / "empty").mkdir()
    filled.dump(tmp_path / "empty")
    with pytest.raises(StoreError):
        filled.dump(tmp_path / "full" / "note" / "below")
    assert not list(tmp_path.glob("*-part"))


def test_merging_and_conflicts(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "dump")
    (id,) = [m.id for m in filled.get_all(limit=100).items if "980" in m.text]
    filled.update(id, text="The rent is 1020.")
    with pytest.raises(Conflict) as refused:
        filled.load(tmp_path / "dump")
    assert (refused.value.code, refused.value.context["ids"]) == ("memory_conflict", (id,))
    kept = filled.load(tmp_path / "dump", on_conflict="keep")
    assert (kept.memories, kept.same, kept.conflicting) == (0, 11, (id,))
    assert filled.get(id).text == "The rent is 1020."
    filled.load(tmp_path / "dump", on_conflict="replace")
    assert [m.text[-5:] for m in filled.history(id)] == [" 940.", " 980.", "1020.", " 980."]
    assert filled.search("the rent").hits[0].memory.text == "The rent is 980."
    # Merged rows are found at once, and what was erased stays so.
    with opened(tmp_path / "other") as other:
        other.add("A kettle of tea.")
        other.search("tea")
        other.load(tmp_path / "dump")
        assert other.search("Which rent?").hits[0].memory.text == "The rent is 980."
        assert all(finding.ok for finding in other.check())
        other.forget(id, mode="erase")
        assert other.load(tmp_path / "dump", on_conflict="replace").erased == 1
        with pytest.raises(NotFound):
            other.get(id)


def test_another_embedder_embeds_anew(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "dump")
    embedder = HashEmbedder(16)
    with MOS.open(Settings(home=tmp_path / "fresh"), embedder=embedder) as other:
        assert other.load(tmp_path / "dump").embedded == 13
        assert other.search("rent", recipe="meaning").hits
        assert other.reindex() == 0


@pytest.mark.parametrize("form", ["dump", "dump.memcube"])
def test_a_flipped_bit_anywhere_is_found(filled: MOS, tmp_path: Path, form: str) -> None:
    filled.dump(tmp_path / form)
    dice = random.Random(3)
    files = [tmp_path / form]
    if files[0].is_dir():
        files = [path for path in files[0].rglob("*") if path.is_file()]
        assert {path.suffix for path in files} == {".json", ".jsonl", ".f32", ""}
    before = filled.stats()
    for path in files:
        sound = path.read_bytes()
        for _ in range(12 if path.suffix != ".memcube" else 60):
            at = dice.randrange(len(sound))
            broken = bytearray(sound)
            broken[at] ^= 1 << dice.randrange(8)
            path.write_bytes(broken)
            if form == "dump":
                with pytest.raises(DataError) as found:
                    filled.load(tmp_path / form, cube="copy")
                assert path.name in found.value.detail
            else:
                _same_or_refused(filled, tmp_path / form)
        path.write_bytes(sound)
        if form == "dump":
            path.unlink()
            with pytest.raises(DataError):
                filled.load(tmp_path / form, cube="copy")
            path.write_bytes(sound)
    assert filled.stats().versions == before.versions
    assert [cube.id for cube in filled.cubes.list()] == ["default"]


def _same_or_refused(mos: MOS, archive: Path) -> None:
    """A bit of a zip's own dates or attributes means nothing; any other one is found."""
    try:
        result = mos.load(archive)
    except DataError:
        return
    assert (result.memories, result.same, result.conflicts) == (0, 12, 0)


def test_an_unfinished_dump_is_told(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "dump")
    (tmp_path / "dump" / "manifest.json").unlink()
    with pytest.raises(DataError) as found:
        filled.load(tmp_path / "dump")
    assert found.value.code == "unfinished_dump"
    filled.dump(tmp_path / "a.memcube")
    content = (tmp_path / "a.memcube").read_bytes()
    (tmp_path / "a.memcube").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError):
        filled.load(tmp_path / "a.memcube")
    with pytest.raises(InvalidInput):
        filled.load(tmp_path / "nothing")
    (tmp_path / "stale.memcube-part").mkdir()  # what a dump that was killed leaves
    filled.dump(tmp_path / "stale.memcube")
    assert filled.load(tmp_path / "stale.memcube", cube="c").created


def test_expected_digests(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "a.memcube")
    with pytest.raises(DataError) as refused:
        filled.load(tmp_path / "a.memcube", sha256="0" * 64)
    assert refused.value.code == "checksum"


def test_hostile_archives(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "good.memcube")
    bad = tmp_path / "bad.memcube"

    def rewritten(name: str, content: bytes, mode: int = 0o600) -> Path:
        shutil.copy(tmp_path / "good.memcube", bad)
        with zipfile.ZipFile(bad, "a", zipfile.ZIP_DEFLATED) as archive:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
        return bad

    for archive in (
        rewritten("../../evil.txt", b"x"),
        rewritten("/etc/evil", b"x"),
        rewritten("links-00000.jsonl", b"/etc/passwd", stat.S_IFLNK | 0o777),
        rewritten("memories-00009.jsonl", bytes(300 * 1024 * 1024)),
    ):
        with pytest.raises(DataError):
            filled.load(archive, cube="copy")
    assert not (tmp_path.parent / "evil.txt").exists()


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_in_a_directory_are_not_followed(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "dump")
    file = tmp_path / "dump" / "memories-00000.jsonl"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError):
        filled.load(tmp_path / "dump", cube="copy")


def test_a_newer_format_is_refused(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "dump")
    manifest = tmp_path / "dump" / "manifest.json"
    fields = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**fields, "format_version": 2}), encoding="utf-8")
    with pytest.raises(DataError) as refused:
        filled.load(tmp_path / "dump")
    assert refused.value.code == "format_too_new"


def test_the_first_format_and_the_first_schema_load(tmp_path: Path) -> None:
    shutil.copytree(DATA / "v1", tmp_path / "home")
    with opened(tmp_path / "home") as old, opened(tmp_path / "fresh") as new:
        new.load(DATA / "dumps" / "format1.memcube")
        assert [m.id for m in old.get_all().items] == [m.id for m in new.get_all().items]
        assert all(finding.ok for finding in old.check())
        for mos in (old, new):
            assert mos.search("the rent").hits[0].memory.text == "The rent is 980 a month."
            assert mos.stats().retired == 1


def test_a_dump_cannot_claim_the_files_of_others(filled: MOS, tmp_path: Path) -> None:
    (passage,) = [m for m in filled.get_all(limit=100).items if m.kind == "passage"]
    digest = passage.sources[0].blob
    assert digest
    filled.dump(tmp_path / "dump")
    (tmp_path / "dump" / "blobs" / digest).unlink()
    path = tmp_path / "dump" / "manifest.json"
    manifest = form.unseal(path.read_bytes())
    files = tuple(entry for entry in manifest.files if not entry.name.startswith("blobs/"))
    path.write_bytes(form.seal(replace(manifest, files=files)))
    filled.load(tmp_path / "dump", cube="copy")
    assert filled.get(passage.id, cube="copy").sources[0].blob is None
    assert filled.dump(tmp_path / "again", cube="copy").blobs == 0


def test_vectors_that_are_none(filled: MOS, tmp_path: Path) -> None:
    filled.dump(tmp_path / "dump")
    path = tmp_path / "dump" / "manifest.json"
    manifest = form.unseal(path.read_bytes())
    vectors = tmp_path / "dump" / "vectors-00000.f32"
    for content in (b"\xff" * vectors.stat().st_size, vectors.read_bytes()[:-4], b""):
        vectors.write_bytes(content)
        entry = form.FileEntry(vectors.name, len(content), sha256(content).hexdigest())
        files = tuple(entry if e.name == entry.name else e for e in manifest.files)
        path.write_bytes(form.seal(replace(manifest, files=files)))
        with pytest.raises(DataError) as refused:
            filled.load(tmp_path / "dump", cube="copy")
        assert refused.value.code == "damaged_dump"


def test_no_secret_leaves(tmp_path: Path) -> None:
    canary = "canary-6f1c2b9d"
    settings = Settings(home=tmp_path / "home", services={"openai_api_key": canary})  # type: ignore[arg-type]
    with MOS.open(settings, embedder=HashEmbedder()) as mos:
        mos.add("Nothing secret.")
        mos.dump(tmp_path / "dump")
    for path in (tmp_path / "dump").rglob("*"):
        assert path.is_dir() or canary.encode() not in path.read_bytes()


def test_private_addresses_are_refused(mos: MOS) -> None:
    for address in ("http://127.0.0.1:1/x.memcube", "git+http://169.254.169.254/x"):
        with pytest.raises(Forbidden) as refused:
            mos.load(address)
        assert refused.value.code == "private_address"
    with pytest.raises(InvalidInput):
        mos.load("git+file:///tmp/x")
