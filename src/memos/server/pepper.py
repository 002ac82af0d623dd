"""The secret under which digests of API keys are made."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from memos.errors import ConfigError, StoreError
from memos.settings import Settings

_PEPPER_FILE: Final = "server.pepper"
_PEPPER_BYTES: Final = 32


def pepper(settings: Settings) -> bytes:
    """Return the secret under which keys' digests are made, made with the first call.

    It lies beside the store, for its owner alone, so that a copy of the database opens nothing.

    Raises:
        ConfigError: The configured one is too short.
        StoreError: The file cannot be read or written.
    """
    configured = settings.server.pepper
    if configured is not None:
        given = configured.get_secret_value().encode()
        if len(given) < _PEPPER_BYTES:
            raise ConfigError(
                f"server.pepper needs {_PEPPER_BYTES} bytes or more", code="invalid_settings"
            )
        return given
    path = Path(settings.home) / _PEPPER_FILE
    try:
        if not path.exists():
            _make(path)
        return bytes.fromhex(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path.name} cannot be used: {error}", service="files") from error


def _make(path: Path) -> None:
    """Write a new secret; when another process was quicker, its secret stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_suffix(f".{secrets.token_hex(8)}")
    try:
        aside.touch(mode=0o600)
        aside.write_text(secrets.token_hex(_PEPPER_BYTES), "ascii")
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)
