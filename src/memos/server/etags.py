"""Entity tags (RFC 9110): the version of a memory, and what a caller says it has or expects."""

from __future__ import annotations

import re
from typing import Final

from memos.errors import InvalidInput
from memos.types import Memory

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
_LIST: Final = re.compile(r'\s*(W/)?"[^"]*"\s*(,\s*(W/)?"[^"]*"\s*)*')


def tag_of(memory: Memory) -> str:
    """Return the tag of a memory; retiring it does not make a version, but another tag."""
    return f'"{memory.version}"' if memory.retired_at is None else f'"{memory.version}-retired"'


def holds(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller has this state already (weak comparison)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag.strip('"') in _tags(if_none_match, weak=True)


def expected(if_match: str | None) -> tuple[str, ...] | None:
    """Return the states that a caller lets be changed, None for any (strong comparison).

    Raises:
        InvalidInput: The header holds no tags.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    if not _LIST.fullmatch(if_match):
        raise InvalidInput("If-Match: expected versions in quotes, as ETag gives them")
    return tuple(_tags(if_match, weak=False))


def _tags(header: str, *, weak: bool) -> list[str]:
    return [tag for mark, tag in _TAG.findall(header) if weak or not mark]
