"""Users, roles and shared cubes, through the public door, on both engines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from memos.build import AsyncMOS
from memos.errors import Conflict, Forbidden, InvalidInput, NotFound
from memos.settings import Settings
from memos.testing.fakes import HashEmbedder

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite"])
async def mos(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[AsyncMOS]:
    """Ann is ROOT; Bob and 林 are USERs; Bob owns the cube "studio" with one memory."""
    settings = Settings.model_validate(
        {"home": tmp_path, "store": {"kind": request.param}, "user": "ann"}
    )
    async with AsyncMOS.open(settings, embedder=HashEmbedder()) as mos:
        await mos.users.create("bob")
        await mos.users.create("林", name="林薇")
        await mos.cubes.create("studio", owner="bob")
        await mos.add({"id": "m1", "memory": "the kiln is hot"}, user="bob", cube="studio")
        yield mos


async def _found(mos: AsyncMOS, user: str) -> list[str]:
    return [hit.memory.id for hit in (await mos.search("kiln", user=user)).hits]


async def test_the_first_user_is_root_and_others_are_users(mos: AsyncMOS) -> None:
    assert [(u.id, u.role) for u in await mos.users.list()] == [
        ("ann", "ROOT"), ("bob", "USER"), ("林", "USER"),
    ]  # fmt: skip
    assert [u.id for u in await mos.users.list(by="bob")] == ["bob"]


async def test_sharing_to_read_and_to_write(mos: AsyncMOS) -> None:
    assert await _found(mos, "林") == []
    await mos.cubes.share("studio", "林", user="bob")
    assert await _found(mos, "林") == ["m1"]
    with pytest.raises(Forbidden):
        await mos.add("mine now", user="林", cube="studio")
    with pytest.raises(Forbidden):
        await mos.forget("m1", user="林", cube="studio")
    await mos.cubes.share("studio", "林", "write", user="bob")
    await mos.add("釉料到了", user="林", cube="studio")
    held = [(g.principal, g.access) for g in await mos.cubes.grants("studio", user="bob")]
    assert held == [("bob", "write"), ("林", "write")]
    await mos.cubes.share("studio", "林", "read", user="bob")
    with pytest.raises(Forbidden):
        await mos.add("more", user="林", cube="studio")


async def test_revoking_ends_with_the_next_call(mos: AsyncMOS) -> None:
    await mos.cubes.share("studio", "林", user="bob")
    await mos.cubes.revoke("studio", "林", user="bob")
    assert await _found(mos, "林") == []
    with pytest.raises(NotFound):
        await mos.get("m1", user="林", cube="studio")
    await mos.cubes.revoke("studio", "林", user="bob")  # nothing is shared: nothing happens
    await mos.cubes.share("studio", "林", user="bob")
    await mos.cubes.revoke("studio", "林", user="林")  # given back by itself
    assert await _found(mos, "林") == []


async def test_a_cube_of_others_cannot_be_managed_nor_seen(mos: AsyncMOS) -> None:
    for work in (
        mos.cubes.share("studio", "林", user="林"),
        mos.cubes.rename("studio", "mine", user="林"),
        mos.cubes.transfer("studio", "林", user="林"),
        mos.cubes.unregister("studio", user="林"),
        mos.cubes.grants("studio", user="林"),
        mos.cubes.revoke("studio", "bob", user="林"),
        mos.cubes.share("no such", "林", user="林"),
    ):
        with pytest.raises(NotFound) as unknown:
            await work
        assert unknown.value.code == "unknown_cube"
    await mos.cubes.share("studio", "林", "write", user="bob")
    with pytest.raises(Forbidden):
        await mos.cubes.share("studio", "ann", user="林")


async def test_who_manages_cubes_sees_no_memory_until_it_is_shared(mos: AsyncMOS) -> None:
    assert await _found(mos, "ann") == []
    await mos.cubes.share("studio", "ann")  # ROOT acts by default
    assert await _found(mos, "ann") == ["m1"]


async def test_transfer(mos: AsyncMOS) -> None:
    await mos.cubes.share("studio", "林", "read", user="bob")
    given = await mos.cubes.transfer("studio", "林", user="bob")
    assert given.owner == "林"
    assert await _found(mos, "林") == ["m1"]
    await mos.add("写", user="林", cube="studio")
    assert await _found(mos, "bob") == []
    with pytest.raises(NotFound):
        await mos.cubes.transfer("studio", "bob", user="bob")
    with pytest.raises(Conflict) as private:
        await mos.cubes.transfer("bob", "林", user="bob")
    assert private.value.code == "private_cube"


async def test_unregistered_cubes_keep_everything(mos: AsyncMOS) -> None:
    await mos.cubes.share("studio", "林", user="bob")
    closed = await mos.cubes.unregister("studio", user="bob")
    assert not closed.registered
    assert await _found(mos, "bob") == await _found(mos, "林") == []
    assert [c.id for c in await mos.cubes.list(user="bob")] == ["bob"]
    assert [c.id for c in await mos.cubes.list(user="bob", unregistered=True)] == ["studio"]
    assert await mos.cubes.list(user="林", unregistered=True) == []
    with pytest.raises(Conflict) as closed_error:
        await mos.cubes.share("studio", "林", user="bob")
    assert closed_error.value.code == "unregistered"
    with pytest.raises(NotFound):
        await mos.cubes.register("studio", user="林")
    await mos.cubes.unregister("studio", user="bob")
    await mos.cubes.register("studio", user="bob")
    assert await _found(mos, "bob") == await _found(mos, "林") == ["m1"]


async def test_deactivated_users_are_refused_everywhere(mos: AsyncMOS) -> None:
    await mos.users.deactivate("bob")
    for work in (
        mos.search("kiln", user="bob"),
        mos.add("x", user="bob"),
        mos.cubes.list(user="bob"),
        mos.cubes.share("studio", "林", user="bob"),
        mos.users.list(by="bob"),
        mos.cubes.create("new", owner="bob"),
    ):
        with pytest.raises(Forbidden) as refused:
            await work
        assert refused.value.code == "deactivated"
    await mos.users.activate("bob")
    assert await _found(mos, "bob") == ["m1"]


async def test_guests_only_read(mos: AsyncMOS) -> None:
    guest = await mos.users.create("guest", role="GUEST")
    assert guest.role == "GUEST"
    assert await mos.cubes.list(user="guest") == []
    with pytest.raises(NotFound):
        await mos.add("x", user="guest")
    with pytest.raises(Forbidden):
        await mos.cubes.create("mine", owner="guest")
    with pytest.raises(Forbidden):
        await mos.cubes.share("studio", "guest", "write", user="bob")
    with pytest.raises(Forbidden):
        await mos.cubes.transfer("studio", "guest", user="bob")
    await mos.cubes.share("studio", "guest", user="bob")
    assert await _found(mos, "guest") == ["m1"]
    await mos.cubes.share("studio", "林", "write", user="bob")
    await mos.users.set_role("林", "GUEST")  # a grant to write is one to read now
    with pytest.raises(Forbidden):
        await mos.add("x", user="林", cube="studio")
    await mos.users.set_role("guest", "USER")
    await mos.add("a cube of my own", user="guest")


async def test_roles_manage_what_is_below_them(mos: AsyncMOS) -> None:
    await mos.users.create("eve", role="ADMIN")
    await mos.users.create("tom", by="eve")
    await mos.users.rename("tom", "Thomas", by="eve")
    await mos.users.rename("bob", "Robert", by="bob")
    for work in (
        mos.users.create("x", by="bob"),
        mos.users.rename("林", "x", by="bob"),
        mos.users.deactivate("林", by="bob"),
        mos.users.set_role("bob", "ROOT", by="bob"),
        mos.users.create("x", role="ADMIN", by="eve"),
        mos.users.set_role("bob", "ROOT", by="eve"),
        mos.users.set_role("ann", "USER", by="eve"),
        mos.users.deactivate("ann", by="eve"),
        mos.users.deactivate("nobody", by="bob"),
    ):
        with pytest.raises(Forbidden) as refused:
            await work
        assert refused.value.code == "role"
    assert {user.id for user in await mos.users.list()} == {"ann", "bob", "eve", "tom", "林"}


async def test_the_last_root_stays(mos: AsyncMOS) -> None:
    for work in (mos.users.deactivate("ann"), mos.users.set_role("ann", "USER")):
        with pytest.raises(Conflict) as last:
            await work
        assert last.value.code == "last_root"
    await mos.users.set_role("bob", "ROOT")
    await mos.users.set_role("ann", "USER")
    with pytest.raises(Forbidden):
        await mos.users.set_role("bob", "USER", by="ann")


async def test_bad_words(mos: AsyncMOS) -> None:
    for work in (
        mos.users.create("x", role="KING"),  # pyright: ignore[reportArgumentType]
        mos.users.set_role("bob", "root"),  # pyright: ignore[reportArgumentType]
        mos.users.rename("bob", " "),
        mos.users.rename("bob", "a\nb"),
        mos.cubes.rename("studio", "", user="bob"),
        mos.cubes.share("studio", "林", "own", user="bob"),  # pyright: ignore[reportArgumentType]
        mos.users.create("a/b"),
    ):
        with pytest.raises(InvalidInput):
            await work
    with pytest.raises(NotFound):
        await mos.cubes.share("studio", "nobody", user="bob")
    with pytest.raises(Conflict) as owner:
        await mos.cubes.share("studio", "bob", user="bob")
    assert owner.value.code == "owner"
    with pytest.raises(Conflict):
        await mos.cubes.revoke("studio", "bob", user="bob")


async def test_who_loses_the_race_for_a_cube_has_no_right_to_it(mos: AsyncMOS) -> None:
    for number in range(20):
        made: list[str] = []

        async def create(owner: str, cube: str, made: list[str]) -> None:
            with suppress(Conflict):
                await mos.cubes.create(cube, owner=owner)
                made.append(owner)

        cube = f"race {number}"
        async with anyio.create_task_group() as group:
            for owner in ("bob", "林"):
                group.start_soon(create, owner, cube, made)
        assert len(made) == 1
        (loser,) = {"bob", "林"} - set(made)
        assert cube not in [found.id for found in await mos.cubes.list(user=loser)]
        with pytest.raises(NotFound):
            await mos.add("mine?", user=loser, cube=cube)


async def test_who_is_created_twice_at_once_is_there_once(mos: AsyncMOS) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(mos.users.ensure, "zoe")
    assert [cube.id for cube in await mos.cubes.list(user="zoe")] == ["zoe"]


async def test_nobody_gets_a_name_that_looks_like_another_s_grant(mos: AsyncMOS) -> None:
    for id in ("ann/bob", "ann/", "", " ", "a\nb", "x" * 201):
        with pytest.raises(InvalidInput) as refused:
            await mos.users.ensure(id)
        assert refused.value.code == "invalid_id"
