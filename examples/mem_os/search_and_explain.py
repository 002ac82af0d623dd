"""See why a memory was found, choose a recipe, and fit the hits into a prompt."""

import tempfile

from memos import MOS

NOTES = [
    "The dentist appointment was moved to Thursday at ten.",
    "Our landlord wants the rent on the first of every month.",
    "Grandma's apple cake needs four eggs and a pinch of cinnamon.",
    "The car failed its inspection because of the rear brakes.",
    "Thursday evenings are for the choir.",
]


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home) as mos:
        for note in NOTES:
            mos.add(note)

        result = mos.search("When do I have to see the dentist?", limit=2)
        hit = result.hits[0]
        print(hit.memory.text)  # The dentist appointment was moved to Thursday at ten.
        print(hit.why.words)  # ('dentist',)
        print(hit.why.lanes)  # {'text': 0, 'vector': 0, 'window': 0}
        # parts add up to the score; features are the values behind them.
        print(abs(sum(hit.why.parts.values()) - hit.score) < 1e-3)  # True
        print(sorted(hit.why.features)[:2])  # ['bm25', 'bm25_near']
        # What the search did, and which lanes failed: none.
        print(result.trace.recipe, result.trace.candidates, result.degraded)  # fast 5 ()

        # "words" asks no model; "meaning" looks at nothing but meaning.
        exact = mos.search("brakes", recipe="words").hits
        print([found.memory.text for found in exact] == [NOTES[3]])  # True
        near = mos.search("vehicle problems", recipe="meaning", limit=1).hits[0]
        print(near.memory.text == NOTES[3])  # True

        # A budget counts the tokens of all hits together, a limit counts the hits.
        prompt = mos.search("What happens on Thursday?", budget=60).hits
        print(0 < len(prompt) < len(NOTES))  # True

        # The same words of the same speaker come once, unless dedup is "none".
        mos.add(NOTES[4])
        once = mos.search("choir").hits
        twice = mos.search("choir", dedup="none").hits
        print(len(twice) - len(once))  # 1


if __name__ == "__main__":
    main()
