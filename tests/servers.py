"""Servers on the loopback interface that speak what providers speak, faults included."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a server says.

    Attributes:
        body: All at once, or in pieces, one chunk of the stream each.
        cut: Break the connection off after the last piece.
        hang: Say nothing more after the last piece until the test is over.
    """

    body: bytes | Sequence[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: bool = False


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Provider:
    """Gives the planned answers, then what ``answer`` says; keeps what it was asked."""

    answer: Callable[[Asked], Answer]
    url: str = ""
    planned: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            return self.planned.pop(0) if self.planned else self.answer(asked)


def _send(handler: BaseHTTPRequestHandler, reply: Answer, over: threading.Event) -> None:
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    if isinstance(reply.body, bytes):
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)
    else:
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in reply.body:
            with suppress(OSError):  # who has read enough goes away
                handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                handler.wfile.flush()
    if reply.hang:
        over.wait(30)
    if reply.cut:
        handler.close_connection = True
        with suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)
    elif not isinstance(reply.body, bytes):
        with suppress(OSError):
            handler.wfile.write(b"0\r\n\r\n")


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[Provider]:
    provider = Provider(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer({})

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: dict[str, Any]) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            _send(self, provider.next(Asked(self.path, headers, body)), provider.over)

        def log_message(self, *_: Any) -> None:
            """Keep the output of the tests clean."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of clients that went away, as some tests do on purpose."""

    http = Quiet(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield provider
    finally:
        provider.over.set()
        http.shutdown()
        thread.join()
        http.server_close()


def as_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def sse(*documents: object, named: bool = False) -> list[bytes]:
    """Return server-sent events, each a piece; strings as they are, with names when Anthropic's."""
    pieces = []
    for document in documents:
        data = document.encode() if isinstance(document, str) else as_json(document)
        name = f"event: {document['type']}\n".encode() if named else b""  # type: ignore[index]
        pieces.append(name + b"data: " + data + b"\n\n")
    return pieces


def lines(*documents: object) -> list[bytes]:
    return [as_json(document) + b"\n" for document in documents]


# --- OpenAI


def openai_chunk(finish: str | None = None, **delta: object) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "choices": [choice]}


OPENAI_USAGE = {
    "prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23,
    "prompt_tokens_details": {"cached_tokens": 16},
}  # fmt: skip


def openai_stream(*texts: str, finish: str = "stop") -> Answer:
    return Answer(
        sse(
            openai_chunk(role="assistant", content=""),
            *(openai_chunk(content=text) for text in texts),
            openai_chunk(finish),
            {"id": "c1", "choices": [], "usage": OPENAI_USAGE},
            "[DONE]",
        )
    )


def openai_whole(text: str, finish: str = "stop", **more: object) -> Answer:
    message = {"role": "assistant", "content": text, **more}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return Answer(as_json({"id": "c1", "choices": [choice], "usage": OPENAI_USAGE}))


def openai(said: Callable[[Asked], str] = lambda _: "Hello there.") -> Callable[[Asked], Answer]:
    """Answer every chat with ``said``, in two pieces when streamed."""

    def answer(asked: Asked) -> Answer:
        text = said(asked)
        if not asked.path.split("?")[0].endswith("/chat/completions"):
            return Answer(b"no such path", 404)
        if not asked.body.get("stream"):
            return openai_whole(text)
        return openai_stream(text[:5], text[5:])

    return answer


# --- Ollama


def ollama(asked: Asked) -> Answer:
    said = {"model": asked.body["model"], "message": {"role": "assistant", "content": "Hello"}}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 20, "eval_count": 3}
    if not asked.body["stream"]:
        whole = {"role": "assistant", "content": "Hello there."}
        return Answer(as_json({**said, "message": whole, **end}))
    rest = {"message": {"role": "assistant", "content": " there."}, "done": False}
    return Answer(lines({**said, "done": False}, rest, {"message": {"content": ""}, **end}))


# --- search engines of the web


def web_results(asked: Asked, pages: Sequence[dict[str, str]]) -> Answer:
    """Answer as the engine whose path is asked, from pages of url, title, snippet and date."""

    def named(url: str, title: str, snippet: str, date: str) -> list[dict[str, Any]]:
        names = {"url": url, "title": title, "snippet": snippet, "date": date}
        return [{names[own]: value for own, value in page.items()} for page in pages]

    pagemaps = [{"metatags": [{"article:published_time": page.get("date")}]} for page in pages]
    items = named("link", "title", "snippet", "published")
    found = {
        "/search": {
            "query": "q",
            "results": [
                {**one, **other}
                for one, other in zip(
                    named("url", "title", "content", "published_date"),
                    named("url", "title", "content", "publishedDate"),
                    strict=True,
                )
            ],
        },
        "/v7.0/search": {
            "_type": "SearchResponse",
            "webPages": {"value": named("url", "name", "snippet", "datePublished")},
        },
        "/customsearch/v1": {
            "items": [
                {**item, "pagemap": pagemap} for item, pagemap in zip(items, pagemaps, strict=True)
            ]
        },
        "/v1/web-search": {
            "code": 200,
            "msg": None,
            "data": {"webPages": {"value": named("url", "name", "summary", "datePublished")}},
        },
    }
    path = asked.path.partition("?")[0]
    return Answer(as_json(found[path])) if path in found else Answer(b"no such path", 404)


# --- Anthropic


def anthropic_stream(*blocks: dict[str, object], reason: str = "end_turn") -> Answer:
    """Stream blocks, each given by its start and, under ``deltas``, what follows."""
    usage = {"input_tokens": 4, "cache_read_input_tokens": 16, "output_tokens": 1}
    documents: list[object] = [{"type": "message_start", "message": {"usage": usage}}]
    documents.append({"type": "ping"})
    for index, block in enumerate(blocks):
        start = {key: value for key, value in block.items() if key != "deltas"}
        documents.append({"type": "content_block_start", "index": index, "content_block": start})
        documents += [
            {"type": "content_block_delta", "index": index, "delta": delta}
            for delta in block["deltas"]  # type: ignore[attr-defined]
        ]
        documents.append({"type": "content_block_stop", "index": index})
    end = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 3}}
    return Answer(sse(*documents, end, {"type": "message_stop"}, named=True))


def anthropic_text(*texts: str) -> dict[str, object]:
    deltas = [{"type": "text_delta", "text": text} for text in texts]
    return {"type": "text", "text": "", "deltas": deltas}


def anthropic(asked: Asked) -> Answer:
    if asked.body["stream"]:
        return anthropic_stream(anthropic_text("Hello", " there."))
    usage = {"input_tokens": 20, "output_tokens": 3}
    content = [{"type": "text", "text": "Hello there."}]
    whole = {"type": "message", "content": content, "stop_reason": "end_turn", "usage": usage}
    return Answer(as_json(whole))
