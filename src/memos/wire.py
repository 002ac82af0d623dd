"""Values as JSON: the one form that the command line, files and later the server speak."""

from __future__ import annotations

from typing import cast

import msgspec


def to_json(value: object) -> object:
    """Return a value of this package as JSON-ready data; dates become ISO 8601 strings."""
    return cast("object", msgspec.to_builtins(value))
