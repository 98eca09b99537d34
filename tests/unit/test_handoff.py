"""What one process's worker holds, and how fast a client may bring more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from relay.base.storage.mail import Due
from relay.queue import Handoff, Ready
from tests.kit.storage import make_config


def ready(number: int, destination: str) -> Ready:
    due = Due(
        id=number, message_id=1, member_id=1, domain_id=1, address=f"u{number}@{destination}",
        destination=destination, attempts=0, expires_at=1e12, notify=None, orcpt=None, queue_id="q", mail_from="",
        return_path="", envid=None, ret=None, smtputf8=False, size=1, received_at=0.0, delay_told=False, door="smtp",
        category="", key_id=1,
    )
    return Ready(due, b"", b"", (0.0, 0.0))


@pytest.fixture
def handoff(tmp_path: Path) -> Handoff:
    """One that holds 100, with nothing in it."""
    config = make_config(tmp_path, delivery={"prefetch": 100, "inflow_seconds": 3600.0, "destination_share": 100})
    found = Handoff(config, "me")
    found.open = True
    return found


def fill(handoff: Handoff, destination: str, delivered: int) -> list[Ready]:
    """As many as it takes, after so many of them have left and others have come in their place."""
    held = [ready(i, destination) for i in range(100)]
    assert handoff.reserve(1, [destination] * 100, 0)
    for i in range(delivered):
        handoff.done(held.pop(0))
        assert handoff.reserve(1, [destination], 0)
        held.append(ready(100 + i, destination))
    return held


async def test_who_brings_more_than_can_be_carried_waits_for_as_many_to_leave(handoff: Handoff) -> None:
    held = fill(handoff, "fast.test", 30)
    first = asyncio.create_task(handoff.keep_pace(["fast.test"] * 5))
    second = asyncio.create_task(handoff.keep_pace(["fast.test"] * 2))
    await asyncio.sleep(0)
    for count, waits in ((4, (True, True)), (1, (False, True)), (1, (False, True)), (1, (False, False))):
        for _ in range(count):
            handoff.done(held.pop())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (not first.done(), not second.done()) == waits


async def test_what_leaves_room_lets_everybody_in(handoff: Handoff) -> None:
    held = fill(handoff, "fast.test", 30)
    large = asyncio.create_task(handoff.keep_pace(["fast.test"] * 90))
    await asyncio.sleep(0)
    for _ in range(50):
        handoff.done(held.pop())
    await large


async def test_nobody_waits_where_there_is_room_or_for_what_is_slow_elsewhere(handoff: Handoff) -> None:
    await handoff.keep_pace(["fast.test"] * 50)
    # With nothing in hand nobody will leave, whatever is in the tables.
    handoff.waiting(1)
    await asyncio.wait_for(handoff.keep_pace(["fast.test"]), 1)
    handoff.asked((), more=False)
    fill(handoff, "slow.test", 2)
    await handoff.keep_pace(["slow.test"] * 5)
    await handoff.keep_pace(["fast.test"] * 5)


async def test_the_wait_has_an_end(tmp_path: Path) -> None:
    config = make_config(tmp_path, delivery={"prefetch": 100, "inflow_seconds": 0.001, "destination_share": 100})
    handoff = Handoff(config, "me")
    handoff.open = True
    held = fill(handoff, "fast.test", 30)
    await handoff.keep_pace(["fast.test"])
    # Who has gone takes no turn from the next one.
    handoff._inflow_seconds = 3600.0
    waiting = asyncio.create_task(handoff.keep_pace(["fast.test"]))
    await asyncio.sleep(0)
    handoff.done(held.pop())
    await waiting
