"""Receiving sites in the tables: one sign of many, lanes never given out twice, nothing kept for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from relay.base.config import Config
from relay.base.storage import Storage, sites
from relay.base.storage.sites import Grant, Limits, Share, Sign, Site, Want
from tests.kit.storage import made

NOW = 1_800_000_000.0
LIMITS = Limits(5.0, 600.0, 10.0, 0.1, 0.05, 100.0)
FAR = "mx.far.test"


async def sign(storage: Storage, now: float = NOW, *, asked: float = 0.0, name: str = FAR) -> tuple[Site, bool]:
    given = Sign(name, 20, None, asked, "421 4.7.0 no", name)
    return await storage.write(lambda tx: sites.sign(tx, given, LIMITS, now))


async def ask(
    storage: Storage, owner: str, lanes: int, now: float = NOW, *, in_use: int = 0, worked: int = 0, most: int = 20,
    dead: tuple[str, ...] = (), name: str = FAR, **more: Any,
) -> Grant:
    want = {name: Want(lanes, in_use, most, worked=worked)}
    found, _ = await storage.write(
        lambda tx: sites.share(
            tx, owner, want, LIMITS, now=now, seconds=10.0, is_dead=lambda o: o in dead, **more
        )
    )
    return found[name]


async def held(storage: Storage, now: float = NOW) -> dict[str, tuple[int, int]]:
    async with storage.read() as tx:
        return {s.owner: (s.lanes, s.waiting) for s in await sites.shares(tx, now, 100)}


async def row(storage: Storage, name: str = FAR) -> Site | None:
    async with storage.read() as tx:
        return next(iter(await sites.listing(tx, 10, [name])), None)


async def test_of_simultaneous_signs_one_counts_from_however_many_processes(config: Config) -> None:
    await made(config)
    processes = [await Storage.open(config) for _ in range(3)]
    try:
        found = await asyncio.gather(*(sign(s, NOW + i / 10) for i in range(3) for s in processes))
        assert [won for _, won in found].count(True) == 1
        assert {(r.failures, r.lanes, r.rate) for r, _ in found} == {(1, 10.0, 10.0)}
    finally:
        for process in processes:
            await process.close()


async def test_signs_back_off_within_bounds_and_a_host_may_name_its_own_time(storage: Storage) -> None:
    now, pauses = NOW, []
    for asked in (0.0, 0.0, 120.0, 86_400.0):
        found, won = await sign(storage, now, asked=asked)
        assert won
        pauses.append(round(found.paused_until - now))
        now = found.paused_until + 1
    assert pauses == [5, 10, 120, 600]
    assert (found.lanes, found.rate, found.failures) == (1.25, 1.25, 4)
    # Of a clock that has been set back since, no pause lasts.
    assert (await sign(storage, NOW - 86_400))[1]


async def test_alone_a_process_may_have_all_and_beside_others_its_part(storage: Storage) -> None:
    assert (await ask(storage, "a", 5)).lanes == 20
    assert (await ask(storage, "b", 8)).lanes == 0
    assert await held(storage) == {"a": (20, 0), "b": (0, 8)}
    # What is under way goes on; the rest is the other's as soon as it is free.
    assert (await ask(storage, "a", 20, in_use=15)).lanes == 10
    assert (await ask(storage, "b", 8)).lanes == 5
    assert (await ask(storage, "a", 20, in_use=10)).lanes == 10
    assert (await ask(storage, "b", 8)).lanes == 8
    assert await held(storage) == {"a": (10, 10), "b": (8, 0)}
    assert (await ask(storage, "a", 0)).lanes == 0
    assert await held(storage) == {"b": (8, 0)}


async def test_the_sum_is_never_over_the_lanes_whoever_asks_when(config: Config) -> None:
    await made(config)
    processes = [await Storage.open(config) for _ in range(4)]
    try:
        await sign(processes[0])
        now = NOW + 6
        assert (await ask(processes[0], "p0", 5, now)).lanes == 1
        await ask(processes[0], "p0", 5, now, worked=1, in_use=1)
        for step in range(6):
            now += 1
            await asyncio.gather(
                *(ask(s, f"p{i}", (step * 7 + i * 3) % 9, now) for i, s in enumerate(processes))
            )
            shares = await held(processes[0], now)
            found = await row(processes[0])
            assert found is not None
            assert sum(lanes for lanes, _ in shares.values()) <= int(found.lanes), (step, shares, found)
    finally:
        for process in processes:
            await process.close()


async def test_after_a_pause_one_process_tries_and_success_gives_the_lanes_back(storage: Storage) -> None:
    await sign(storage)
    assert (await ask(storage, "a", 5, NOW + 1)).lanes == 0
    found = [await ask(storage, owner, 5, NOW + 6) for owner in "abc"]
    assert [g.lanes for g in found] == [1, 0, 0]
    found = [await ask(storage, "a", 5, NOW + 7, worked=3, in_use=1)]
    assert (found[0].site and found[0].site.failures, found[0].total) == (0, 10)
    now = NOW + 8
    while await row(storage) is not None:
        await ask(storage, "a", 20, now, worked=50)
        now += 1
    assert now < NOW + 60, "nothing is left of it once it is as fast as any"


async def test_a_lane_that_is_one_goes_round(storage: Storage) -> None:
    await sign(storage)
    had = set()
    for step in range(0, 40, 5):
        for owner in "abc":
            if (await ask(storage, owner, 3, NOW + 6 + step)).lanes:
                had.add(owner)
    assert had == {"a", "b", "c"}


async def test_the_shares_of_the_dead_and_of_those_that_are_cut_off_are_free(storage: Storage) -> None:
    await ask(storage, "a", 20)
    assert (await ask(storage, "b", 5, NOW + 1)).lanes == 0
    assert (await ask(storage, "b", 5, NOW + 2, dead=("a",))).lanes == 20
    await ask(storage, "b", 0, NOW + 3)
    await ask(storage, "a", 20, NOW + 3)
    assert (await ask(storage, "b", 5, NOW + 14)).lanes == 20
    # A clock that is five seconds off frees nothing that is renewed each second, and one that was a day ahead holds
    # nothing for a day.
    await ask(storage, "b", 0, NOW + 14)
    await ask(storage, "a", 20, NOW + 15)
    assert (await ask(storage, "b", 5, NOW + 20)).lanes == 0
    await ask(storage, "a", 20, NOW + 86_400)
    assert (await ask(storage, "b", 5, NOW + 30)).lanes == 20


async def test_the_operator_pauses_and_resumes(storage: Storage) -> None:
    await storage.write(lambda tx: sites.pause(tx, FAR, 20, NOW))
    assert (await ask(storage, "a", 5)).lanes == 0
    assert await storage.write(lambda tx: sites.resume(tx, FAR, NOW))
    assert await row(storage) is None
    assert not await storage.write(lambda tx: sites.resume(tx, FAR, NOW))
    await sign(storage)
    await storage.write(lambda tx: sites.pause(tx, FAR, 20, NOW))
    assert await storage.write(lambda tx: sites.resume(tx, FAR, NOW))
    found = await row(storage)
    assert found is not None
    assert (found.held, found.paused_until, found.failures, found.lanes) == (False, 0.0, 0, 10.0)


async def test_whom_a_site_serves_is_noted_and_what_is_old_goes(storage: Storage) -> None:
    served = {"b.test": FAR, "c.test": FAR, "d.test": "mx.other.test"}
    await storage.write(lambda tx: sites.seen(tx, served, NOW - 100))
    await storage.write(lambda tx: sites.seen(tx, {"b.test": "mx.new.test"}, NOW))
    await sign(storage, NOW - 100)
    await storage.write(lambda tx: sites.pause(tx, "mx.held.test", 20, NOW - 100))
    await ask(storage, "a", 5, NOW - 100, name="mx.other.test")
    async with storage.read() as tx:
        found = await sites.serving(tx, ["b.test", "d.test", "x.test"])
        assert found == {"b.test": "mx.new.test", "d.test": "mx.other.test"}
        assert await sites.served(tx, FAR, 10) == ["c.test"]
    assert await storage.write(lambda tx: sites.purge(tx, NOW - 50, NOW, 100)) == 4
    async with storage.read() as tx:
        assert [s.name for s in await sites.listing(tx, 10)] == ["mx.held.test"]
        assert await sites.serving(tx, served) == {"b.test": "mx.new.test"}
        assert [s for s in await sites.shares(tx, 0.0, 10) if isinstance(s, Share)] == []
