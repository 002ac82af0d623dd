"""Whole cubes in and out, and files: ``/v1/cubes/{id}/export``, ``.../import``, ``/v1/imports``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Final, cast

from fastapi import File, Form, Query, Request, UploadFile
from fastapi.responses import Response
from pydantic import ValidationError

from memos.errors import InvalidInput, MemosError
from memos.ingest.exports.conversations import Format
from memos.options import AddOptions, Who
from memos.ports.transfer import OnConflict
from memos.server.account_schemas import ImportedOut, LoadedOut
from memos.server.audited import takes_out
from memos.server.deps import Acting, Cube, IdempotencyKey, Visit, Visiting, native, present
from memos.server.job_schemas import JobOut
from memos.server.problems import body_of, of_error
from memos.server.replies import BEGUN, outcome, problems, reply
from memos.server.schemas import AddedManyOut, AddFileIn
from memos.server.uploads import copied, download, received, sent

router: Final = native("transfers")
RESULT: Final = "X-Memos-Dump"
"""The header that tells what an export holds."""
_ARCHIVE: Final = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
OnConflicting = Annotated[
    OnConflict, Query(description="About memories that the cube has with other content.")
]
Sha256 = Annotated[
    str | None, Query(pattern="^[0-9a-fA-F]{64}$", description="What the archive must have.")
]
Fresh = Annotated[bool, Query(description="Never load into a cube that exists.")]


@router.get(
    "/cubes/{id}/export",
    response_class=Response,
    responses=problems() | {200: {"content": _ARCHIVE, "description": "A .memcube archive."}},
)
@takes_out
async def export(visit: Visiting, id: str, user: Acting = None) -> Response:
    """Return one state of a cube, with its whole history, as a ``.memcube`` archive."""
    acting = await visit.acting(user)

    async def write(path: Path) -> dict[str, str]:
        done = await visit.mos.dump(path, user=acting, cube=id)
        return {RESULT: json.dumps(asdict(replace(done, path="")))}

    async def check() -> None:
        await visit.tenants.check(visit.caller, acting, [id])

    return await download(write, f"{id}.memcube", check)


@router.post(
    "/cubes/{id}/import",
    response_model=LoadedOut,
    responses=problems(409, 502),
    openapi_extra=_BODY,
)
async def import_into(
    visit: Visiting,
    request: Request,
    id: str,
    *,
    user: Acting = None,
    on_conflict: OnConflicting = "fail",
    sha256: Sha256 = None,
    fresh: Fresh = False,
) -> Response:
    """Load a ``.memcube`` archive into a cube, as a whole or not at all; a new one if need be."""
    who = cast("Who", {"user": await visit.acting(user), "cube": id})
    return await _loaded(visit, request, who, on_conflict, sha256, fresh=fresh)


@router.post(
    "/imports/cube",
    response_model=LoadedOut,
    responses=problems(409, 502),
    openapi_extra=_BODY,
)
async def import_cube(
    visit: Visiting,
    request: Request,
    *,
    user: Acting = None,
    on_conflict: OnConflicting = "fail",
    sha256: Sha256 = None,
    fresh: Fresh = False,
) -> Response:
    """Load a ``.memcube`` archive into the cube that it names, as a whole or not at all."""
    who = cast("Who", {"user": await visit.acting(user)})
    return await _loaded(visit, request, who, on_conflict, sha256, fresh=fresh)


async def _loaded(
    visit: Visit,
    request: Request,
    who: Who,
    on_conflict: OnConflict,
    sha256: str | None,
    *,
    fresh: bool,
) -> Response:
    visit.caller.limits.check_write()
    async with received(request, "upload.memcube") as path:
        with sent():
            if fresh:
                done = await visit.mos.init_from_dir(path, sha256=sha256, **who)
            else:
                done = await visit.mos.load(path, on_conflict=on_conflict, sha256=sha256, **who)
    visit.trail.cubes = (done.cube,)
    return reply(done)


@router.post(
    "/imports/chats",
    response_model=ImportedOut,
    responses=problems(409, 502) | {202: {"description": BEGUN, "model": JobOut}},
)
async def import_chats(
    visit: Visiting,
    file: Annotated[UploadFile, File(description="JSON, JSONL, .zip or Markdown.")],
    *,
    user: Acting = None,
    cube: Cube = None,
    format: Annotated[Format | None, Query(description="Found out when unset.")] = None,
    background: Annotated[bool, Query(description="Return at once, with a job.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Remember the conversations that another program exported, each as a session.

    With ``background`` a job does it that is returned with 202, one for each key.
    """
    visit.caller.limits.check_write()
    who = cast("Who", await visit.options(present(user=user, cube=cube)))
    async with copied(file.file, file.filename) as path:
        if background:
            jobs, once = visit.mos.jobs, idempotency_key
            return reply(await jobs.import_chats(path, format=format, batch_id=once, **who), 202)
        return reply(await visit.mos.import_chats(path, format=format, **who))


@router.post(
    "/imports/files",
    status_code=201,
    response_model=AddedManyOut,
    responses=problems(409, 502)
    | {207: {"description": "Some files failed.", "model": AddedManyOut}},
)
async def import_files(
    visit: Visiting,
    files: Annotated[list[UploadFile], File(max_length=100, description="Text, Markdown.")],
    options: Annotated[str, Form(max_length=100_000, description="AddFileIn as JSON.")] = "{}",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Remember text files, each in parts; what fails does so alone, and the answer is 207 then."""
    visit.caller.limits.check_write()
    asked = _file_options(options)
    add = visit.mos.jobs.add if asked.background else visit.mos.add
    given = await visit.options(asked.model_dump(exclude_none=True), "background")
    results: list[dict[str, object]] = []
    for number, file in enumerate(files):
        batch = {} if idempotency_key is None else {"batch_id": f"{idempotency_key}/{number}"}
        try:
            async with copied(file.file, file.filename) as path:
                added = await add(path, **cast("AddOptions", {**given, **batch}))
        except MemosError as error:
            results.append({"problem": body_of(of_error(error))})
        else:
            results.append(outcome(added))
    fine = all("problem" not in result for result in results)
    return reply({"results": results}, 201 if fine else 207)


def _file_options(text: str) -> AddFileIn:
    try:
        return AddFileIn.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"options.{where}: {first['msg']}") from None
