"""What ``AccountStore`` promises."""

from __future__ import annotations

import pytest

from memos.errors import Conflict
from memos.ports.backend import Opened
from memos.testing.contracts.making import START, need
from memos.types import Cube, Grant, User


def _user(id: str, account: str = "acme", name: str = "Zoe") -> User:
    return User(id, account, name, START)


@pytest.mark.anyio
class Accounts:
    """'Users, cubes, grants, keys and what was done, each a versioned entry of an account.'"""

    async def test_round_trip(self, opened: Opened) -> None:
        """'Store ``entry`` with version ``expect + 1``.'"""
        store = need(opened.accounts)
        await store.put_entry(_user("zoe"), expect=0)
        await store.put_entry(Cube("zoe", "acme", "n", "zoe", START), expect=0)
        await store.put_entry(Grant("zoe/zoe", "acme", "zoe", "zoe", "write"), expect=0)
        assert await store.get_entry(User, "acme", "zoe") == User("zoe", "acme", "Zoe", START, 1)
        assert await store.get_entry(Cube, "acme", "zoe") == Cube(
            "zoe", "acme", "n", "zoe", START, 1
        )
        grant = Grant("zoe/zoe", "acme", "zoe", "zoe", "write", 1)
        assert await store.get_entry(Grant, "acme", "zoe/zoe") == grant

    async def test_missing(self, opened: Opened) -> None:
        """'Return the entry, or None': of that type, in that account."""
        store = need(opened.accounts)
        await store.put_entry(_user("zoe"), expect=0)
        assert await store.get_entry(User, "acme", "ann") is None
        assert await store.get_entry(User, "rival", "zoe") is None
        assert await store.get_entry(Cube, "acme", "zoe") is None

    async def test_versions(self, opened: Opened) -> None:
        """'Conflict: The stored version is another one.'"""
        store = need(opened.accounts)
        await store.put_entry(_user("zoe"), expect=0)
        await store.put_entry(_user("zoe", name="Zoë"), expect=1)
        for expect, code in ((0, "exists"), (1, "version_moved"), (3, "version_moved")):
            with pytest.raises(Conflict) as caught:
                await store.put_entry(_user("zoe", name="lost"), expect=expect)
            assert caught.value.code == code
        found = await store.get_entry(User, "acme", "zoe")
        assert found == User("zoe", "acme", "Zoë", START, 2)

    async def test_expected_but_missing(self, opened: Opened) -> None:
        """An entry that is not there is at no version."""
        with pytest.raises(Conflict):
            await need(opened.accounts).put_entry(_user("zoe"), expect=1)

    async def test_lists_by_prefix(self, opened: Opened) -> None:
        """'The entries whose id starts with ``prefix``, ordered by id.'"""
        store = need(opened.accounts)
        ids = ["zoe/b", "zoe/a", "zo", "zoé/a", "ZOE/a", "z%e/a", "z_e/a", "张/a", "zoe0"]
        for id in ids:
            await store.put_entry(Grant(id, "acme", id, id, "read"), expect=0)
        await store.put_entry(Grant("zoe/c", "rival", "zoe", "c", "read"), expect=0)
        await store.put_entry(_user("zoe/d"), expect=0)

        async def listed(prefix: str) -> list[str]:
            return [grant.id for grant in await store.list_entries(Grant, "acme", prefix)]

        assert await listed("") == sorted(ids)
        assert await listed("zoe/") == ["zoe/a", "zoe/b"]
        assert await listed("z%e/") == ["z%e/a"]
        assert await listed("z_e/") == ["z_e/a"]
        assert await listed("张") == ["张/a"]
        assert await listed("nobody") == []
        """'the first ``limit`` entries'"""
        for limit in (0, 2, 100):
            some = await store.list_entries(Grant, "acme", limit=limit)
            assert [grant.id for grant in some] == sorted(ids)[:limit]

    async def test_changes_are_all_or_nothing(self, opened: Opened) -> None:
        """'Store entries ... and drop others; all or nothing.'"""
        store = need(opened.accounts)
        await store.change_entries([(_user("zoe"), 0), (_user("ann"), 0)])
        zoe, ann = [await store.get_entry(User, "acme", id) for id in ("zoe", "ann")]
        assert zoe is not None
        assert ann is not None
        for puts, drops in (
            ([(_user("new"), 0), (_user("zoe", name="no"), 0)], []),
            ([(_user("new"), 0)], [_user("zoe")]),
        ):
            with pytest.raises(Conflict):
                await store.change_entries(puts, drops)
            assert await store.list_entries(User, "acme") == [ann, zoe]
        await store.change_entries([(_user("new"), 0)], [zoe, _user("never there")])
        assert [user.id for user in await store.list_entries(User, "acme")] == ["ann", "new"]

    async def test_standing(self, opened: Opened) -> None:
        """'Return a user and its grants, by cube, both of one moment.'"""
        store = need(opened.accounts)
        assert await store.standing("acme", "zoe") == (None, [])
        for principal, cube in (("zoe", "a"), ("zoe", "b"), ("zoe2", "c"), ("zo", "d")):
            grant = Grant(f"{principal}/{cube}", "acme", principal, cube, "read")
            await store.put_entry(grant, expect=0)
        await store.put_entry(Grant("zoe/e", "rival", "zoe", "e", "read"), expect=0)
        assert (await store.standing("acme", "zoe"))[0] is None
        await store.put_entry(_user("zoe"), expect=0)
        user, grants = await store.standing("acme", "zoe")
        assert user == User("zoe", "acme", "Zoe", START, 1)
        assert [grant.cube for grant in grants] == ["a", "b"]
        many = [f"not there {n}" for n in range(1000)]
        for named, held in (
            ([], []), (["b"], ["b"]), (["b", "x", "a", "b", "e", "c"], ["a", "b"]),
            (["b", *many], ["b"]), (["", "/", "a/b", "a' OR 1"], []),
        ):  # fmt: skip
            """'Where ``cubes`` are named, only the grants of these'"""
            user, grants = await store.standing("acme", "zoe", named)
            assert user is not None
            assert [grant.cube for grant in grants] == held
