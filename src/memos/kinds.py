"""What kinds of memory there are. A kind is data: it names no class and has no stack of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from memos.types import Memory, Tier


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of textual memory.

    Attributes:
        name: What ``Memory.kind`` says.
        tier: Where memories of this kind live when nobody says otherwise.
        memory_type: MemOS's name for the kind whatever its tier, or None where it has none.
    """

    name: str
    tier: Tier = "long_term"
    memory_type: str | None = None


TURN: Final = Kind("turn")
FACT: Final = Kind("fact")
PASSAGE: Final = Kind("passage", memory_type="RawFileMemory")
KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        TURN,
        FACT,
        PASSAGE,
        Kind("event"),
        Kind("summary"),
        Kind("preference", "user", "PreferenceMemory"),
        Kind("skill", memory_type="SkillMemory"),
        Kind("tool_schema", memory_type="ToolSchemaMemory"),
        Kind("tool_trajectory", memory_type="ToolTrajectoryMemory"),
        Kind("page", "outer"),
        Kind("context", memory_type="Context"),
    )
}
_TIER_TYPES: Final[Mapping[Tier, str]] = {
    "working": "WorkingMemory",
    "long_term": "LongTermMemory",
    "user": "UserMemory",
    "outer": "OuterMemory",
}
_KIND_OF_TYPE: Final = {kind.memory_type: kind for kind in KINDS.values() if kind.memory_type}
_TIER_OF_TYPE: Final[Mapping[str, Tier]] = {name: tier for tier, name in _TIER_TYPES.items()}


def memory_type(memory: Memory) -> str:
    """Return the name that MemOS gives to this kind and tier of memory."""
    kind = KINDS.get(memory.kind)
    return (kind.memory_type if kind else None) or _TIER_TYPES[memory.tier]


def from_memory_type(name: str) -> tuple[Kind, Tier] | None:
    """Return the kind and tier behind MemOS's name, None for an unknown one."""
    if name in _TIER_OF_TYPE:
        return FACT, _TIER_OF_TYPE[name]
    kind = _KIND_OF_TYPE.get(name)
    return None if kind is None else (kind, kind.tier)
