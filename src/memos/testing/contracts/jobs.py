"""What ``JobQueue`` promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from memos.errors import NotFound
from memos.ports.backend import Opened
from memos.ports.queue import Wanted
from memos.testing.contracts.making import FAR_OFF, LONG_AGO, need
from memos.types import Job, JobState

HOLD = timedelta(minutes=5)
AT_ONCE = timedelta(0)
"""A lease that has ended when the next call looks."""


def _job(id: str, key: str | None = None, priority: int = 0, due: datetime | None = None) -> Job:
    return Job(
        id, "digest", "acme", "home", {"n": [1, "二"]}, scope_key=id if key is None else key,
        priority=priority, due_at=due,
    )  # fmt: skip


async def _lease(opened: Opened, count: int = 9, hold: timedelta = HOLD) -> list[str]:
    return [job.id for job in await need(opened.jobs).lease(count, hold)]


@pytest.mark.anyio
class Jobs:
    """'At-least-once delivery, in order within a job's ``scope_key``.'"""

    async def test_round_trip(self, opened: Opened) -> None:
        """A job is leased as it was put, but for ``attempts``."""
        given = _job("a", key="k", priority=3, due=LONG_AGO)
        await need(opened.jobs).put([given])
        (found,) = await need(opened.jobs).lease(1, HOLD)
        assert (found.id, found.label, found.account, found.cube) == ("a", "digest", "acme", "home")
        assert (found.payload, found.scope_key, found.priority) == (given.payload, "k", 3)
        assert found.attempts == 1

    async def test_order_of_arrival(self, opened: Opened) -> None:
        """'Then the order of arrival', up to ``count``."""
        await need(opened.jobs).put([_job(id) for id in "abc"])
        assert await _lease(opened, 2) == ["a", "b"]
        assert await _lease(opened) == ["c"]
        assert await _lease(opened) == []

    async def test_priority(self, opened: Opened) -> None:
        """'Higher ``priority`` goes first among the due jobs.'"""
        jobs = [_job("low", priority=-1), _job("plain"), _job("high", priority=5)]
        await need(opened.jobs).put([*jobs, _job("later", priority=9, due=FAR_OFF)])
        assert await _lease(opened) == ["high", "plain", "low"]

    async def test_due(self, opened: Opened) -> None:
        """A job is not given out before it is due."""
        await need(opened.jobs).put([_job("later", due=FAR_OFF), _job("now", due=LONG_AGO)])
        assert await _lease(opened) == ["now"]

    async def test_known_id(self, opened: Opened) -> None:
        """'Putting a known job id again does nothing', also within one call."""
        await need(opened.jobs).put([_job("a", key="first"), _job("a", key="second")])
        await need(opened.jobs).put([_job("a", key="third")])
        (found,) = await need(opened.jobs).lease(9, HOLD)
        assert found.scope_key == "first"

    async def test_ordered_within_a_key(self, opened: Opened) -> None:
        """'While a job of a scope key is leased, no other job of that key is given out.'"""
        await need(opened.jobs).put([_job("a", "k"), _job("b", "k"), _job("c", "other")])
        assert await _lease(opened) == ["a", "c"]
        assert await _lease(opened) == []
        await need(opened.jobs).ack(["a"])
        assert await _lease(opened) == ["b"]

    async def test_keys_belong_to_an_account(self, opened: Opened) -> None:
        """Two accounts' key "k" are two."""
        other = Job("b", "digest", "rival", "home", {}, scope_key="k")
        await need(opened.jobs).put([_job("a", "k"), other])
        assert sorted(await _lease(opened)) == ["a", "b"]

    async def test_priority_within_a_key(self, opened: Opened) -> None:
        """A more urgent job of a key overtakes; one of the same priority waits, due or not."""
        await need(opened.jobs).put([_job("a", "k"), _job("b", "k", priority=2)])
        assert await _lease(opened) == ["b"]
        await need(opened.jobs).put([_job("x", "o", due=FAR_OFF), _job("y", "o")])
        assert await _lease(opened) == []

    async def test_lease_ends(self, opened: Opened) -> None:
        """'A lease that ends without ``ack`` or ``retry`` makes the job visible again.'"""
        await need(opened.jobs).put([_job("a")])
        assert await _lease(opened, hold=AT_ONCE) == ["a"]
        (again,) = await need(opened.jobs).lease(9, HOLD)
        assert (again.id, again.attempts) == ("a", 2)
        assert await _lease(opened) == []

    async def test_ack(self, opened: Opened) -> None:
        """'Forget finished jobs; unknown ids are ignored.'"""
        await need(opened.jobs).put([_job("a"), _job("b")])
        await need(opened.jobs).ack(["a", "nobody"])
        assert await _lease(opened) == ["b"]
        await need(opened.jobs).put([_job("a")])
        assert await _lease(opened) == ["a"]

    async def test_retry(self, opened: Opened) -> None:
        """'Give a job back for ``due_at``.'"""
        queue = need(opened.jobs)
        await queue.put([_job("a"), _job("b")])
        await queue.lease(9, HOLD)
        await queue.retry("a", due_at=LONG_AGO, cause="the model was busy")
        await queue.retry("b", due_at=FAR_OFF, cause="the model was busy")
        (again,) = await queue.lease(9, HOLD)
        assert (again.id, again.attempts) == ("a", 2)

    async def test_dead_letters(self, opened: Opened) -> None:
        """'Or, with None, to the dead letters with its cause'; a dead job blocks nobody."""
        queue = need(opened.jobs)
        await queue.put([_job("a", "k"), _job("b", "k")])
        await queue.lease(1, HOLD)
        await queue.retry("a", due_at=None, cause="it can never work")
        assert await _lease(opened) == ["b"]
        stats = await queue.stats()
        assert (stats.waiting, stats.leased, stats.dead) == (0, 1, 1)
        await queue.put([_job("a", "k")])
        assert (await queue.stats()).dead == 1

    async def test_retry_unknown(self, opened: Opened) -> None:
        """A job that is not there cannot be given back."""
        with pytest.raises(NotFound):
            await need(opened.jobs).retry("nobody", due_at=None, cause="lost")

    async def test_stats(self, opened: Opened) -> None:
        """'How many jobs wait, are leased, or were given up, and when the oldest became due.'"""
        queue = need(opened.jobs)
        empty = await queue.stats()
        assert (empty.waiting, empty.leased, empty.dead, empty.oldest_due) == (0, 0, 0, None)
        await queue.put([_job("a"), _job("b", due=LONG_AGO), _job("c", due=FAR_OFF)])
        await queue.lease(1, HOLD)
        full = await queue.stats()
        assert (full.waiting, full.leased, full.dead) == (2, 1, 0)
        assert full.oldest_due == LONG_AGO

    async def test_due_when_put(self, opened: Opened) -> None:
        """A job without a time is due from the moment it is put."""
        before = datetime.now(UTC) - timedelta(seconds=1)
        await need(opened.jobs).put([_job("a")])
        due = (await need(opened.jobs).stats()).oldest_due
        assert due is not None
        assert before < due < datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.anyio
class JobEndings:
    """'How it ended stays to be seen until ``prune``.'"""

    async def test_labels(self, opened: Opened) -> None:
        """'Only jobs of ``labels`` are given out'; others hold nothing up."""
        queue = need(opened.jobs)
        said = Job("said", "feedback", "acme", "home", {}, scope_key="k")
        await queue.put([said, _job("a", "k")])
        assert [job.id for job in await queue.lease(9, HOLD, ["digest"])] == ["a"]
        assert await queue.lease(9, HOLD, ["digest", "other"]) == []
        assert [job.id for job in await queue.lease(9, HOLD, ["feedback"])] == ["said"]
        assert (await queue.stats(["feedback"])).leased == 1
        assert (await queue.stats(["other"])).oldest_due is None

    async def test_renew(self, opened: Opened) -> None:
        """'Hold a job from now on; False when it ended or is gone.'"""
        queue = need(opened.jobs)
        await queue.put([_job("a"), _job("b")])
        assert await _lease(opened, hold=AT_ONCE) == ["a", "b"]
        assert await queue.renew("a", HOLD, (3, 7))
        assert await _lease(opened) == ["b"]
        assert await queue.renew("a", HOLD)
        status = await queue.status("acme", "a")
        assert status is not None
        assert (status.state, status.progress) == ("running", (3, 7))
        await queue.finish("a", {})
        assert not await queue.renew("a", HOLD)
        assert not await queue.renew("nobody", HOLD)

    async def test_release(self, opened: Opened) -> None:
        """'Give a leased job back as if it had not been begun.'"""
        queue = need(opened.jobs)
        await queue.put([_job("a"), _job("b")])
        await queue.lease(9, HOLD)
        await queue.finish("b", {"n": 1})
        for id in ("a", "b", "nobody"):
            await queue.release(id)
        (again,) = await queue.lease(9, HOLD)
        assert (again.id, again.attempts) == ("a", 1)
        ended = await queue.status("acme", "b")
        assert ended is not None
        assert ended.state == "done"

    async def test_finish(self, opened: Opened) -> None:
        """'Keep what a job brought and nothing of what it was given.'"""
        queue = need(opened.jobs)
        await queue.put([_job("a", "k"), _job("b", "k")])
        (job,) = await queue.lease(9, HOLD)
        assert await queue.open("acme", "a") == job
        await queue.finish("a", {"ids": ["m1"]})
        await queue.finish("nobody", {})
        status = await queue.status("acme", "a")
        assert status is not None
        assert (status.state, status.result, status.attempts) == ("done", {"ids": ["m1"]}, 1)
        assert status.started_at is not None
        assert status.ended_at is not None
        assert status.put_at <= status.started_at <= status.ended_at
        assert await queue.open("acme", "a") is None
        await queue.put([_job("a", "k")])
        assert await _lease(opened) == ["b"]
        with pytest.raises(NotFound):
            await queue.retry("a", due_at=None, cause="too late")

    async def test_given_up_and_begun_again(self, opened: Opened) -> None:
        """'A job that was given up is begun again when it is given back.'"""
        queue = need(opened.jobs)
        await queue.put([_job("a")])
        await queue.lease(1, HOLD)
        await queue.retry("a", due_at=None, cause="it cannot work", code="broken")
        failed = await queue.status("acme", "a")
        assert failed is not None
        assert (failed.state, failed.code, failed.cause) == ("failed", "broken", "it cannot work")
        assert failed.ended_at is not None
        held = await queue.open("acme", "a")
        assert held is not None
        assert held.payload == _job("a").payload
        await queue.retry("a", due_at=LONG_AGO, cause="")
        waiting = await queue.status("acme", "a")
        assert waiting is not None
        assert (waiting.state, waiting.code, waiting.ended_at) == ("waiting", None, None)
        assert await _lease(opened) == ["a"]

    async def test_find(self, opened: Opened) -> None:
        """'Return jobs of the account, the latest first'; another's are not there."""
        queue = need(opened.jobs)
        others = [
            Job("theirs", "digest", "rival", "home", {}),
            Job("elsewhere", "digest", "acme", "work", {}),
            Job("said", "feedback", "acme", "home", {}),
        ]
        await queue.put([*(_job(id) for id in "abc"), *others])
        await queue.lease(1, HOLD)
        await queue.finish("a", {})

        async def found(*states: JobState, limit: int = 9, after: str | None = None) -> list[str]:
            wanted = Wanted(["home"], ["digest"], states, limit, after)
            return [status.id for status in await queue.find("acme", wanted)]

        assert await found() == ["c", "b", "a"]
        assert await found("waiting", "failed") == ["c", "b"]
        assert await found("done") == ["a"]
        assert await found(limit=1) == ["c"]
        assert await found(limit=1, after="c") == ["b"]
        assert await found(after="a") == []
        assert await queue.status("acme", "theirs") is None
        assert await queue.open("acme", "theirs") is None

    async def test_prune(self, opened: Opened) -> None:
        """'Forget what ended before a moment, and return those that had been given up.'"""
        queue = need(opened.jobs)
        await queue.put([_job("done"), _job("dead"), _job("alive")])
        await queue.lease(9, HOLD)
        await queue.finish("done", {})
        await queue.retry("dead", due_at=None, cause="no")
        assert await queue.prune(LONG_AGO) == []
        assert [job.id for job in await queue.prune(FAR_OFF)] == ["dead"]
        assert await queue.status("acme", "done") is None
        assert await queue.status("acme", "alive") is not None
