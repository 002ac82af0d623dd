"""What every store refuses, in the same words: the errors that the contracts name."""

from __future__ import annotations

from memos.errors import Conflict, DataError, Forbidden, InvalidInput, NotFound
from memos.types import Batch, Job, Link, Place, Scope


def check_read(scope: Scope, cube: str) -> None:
    """Refuse a cube that the scope may not read.

    Raises:
        Forbidden: It may not.
    """
    if not scope.may(cube, "read"):
        raise Forbidden(f"{scope.principal!r} may not read cube {cube!r}")


def check_read_place(scope: Scope, place: Place) -> None:
    """Refuse a place that the scope may not read.

    Raises:
        Forbidden: It may not read the cube, or the place is another account's.
    """
    check_read(scope, place.cube)
    if place.account != scope.account:
        raise Forbidden(f"{scope.principal!r} belongs to another account than the session")


def check_write(scope: Scope, cube: str) -> None:
    """Refuse a cube that the scope may not write.

    Raises:
        Forbidden: It may not.
    """
    if not scope.may(cube, "write"):
        raise Forbidden(f"{scope.principal!r} may not write cube {cube!r}")


def check_batch(batch: Batch, scope: Scope) -> None:
    """Refuse a batch that the scope may not apply, or whose parts do not belong together.

    Raises:
        Forbidden: The scope may not write the batch's cube.
        InvalidInput: A part belongs to another cube, or the vectors do not fit together.
    """
    if batch.account != scope.account:
        raise Forbidden(f"{scope.principal!r} may not write cube {batch.cube!r}")
    check_write(scope, batch.cube)
    parts: list[Place | Job] = [head.place for head in batch.heads]
    parts += batch.jobs
    for put in batch.puts:
        if put.memory.recorded_at is None:
            raise InvalidInput(f"memory {put.memory.id!r} does not say when it was recorded")
        if not parts or put.memory.place is not parts[-1]:  # the memories of one call share it
            parts.append(put.memory.place)
    for part in parts:
        if part.account != batch.account or part.cube != batch.cube:
            raise InvalidInput(f"a part of the batch belongs to another cube than {batch.cube!r}")
    _check_vectors(batch)


def _check_vectors(batch: Batch) -> None:
    sizes = {len(put.vector) for put in batch.puts if put.vector is not None}
    if sizes and batch.embedder is None:
        raise InvalidInput("a batch with vectors must name its embedder")
    if len(sizes) > 1:
        raise InvalidInput(f"a batch has vectors of different sizes: {sorted(sizes)}")


def version_moved(id: str, version: int, expected: int) -> Conflict:
    """Return the error for a memory that is not at the expected version."""
    if expected == 0:
        return Conflict(
            f"memory {id!r} exists already; update it, or leave the id out", code="exists"
        )
    return Conflict(
        f"memory {id!r} is at version {version}, not {expected}; read it again",
        code="version_moved",
    )


def head_moved() -> Conflict:
    """Return the error for a session that grew meanwhile."""
    return Conflict("the session grew meanwhile; read its tail again", code="head_moved")


def erased(id: str) -> Conflict:
    """Return the error for a put of an erased id."""
    return Conflict(f"memory {id!r} was erased; its id is not used again", code="erased")


def unknown_memory(id: str, cube: str) -> NotFound:
    """Return the error for an id that the cube does not know."""
    return NotFound(f"there is no memory {id!r} in cube {cube!r}", code="unknown_memory")


def other_embedder(cube: str, serving: str, configured: str) -> Conflict:
    """Return the error for a cube whose vectors another model made."""
    return Conflict(
        f"cube {cube!r} was embedded with {serving!r}, and {configured!r} is configured: "
        f"run 'memos reindex --cube {cube}', or configure the embedder it was made with",
        code="embedder_mismatch",
        cube=cube,
        serving=serving,
        configured=configured,
    )


def other_dimensions(embedder: str, known: int, given: int) -> Conflict:
    """Return the error for an embedder whose vectors had another size before."""
    return Conflict(
        f"embedder {embedder!r} made vectors of {known} dimensions here, and now of {given}",
        code="embedder_dimensions",
    )


def other_query(cube: str, held: int, given: int) -> Conflict:
    """Return the error for a query vector that cannot be compared with a cube's."""
    return Conflict(
        f"cube {cube!r} has vectors of {held} dimensions, the query {given}",
        code="embedder_mismatch",
    )


def entry_moved(kind: str, id: str, expect: int) -> Conflict:
    """Return the error for an entry that is not at the expected version."""
    if expect == 0:
        return Conflict(f"{kind} {id!r} exists already", code="exists")
    return Conflict(f"{kind} {id!r} was changed meanwhile; read it again", code="version_moved")


def memory_conflict(cube: str, count: int, ids: tuple[str, ...]) -> Conflict:
    """Return the error for a load that meets memories of other content."""
    return Conflict(
        f"cube {cube!r} has {count} of the memories with other content, {ids[0]!r} first; nothing "
        "was loaded: load with on_conflict 'keep' or 'replace', or into a new cube",
        code="memory_conflict",
        count=count,
        ids=ids,
    )


def unknown_staging() -> NotFound:
    """Return the error for a load that was given up meanwhile."""
    return NotFound("this load was ended before; begin it anew", code="unknown_staging")


def out_of_order(id: str) -> DataError:
    """Return the error for a history that cannot have been."""
    return DataError(
        f"the versions of memory {id!r} do not follow each other; the dump is damaged",
        code="damaged_dump",
    )


def loose_link(link: Link) -> DataError:
    """Return the error for a link without a memory at one end."""
    return DataError(
        f"a link joins {link.source!r} and {link.target!r}, and one of them is not there; "
        "the dump is damaged",
        code="damaged_dump",
    )
