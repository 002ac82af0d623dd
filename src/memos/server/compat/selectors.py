"""MemOS's filter forms in ours, and how its names of memory types divide what is found.

MemOS's forms: one filter for all; ``{cube: filter}``, a filter for each cube; and, of its cloud,
``{"user": filter, "knowledgebase": filter, "public": filter}``. An empty one selects everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

from memos.errors import InvalidInput
from memos.filters import OPERATORS
from memos.kinds import KINDS

Tree: TypeAlias = Mapping[str, object]

_SCOPES: Final = frozenset({"user", "knowledgebase", "public"})
PREFERENCES: Final = ("preference",)
TOOLS: Final = ("tool_schema", "tool_trajectory")
SKILLS: Final = ("skill",)
TEXTS: Final = tuple(sorted(set(KINDS) - {*PREFERENCES, *TOOLS, *SKILLS}))
BUCKETS: Final[Mapping[str, Sequence[str]]] = {
    "text_mem": TEXTS, "pref_mem": PREFERENCES, "tool_mem": TOOLS, "skill_mem": SKILLS,
}  # fmt: skip
_TYPES: Final = {kind.memory_type: kind.name for kind in KINDS.values() if kind.memory_type}
_SUMMARIES: Final = ("LongTermMemory", "UserMemory")
_TIERS: Final = frozenset({"WorkingMemory", "LongTermMemory", "UserMemory", "OuterMemory"})


def where(given: Tree | None, cubes: Sequence[str] = ()) -> Tree | None:
    """Return a filter of ours for one of MemOS's, over the cubes that are read.

    Raises:
        InvalidInput: Some of its fields are cubes and some are not.
    """
    if not given:
        return None
    mine = given.get("user")
    if set(given) <= _SCOPES and isinstance(mine or {}, Mapping) and not _is_test(mine):
        return cast("Tree | None", mine) or None
    named = [name for name in given if name in cubes and isinstance(given[name], Mapping)]
    if not named:
        return given
    if len(named) != len(given):
        raise InvalidInput("filter: give one filter for all cubes, or one for each, not both")
    parts = [both({"cube": cube}, cast("Tree | None", given.get(cube))) for cube in cubes]
    return {"or": parts}


def both(*parts: Tree | None) -> Tree:
    """Return the filter that holds where all of the given ones do."""
    given = [part for part in parts if part]
    return given[0] if len(given) == 1 else {"and": given}


def of_bucket(bucket: str) -> Tree:
    """Return the filter that selects the memories of one of MemOS's lists."""
    return {"kind": {"in": list(BUCKETS[bucket])}}


def of_type(name: str) -> tuple[str, Tree | None]:
    """Return the list that a ``search_memory_type`` belongs to, and the filter for it.

    Raises:
        InvalidInput: There is no such type.
    """
    if name in _TIERS:
        return "text_mem", {"memory_type": name}
    if name == "AllSummaryMemory":
        return "text_mem", {"memory_type": {"in": list(_SUMMARIES)}}
    if name not in _TYPES:
        raise InvalidInput(f"search_memory_type: {name!r:.80} is no type of memory")
    kind = _TYPES[name]
    bucket = next(bucket for bucket, kinds in BUCKETS.items() if kind in kinds)
    return bucket, {"kind": kind}


def _is_test(value: object) -> bool:
    """Whether a value is ``{operator: operand}``, of a field that happens to be called so."""
    if not isinstance(value, Mapping):
        return False
    names = set(cast("Mapping[str, object]", value))
    return bool(names) and names <= {*OPERATORS, "="}
