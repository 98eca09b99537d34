"""Processes that write one database beside each other wait for each other in one order, never crosswise."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.events import BOUNCED, Event
from relay.base.storage import Storage, Tx, events, stats, suppressions, versions
from relay.base.storage.suppressions import Suppression
from relay.suppression import Lists
from tests.kit.storage import made

ROUNDS = 12


def _entries(n: int) -> list[Suppression]:
    return [Suppression(0, 1, f"u{i}@a.test", f"u{i}@a.test", "hard_bounce", "", 1.0) for i in (n, n + 1, 3 * n)]


async def _bounced(tx: Tx, items: list[int]) -> list[None]:
    """What settling and reports write, in their order."""
    for n in items:
        await stats.count(tx, {(1 + n % 2, "2030-01-01", 1): {"bounced": 1}})
        await suppressions.add(tx, _entries(n))
        await events.append(tx, [Event(BOUNCED, 1, 1.0)])
    return [None for _ in items]


async def _left(tx: Tx, items: list[int]) -> list[None]:
    """What leaving writes."""
    for n in items:
        await suppressions.take(tx, 1, _entries(n + 1))
        await events.append(tx, [Event(BOUNCED, 1, 1.0)])
    return [None for _ in items]


async def _counted(tx: Tx, items: list[int]) -> list[None]:
    """What accepting writes."""
    for n in items:
        await stats.count(tx, {(1 + n % 2, "2030-01-01", 1): {"accepted": 1}})
        await events.append(tx, [Event(BOUNCED, 1, 1.0)])
    return [None for _ in items]


@pytest.mark.parametrize("config", ["postgresql"], indirect=True)
async def test_two_processes_never_wait_for_each_other(config: Config) -> None:
    await made(config)
    both = [await Storage.open(config) for _ in range(2)]
    lists = [Lists(storage, config, Clock()) for storage in both]

    async def work(storage: Storage, n: int) -> None:
        for i in range(ROUNDS):
            async with asyncio.TaskGroup() as group:
                for kind in (_counted, _bounced, _left) if (i + n) % 2 else (_left, _bounced, _counted):
                    group.create_task(storage.together(kind, i))
                group.create_task(lists[n].remove(1, f"u{i}@a.test"))
                group.create_task(storage.write(lambda tx: versions.bump(tx, versions.DIRECTORY)))

    try:
        await asyncio.gather(*(work(storage, n) for n, storage in enumerate(both)))
        async with both[0].read() as tx:
            done = (await stats.days(tx, "2000-01-01"))[0]
            assert len(await events.after(tx, 0, limit=1000)) == 2 * ROUNDS * 3
        assert done.accepted + done.bounced > 0
        # The server's own count; it shows a moment later than it happens.
        async with both[0].read() as tx:
            await tx.execute(text("SELECT pg_stat_force_next_flush()"))
        async with both[1].read() as tx:
            query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert await tx.scalar(text(query)) == 0
    finally:
        for storage in both:
            await storage.close()
