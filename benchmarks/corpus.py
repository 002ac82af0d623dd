"""Generated chat for the speed benchmark: the same on every machine, with real proportions.

Content words follow a Zipf-Mandelbrot law, between function words that carry no meaning, so that
lists of occurrences are as long and as uneven as in real text. Rare words are made of syllables.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import Turn
from memos.ports.models import EmbedRole, Vectors

FUNCTION_WORDS = str.split(
    "the and to of a in i that is it for you was with on my we as be at this have so but me are"
)
COMMON_WORDS = str.split(
    "time people good work day know think really want need go take see come look use find give "
    "tell feel try ask leave call keep let begin help talk turn start show hear play run move like "
    "live believe bring happen write provide sit stand lose pay meet include continue set learn "
    "change lead understand watch follow stop create speak read allow add spend grow open walk win "
    "offer remember love consider appear buy wait serve die send expect build stay fall cut reach "
    "kill remain family friend house home school book car dog cat food water coffee tea music film "
    "game team city street country trip flight hotel train ticket weekend morning evening summer "
    "winter party birthday wedding doctor hospital job office boss project meeting report deadline "
    "budget price money bank phone computer code server database test bug release garden kitchen "
    "dinner lunch breakfast recipe cake bread pizza salad run marathon gym yoga bike hiking beach"
)
CHINESE_WORDS = str.split(
    "今天 明天 昨天 朋友 公司 工作 时间 问题 喜欢 觉得 知道 需要 开始 学习 项目 会议 同事 家人 "
    "孩子 妈妈 爸爸 老师 学校 城市 北京 上海 深圳 旅行 酒店 机票 周末 早上 晚上 吃饭 咖啡 音乐 "
    "电影 运动 跑步 健身 医院 身体 计划 预算 价格 手机 电脑 数据 代码 测试 报告 生日 礼物 房子 "
    "厨房 花园 天气 下雨 春天 夏天 秋天 冬天 火车 飞机 地铁 公园 图书 小说 游戏 比赛 球队 教练"
)
_SYLLABLES = str.split(
    "ba be bo ca co da de di do fa fi ga go ha ho ja jo ka ki la le li lo ma me mi mo na ne ni no "
    "pa pe po ra re ri ro sa se si so ta te ti to va ve vi vo wa we za zo"
)
_CHARACTERS = "山水风云花树石林海星月光明春秋书画文武金银铜铁龙虎马牛羊鸟鱼门窗桌灯车船路桥田园"

_VOCABULARY = 20_000
_OFFSET = 2.7
_FUNCTION_SHARE = 0.45
_SPEAKERS = (("user", "Alice"), ("assistant", "Robert"))
_EPOCH = datetime(2024, 1, 1, 8, tzinfo=UTC)


class Corpus:
    """A source of messages and queries, determined by its seed.

    Attributes:
        chinese_share: Share of messages that are Chinese.
    """

    def __init__(self, seed: int = 7, *, chinese_share: float = 0.0) -> None:
        self.chinese_share = chinese_share
        self._random = np.random.default_rng(seed)
        rare = _compounds(_SYLLABLES, _VOCABULARY - len(COMMON_WORDS), parts=(2, 3))
        self._english = np.array([*dict.fromkeys(COMMON_WORDS), *rare])
        rare = _compounds(list(_CHARACTERS), 1_500, parts=(2, 2))
        self._chinese = np.array([*CHINESE_WORDS, *rare])
        self._laws = {id(words): _law(len(words)) for words in (self._english, self._chinese)}

    def turns(self, count: int, *, prefix: str = "s", length: int = 20) -> Iterator[Turn]:
        """Yield messages in sessions of ``length`` by two speakers, one session a day."""
        for number in range(count):
            session, index = divmod(number, length)
            role, speaker = _SPEAKERS[index % 2]
            at = _EPOCH + timedelta(days=session, minutes=index)
            name = f"{prefix}{session}"
            text = self.message()
            yield Turn(f"{name}:{index}", name, text, role, speaker, at.isoformat())

    def message(self) -> str:
        """Return a message of 8 to 40 words."""
        length = int(self._random.integers(8, 41))
        if self._random.random() < self.chinese_share:
            return "".join(self._drawn(self._chinese, length // 2)) + "。"
        words = self._english_words(length)
        return " ".join(words).capitalize() + "."

    def query(self) -> str:
        """Return a question of 5 to 8 words, function words among them."""
        return " ".join(self._english_words(int(self._random.integers(5, 9)))) + "?"

    def common_query(self) -> str:
        """Return eight of the twelve most frequent content words."""
        return " ".join(self._random.permutation(self._english[:12])[:8])

    def _english_words(self, length: int) -> list[str]:
        content = self._drawn(self._english, length)
        fillers = self._random.integers(0, len(FUNCTION_WORDS), length)
        fill = self._random.random(length) < _FUNCTION_SHARE
        fill[:2] = False
        return [
            FUNCTION_WORDS[filler] if is_filler else word
            for word, filler, is_filler in zip(content, fillers, fill, strict=True)
        ]

    def _drawn(self, words: NDArray[np.str_], count: int) -> list[str]:
        ranks = np.searchsorted(self._laws[id(words)], self._random.random(count))
        return [str(word) for word in words[ranks]]


def _law(size: int) -> NDArray[np.float64]:
    """Return the cumulated probabilities of ranks 1 to ``size``."""
    weights = 1 / (np.arange(size) + 1 + _OFFSET)
    return np.cumsum(weights / weights.sum())


def _compounds(pieces: Sequence[str], count: int, *, parts: tuple[int, int]) -> list[str]:
    random = np.random.default_rng(1)
    made: dict[str, None] = {}
    low, high = parts
    while len(made) < count:
        size = int(random.integers(low, high + 1))
        made["".join(pieces[i] for i in random.integers(0, len(pieces), size))] = None
    return list(made)


class HashEmbedder:
    """A vector by the hash of a text: no model, no meaning, microseconds.

    Vectors crowd around some thousand centres, as those of real texts do, and hardly two are equal.

    Attributes:
        spent_s: Seconds spent in ``embed`` so far.
    """

    _ROWS = 4096

    def __init__(self, dimensions: int = 384) -> None:
        table = np.random.default_rng(3).standard_normal((self._ROWS, dimensions))
        table /= np.linalg.norm(table, axis=1, keepdims=True)
        self._table = table.astype(np.float32)
        self.spent_s = 0.0

    @property
    def name(self) -> str:
        """The identity that is stored with the vectors."""
        return f"benchmark-crowd-{self.dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of one vector."""
        return self._table.shape[1]

    async def embed(self, texts: Sequence[str], role: EmbedRole) -> Vectors:
        """Return one vector per text."""
        del role
        start = time.perf_counter()
        found = self.vectors(texts)
        self.spent_s += time.perf_counter() - start
        return found

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text, without an event loop."""
        hashes = [zlib.crc32(text.encode("utf-8", "surrogatepass")) for text in texts]
        found = self._table[[value % self._ROWS for value in hashes]]
        found += 0.7 * self._table[[value // self._ROWS % self._ROWS for value in hashes]]
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found
