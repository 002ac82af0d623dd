"""Pages of the web as hits: cleaned, each once, and never stored.

What a search engine sends was written by anybody. Tags, control characters and characters that
turn the direction of text are taken out, lengths are cut, and a page whose address is no plain
http or https URL is left out. Nothing is ever fetched.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from memos.analysis import count_terms, index_text, query_terms
from memos.ports.web import WebPage
from memos.types import Memory, Place, Source

_MOST: Final[Mapping[str, int]] = {"url": 2048, "title": 300, "snippet": 2000}
_READ: Final = 8000
"""So much of a text is looked at before it is cut."""
_HIDDEN: Final = re.compile(r"<(script|style)\b.{0,4000}?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<[a-zA-Z/!?][^<>]{0,1000}>")
_PORTS: Final = {"http": 80, "https": 443}
_FOLLOWING: Final = ("utm_", "gclid", "fbclid", "msclkid")
"""Parameters that say who led there; without them the address is the same."""
_UNSEEN: Final = frozenset(
    chr(code) for code in (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070),
                           0xFEFF, 0xAD) if code not in (0x200C, 0x200D)
)  # fmt: skip
"""Marks of direction and of no width; the joiners stay, which some scripts need."""
_UNQUOTED: Final = frozenset('"<>\\^`{|}') | _UNSEEN
"""What a browser would not send either, and what could end an attribute or a line."""


def as_memories(
    pages: Iterable[WebPage], engine: str, account: str, known: Iterable[Memory] = ()
) -> list[Memory]:
    """Return pages as memories of no cube, in order, each address and each text once.

    Args:
        pages: What the engine sent.
        engine: Its name.
        account: The tenant that asks.
        known: What was found already; a page that says the same is left out.
    """
    seen = {_text_key(memory.text) for memory in known}
    seen |= {same for memory in known for source in memory.sources if (same := source.uri)}
    made: list[Memory] = []
    for page in pages:
        url = _url(page.url)
        title, snippet = clean(page.title, "title"), clean(page.snippet, "snippet")
        said = snippet or title
        if url is None or not said:
            continue
        keys = {_address(url), _text_key(said)}
        if url in seen or not keys.isdisjoint(seen):
            continue
        seen |= keys
        made.append(_memory(replace(page, url=url, title=title, snippet=said), engine, account))
    return made


def is_page(memory: Memory) -> bool:
    """Whether it is a page of the web: these alone are of no cube."""
    return not memory.place.cube


def shared_words(query: str, memory: Memory) -> tuple[str, ...]:
    """Return the terms of a question that a page holds."""
    held = count_terms(index_text(memory))
    return tuple(term for term in query_terms(query) if term in held)


def clean(text: str, what: str) -> str:
    """Return the words of a text that anybody may have written."""
    text = _TAG.sub(" ", _HIDDEN.sub(" ", text[:_READ]))
    text = _TAG.sub(" ", _HIDDEN.sub(" ", html.unescape(text)))
    kept = (
        " " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char
        for char in text
        if char not in _UNSEEN and unicodedata.category(char) not in ("Cs", "Co", "Cn")
    )
    return " ".join("".join(kept).split())[: _MOST[what]].rstrip()


def _url(given: str) -> str | None:
    """Return an address that a person may follow, or None."""
    given = given.strip().replace(" ", "%20").replace("'", "%27")
    if len(given) > _MOST["url"] or not given.isprintable() or set(given) & _UNQUOTED:
        return None
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        return None
    named = parts.scheme in _PORTS and parts.hostname and port != 0
    return given if named and parts.username is None and parts.password is None else None


def _address(url: str) -> str:
    """Return the form that is equal for addresses of the same page."""
    parts: SplitResult = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([pair for pair in pairs if not pair[0].startswith(_FOLLOWING)])
    return urlunsplit(("", f"{host}{port}", parts.path.rstrip("/"), query, ""))


def _text_key(text: str) -> str:
    return f"text:{' '.join(text.casefold().split())}"


def _memory(page: WebPage, engine: str, account: str) -> Memory:
    return Memory(
        id=f"web-{sha256(page.url.encode()).hexdigest()[:32]}",
        kind="page",
        text=page.snippet,
        place=Place(account, ""),
        tier="outer",
        title=page.title or None,
        sources=(Source(type="web", at=page.at, uri=page.url, extra={"engine": engine}),),
        data={"metadata": {"source": "web"}},
    )
