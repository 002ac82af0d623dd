"""MemOS: the memory operating system for AI agents."""

from __future__ import annotations

from memos.build import AsyncMOS
from memos.sync import MOS

__version__ = "0.1.0"
__all__ = ["MOS", "AsyncMOS", "__version__"]
