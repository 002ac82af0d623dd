"""The filter algebra: its JSON form, its meaning, and nothing about any engine.

A filter is a tree of ``And``, ``Or``, ``Not`` over ``Test`` leaves. ``matches`` is the reference
semantics: whatever an engine does with a filter must select exactly these memories.

JSON form (MemOS's is a subset of it)::

    {"and": [{"tags": {"contains": "work"}}, {"not": {"session": "s1"}}]}
    {"info.topic": "rust", "created_at": {"gte": "2026-01-01"}}

A leaf is ``{field: value}`` or ``{field: {operator: value}}``; several fields in one object are
joined by *and*. ``{}`` and ``None`` select everything. Fields are the attributes of ``Memory`` and
``Place``, the MemOS names of the same (``user_id``, ``memory_type``, ...), paths into ``info`` and
``data`` (``info.a.b``), and, as in MemOS, bare names, looked up in ``info``, ``data``
and the metadata of MemOS's items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, cast, get_args

from memos.errors import InvalidInput
from memos.kinds import memory_type
from memos.types import Json, Memory

Operator: TypeAlias = Literal[
    "eq", "ne", "gt", "gte", "lt", "lte", "in", "contains", "like", "exists"
]
OPERATORS: Final[tuple[str, ...]] = get_args(Operator)
_SPELLINGS: Final[Mapping[str, str]] = {"=": "eq", "==": "eq", "!=": "ne", ">": "gt", ">=": "gte",
                                        "<": "lt", "<=": "lte"}  # fmt: skip
MAX_DEPTH: Final = 32
MAX_LEAVES: Final = 1000


@dataclass(frozen=True, slots=True)
class Test:
    """``field`` compared with ``value`` by ``operator``."""

    __test__ = False  # not a test class for pytest

    field: str
    operator: Operator
    value: Json


@dataclass(frozen=True, slots=True)
class And:
    """Every one of ``parts`` holds; true when there is none."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of ``parts`` holds at least; false when there is none."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """``part`` does not hold."""

    part: Filter


Filter: TypeAlias = Test | And | Or | Not
EVERYTHING: Final[Filter] = And(())

PLACE_FIELDS: Final = frozenset({"cube", "user", "agent", "app", "session"})
DATE_FIELDS: Final = frozenset(
    {"valid_from", "valid_to", "created_at", "recorded_at", "retired_at", "expires_at"}
)
RECORD_FIELDS: Final = DATE_FIELDS | {
    "id", "kind", "text", "tier", "status", "tags", "title", "speaker", "position", "confidence",
    "keys", "superseded_by", "version", "info", "data",
}  # fmt: skip
_ALIASES: Final[Mapping[str, str]] = {
    "user_id": "user", "session_id": "session", "conversation_id": "session", "agent_id": "agent",
    "app_id": "app", "cube_id": "cube", "mem_cube_id": "cube", "memory": "text", "key": "title",
    "create_time": "created_at", "update_time": "recorded_at", "updated_at": "recorded_at",
    "memory_id": "id",
}  # fmt: skip


def parse(tree: object) -> Filter:
    """Return the filter that the JSON value ``tree`` describes.

    Raises:
        InvalidInput: An unknown operator, a value of the wrong type, a malformed or huge tree;
            the message names the place.
    """
    if tree is None:
        return EVERYTHING
    parsed = _node(tree, "filter", 0)
    if sum(1 for _ in leaves(parsed)) > MAX_LEAVES:
        raise InvalidInput(
            f"the filter has more than {MAX_LEAVES} conditions; use 'in' for long lists",
            code="filter_too_large",
        )
    return parsed


def selects_everything(where: Filter) -> bool:
    """Whether ``where`` is an empty selector in any dress, which no deleting call accepts."""
    match where:
        case Test():
            return False
        case And(parts):
            return all(selects_everything(part) for part in parts)
        case Or(parts):
            return any(selects_everything(part) for part in parts)
        case Not(part):
            return _selects_nothing(part)


def _selects_nothing(where: Filter) -> bool:
    match where:
        case Test(_, operator, value):
            return operator == "in" and value == ()
        case And(parts):
            return any(_selects_nothing(part) for part in parts)
        case Or(parts):
            return all(_selects_nothing(part) for part in parts)
        case Not(part):
            return selects_everything(part)


def leaves(where: Filter) -> Iterator[Test]:
    """Yield the leaf conditions of ``where``."""
    match where:
        case Test():
            yield where
        case Not(part):
            yield from leaves(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)


def matches(where: Filter, memory: Memory) -> bool:
    """Whether ``memory`` is selected: the reference semantics of every engine."""
    match where:
        case Test():
            return _holds(where, memory)
        case Not(part):
            return not matches(part, memory)
        case And(parts):
            return all(matches(part, memory) for part in parts)
        case Or(parts):
            return any(matches(part, memory) for part in parts)


def _node(tree: object, path: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"{path}: nested more than {MAX_DEPTH} deep", code="filter_too_deep")
    if not isinstance(tree, Mapping):
        raise _malformed(path, f"expected an object, got {type(tree).__name__}")
    parts = tuple(
        _entry(name, value, path, depth)
        for name, value in cast("Mapping[object, object]", tree).items()
    )
    return parts[0] if len(parts) == 1 else And(parts)


def _entry(name: object, value: object, path: str, depth: int) -> Filter:
    if not isinstance(name, str) or not name:
        raise _malformed(path, f"a field name must be a non-empty string, got {name!r}")
    word = name.lower()
    if word in ("and", "or"):
        if not isinstance(value, list | tuple):
            raise _malformed(f"{path}.{name}", "expected a list of conditions")
        items = cast("Sequence[object]", value)
        parts = tuple(_node(v, f"{path}.{name}[{i}]", depth + 1) for i, v in enumerate(items))
        return And(parts) if word == "and" else Or(parts)
    if word == "not":
        return Not(_node(value, f"{path}.{name}", depth + 1))
    return _leaf(name, value, f"{path}.{name}")


def _leaf(name: str, value: object, path: str) -> Filter:
    field = _ALIASES.get(name, name)
    if isinstance(value, Mapping):
        operators = cast("Mapping[object, object]", value)
        if not operators:
            raise _malformed(path, "an empty condition; name an operator")
        tests = tuple(_test(field, op, operand, path) for op, operand in operators.items())
        return tests[0] if len(tests) == 1 else And(tests)
    operator = "in" if isinstance(value, list | tuple) else "eq"
    return _test(field, operator, cast("object", value), path)


def _test(field: str, operator: object, value: object, path: str) -> Test:
    word = str(operator).lower().removeprefix("$")
    word = _SPELLINGS.get(word, word)
    if word not in OPERATORS:
        raise InvalidInput(
            f"{path}: unknown operator {operator!r}; known are {', '.join(OPERATORS)}",
            code="filter_operator",
        )
    op = cast("Operator", word)
    if op == "exists" and not isinstance(value, bool):
        raise _malformed(path, "'exists' takes true or false")
    if op == "like" and not isinstance(value, str):
        raise _malformed(path, "'like' takes a string")
    if op == "in":
        if not isinstance(value, list | tuple):
            raise _malformed(path, "'in' takes a list")
        return Test(
            field, op, tuple(_operand(field, v, path) for v in cast("Sequence[object]", value))
        )
    if op in ("gt", "gte", "lt", "lte") and not isinstance(value, str | int | float | datetime):
        raise _malformed(path, f"{op!r} takes a number, a string or a date")
    return Test(field, op, cast("Json", value) if op == "exists" else _operand(field, value, path))


def _operand(field: str, value: object, path: str) -> Json:
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise _malformed(path, "numbers must be finite")
    if value is not None and not isinstance(value, str | bool | int | float):
        raise _malformed(path, f"{type(value).__name__} is not a value that can be compared")
    if field in DATE_FIELDS and value is not None and instant(value) is None:
        raise _malformed(path, f"{value!r} is not an ISO 8601 date")
    return value


def _malformed(path: str, why: str) -> InvalidInput:
    return InvalidInput(f"{path}: {why}", code="filter_malformed")


def instant(value: object) -> datetime | None:
    """Return the moment that ``value`` names, or None: an ISO 8601 date, or seconds since 1970.

    A date without a zone is read as UTC.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value.strip())
            return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def field_value(memory: Memory, field: str) -> object:
    """Return what ``field`` holds in ``memory``, or None."""
    if field in PLACE_FIELDS:
        return getattr(memory.place, field)
    if field in RECORD_FIELDS:
        return getattr(memory, field)
    if field == "memory_type":
        return memory_type(memory)
    head, _, rest = field.partition(".")
    if head in ("info", "data") and rest:
        return _descend(memory.info if head == "info" else memory.data, rest)
    held = (memory.info, memory.data, memory.data.get("metadata"))
    found = (
        _descend(cast("Mapping[str, Json]", part), field)
        for part in held
        if isinstance(part, Mapping)
    )
    return next((value for value in found if value is not None), None)


def _descend(root: Mapping[str, Json], path: str) -> object:
    if path in root:  # a key may itself contain dots
        return root[path]
    here: object = root
    for step in path.split("."):
        if not isinstance(here, Mapping):
            return None
        here = cast("Mapping[object, object]", here).get(step)
    return here


def _holds(test: Test, memory: Memory) -> bool:
    held = field_value(memory, test.field)
    if test.operator == "exists":
        return (held not in (None, (), [], {})) is test.value
    if test.field in DATE_FIELDS and test.value is not None:
        return _compare_dates(test, held)
    return _COMPARE[test.operator](held, test.value)


def _compare_dates(test: Test, held: object) -> bool:
    if test.operator == "in":
        wanted = cast("Sequence[object]", test.value)
        return any(_same(held, v if v is None else instant(v)) for v in wanted)
    return _COMPARE[test.operator](held, instant(test.value))


def _same(held: object, value: object) -> bool:
    """Equality that keeps ``True`` apart from ``1``, and looks into lists."""
    if isinstance(held, list | tuple):
        return any(_same(item, value) for item in cast("Sequence[object]", held))
    if isinstance(held, bool) or isinstance(value, bool):
        return isinstance(held, bool) and isinstance(value, bool) and held is value
    return held == value


def _ordered(compare: Callable[[int], bool]) -> Callable[[object, object], bool]:
    def holds(held: object, value: object) -> bool:
        sign = _sign(held, value)
        return sign is not None and compare(sign)

    return holds


def _sign(held: object, value: object) -> int | None:
    """Return -1, 0 or 1, or None where the two cannot be ordered."""
    if isinstance(held, bool) or isinstance(value, bool):
        return None
    if isinstance(held, int | float) and isinstance(value, int | float):
        return (held > value) - (held < value)
    if isinstance(held, datetime) and isinstance(value, datetime):
        return (held > value) - (held < value)
    if isinstance(held, str) and isinstance(value, str):
        left, right = _moment(held), _moment(value)
        if left is not None and right is not None:
            return (left > right) - (left < right)
        return (held > value) - (held < value)
    return None


def _moment(text: str) -> datetime | None:
    """Return the date in a free metadata string; plain numbers and words are not dates."""
    return instant(text) if len(text) >= 10 and text[4:5] == "-" else None  # noqa: PLR2004


def _contains(held: object, value: object) -> bool:
    if isinstance(held, str):
        return isinstance(value, str) and value in held
    return isinstance(held, list | tuple) and _same(cast("Sequence[object]", held), value)


def _like(held: object, value: object) -> bool:
    needle = str(value).casefold()
    if isinstance(held, list | tuple):
        return any(_like(item, value) for item in cast("Sequence[object]", held))
    return isinstance(held, str) and needle in held.casefold()


def _among(held: object, value: object) -> bool:
    return any(_same(held, item) for item in cast("Sequence[object]", value))


_COMPARE: Final[Mapping[str, Callable[[object, object], bool]]] = {
    "eq": _same,
    "ne": lambda held, value: not _same(held, value),
    "gt": _ordered(lambda sign: sign > 0),
    "gte": _ordered(lambda sign: sign >= 0),
    "lt": _ordered(lambda sign: sign < 0),
    "lte": _ordered(lambda sign: sign <= 0),
    "in": _among,
    "contains": _contains,
    "like": _like,
}
