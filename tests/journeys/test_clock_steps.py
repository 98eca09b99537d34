"""A wall clock that is set forward, or a machine that slept: nobody is given up before a try has said so."""

from __future__ import annotations

import asyncio

from relay.base.clock import DAY, HOUR, MINUTE
from relay.base.config import Config
from relay.intake import Accepted
from relay.outcome import from_failure
from relay.queue import Ready
from relay.retention import Retention
from tests.journeys.test_bad_luck import Held, Jumping, line, ready, states, until
from tests.kit.clock import HandClock
from tests.kit.world import World

LATER = from_failure("timeout", "connect")


async def test_the_next_try_decides_and_not_the_one_under_way(config: Config) -> None:
    clock = HandClock()
    world = await World.make(config, clock)
    try:
        member = await world.member()
        await world.domain(member)
        world.handoff.open = False
        assert isinstance(await world.submit(member, "bob@sink.test"), Accepted)

        async def taken() -> Ready:
            (one,) = await world.queue.claim(10, {})
            return one

        one, began = await taken(), clock.monotonic()
        clock.jump(6 * DAY)
        assert await world.queue.settle(one.due, LATER, began) == "deferred"
        clock.move(2 * MINUTE)
        one, began = await taken(), clock.monotonic()
        assert await world.queue.settle(one.due, LATER, began) == "bounced"
    finally:
        await world.close()


async def test_a_conversation_in_which_the_clock_was_set_gives_nobody_up(sqlite_config: Config) -> None:
    clock = Jumping()
    async with line(sqlite_config, clock=clock) as way:
        alice = await ready(way)
        go = asyncio.Event()
        way.sink.on("DOT", Held(go, "451 4.3.0 later"))
        way.start()
        await way.world.submit(alice, "bob@sink.test")
        await until(lambda: "DATA" in way.sink.verbs())
        clock.off = 6 * DAY
        go.set()
        assert await way.settle(1) == ["deferred"]
        assert set((await states(way.world)).values()) == {"deferred"}


async def test_the_log_outlives_a_clock_that_is_set_right_within_an_hour(sqlite_config: Config) -> None:
    clock = HandClock()
    world = await World.make(sqlite_config, clock)
    try:
        member = await world.member()
        await world.domain(member)
        world.handoff.open = False
        await world.submit(member, "bob@sink.test")
        (one,) = await world.queue.claim(10, {})
        await world.queue.settle(one.due, LATER)
        retention = Retention(world.storage, world.config, clock, "me")
        removed: list[dict[str, int]] = []
        once = retention.once

        async def counted() -> dict[str, int]:
            removed.append(await once())
            return removed[-1]

        retention.once = counted  # type: ignore[method-assign]
        await retention._turn()
        clock.jump(40 * DAY)
        await retention._turn()
        clock.move(HOUR / 2)
        await retention._turn()
        assert [one["events"] for one in removed] == [0]
        clock.move(HOUR)
        await retention._turn()
        assert removed[-1]["events"] > 0
    finally:
        await world.close()
