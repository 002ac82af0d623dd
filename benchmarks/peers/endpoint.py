"""An OpenAI-compatible embedding server on loopback: every peer gets the very same vectors.

All vectors are made before anybody is measured, so a request costs a look-up and the transport,
the same for everybody; what a system makes of a text by itself, its parts for instance, is embedded
when it asks. Which role a text has is known from the data: questions are embedded as
questions, although the wire format cannot say so.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import anyio
import numpy as np

from benchmarks.vector_cache import CachedEmbedder
from memos.ports.models import EmbedRole


class Vectors:
    """Text, without the space around it -> vector."""

    def __init__(self, embedder: CachedEmbedder) -> None:
        self._embedder = embedder
        self._known: dict[str, np.ndarray] = {}

    def prepare(self, texts: Sequence[str], role: EmbedRole) -> None:
        """Embed what will be asked for."""
        unique = list(dict.fromkeys(text.strip() for text in texts))
        made = anyio.run(self._embedder.embed, unique, role)
        self._known |= dict(zip(unique, made, strict=True))

    def __getitem__(self, text: str) -> np.ndarray:
        text = text.strip()
        if text not in self._known:
            self.prepare([text], "passage")
        return self._known[text]


@contextmanager
def serving(vectors: Vectors) -> Iterator[str]:
    """Serve the vectors, and yield the base URL."""
    handler = type("_Bound", (_Handler,), {"vectors": vectors})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    vectors: ClassVar[Vectors]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        packed = body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _form(self.vectors[text], packed=packed),
            }
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        answer = {"object": "list", "model": body["model"], "data": data, "usage": usage}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


def _form(vector: np.ndarray, *, packed: bool) -> object:
    if packed:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
