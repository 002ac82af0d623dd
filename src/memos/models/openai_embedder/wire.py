"""What goes over the wire to an ``/embeddings`` server, and what comes back."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import numpy as np
from pydantic import BaseModel, ValidationError

from memos.ports.models import Vectors


class _Item(BaseModel):
    index: int
    embedding: list[float] | str


class _Answer(BaseModel):
    data: list[_Item]


class _Fault(BaseModel):
    message: str = ""


class _Refusal(BaseModel):
    error: _Fault


def sendable(text: str) -> str:
    """Replace what JSON or servers do not take: lone surrogates, null, no text at all."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ") or " "


def embeddings(content: bytes, count: int) -> list[Vectors]:
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


def _row(embedding: list[float] | str) -> Vectors:
    if isinstance(embedding, str):
        try:
            row = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        except binascii.Error as error:
            raise ValueError("one is not base64") from error
    else:
        row = np.array(embedding, np.float32)
    if not np.isfinite(row).all() or not row.any():
        raise ValueError("one has no direction")
    return row


def complaint(content: bytes) -> str:
    """Return what a server says about an error, or nothing."""
    try:
        return _Refusal.model_validate_json(content).error.message
    except ValidationError:
        return ""


def retry_after_s(header: str | None) -> float | None:
    """Read seconds or a date."""
    if header is None:
        return None
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
