"""Settings of the embedder that runs inside this process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from memos.ports.models import EmbedRole


class OnnxSettings(BaseModel):
    """Which ONNX embedder to use, and how much of the machine it may take.

    Attributes:
        path: A model directory; None is the bundled model.
        threads: Texts that are computed at the same time; 0 is one per core.
        query_prefix: Put before every query; None is what the model asks for.
        passage_prefix: Put before every passage; None is what the model asks for.
        cache_size: Queries whose vectors are remembered.
        batch_tokens: Most tokens of one run of a model under ``path``, padding included; the
            bundled model computes each text by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["onnx"] = "onnx"
    path: Path | None = None
    threads: int = Field(default=0, ge=0)
    query_prefix: str | None = None
    passage_prefix: str | None = None
    cache_size: int = Field(default=2048, ge=0)
    batch_tokens: int = Field(default=2048, ge=64)

    def prefixes(self, defaults: Mapping[EmbedRole, str]) -> dict[EmbedRole, str]:
        """Return the prefixes in force, given those that the model asks for."""
        chosen: dict[EmbedRole, str | None] = {
            "query": self.query_prefix,
            "passage": self.passage_prefix,
        }
        return {
            role: defaults[role] if prefix is None else prefix for role, prefix in chosen.items()
        }


def digest(*facts: object) -> str:
    """Return a short word that differs when one of the facts differs."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
