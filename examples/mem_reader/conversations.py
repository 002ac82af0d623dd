"""Add conversations as chat clients hold them, and find single messages with their sources."""

import tempfile

from memos import MOS

MESSAGES = [
    {
        "role": "user",
        "name": "Ann",
        "content": "I moved to Lisbon last week.",
        "chat_time": "2026-05-20T09:00:00+01:00",
        "message_id": "m1",
    },
    {
        "role": "assistant",
        "content": "How do you like the new flat?",
        "chat_time": "2026-05-20T09:01:00+01:00",
        "message_id": "m2",
    },
    {
        "role": "user",
        "name": "Ann",
        "content": [
            {"type": "text", "text": "The light is wonderful, the stairs are steep. Look:"},
            {"type": "image_url", "image_url": {"url": "https://example.com/stairs.jpg"}},
        ],
        "chat_time": "2026-05-20T09:02:00+01:00",
        "message_id": "m3",
    },
]


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home) as mos:
        added = mos.add(MESSAGES, session="2026-05-20")
        print(added.stored)  # (True, True, True)

        # Every message is a memory of its own, with what it came from.
        memory = mos.search("Where did Ann move to?", limit=1).hits[0].memory
        source = memory.sources[0]
        print(memory.text)  # I moved to Lisbon last week.
        print(memory.speaker, source.id, source.at)  # Ann m1 2026-05-20 09:00:00+01:00

        # A message with a known id is stored once.
        print(mos.add(MESSAGES, session="2026-05-20").stored)  # (False, False, False)

        # Without ids, a client that sends the whole conversation again adds only its new end.
        talk = [
            {"role": "user", "content": "Which floor is it on?"},
            {"role": "assistant", "content": "You said it is on the fourth."},
        ]
        mos.add(talk, session="later")
        talk.append({"role": "user", "content": "Right, and the lift is broken."})
        print(mos.add(talk, session="later").stored)  # (False, False, True)

        # One message alone is never taken for a repetition: saying "yes" twice is saying it twice.
        yes = [{"role": "user", "content": "Yes."}]
        mos.add(yes, session="later")
        print(mos.add(yes, session="later").stored)  # (True,)

        # A batch id makes a call that is tried again harmless, whatever it adds.
        first = mos.add("Ann's landlord is Mr Haddad.", batch_id="import-17")
        again = mos.add("Ann's landlord is Mr Haddad.", batch_id="import-17")
        print(again.ids == first.ids, again.stored)  # True (False,)

        # The messages of a session in their order.
        page = mos.get_all(where={"session": "2026-05-20"})
        print([item.position for item in page.items])  # [0, 1, 2]


if __name__ == "__main__":
    main()
