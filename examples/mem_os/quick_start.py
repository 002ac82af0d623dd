"""Remember three things and ask for them: no server, no key, no download."""

import tempfile

from memos import MOS


def main() -> None:
    # Without a directory MOS.simple() keeps memories in ~/.memos.
    with tempfile.TemporaryDirectory() as home, MOS.simple(home) as mos:
        mos.add("Zoe is allergic to peanuts.")
        mos.add("The spare key lies under the blue flower pot.")
        mos.add("Max prefers a window seat on long flights.")

        hit = mos.search("What must Zoe not eat?").hits[0]
        print(hit.memory.text)  # Zoe is allergic to peanuts.

        hit = mos.search("Where would Max like to sit on the plane?").hits[0]
        print(hit.memory.text)  # Max prefers a window seat on long flights.


if __name__ == "__main__":
    main()
