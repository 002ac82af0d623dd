"""Handing over now, remembering later: jobs, their order, and how they end."""

import tempfile

from memos import MOS


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home) as mos:
        # The job is in the store, whatever becomes of this process.
        first = mos.jobs.add("The kiln is serviced in May.", batch_id="note-1")
        again = mos.jobs.add("The kiln is serviced in May.", batch_id="note-1")
        print(first.state, again.id == first.id)  # waiting True
        print(len(mos.search("kiln").hits))  # 0

        # `memos serve` does jobs by itself; here it is asked for.
        print(mos.jobs.run())  # 1
        done = mos.jobs.wait(first.id)
        print(done.state, done.attempts)  # done 1
        print(mos.search("When is the kiln serviced?").hits[0].memory.text)
        # The kiln is serviced in May.

        # Erasing by a filter ends what is on its way first, so that nothing comes back.
        late = mos.jobs.add("The old kiln was sold.")
        mos.forget(where={"kind": "fact"}, mode="erase")
        print(mos.jobs.get(late.id).state, len(mos.get_all().items))  # done 0


if __name__ == "__main__":
    main()
