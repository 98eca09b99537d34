"""What is counted of the queue is counted by indexes of what waits, and no message waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, update

from relay.base.config import Config
from relay.base.storage import Storage, Tx, mail, operator_queries, reports
from relay.base.storage.tables import recipients
from relay.intake import Accepted
from tests.kit.storage import made
from tests.kit.world import World


@contextmanager
def plans(storage: Storage) -> Iterator[list[str]]:
    """How SQLite finds the rows of every statement."""
    found: list[str] = []
    engines = [storage._reader.sync_engine, storage._writer.sync_engine]

    def look(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(("SELECT", "WITH", "UPDATE")):
            found.extend(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", look)


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_no_count_of_the_queue_reads_its_rows(config: Config) -> None:
    await made(config)
    storage = await Storage.open(config)
    try:
        with plans(storage) as seen:
            async with storage.read() as tx:
                await mail.queued(tx)
                await reports.waiting(tx, 1.0)
                await mail.owners(tx)
            await storage.write(lambda tx: mail.give_back(tx, "me"))
        of_recipients = [p for p in seen if "recipients" in p or " r " in f"{p} "]
        assert len(of_recipients) >= 6
        for plan in of_recipients:
            assert "COVERING INDEX" in plan or "ix_recipients_lease_owner" in plan or "ix_recipients_due" in plan, plan
        with plans(storage) as seen:
            async with storage.read() as tx:
                await operator_queries.health(tx, 1.0)
        # The log's finished recipients are in none of these.
        assert not [p for p in seen if p.startswith("SCAN recipients") and " USING " not in p]
    finally:
        await storage.close()


async def test_owners_of_leases_are_found_and_theirs_alone_given_back(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.submit(alice, *(f"u{i}@sink.test" for i in range(6)))
    assert len(await world.queue.claim(2, {})) == 2
    async with world.storage.read() as tx:
        assert await mail.owners(tx) == ["test"]
    ids = [r.due.id for r in await world.queue.claim(2, {})]
    await world.storage.write(lambda tx: _lease(tx, ids, "other"))
    async with world.storage.read() as tx:
        assert await mail.owners(tx) == ["other", "test"]
    assert await world.queue.give_back() == 2
    assert await world.queue.free_dead(lambda owner: owner == "other") == 2
    async with world.storage.read() as tx:
        assert await mail.owners(tx) == []


async def _lease(tx: Tx, ids: list[int], owner: str) -> None:

    await tx.execute(update(recipients).where(recipients.c.id.in_(ids)).values(lease_owner=owner))


async def test_no_message_waits_for_a_count_but_the_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await world.member()
    await world.domain(alice)
    assert isinstance(await world.submit(alice), Accepted)
    counted, go_on, queued = asyncio.Event(), asyncio.Event(), mail.queued

    async def slowly(tx: Tx) -> Any:
        counted.set()
        await go_on.wait()
        return await queued(tx)

    monkeypatch.setattr(mail, "queued", slowly)
    await world.pass_time(10)
    assert isinstance(await world.submit(alice), Accepted)
    assert isinstance(await world.submit(alice), Accepted)
    await counted.wait()
    go_on.set()
