"""From words to days: what "last Friday", "in March 2023", "去年三月" mean, seen from a day. Pure.

English and Chinese, by rules: an expression is a *span* of days. Of the maintained parsers that
were tried, none gives spans, few read Chinese, and each takes milliseconds (ADR 0019).
"""

from memos.dates.beside import Beside, anchored
from memos.dates.english import DATING, HINTING
from memos.dates.expressions import spans, spoken
from memos.dates.span import Span

__all__ = ["DATING", "HINTING", "Beside", "Span", "anchored", "spans", "spoken"]
