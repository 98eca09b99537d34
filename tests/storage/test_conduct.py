"""Allowance by conduct in the tables: written once a day, seen by who accepts, on both engines."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from relay import warming
from relay.base.clock import DAY, utc_day
from relay.base.storage import incidents, stats
from relay.base.storage.tables import conduct_days
from relay.standing.conduct import Conduct, outlook
from tests.kit.world import MemberAt, World


async def used(world: World, domain_id: int, *, back: int = 1, **counted: int) -> None:
    day = utc_day(world.clock.now() - back * DAY)
    await world.storage.write(lambda tx: stats.count(tx, {(domain_id, day, 1): counted}))


async def kept(world: World) -> list[Any]:
    c = conduct_days.c
    async with world.storage.read() as tx:
        rows = await tx.execute(select(c.domain_id, c.per_day, c.used, c.change).order_by(c.domain_id, c.day))
        return [tuple(row) for row in rows]


def tier(world: World, member: MemberAt, name: str) -> tuple[int, int]:
    entry = next(d for d in world.directory.domains_of_member(member.id) if d.name == name)
    found = world.policy.tier(entry, world.clock.now())
    assert found is not None
    return found.per_hour, found.per_day


async def test_a_day_of_good_use_is_seen_by_who_accepts(world: World) -> None:
    alice = await world.member()
    names = ("grows.test", "idle.test", "pinned.test", "bad.test", "young.test")
    ids = [await world.domain(alice, n, tier="established" if n == "pinned.test" else None) for n in names]
    for i in ids[:-1]:
        await world.change("domains", i, first_verified_at=world.clock.now() - 20 * DAY)
    await world.change("domains", ids[-1], first_verified_at=world.clock.now() - 13 * DAY)
    for i in ids:
        await used(world, i, accepted=400, delivered=400) if i != ids[1] else None
    await used(world, ids[3], bounced=100)
    turn = Conduct(world.storage, world.config, world.clock)
    await turn.turn()
    await Conduct(world.storage, world.config, world.clock).turn()  # another process, the same day
    assert await kept(world) == [(ids[0], 750, 400, "grew"), (ids[3], 148, 400, "shrank")]
    await world.directory.refresh()
    assert [tier(world, alice, n) for n in names] == [(75, 750), (50, 500), (50, 500), (15, 148), (10, 50)]
    grows = next(d for d in world.directory.domains_of_member(alice.id) if d.name == "grows.test")
    shown = outlook(grows, world.config, world.clock.now(), slowed=False)
    assert shown is not None
    assert (shown.today, shown.clean) == (750, 1125)
    assert outlook(grows, world.config, world.clock.now(), slowed=True) is None
    # Standing stays above it: what has grown falls to the last fixed tier, the rest to the one below.
    tiers, now = world.config.warming.tiers, world.clock.now()
    for conduct, per_day in ((750, 500), (148, 50), (None, 50)):
        slowed = warming.tier_of(None, 0.0, tiers, now, slowed=True, conduct=conduct)
        assert slowed is not None
        assert slowed.per_day == per_day


async def test_days_that_were_missed_are_made_up_for(world: World) -> None:
    alice = await world.member()
    one = await world.domain(alice, tier=None)
    await world.change("domains", one, first_verified_at=world.clock.now() - 40 * DAY)
    for back, n in ((3, 500), (2, 750), (1, 100)):
        await used(world, one, back=back, accepted=n, delivered=n)
    await Conduct(world.storage, world.config, world.clock).turn()
    assert await kept(world) == [(one, 1125, 100, "held")]
    world.clock.move(DAY)  # type: ignore[attr-defined]
    await Conduct(world.storage, world.config, world.clock).turn()
    assert len(await kept(world)) == 1, "nothing was sent, nothing is written"


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_on_a_day_of_an_incident_bounces_take_nothing(world: World) -> None:
    alice = await world.member()
    one = await world.domain(alice, tier=None)
    await world.change("domains", one, first_verified_at=world.clock.now() - 40 * DAY)
    await used(world, one, accepted=500, bounced=400, delivered=100)
    at = world.clock.now() - DAY
    await world.storage.write(
        lambda tx: incidents.join(tx, "reputation", seen_at=at, count=1, examples=[], keep=1)
    )
    await Conduct(world.storage, world.config, world.clock).turn()
    assert await kept(world) == []
