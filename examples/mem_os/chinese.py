"""中文与英文一样好用：分词、向量、跨语言检索。Chinese works as English does, and across both."""

import tempfile

from memos import MOS

MESSAGES = [
    {"role": "user", "name": "小林", "content": "我七月六号到新公司报到。", "message_id": "1"},
    {"role": "assistant", "content": "恭喜！住处找好了吗？", "message_id": "2"},
    {"role": "user", "name": "小林", "content": "在滨江租了一套两居室。", "message_id": "3"},
    {"role": "user", "name": "小林", "content": "对了，我对花生过敏。", "message_id": "4"},
]


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home) as mos:
        mos.add(MESSAGES, session="入职", info={"来源": "微信"})

        print(mos.search("哪天去报到？", limit=1).hits[0].memory.text)  # 我七月六号到新公司报到。
        hit = mos.search("谁对花生过敏？", limit=1).hits[0]
        print(hit.memory.speaker, "花生" in hit.why.words)  # 小林 True

        # A question in another language: the words differ, the meaning does not.
        hit = mos.search("Which food is dangerous for her?", recipe="meaning", limit=1).hits[0]
        print(hit.memory.text)  # 对了，我对花生过敏。

        page = mos.get_all(where={"来源": "微信", "text": {"contains": "滨江"}})
        print([memory.text for memory in page.items])  # ['在滨江租了一套两居室。']


if __name__ == "__main__":
    main()
