"""PostgreSQL, where transactions run beside each other: nobody waits, cursors skip nothing, sums are right."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, insert, select, text, update
from structlog.testing import capture_logs

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.events import Event
from relay.base.storage import Storage, StorageError, Tx, beside, events, stats, versions
from relay.base.storage.tables import beside as beside_rows
from relay.base.storage.tables import daily_pending, daily_stats, duties
from relay.retention import Retention
from tests.kit.storage import PostgresServer, make_config

DAY = "2026-01-01"


@pytest.fixture
def config(postgres: PostgresServer, tmp_path) -> Config:
    return make_config(tmp_path, postgres.made_url())


@pytest.fixture
async def four(config: Config) -> AsyncIterator[list[Storage]]:
    """Four processes' worth."""
    opened = [await Storage.open(config) for _ in range(4)]
    yield opened
    for storage in opened:
        await storage.close()


def event(name: str) -> Event:
    return Event("sent", 1, 1.0, None, None, None, {"name": name})


class Held:
    """A transaction that has appended and is not committed until `go`."""

    def __init__(self, storage: Storage, name: str) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(storage.write(lambda tx: self._do(tx, name)))

    async def _do(self, tx: Tx, name: str) -> None:
        await events.append(tx, [event(name)])
        await stats.count(tx, {(1, DAY, 1): {"accepted": 1}})
        self.begun.set()
        await self.go.wait()


async def names_after(storage: Storage, cursor: int) -> list[str]:
    async with storage.read() as tx:
        return [e.data["name"] for e in await events.after(tx, cursor)]


async def test_an_event_that_commits_late_is_not_skipped_and_keeps_nobody_waiting(four: list[Storage]) -> None:
    late = Held(four[0], "late")
    await late.begun.wait()
    await four[1].write(lambda tx: events.append(tx, [event("quick")]))
    assert await names_after(four[2], 0) == []
    async with four[2].read() as tx:
        held = await events.longest_open(tx)
    assert held is not None
    assert held.state == "idle in transaction"
    late.go.set()
    await late.task
    assert await names_after(four[2], 0) == ["late", "quick"]


async def test_so_does_one_that_somebody_inserts_by_hand(four: list[Storage]) -> None:
    async with four[0]._reader.connect() as other:
        columns = "(at, type, member_id, data)"
        await other.execute(text(f"INSERT INTO events {columns} VALUES (1, 'sent', 1, '{{\"name\": \"x\"}}')"))
        await four[1].write(lambda tx: events.append(tx, [event("quick")]))
        assert await names_after(four[2], 0) == []
        await other.commit()
    assert await names_after(four[2], 0) == ["x", "quick"]


async def test_no_event_is_skipped_and_none_comes_twice(four: list[Storage]) -> None:
    rng = random.Random(4)
    written: list[str] = []
    ended = asyncio.Event()

    async def write(number: int, storage: Storage) -> None:
        for i in range(40):
            name = f"{number}-{i}"

            async def do(tx: Tx, name: str = name) -> None:
                await events.append(tx, [event(name)])
                await asyncio.sleep(rng.random() * 0.01)  # what a slow disk does, before the commit
                if rng.random() < 0.1:
                    raise KeyError

            try:
                await storage.write(do)
                written.append(name)
            except (KeyError, StorageError):
                pass

    async def read() -> list[str]:
        cursor, found = 0, []
        while True:
            last = ended.is_set()
            async with four[3].read() as tx:
                new = await events.after(tx, cursor)
            found += [e.data["name"] for e in new]
            cursor = new[-1].id if new else cursor
            if last and not new:
                return found

    async def kill() -> None:
        """A backend that ends in the middle of whatever it does."""
        async with four[3]._reader.connect() as tx:
            for _ in range(5):
                await asyncio.sleep(0.05)
                await tx.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid IS NOT NULL LIMIT 1")
                )

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(i, storage) for i, storage in enumerate(four[:3])), kill())
    ended.set()
    found = await reading
    assert sorted(found) == sorted(set(found))
    # Of one that broke at COMMIT nobody knows.
    assert set(written) <= set(found)
    assert len(found) > 60


async def test_beside_an_older_program_appenders_wait_for_each_other(four: list[Storage]) -> None:
    def older(tx: Tx) -> object:
        return tx.execute(beside_rows.delete())

    await four[0].write(older)
    first = Held(four[1], "first")
    await first.begun.wait()
    second = asyncio.create_task(four[2].write(lambda tx: events.append(tx, [event("second")])))
    async with four[3].read() as tx:
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not await tx.scalar(waiting):  # noqa: ASYNC110 (another connection's lock)
            await asyncio.sleep(0.01)
    first.go.set()
    await asyncio.gather(first.task, second)
    await four[0].write(beside.finish)
    third = Held(four[1], "third")
    await third.begun.wait()
    await four[2].write(lambda tx: events.append(tx, [event("fourth")]))
    third.go.set()
    await third.task
    assert await names_after(four[3], 0) == ["first", "second", "third", "fourth"]


async def test_counters_of_one_domain_wait_for_nobody_and_are_added_up(four: list[Storage]) -> None:
    held = Held(four[0], "x")
    await held.begun.wait()
    for storage in four[1:]:
        await storage.write(lambda tx: stats.count(tx, {(1, DAY, 1): {"accepted": 1, "delivered": 2}}))
    held.go.set()
    await held.task

    async def seen() -> tuple[int, ...]:
        async with four[0].read() as tx:
            (day,) = await stats.days(tx, DAY)
            (total,) = await stats.daily(tx, 1, DAY)
        assert (total.accepted, total.delivered) == (day.accepted, day.delivered)
        return day.accepted, day.delivered, day.bounced

    assert await seen() == (4, 6, 0)
    assert await asyncio.gather(*(s.write(lambda tx: stats.fold(tx, 3)) for s in four[:2])) in ([3, 1], [1, 3])
    async with four[0].read() as tx:
        assert await tx.scalar(select(func.count()).select_from(daily_pending)) == 0
        assert await tx.scalar(select(daily_stats.c.accepted)) == 4
    assert await seen() == (4, 6, 0)


async def test_a_transaction_that_stays_open_is_alarmed(four: list[Storage], config: Config) -> None:
    strict = make_config(config.server.data_dir, config.database.url, database={"open_transaction_seconds": 0.001})
    retention = Retention(four[1], strict, Clock(), "me")
    held = Held(four[0], "x")
    await held.begun.wait()
    with capture_logs() as lines:
        await retention.look_for_open()
    held.go.set()
    await held.task
    assert [(line["event"], line["log_level"]) for line in lines] == [("storage.transaction_open", "error")]
    with capture_logs() as lines:
        await retention.look_for_open()
    assert lines == []


async def end_writer_of(storage: Storage, by: Storage) -> None:
    assert storage._served is not None
    pid = await storage._served._connection.scalar(text("SELECT pg_backend_pid()"))  # type: ignore[union-attr]
    await storage._served._connection.rollback()  # type: ignore[union-attr]
    async with by.read() as tx:
        await tx.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


async def test_a_connection_that_was_closed_meanwhile_is_replaced_unnoticed(four: list[Storage]) -> None:
    await four[0].write(lambda tx: versions.bump(tx, "x"))
    await end_writer_of(four[0], four[1])
    await four[0].write(lambda tx: versions.bump(tx, "x"))
    async with four[0].read() as tx:
        assert (await versions.current(tx))["x"] == 2


async def test_what_breaks_before_its_commit_is_done_again_once(four: list[Storage]) -> None:
    tries = []

    async def do(tx: Tx) -> None:
        tries.append(await tx.scalar(text("SELECT pg_backend_pid()")))
        await tx.execute(insert(duties).values(name="mine", owner="o", until=1.0))
        if len(tries) == 1:
            async with four[1].read() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": tries[0]})
        await tx.execute(update(duties).values(until=2.0))

    await four[0].write(do)
    assert len(set(tries)) == 2
    async with four[1].read() as tx:
        assert list(await tx.scalars(select(duties.c.until))) == [2.0]

    async def always(tx: Tx) -> None:
        tries.append(0)
        pid = await tx.scalar(text("SELECT pg_backend_pid()"))
        async with four[1].read() as other:
            await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        await tx.execute(text("SELECT 1"))

    tries.clear()
    with pytest.raises(StorageError):
        await four[0].write(always)
    assert len(tries) == 2
