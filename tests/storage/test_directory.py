"""The directory takes in what has changed, and is then what a new one would read."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import update

from relay.base.storage import Tx, standing, versions
from relay.base.storage import directory as rows
from relay.base.storage.tables import dkim_keys
from relay.directory import Directory
from tests.kit.directories import same_as_read_anew
from tests.kit.enrolling import Enrolling, enrolling
from tests.kit.world import MemberAt, World

NETWORKS = (None, [], ["192.0.2.0/24"], ["192.0.2.7/32", "2001:db8::/32"])


class Dice:
    """Changes of a directory, drawn at random, each named to `versions.bump` as enroll does."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.draw = world, random.Random(seed)
        self.members: list[MemberAt] = []
        self.domains: list[int] = []

    async def begin(self) -> None:
        for n in range(4):
            self.members.append(await self.world.member(f"m{n}"))
            await self.world.change("api_keys", self.members[-1].key_id, networks=[f"192.0.2.{n}/32"])
            # One name is two members'.
            for name in ("shared.test", f"d{n}.test"):
                self.domains.append(await self.world.domain(self.members[-1], name))

    async def throw(self) -> None:
        await self.draw.choice((self.member, self.key, self.domain, self.domain, self.pair, self.stage, self.new))()

    async def member(self) -> None:
        change: dict[str, Any] = self.draw.choice((
            {"status": "active"}, {"status": "suspended", "reason": "spam"}, {"status": "deleted"},
            {"did": f"did:web:x{self.draw.randrange(5)}.test:{self.draw.randrange(10**6)}"}, {"system": True},
            {"system": False},
        ))
        await self.world.change("members", self.draw.choice(self.members).id, **change)

    async def key(self) -> None:
        change: dict[str, Any] = self.draw.choice((
            {"networks": self.draw.choice(NETWORKS)}, {"domains": ["shared.test"]}, {"expires_at": 5.0},
            {"revoked_at": self.draw.choice((None, None, 1.0))}, {"scopes": ["send"]},
        ))
        await self.world.change("api_keys", self.draw.choice(self.members).key_id, **change)

    async def domain(self) -> None:
        options = {
            "return_path": self.draw.random() < 0.5, "custom_subdomain": self.draw.choice(("", "mail", "sl")),
            "tracking": self.draw.random() < 0.5, "replies": self.draw.random() < 0.5,
        }
        change: dict[str, Any] = self.draw.choice((
            {"state": self.draw.choice(("verified", "pending", "disabled", "suspended", "blocked", "deleted"))},
            {"state": self.draw.choice(("verified", "suspended", "pending"))},
            {"options": options}, {"options": options}, {"tier": self.draw.choice((None, "unlimited"))},
            {"first_verified_at": self.draw.choice((None, 3.0))}, {"return_path_ok": True}, {"tracking_ok": True},
        ))
        await self.world.change("domains", self.draw.choice(self.domains), **change)

    async def pair(self) -> None:
        at, state = self.draw.choice(self.domains), self.draw.choice(("live", "retiring", "removed"))

        async def do(tx: Tx) -> None:
            await tx.execute(update(dkim_keys).where(dkim_keys.c.domain_id == at).values(state=state))
            await versions.bump(tx, versions.DIRECTORY, domains=[at])

        await self.world.storage.write(do)

    async def stage(self) -> None:
        at, stage = self.draw.choice(self.members).id, self.draw.choice(("good", "slowed", "suspended"))

        async def do(tx: Tx) -> None:
            await standing.set_stage(tx, at, stage, now=1.0, notified=False)
            await versions.bump(tx, versions.DIRECTORY, members=[at])

        await self.world.storage.write(do)

    async def new(self) -> None:
        at = self.draw.choice(self.members)
        self.domains.append(await self.world.domain(at, f"n{len(self.domains)}.test"))


@pytest.mark.parametrize("seed", range(3))
async def test_changes_at_random_come_to_the_same_as_reading_everything(world: World, seed: int) -> None:
    dice = Dice(world, seed)
    await dice.begin()
    # Another process, which looks now and then.
    other = Directory(world.storage, world.config, world.clock, world.vault)
    for n in range(40):
        await dice.throw()
        await same_as_read_anew(world.directory, world.storage)
        if n % 7 == 0:
            await same_as_read_anew(other, world.storage)


@pytest.fixture
async def relay(config: Any) -> Any:
    """Everything that enrolls, on each engine."""
    async with enrolling(config) as made:
        yield made


async def test_whatever_enroll_does_the_directory_is_what_the_tables_say(relay: Enrolling) -> None:
    directory, storage = relay.world.directory, relay.storage
    alice, bob = await relay.member("alice"), await relay.member("bob")

    async def check() -> None:
        await same_as_read_anew(directory, storage)

    await check()
    first = await relay.verified(alice, "example.test", return_path=True, custom_subdomain="mail")
    await check()
    await relay.domains.update(alice.id, first.id, {"tracking": True})
    await check()
    relay.publish(await relay.domains.get(alice.id, first.id), only=["tracking"])
    await relay.look(first)
    await check()
    for act in (relay.domains.pause, relay.domains.resume, relay.domains.rotate):
        await act(alice.id, "example.test")
        await check()
    await relay.operator.suspend("example.test", "spam")
    await check()
    await relay.operator.release("example.test")
    await check()
    await relay.operator.set_tier("example.test", "unlimited")
    await check()
    # Bob proves the name, and alice loses it.
    taken = await relay.domains.enroll(bob.id, "example.test", {})
    await check()
    relay.unpublish(await relay.domains.get(alice.id, first.id))
    relay.publish(taken)
    await relay.look(taken)
    await check()
    assert directory.domain_of_member(bob.id, "example.test") is not None
    accounts, credentials = relay.services.accounts, relay.services.credentials
    made = await credentials.issue(alice.id, networks=["192.0.2.0/24"])
    await check()
    await credentials.regenerate(alice.id, made[1].id)
    await check()
    await accounts.suspend("alice", "spam")
    await check()
    assert directory.greeting("192.0.2.1") is not None
    await accounts.release("alice")
    await accounts.set_did(bob.id, "did:web:example.test", proof="example.test")
    await check()
    await relay.domains.delete(bob.id, "example.test")
    await check()
    await accounts.delete("alice")
    await check()


async def test_a_change_reads_its_own_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await world.member()
    for n in range(5):
        await world.domain(alice, f"d{n}.test")
    read, seen = rows.snapshot, []

    async def watched(tx: Tx, only: versions.Changed | None = None) -> rows.Snapshot:
        seen.append(await read(tx, only))
        return seen[-1]

    monkeypatch.setattr(rows, "snapshot", watched)
    domain_id = await world.domain(alice, "new.test")
    assert [r.id for r in seen[0].domains] == [domain_id]
    assert (seen[0].members, seen[0].keys, list(seen[0].enrolled)) == ((), (), ["new.test"])


async def test_where_nobody_says_what_has_changed_everything_is_read(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)

    async def unsaid(tx: Tx) -> None:
        await tx.execute(update(dkim_keys).values(state="removed"))
        await versions.bump(tx, versions.DIRECTORY)

    await world.storage.write(unsaid)
    # Said of a later one only: what the first one changed is still not known.
    await world.change("members", alice.id, reason="x")
    await same_as_read_anew(world.directory, world.storage)
    assert world.directory.domains_of_member(alice.id)[0].keys == ()
    # Nor where the record is gone, nor where there is too much of it.
    async with world.storage.read() as tx:
        now = (await versions.current(tx))[versions.DIRECTORY]
        assert await versions.changed(tx, now - 1, now) == versions.Changed({alice.id}, set(), set())
        assert await versions.changed(tx, 0, now) is None
        assert await versions.changed(tx, now, now - 1) is None
    await world.storage.write(
        lambda tx: versions.bump(tx, versions.DIRECTORY, domains=range(1, versions.MOST + 2))
    )
    async with world.storage.read() as tx:
        assert await versions.changed(tx, now, now + 1) is None


async def test_what_changed_long_ago_is_forgotten_a_little_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.member()
    monkeypatch.setattr(versions, "_KEPT", 3)
    for n in range(8):
        await world.change("members", alice.id, reason=str(n))
    removed = []
    while not removed or removed[-1]:
        removed.append(await world.storage.write(lambda tx: versions.purge(tx, 2)))
    assert removed[:-1] == [2, 2, 2, 1]
    async with world.storage.read() as tx:
        now = (await versions.current(tx))[versions.DIRECTORY]
        assert await versions.changed(tx, now - 3, now) is not None
        assert await versions.changed(tx, now - 4, now) is None
