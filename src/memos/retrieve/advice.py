"""Who asks for advice wants what they like, which they said in other words. Pure.

"Can you recommend a hotel in Rome?" shares little with "I can't sleep near a street", but much with
"I like or dislike a hotel in Rome". Such a sentence stands in for the answer, as a model's would
(L. Gao, X. Ma, J. Lin, J. Callan, "Precise Zero-Shot Dense Retrieval without Relevance Labels", ACL
2023, who write it with a model and take the mean of its vector and the question's).
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from memos.analysis import content_words, fold
from memos.types import Vector

_ADVICE: Final = re.compile(
    r"\b(?:recommend\w*|suggest\w*|advice|advise|ideas?|tips?|best|ways? to|should i|help me"
    r"|looking for|how (?:can|should|do) i|what (?:are|is) (?:some|a good))\b"
    r"|推荐|建议|应该|帮我",
    re.IGNORECASE,
)
_PLEADING_WORDS: Final = """
recommend recommendations recommendation suggest suggestions suggestion advice advise ideas idea
tips best some any good great help looking find give tell share provide consider considering
planning thinking interested need want like try get make know please options popular should could
which ways way there
推荐 建议 应该 如何 可以 给我 帮 帮我 想 要 请 能 一些 一下 几个 好 去 做 适合
"""
_PLEADING: Final = frozenset(_PLEADING_WORDS.split())
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")


def asks_advice(question: str) -> bool:
    """Whether somebody asks what to do or to choose, which hangs on what they like."""
    return _ADVICE.search(question) is not None


def liking(question: str) -> str | None:
    """Return what a plea for advice hopes to find: that its asker likes or dislikes such things.

    None if it is no plea, or names nothing.

    Example:
        >>> liking("Can you recommend some hotels in Rome?")
        'I like or dislike hotels Rome'
        >>> liking("Where does Ann live?")
    """
    if not asks_advice(question):
        return None
    things = [word for word in content_words(question) if fold(word) not in _PLEADING]
    if not things:
        return None
    if any(map(_HAN.match, things)):
        return "我喜欢或不喜欢" + "".join(things)
    return "I like or dislike " + " ".join(things)


def towards(question: Vector, answer: Vector, weight: float) -> Vector:
    """Return the question's vector, moved by ``weight`` towards an answer's, of length 1."""
    moved = question + np.float32(weight) * answer
    return (moved / np.linalg.norm(moved)).astype(np.float32)
