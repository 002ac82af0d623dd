"""API keys: what they open, what they do not, and what is kept of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memos.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from memos.ports.backend import Opened
from memos.testing.fakes import ManualClock
from memos.types import Cube, Grant, User
from memos.users.access import Gate, Limits
from memos.users.keys import Keys, new_token
from memos.users.service import Users
from memos.users.sharing import Cubes

pytestmark = pytest.mark.anyio
START = datetime(2026, 5, 20, 9, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def keys(opened: Opened, clock: ManualClock) -> Keys:
    assert opened.accounts is not None
    return Keys(opened.accounts, b"pepper" * 8, clock)


async def test_a_key_opens_its_account_and_is_kept_as_a_digest(keys: Keys, tmp_path: Path) -> None:
    made = await keys.create("acme", "laptop", user="zoe", cubes=["work"])
    found = await keys.authenticate(made.token)
    assert (found.tenant, found.user, found.cubes) == ("acme", "zoe", ("work",))
    secret = made.token.split("_", 2)[2]
    assert secret not in repr(found)
    assert len(found.digest) == 64
    assert not [path for path in files_of(tmp_path) if secret.encode() in path.read_bytes()]


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_whatever_is_wrong_the_answer_is_the_same(keys: Keys, clock: ManualClock) -> None:
    late = await keys.create("acme", "late", expires_at=START + timedelta(days=1))
    gone = await keys.create("acme", "gone")
    await keys.revoke("acme", gone.key.id)
    other_pepper = Keys(keys.store, b"another" * 8, clock)
    assert await keys.authenticate(late.token)
    clock.time = START + timedelta(days=1)
    told: set[str] = set()
    for token in (
        late.token, gone.token, new_token(), "", "mk_", "mk_zz_x", "Bearer x", late.token + "x",
        late.token[:-1] + ("a" if late.token[-1] != "a" else "b"), "mk_" + "é" * 40,
        late.token.replace("mk_", "MK_"), "mk_" + "0" * 12 + "_" + "s" * 40,
    ):  # fmt: skip
        with pytest.raises(Unauthenticated) as refused:
            await keys.authenticate(token)
        told.add(f"{refused.value.code} {refused.value.detail}")
    assert len(told) == 1
    with pytest.raises(Unauthenticated):
        await other_pepper.authenticate((await keys.create("acme", "mine")).token)


async def test_rotation_and_revocation(keys: Keys) -> None:
    made = await keys.create("acme", "server", scopes=["read"])
    fresh = await keys.rotate("acme", made.key.id)
    assert fresh.key.id == made.key.id
    assert (await keys.authenticate(fresh.token)).scopes == ("read",)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(made.token)
    await keys.revoke("acme", made.key.id)
    await keys.revoke("acme", made.key.id)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(fresh.token)
    with pytest.raises(Conflict):
        await keys.rotate("acme", made.key.id)


async def test_keys_belong_to_their_account(keys: Keys) -> None:
    made = await keys.create("acme", "server")
    assert await keys.list("rival") == []
    assert [key.id for key in await keys.list("acme")] == [made.key.id]
    for work in (keys.rotate("rival", made.key.id), keys.revoke("rival", made.key.id)):
        with pytest.raises(NotFound):
            await work


async def test_use_is_noted_to_the_minute(keys: Keys, clock: ManualClock) -> None:
    made = await keys.create("acme", "server")
    await keys.authenticate(made.token)
    clock.time = START + timedelta(seconds=30)
    await keys.authenticate(made.token)
    assert (await keys.get("acme", made.key.id)).last_used_at == START
    clock.time = START + timedelta(minutes=5)
    await keys.authenticate(made.token)
    assert (await keys.get("acme", made.key.id)).last_used_at == clock.time


async def test_the_operator_s_own_key(keys: Keys) -> None:
    token = new_token()
    await keys.adopt("acme", token, "bootstrap")
    await keys.adopt("acme", token, "bootstrap")
    assert (await keys.authenticate(token)).scopes == ("read", "write", "admin")
    assert len(await keys.list("acme")) == 1
    for bad in ("", "password", "mk_short_x"):
        with pytest.raises(InvalidInput):
            await keys.adopt("acme", bad, "bootstrap")


async def test_bad_keys(keys: Keys) -> None:
    for more in ({"scopes": []}, {"scopes": ["own"]}, {"scopes": "read"}, {"expires_at": START}):
        with pytest.raises(InvalidInput):
            await keys.create("acme", "x", **more)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInput):
        await keys.create("acme", "")


async def test_limits_of_a_key_hold_whatever_the_user_may(
    opened: Opened, clock: ManualClock
) -> None:
    store = opened.accounts
    assert store is not None
    for user in ("ann", "bob"):
        await store.put_entry(User(user, "acme", user, START, role="ROOT"), expect=0)
        for cube in (user, f"{user}-work"):
            await store.put_entry(Cube(cube, "acme", cube, user, START), expect=0)
            grant = Grant(f"{user}/{cube}", "acme", user, cube, "write")
            await store.put_entry(grant, expect=0)
    wide = Gate(store, "acme")
    assert set((await wide.scope("ann")).grants) == {"ann", "ann-work"}
    one_cube = Gate(store, "acme", Limits(cubes=frozenset({"ann-work", "bob"})))
    assert dict((await one_cube.scope("ann")).grants) == {"ann-work": "write"}
    with pytest.raises(NotFound):
        await one_cube.scope("ann", ["ann"])
    reader = Gate(store, "acme", Limits(write=False))
    with pytest.raises(Forbidden):
        await reader.scope("ann", ["ann"], "write")
    bound = Gate(store, "acme", Limits(user="ann"))
    with pytest.raises(Forbidden) as other:
        await bound.scope("bob")
    assert other.value.code == "key_user"
    no_admin = Gate(store, "acme", Limits(manage=False))
    for work in (
        Users(store, no_admin, "ann", clock).create("eve"),
        Cubes(store, no_admin, "ann", clock).share("ann-work", "bob"),
    ):
        with pytest.raises(Forbidden) as scope:
            await work
        assert scope.value.code == "key_scope"
