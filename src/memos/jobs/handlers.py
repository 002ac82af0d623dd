"""How each kind of work is done: through the same doors that callers take, once however often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import cast

from memos.errors import DataError
from memos.ingest.exports.conversations import Format
from memos.jobs import files
from memos.jobs.types import ADD, IMPORT, REINDEX, Work, work_of
from memos.options import AddOptions, Who
from memos.ports.stores import BlobStore
from memos.progress import Progress
from memos.transfer import TransferOperations
from memos.types import Job, JsonObject


@dataclass(frozen=True, slots=True)
class Handlers:
    """Does jobs.

    What a job writes carries its id as that of a batch: done again, it changes nothing, also when
    what it wrote was erased since.

    Attributes:
        mos_of: Account -> what may be done in it.
        blobs: Where files are kept.
    """

    mos_of: Callable[[str], TransferOperations]
    blobs: BlobStore

    async def run(self, job: Job, progress: Progress) -> JsonObject:
        """Do a job, and return what it brought, without contents.

        Raises:
            MemosError: As the call that it stands for would.
            DataError: Nobody knows this kind of work.
        """
        work, mos = work_of(job), self.mos_of(job.account)
        match job.label:
            case str(label) if label == ADD:
                return await self._add(job, work, mos)
            case str(label) if label == IMPORT:
                return await self._import(job, work, mos, progress)
            case str(label) if label == REINDEX:
                who: Who = {"user": work.by, "cube": job.cube}
                return {"embedded": await mos.reindex(progress=progress, **who)}
            case _:
                raise DataError(f"nobody knows work of the kind {job.label!r}", code="unknown_work")

    async def _add(self, job: Job, work: Work, mos: TransferOperations) -> JsonObject:
        options = cast("AddOptions", {"batch_id": job.id, **work.options})
        if work.file is None:
            return asdict(await mos.add(work.content, **options))
        async with files.opened(self.blobs, job.account, work.file) as path:
            return asdict(await mos.add(path, **options))

    async def _import(
        self, job: Job, work: Work, mos: TransferOperations, progress: Progress
    ) -> JsonObject:
        if work.file is None:
            raise DataError(f"job {job.id!r} has lost its file", code="unknown_work")
        place: AddOptions = {"user": work.by, "cube": job.cube}
        form = cast("Format | None", work.format)
        async with files.opened(self.blobs, job.account, work.file) as path:
            found = await mos.importer.read(path, form, progress, place, job.id)
        return {**asdict(found), "skipped": len(found.skipped)}
