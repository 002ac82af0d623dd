"""onnxruntime and the files it reads, with their failures as errors of this package."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from memos.errors import ConfigError, ModelError
from memos.ports.models import Vectors

M = TypeVar("M", bound=BaseModel)


def read_config(path: Path, kind: type[M]) -> M:
    """Read a JSON file of a model directory.

    Raises:
        ConfigError: It is missing, unreadable or not of this kind.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"model file {str(path)!r} cannot be read ({error.strerror}); "
            "name a complete model directory or install the package again",
            code="model_missing",
            path=str(path),
        ) from error
    except ValidationError as error:
        raise unusable(path, f"{error.error_count()} fields are wrong") from error


def unusable(path: Path, cause: str) -> ConfigError:
    """Return the error for a model file that is there and cannot be used."""
    return ConfigError(
        f"model file {str(path)!r} cannot be used: {cause}; "
        "fetch the model directory anew or install the package again",
        code="model_unusable",
        path=str(path),
    )


class Session:
    """One ONNX graph. ``run`` may be called from several threads; each computes by itself.

    Raises:
        ConfigError: The file is not a graph that the driver can run.
    """

    def __init__(self, path: Path) -> None:
        # Imported here: it takes 50 to 400 ms, and most commands embed nothing.
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Texts differ in length: a memory plan per length would be kept for ever.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except driver_errors() as error:
            raise unusable(path, str(error).splitlines()[0]) from error
        self._path = path
        self.inputs = frozenset(node.name for node in self._session.get_inputs())
        self.outputs = {node.name: len(node.shape) for node in self._session.get_outputs()}

    def run(self, output: str, feeds: Mapping[str, NDArray[np.generic]]) -> Vectors:
        """Return one output.

        Raises:
            ModelError: The driver failed.
        """
        with self._mapped():
            return self._session.run([output], feeds)[0]

    @contextmanager
    def _mapped(self) -> Generator[None, None, None]:
        try:
            yield
        except driver_errors() as error:
            raise ModelError(
                f"onnxruntime failed on {str(self._path)!r}: {str(error).splitlines()[0]}; "
                "check that the model is an encoder of texts",
                service="onnx",
                code="model_run",
            ) from error


def driver_errors() -> tuple[type[Exception], ...]:
    """Return every exception of the driver; they have no common class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as driver  # noqa: PLC0415

    found: Sequence[object] = list(vars(driver).values())
    return tuple(
        value for value in found if isinstance(value, type) and issubclass(value, Exception)
    )
