"""One process at a time does a duty, on both engines."""

from __future__ import annotations

from relay.base.duty import Duty
from relay.base.storage import Storage
from tests.kit.clock import HandClock


async def test_one_has_it_until_it_leaves_or_is_silent_for_a_lease(storage: Storage) -> None:
    clock = HandClock()
    first, second = (Duty(storage, clock, "sweep", owner, 30.0) for owner in ("one", "two"))
    assert await first.ours()
    assert not await second.ours()
    assert first.held
    assert not second.held

    clock.move(20)
    assert await first.ours()
    assert not await second.ours()

    clock.move(31)  # the first one has been silent for longer than its lease
    assert not first.held
    assert await second.ours()
    assert not await first.ours()

    await second.leave()
    clock.move(6)
    assert await first.ours()


async def test_a_clock_that_is_set_back_leaves_no_duty_undone(storage: Storage) -> None:
    clock = HandClock()
    first, second = (Duty(storage, clock, "sweep", owner, 30.0) for owner in ("one", "two"))
    assert await first.ours()
    # The first one dies, and the clock turns out to have been a day ahead.
    clock.jump(-86_400)
    assert await second.ours()


async def test_another_job_is_another_duty(storage: Storage) -> None:
    clock = HandClock()
    assert await Duty(storage, clock, "sweep", "one", 30.0).ours()
    assert await Duty(storage, clock, "cook", "two", 30.0).ours()
