"""The same calls inside an event loop, many at a time."""

import asyncio
import tempfile

from memos import AsyncMOS

ERRANDS = [
    "Buy stamps at the post office.",
    "Return the library books.",
    "Pick up the shirts from the laundry.",
    "Ask the florist about white lilies.",
]


async def run(home: str) -> None:
    async with AsyncMOS.simple(home) as mos:
        # Adds that wait at the same moment share one commit to the disk.
        added = await asyncio.gather(*(mos.add(errand) for errand in ERRANDS))
        print(all(result.stored == (True,) for result in added))  # True

        questions = ["Where do I need to go for flowers?", "Which things have to go back?"]
        results = await asyncio.gather(*(mos.search(question) for question in questions))
        print(results[0].hits[0].memory.text)  # Ask the florist about white lilies.
        print(results[1].hits[0].memory.text)  # Return the library books.

        await mos.users.create("lin")
        print([user.id for user in await mos.users.list()])  # ['default', 'lin']


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(run(home))


if __name__ == "__main__":
    main()
