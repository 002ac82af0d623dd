from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from memos.backends.sqlite.connection import mapped, translate
from memos.backends.sqlite.schema import MINIMUM_SQLITE, check_library
from memos.errors import DataError, MemosError, StoreError

DRIVER_ERRORS = [
    value
    for value in vars(apsw).values()
    if isinstance(value, type) and issubclass(value, apsw.Error) and value is not apsw.Error
]
REVIEWED = {
    # What a fault outside this package can cause has a code of its own ...
    "FullError": "disk_full", "ReadOnlyError": "read_only", "PermissionsError": "read_only",
    "AuthError": "read_only", "CantOpenError": "cannot_open", "BusyError": "busy",
    "LockedError": "busy",
    "IOError": "io", "NoMemError": "no_memory", "InterruptError": "interrupted",
    "TooBigError": "too_big",
    "CorruptError": "corrupt", "NotADBError": "corrupt", "FormatError": "corrupt",
    "SchemaChangeError": "corrupt",
    # ... and what only a mistake in this package can cause is reported as it is.
    **dict.fromkeys(
        ["SQLError", "InternalError", "AbortError", "NotFoundError", "ProtocolError", "EmptyError",
         "ConstraintError", "MismatchError", "MisuseError", "NoLFSError", "RangeError",
         "ThreadingViolationError", "IncompleteExecutionError", "BindingsError",
         "ConnectionClosedError",
         "CursorClosedError", "ConnectionNotClosedError", "ForkingViolationError",
         "VFSNotImplementedError",
         "VFSFileClosedError", "InvalidContextError", "ExtensionLoadingError", "ExecTraceAbort",
         "ExecutionCompleteError", "NoFTS5Error"], "sqlite"),
}  # fmt: skip


@pytest.mark.parametrize("error", DRIVER_ERRORS, ids=lambda error: error.__name__)
def test_every_driver_error_is_mapped_on_purpose(error: type[apsw.Error]) -> None:
    assert error.__name__ in REVIEWED, "apsw grew an error: decide what it means"
    translated = translate(error("why"), Path("memos.db"))
    assert translated.code == REVIEWED[error.__name__]
    assert isinstance(translated, StoreError | DataError)
    assert "memos.db" in translated.detail


def test_the_system_s_errors_are_mapped() -> None:
    with pytest.raises(MemosError) as refused, mapped(Path("memos.db")):
        raise PermissionError(13, "Permission denied")
    assert refused.value.code == "read_only"
    with pytest.raises(StoreError) as full, mapped(Path("memos.db")):
        raise OSError(28, "No space left on device")
    assert full.value.code == "disk_full"


def test_the_bundled_sqlite_is_new_enough() -> None:
    check_library()
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= MINIMUM_SQLITE
