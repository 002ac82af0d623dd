"""Linear layers behind a graph, from the files of ColBERT, PyLate and Sentence Transformers.

``N_Dense/config.json`` with ``N_Dense/model.safetensors``, in the order of their numbers; or the
``linear.weight`` of a ColBERT checkpoint's ``model.safetensors``. The format of those files: eight
bytes of length, a header in JSON, the numbers (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from memos.models.onnx.driver import read_config, unusable
from memos.ports.models import Vectors

_WEIGHTS: Final = "model.safetensors"
_MOST_HEADER: Final = 100_000_000
_TYPES: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}


class _DenseConfig(BaseModel):
    model_config = ConfigDict(frozen=True)

    activation_function: str = "torch.nn.modules.activation.Tanh"
    use_residual: bool = False


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_HEADER: Final = TypeAdapter(dict[str, dict[str, str] | _Entry])


@dataclass(frozen=True, slots=True)
class Layer:
    """One linear layer: ``weight`` is (out, in); ``residual``, of the same shape, is added."""

    weight: Vectors
    bias: Vectors | None = None
    residual: Vectors | None = None
    tanh: bool = False

    def __call__(self, vectors: Vectors) -> Vectors:
        """Return the vectors behind the layer."""
        made = vectors @ self.weight.T
        if self.bias is not None:
            made = made + self.bias
        if self.tanh:
            made = np.tanh(made)
        return made if self.residual is None else made + vectors @ self.residual.T


def layers(path: Path) -> Sequence[Layer]:
    """Return the layers of a model directory in their order; none when it has none.

    Raises:
        ConfigError: A file of a layer is missing, or says what is not supported.
    """
    dense = sorted(path.glob("[0-9]*_Dense"), key=lambda folder: int(folder.name.split("_")[0]))
    if dense:
        return [_dense(folder) for folder in dense]
    checkpoint = path / _WEIGHTS
    found = tensors(checkpoint, ["linear.weight"]) if checkpoint.is_file() else {}
    return [Layer(weight) for weight in found.values()]


def _dense(folder: Path) -> Layer:
    config = read_config(folder / "config.json", _DenseConfig)
    function = config.activation_function.rsplit(".", 1)[-1]
    if function not in ("Identity", "Tanh"):
        raise unusable(folder / "config.json", f"its activation {function!r} is not supported")
    file = folder / _WEIGHTS
    found = tensors(file, ["linear.weight", "linear.bias", "residual.weight"])
    weight = found.get("linear.weight")
    if weight is None:
        raise unusable(file, "it has no 'linear.weight'")
    residual = found.get("residual.weight")
    if config.use_residual and residual is None:
        residual = np.eye(*weight.shape, dtype=np.float32)
    return Layer(weight, found.get("linear.bias"), residual, function == "Tanh")


def tensors(file: Path, names: Sequence[str]) -> dict[str, Vectors]:
    """Return those of the named arrays that the file has, in single precision.

    Raises:
        ConfigError: The file is missing, or is none of this format.
    """
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = _HEADER.validate_json(opened.read(min(length, _MOST_HEADER)))
            found: dict[str, Vectors] = {}
            for name in names:
                entry = header.get(name)
                if isinstance(entry, _Entry):
                    start, end = entry.data_offsets
                    opened.seek(8 + length + start)
                    found[name] = _array(opened.read(max(end - start, 0)), entry)
    except OSError as error:
        raise unusable(file, error.strerror or "it cannot be read") from error
    except (ValidationError, ValueError) as error:
        raise unusable(file, "it holds no arrays in the format safetensors") from error
    return found


def _array(data: bytes, entry: _Entry) -> Vectors:
    kind = _TYPES.get(entry.dtype)
    if kind is None or len(data) != math.prod(entry.shape) * np.dtype(kind).itemsize:
        raise ValueError(entry.dtype)
    values = np.frombuffer(data, kind)
    if entry.dtype == "BF16":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32).reshape(entry.shape)
    return values.astype(np.float32).reshape(entry.shape)
