"""Keep the memories of several users apart, and give a user more than one cube."""

import tempfile

from memos import MOS
from memos.errors import NotFound


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home, user="maya") as mos:
        # "maya" acts when a call names nobody. Every user has a private cube of the same id.
        mos.users.create("lin", name="Lin Wei")
        mos.add("I take my coffee without sugar.")
        mos.add("I take my coffee with oat milk.", user="lin")

        print(mos.search("coffee").hits[0].memory.text)  # I take my coffee without sugar.
        hits = mos.search("coffee", user="lin").hits
        print([hit.memory.text for hit in hits])  # ['I take my coffee with oat milk.']

        # More cubes: one per project, say. A search looks in all that the user may read.
        mos.cubes.create("studio", name="The new studio")
        mos.add("The kiln arrives on Friday.", cube="studio")
        print([cube.id for cube in mos.cubes.list()])  # ['maya', 'studio']
        print(mos.search("When does the kiln come?").hits[0].memory.place.cube)  # studio
        print(mos.search("When does the kiln come?", cube="maya", recipe="words").hits)  # ()
        both = mos.search("coffee and kiln", cubes=["maya", "studio"]).hits
        print(sorted(hit.memory.place.cube for hit in both))  # ['maya', 'studio']

        # What a user has no grant for does not exist, for that user.
        try:
            mos.search("kiln", user="lin", cube="studio")
        except NotFound as error:
            print(error.detail)  # user 'lin' has no cube 'studio'


if __name__ == "__main__":
    main()
