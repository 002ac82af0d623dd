"""Share a cube with other users, take it back, and give it away."""

import tempfile

from memos import MOS
from memos.errors import Forbidden


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home, user="maya") as mos:
        # The first user of a store is its ROOT; others are USERs unless told otherwise.
        mos.users.create("lin", name="林薇")
        mos.users.create("guest", role="GUEST")
        mos.cubes.create("studio", name="The new studio")
        mos.add("The kiln arrives on Friday.", cube="studio")

        mos.cubes.share("studio", "lin")  # to read
        print(mos.search("kiln", user="lin").hits[0].memory.text)  # The kiln arrives on Friday.
        try:
            mos.add("窑炉周六才到。", user="lin", cube="studio")
        except Forbidden as error:
            print(error.detail)  # user 'lin' may read cube 'studio', not change it
        mos.cubes.share("studio", "lin", "write")
        mos.add("窑炉周六才到。", user="lin", cube="studio")
        grants = mos.cubes.grants("studio")
        print([(g.principal, g.access) for g in grants])  # [('lin', 'write'), ('maya', 'write')]

        # What is revoked ends with the other's next call.
        mos.cubes.revoke("studio", "lin")
        print(mos.search("kiln", user="lin").hits)  # ()

        # A cube that is out of the way keeps everything.
        mos.cubes.unregister("studio")
        print([cube.id for cube in mos.cubes.list()])  # ['maya']
        mos.cubes.register("studio")
        mos.cubes.transfer("studio", "lin")
        print(mos.cubes.get("studio", user="lin").owner)  # lin


if __name__ == "__main__":
    main()
