"""Adapters by name, through entry points: built-in ones and third parties' take the same door."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from pydantic import BaseModel, ValidationError

from memos.errors import ConfigError, MissingExtra
from memos.ports.backend import Backend, Role

GROUPS: Final = ("memos.backends", "memos.models")
DISTRIBUTION: Final = "agent-memos"
_EXTRA_OF: Final[Mapping[str, str]] = {"tokenizers": "onnx", "sentence_transformers": "torch"}
"""Package -> the extra that installs it, where that is not called like the adapter."""


def names(role: Role) -> list[str]:
    """Return the names that can be given as ``kind`` for a role."""
    qualified = {
        name.removeprefix(f"{role}.") for name in _entries() if name.startswith(f"{role}.")
    }
    plain = {name for name in _entries() if "." not in name and role in load(name).roles}
    return sorted(qualified | plain)


def load(name: str, role: Role | None = None) -> Backend[BaseModel]:
    """Import the adapter behind ``name``.

    An entry point ``ROLE.NAME`` serves as ``NAME`` in that role, so that one service may have an
    adapter for each.

    Raises:
        ConfigError: Nobody registered that name, or what they registered is not a backend.
        MissingExtra: Its driver is not installed; the message holds the install line.
    """
    entry = _entries().get(f"{role}.{name}") or _entries().get(name)
    if entry is None:
        known = ", ".join(sorted(_entries())) or "none"
        raise ConfigError(
            f"no adapter is called {name!r}; installed are: {known}", code="unknown_kind"
        )
    try:
        loaded: object = entry.load()
    except ModuleNotFoundError as error:
        raise missing_extra(name, error) from error
    if not isinstance(loaded, Backend):
        raise ConfigError(f"the entry point {name!r} does not name a Backend", code="unknown_kind")
    return cast("Backend[BaseModel]", loaded)


def missing_extra(name: str, error: ModuleNotFoundError) -> MissingExtra:
    """Return the error for an adapter whose driver cannot be imported: now, or when it opens."""
    missing = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(missing, name)
    return MissingExtra(
        f"{name!r} needs the package {missing!r}: pip install '{DISTRIBUTION}[{extra}]'",
        extra=extra,
    )


def resolve(
    path: str, section: Mapping[str, object], role: Role
) -> tuple[Backend[BaseModel], BaseModel]:
    """Return the adapter that a settings section names, and its typed settings.

    Args:
        path: Where the section stands in the settings, for messages.
        section: ``kind`` and the adapter's own fields.
        role: What the adapter is wanted for.

    Raises:
        ConfigError: Unknown kind, wrong role, or a field that is missing, misspelt or malformed.
    """
    kind = section.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(
            f"{path}.kind is missing; one of: {', '.join(names(role))}", code="unknown_kind"
        )
    backend = load(kind, role)
    if role not in backend.roles:
        raise ConfigError(
            f"{path}.kind: {kind!r} cannot serve as {role}; one of: {', '.join(names(role))}",
            code="wrong_role",
        )
    try:
        return backend, backend.settings.model_validate(dict(section))
    except ValidationError as error:
        raise invalid_settings(error, path) from None  # the cause would show secret values


def invalid_settings(error: ValidationError, path: str = "") -> ConfigError:
    """Return pydantic's findings with full paths and without the values, which may be secret."""
    found = "; ".join(
        f"{'.'.join([*([path] if path else []), *map(str, item['loc'])])}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False, include_context=False)
    )
    return ConfigError(f"settings: {found}", code="invalid_settings")


@lru_cache(maxsize=1)
def _entries() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for group in GROUPS for entry in entry_points(group=group)}
