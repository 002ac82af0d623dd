"""MemOS: the memory operating system for AI agents."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memos.build import AsyncMOS
    from memos.sync import MOS

__version__ = "0.1.0"
__all__ = ["MOS", "AsyncMOS", "__version__"]


def __getattr__(name: str) -> object:
    """Load the engine with its first use: who only talks to a server does without it."""
    homes = {"MOS": "memos.sync", "AsyncMOS": "memos.build"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(homes[name]), name)
    globals()[name] = found
    return found
