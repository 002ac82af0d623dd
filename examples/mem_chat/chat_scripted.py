"""Chat with memory: citations, history, what is remembered, and what it cost. Runs offline.

``ScriptedChat`` stands in for a real model; with ``[chat]`` in memos.toml leave it out.
"""

import tempfile
from contextlib import closing

from memos import MOS
from memos.ports.models import TextDelta
from memos.settings import Settings
from memos.testing.fakes import ScriptedChat


def main() -> None:
    model = ScriptedChat(
        "Zoe is allergic to peanuts [1], so leave them out.",
        "As I said: no peanuts.",
        "This answer is never heard to its end.",
    )
    with tempfile.TemporaryDirectory() as home:
        with MOS.open(Settings(home=home), chat=model) as mos:
            mos.add("Zoe is allergic to peanuts.", tags=["health"])
            mos.add("Keep answers short.", kind="preference")

            result = mos.chat("What should I leave out when I cook for Zoe?", session="dinner")
            print(result.text)  # Zoe is allergic to peanuts [1], so leave them out.
            for citation in result.cited:
                print(citation.number, citation.memory.text)  # 1 Zoe is allergic to peanuts.

        # Another process: the conversation goes on, for its history is in the store.
        with MOS.open(Settings(home=home), chat=model) as mos:
            print(mos.chat("What was it again?", session="dinner").text)  # As I said: no peanuts.

            # Whoever stops listening leaves what was said so far.
            with closing(mos.chat_stream("Tell me more", session="dinner")) as events:
                for event in events:
                    if isinstance(event, TextDelta):
                        break
            turns = mos.get_all(where={"session": "dinner"}).items
            print(len(turns), turns[-1].text)  # 6 This ans

            total = mos.usage().total
            print(total.calls, total.failed)  # 3 0


if __name__ == "__main__":
    main()
