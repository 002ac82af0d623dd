"""Models behind the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

EmbedRole: TypeAlias = Literal["query", "passage"]
Vectors: TypeAlias = NDArray[np.float32]
"""Shape (texts, dimensions); every row is L2-normalised."""


class Embedder(Protocol):
    """Turns texts into vectors whose inner product tells how near their meanings are.

    Equal ``name`` promises comparable vectors: a model, its quantisation and its prefixes.
    Vectors come in the order of the texts; no text at all gives shape (0, dimensions).
    Every string is accepted, the empty one included.

    Raises:
        ModelError: The model failed; ``retryable`` tells whether again may help.
        RateLimited: The service refuses for now.
        Timeout: The service did not answer in time.
    """

    @property
    def name(self) -> str:
        """The identity that is stored with the vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of one vector."""
        ...

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text."""
        ...
