"""The calls about whole cubes and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

import httpx
import msgspec

from memos.client.calls import Call, decoder, key_of, nothing, query, reading, segment, timed
from memos.client.failures import of_problem, problem_of, unreadable
from memos.client.files import Upload
from memos.cubes.dump import DumpResult
from memos.cubes.load import LoadResult
from memos.errors import InvalidInput
from memos.ingest.exports.conversations import Format
from memos.mos import AddResult
from memos.ports.transfer import OnConflict
from memos.progress import Progress
from memos.transfer import ImportResult

_RESULT: Final = "X-Memos-Dump"


def export(who: Mapping[str, object]) -> Call[None]:
    """Return the call that dumps a cube, whose answer is read as it comes."""
    cube = who.get("cube") or who.get("user")
    if cube is None:
        raise InvalidInput("name the cube that is to be dumped", code="empty")
    path = f"/v1/cubes/{segment(cube)}/export"
    return Call("GET", path, nothing, query(user=who.get("user")))


def dumped(response: httpx.Response, target: Path) -> DumpResult:
    """Return what an export says of itself."""
    try:
        result = decoder(DumpResult).decode(response.headers.get(_RESULT, ""))
    except msgspec.MsgspecError as error:
        raise unreadable(error) from error
    return replace(cast("DumpResult", result), path=str(target))


def load(
    source: Path | str,
    who: Mapping[str, object],
    progress: Progress | None,
    *,
    on_conflict: OnConflict = "fail",
    sha256: str | None = None,
    fresh: bool = False,
) -> Call[LoadResult]:
    """Return the call that loads an archive; what was loaded already stays as it is."""
    if isinstance(source, str) and "://" in source:
        raise InvalidInput("a server fetches nothing for its clients; give it the archive")
    cube = who.get("cube")
    path = "/v1/imports/cube" if cube is None else f"/v1/cubes/{segment(cube)}/import"
    params = query(
        user=who.get("user"), on_conflict=on_conflict, sha256=sha256, fresh=fresh or None
    )
    upload = Upload(Path(source), progress=progress)
    read = reading(LoadResult)
    return Call("POST", path, read, params, upload=upload, repeatable=not fresh)


def import_chats(
    source: Path | str, format: Format | None, progress: Progress | None, who: Mapping[str, object]
) -> Call[ImportResult]:
    """Return the call that imports conversations; messages that are known stay as they are."""
    upload = Upload(Path(source), field="file", progress=progress)
    params = query(**who, format=format)
    read = reading(ImportResult)
    return Call("POST", "/v1/imports/chats", read, params, upload=upload, repeatable=True)


def add_file(path: Path, options: Mapping[str, object]) -> Call[AddResult]:
    """Return the call that remembers a text file."""
    rest = timed(options)
    key = key_of(rest)
    upload = Upload(path, field="files", options=msgspec.json.encode(rest))
    return Call("POST", "/v1/imports/files", _file, headers=key, upload=upload, repeatable=True)


def _file(content: bytes) -> AddResult:
    (result,) = decoder(dict[str, list[dict[str, object]]]).decode(content)["results"]
    if "problem" in result:
        raise of_problem(problem_of(result["problem"]))
    return msgspec.convert(result, AddResult)
