"""From text to index terms: the one analysis that writing and searching share.

Latin words are case-folded, stripped of accents and stemmed (Snowball English, "Porter2"); Han
text is cut by a dictionary segmenter (rjieba, search mode) and into character pairs; kana, Hangul
and scripts written without spaces into pairs alone; numbers, dates and code identifiers count as a
whole and by their parts; emoji are terms. Words in every sentence ("the", "的") are none.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import Final, Protocol, cast

from Stemmer import Stemmer

from memos.types import Memory

_STOP_EN: Final = """
a an and are as at be been but by did do does for from had has have he her hers him his
i if in into is it its me my of on or our she so than that the their them they this
those to was we were what when where which who will with would you your s t am about
can could how
"""
_STOP_ZH: Final = """
的 了 是 在 和 与 我 你 他 她 它 我们 你们 他们 这 那 吗 呢 吧 啊 也 就 都 而 及 着 或 把 被
什么 哪 哪个 哪些 怎么 请问 一个 有 会 对 个 上 中 里 呀 哦 嗯
"""
STOP_WORDS: Final = frozenset(_STOP_EN.split()) | frozenset(_STOP_ZH.split())

_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_UNSPACED: Final = (
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\uac00-\ud7af\u1100-\u11ff"  # Hangul
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
)
_EMOJI: Final = "\u2190-\u2bff\U0001f000-\U0001faff"
_TOKEN: Final = re.compile(
    rf"(?P<han>[{_HAN}]+)"
    rf"|(?P<run>[{_UNSPACED}]+)"
    rf"|(?P<emoji>[{_EMOJI}])"
    rf"|(?P<word>(?:(?![{_HAN}{_UNSPACED}])\w)+(?:[.'’_\-/:@](?:(?![{_HAN}{_UNSPACED}])\w)+)*)"
)
_ASCII_WORD: Final = re.compile(r"\w+(?:[.'_\-/:@]\w+)*", re.ASCII)
"""What ``_TOKEN`` finds in ASCII text, where nothing but words can be found."""
_PARTS: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WIDE: Final = re.compile(
    r"[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f]"
)
_LETTERS_PER_TOKEN: Final = 4
_MAX_WORD: Final = 64
"""Longer runs are encoded data, not words; they are cut here."""


class _Segmenter(Protocol):
    def cut(self, text: str) -> list[str]: ...

    def cut_for_search(self, text: str) -> list[str]: ...


@cache
def _segmenter() -> _Segmenter:
    """Return rjieba; importing it loads its dictionary, which only Han text needs."""
    return cast("_Segmenter", import_module("rjieba"))


def count_terms(text: str) -> dict[str, int]:
    """Return index term -> occurrences in ``text``.

    Raises nothing: any string has terms, maybe none.
    """
    counts: dict[str, int] = {}
    if text.isascii():
        for token in _ASCII_WORD.findall(text):
            for term in _word_terms(token):
                counts[term] = counts.get(term, 0) + 1
        return counts
    for term in _terms(unicodedata.normalize("NFKC", text)):
        counts[term] = counts.get(term, 0) + 1
    return counts


def tokens(text: str) -> int:
    """Return about how many tokens a language model would count: wide characters one each."""
    wide = 0 if text.isascii() else len(_WIDE.findall(text))
    return wide + (len(text) - wide + _LETTERS_PER_TOKEN - 1) // _LETTERS_PER_TOKEN


def index_text(memory: Memory) -> str:
    """Return the words under which a memory is found: its own, below its title if it has one."""
    return f"{memory.title}\n{memory.text}" if memory.title else memory.text


def passage_text(memory: Memory) -> str:
    """Return what is embedded of a memory: who says it is part of the meaning of what is said."""
    text = index_text(memory)
    return f"{memory.speaker}: {text}" if memory.speaker else text


def query_terms(text: str) -> Mapping[str, float]:
    """Return index term -> weight for a query."""
    return {term: float(count) for term, count in count_terms(text).items()}


@lru_cache(maxsize=4096)
def fold(word: str) -> str:
    """Return ``word`` without case and accents: the form in which names are compared."""
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


def words(text: str) -> frozenset[str]:
    """Return the folded words of ``text`` as they are written, Han words among them."""
    found: set[str] = set()
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text)):
        if match.lastgroup == "han":
            found.update(_segmenter().cut_for_search(match.group()))
        else:
            found.update(fold(part) for part in _PARTS.findall(match.group()))
    return frozenset(found)


def content_words(text: str) -> tuple[str, ...]:
    """Return the words of ``text`` in their order, as they are written, without stop words."""
    found: list[str] = []
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text)):
        han = match.lastgroup == "han"
        found += _segmenter().cut(match.group()) if han else [match.group()]
    return tuple(word for word in found if fold(word) not in STOP_WORDS)


def _terms(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.lastgroup == "word":
            yield from _word_terms(token)
        elif match.lastgroup == "han":
            yield from _han_terms(token)
        elif match.lastgroup == "run":
            yield from _pairs(token) if len(token) > 1 else token
        else:
            yield token


@lru_cache(maxsize=65536)
def _word_terms(token: str) -> tuple[str, ...]:
    """Return the stem of a word; of a compound (``user_id``, ``3.11``) itself and its parts."""
    parts = [p for piece in _PARTS.findall(token[:_MAX_WORD]) for p in _CAMEL.split(piece)]
    if len(parts) == 1:
        return _stemmed(parts[0])
    whole = fold(token[:_MAX_WORD]).replace("’", "'")
    stem = whole.split("'")[0]
    if "'" in whole and stem.isalpha():  # Caroline's, don't, I'm: no compounds
        return _stemmed(stem)
    return (whole, *(term for part in parts for term in _stemmed(part)))


_local: Final = threading.local()


def _stemmed(word: str) -> tuple[str, ...]:
    folded = fold(word)
    if folded in STOP_WORDS:
        return ()
    stemmer: Stemmer | None = getattr(_local, "stemmer", None)
    if stemmer is None:  # PyStemmer's objects must not be shared between threads
        stemmer = _local.stemmer = Stemmer("english")
    return (stemmer.stemWord(folded),)


@lru_cache(maxsize=16384)
def _han_terms(run: str) -> tuple[str, ...]:
    """Return the dictionary's words, and the pairs that names and new words are made of."""
    found = [word for word in _segmenter().cut_for_search(run) if word not in STOP_WORDS]
    known = frozenset(found)
    return (*found, *(pair for pair in _pairs(run) if pair not in known))


def _pairs(run: str) -> Iterator[str]:
    for start in range(len(run) - 1):
        yield run[start : start + 2]
