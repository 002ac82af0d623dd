"""What comes back from an ``/embeddings`` server."""

from __future__ import annotations

import base64
import binascii

import numpy as np
from pydantic import BaseModel, ValidationError

from memos.models._http.embedding import directed
from memos.types import Vector


class _Item(BaseModel):
    index: int
    embedding: list[float] | str


class _Answer(BaseModel):
    data: list[_Item]


def embeddings(content: bytes, count: int) -> list[Vector]:
    """Return the embeddings of an answer, in the order of the texts.

    Raises:
        ValueError: The answer is something else; the text of the error quotes nothing of it.
    """
    try:
        items = sorted(_Answer.model_validate_json(content).data, key=lambda item: item.index)
    except ValidationError as error:
        raise ValueError(f"{error.error_count()} fields are wrong") from error
    if [item.index for item in items] != list(range(count)):
        raise ValueError(f"{len(items)} came, or their numbers are wrong")
    return [_row(item.embedding) for item in items]


def _row(embedding: list[float] | str) -> Vector:
    if not isinstance(embedding, str):
        return directed(embedding)
    try:
        return directed(np.frombuffer(base64.b64decode(embedding, validate=True), "<f4"))
    except binascii.Error as error:
        raise ValueError("one is not base64") from error
