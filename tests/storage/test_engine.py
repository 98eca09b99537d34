"""What a caller of storage relies on, on both engines."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from relay.base.config import Config
from relay.base.storage import SchemaTooNew, Storage, StorageError, Tx, migrate, revisions, stats, versions
from relay.base.storage.engine import sqlite_path
from relay.base.storage.migrate import REVISION
from relay.base.storage.tables import daily_stats, duties, metadata, suppressions
from tests.kit.storage import make_config


async def test_schema_is_what_the_tables_say(storage: Storage) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    async def differences(tx: Tx) -> list:
        return await tx.run_sync(lambda c: compare_metadata(MigrationContext.configure(c), metadata))

    assert await storage.write(differences) == []


async def test_what_it_wants_is_the_newest_revision() -> None:
    assert revisions.known()[0] == REVISION


async def test_migrating_twice_changes_nothing(empty_config: Config) -> None:
    assert await migrate(empty_config) is True
    assert await migrate(empty_config) is False


async def test_two_may_migrate_at_once_in_one_process(tmp_path: Path) -> None:
    """Alembic itself can't: it keeps what is under way in variables of its modules."""
    (tmp_path / "other").mkdir()
    two = [make_config(tmp_path), make_config(tmp_path / "other")]
    assert await asyncio.gather(*(migrate(config) for config in (*two, *two))) == [True, True, False, False]


async def test_a_newer_schema_is_refused(config: Config) -> None:
    await migrate(config)
    storage = await Storage.open(config)

    async def newer(tx: Tx) -> None:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await storage.write(newer)
    await storage.close()
    with pytest.raises(SchemaTooNew):
        await migrate(config)


async def test_two_schemas_at_once_are_none_that_can_be_used(config: Config) -> None:
    await migrate(config)
    storage = await Storage.open(config)
    await storage.write(lambda tx: tx.execute(text("INSERT INTO alembic_version VALUES ('0008')")))
    await storage.close()
    with pytest.raises(StorageError, match="2 schemas at once"):
        await migrate(config)


async def test_who_looks_while_a_broken_connection_goes_gets_the_next_one(sqlite_config: Config) -> None:
    await migrate(sqlite_config)
    storage = await Storage.open(sqlite_config)
    assert await versions.glimpse(storage, versions.DIRECTORY) == 0
    assert storage._quick is not None
    broken = await storage._quick.connection()
    broken.sync_connection.connection.driver_connection.raw.close()  # type: ignore[union-attr]
    found = await asyncio.gather(
        *(versions.glimpse(storage, versions.DIRECTORY) for _ in range(4)), return_exceptions=True
    )
    await storage.close()
    assert found.count(0) == 3, found
    assert sum(isinstance(one, StorageError) for one in found) == 1


async def test_counters_outlive_a_migration(empty_config: Config) -> None:
    counted = [(d, f"2026-0{m}-01", 7, d, m, 0, 1, 2, 3, 4) for d in (2, 1) for m in (2, 1)]

    async def older(tx: Tx) -> None:
        await tx.run_sync(revisions.upgrade, "0007")
        names = [c.name for c in daily_stats.c]
        await tx.execute(insert(daily_stats), [dict(zip(names, row, strict=True)) for row in counted])

    storage = await Storage.open(empty_config)
    await storage.write(older)
    await storage.close()
    assert await migrate(empty_config) is True
    storage = await Storage.open(empty_config)
    async with storage.read() as tx:
        found = [tuple(row) for row in await tx.execute(select(daily_stats))]
    # Counting goes on where it was.
    await storage.write(lambda tx: stats.count(tx, {(1, "2026-01-01", 7): {"accepted": 5}}))
    async with storage.read() as tx:
        after = (await stats.days(tx, "2026-01-01", domain_id=1, member_id=7))[0]
    await storage.close()
    assert sorted(found) == sorted(counted)
    assert after.accepted == 6


async def test_a_dot_behind_a_domain_leaves_the_lists(empty_config: Config) -> None:
    kept = ["Bob@sink.test", "Ann@sink.test.", "jörg@bücher。example。", "no address."]

    async def older(tx: Tx) -> None:
        await tx.run_sync(revisions.upgrade, "0011")
        rows = [
            {"member_id": 1, "canonical": f"{n}", "original": text, "reason": "manual", "created_at": 0.0}
            for n, text in enumerate(kept)
        ]
        await tx.execute(insert(suppressions), rows)

    storage = await Storage.open(empty_config)
    await storage.write(older)
    await storage.close()
    assert await migrate(empty_config) is True
    storage = await Storage.open(empty_config)
    async with storage.read() as tx:
        found = (await tx.execute(select(suppressions.c.original).order_by(suppressions.c.canonical))).scalars().all()
    await storage.close()
    assert found == ["Bob@sink.test", "Ann@sink.test", "jörg@bücher。example", "no address."]


async def test_waiting_writers_share_a_transaction(storage: Storage) -> None:
    sizes: list[int] = []

    async def apply(tx: Tx, items: list[str]) -> list[str]:
        sizes.append(len(items))
        await tx.execute(insert(duties), [{"name": i, "owner": "o", "until": 1.0} for i in items])
        return [i.upper() for i in items]

    got = await asyncio.gather(*(storage.together(apply, f"n{i}") for i in range(50)))
    assert got == [f"N{i}" for i in range(50)]
    assert len(sizes) < 10


async def test_one_bad_item_does_not_take_others_with_it(storage: Storage) -> None:
    async def apply(tx: Tx, items: list[str]) -> list[None]:
        await tx.execute(insert(duties), [{"name": i, "owner": "o", "until": 1.0} for i in items])
        return [None] * len(items)

    await storage.together(apply, "taken")
    results = await asyncio.gather(
        *(storage.together(apply, n) for n in ("a", "taken", "b")), return_exceptions=True
    )
    assert results[0] is None
    assert isinstance(results[1], StorageError)
    assert results[2] is None
    async with storage.read() as tx:
        names = {r.name for r in await tx.execute(select(duties.c.name))}
    assert names == {"taken", "a", "b"}


async def test_an_exception_of_the_caller_rolls_back_and_comes_back(storage: Storage) -> None:
    async def do(tx: Tx) -> None:
        await versions.bump(tx, "x")
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await storage.write(do)
    async with storage.read() as tx:
        assert await versions.current(tx) == {}


async def test_a_caller_that_leaves_does_not_undo_its_write(storage: Storage) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def do(tx: Tx) -> None:
        started.set()
        await go.wait()
        await versions.bump(tx, "kept")

    task = asyncio.create_task(storage.write(do))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await storage.write(lambda tx: versions.bump(tx, "after"))
    async with storage.read() as tx:
        assert set(await versions.current(tx)) == {"kept", "after"}


async def test_reading_connections_cannot_write_on_sqlite(sqlite_config: Config) -> None:
    await migrate(sqlite_config)
    storage = await Storage.open(sqlite_config)
    with pytest.raises(StorageError):
        async with storage.read() as tx:
            await versions.bump(tx, "no")
    await storage.close()


async def test_two_processes_worth_of_writers_on_one_database(config: Config) -> None:
    await migrate(config)
    one, two = await Storage.open(config), await Storage.open(config)

    async def bump(tx: Tx) -> None:
        await versions.bump(tx, "n")

    await asyncio.gather(*(s.write(bump) for _ in range(100) for s in (one, two)))
    async with one.read() as tx:
        assert (await versions.current(tx))["n"] == 200
    await one.close()
    await two.close()


async def test_a_file_that_another_process_is_just_opening_is_waited_for(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    await migrate(config)
    other = sqlite3.connect(sqlite_path(config), isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("CREATE TABLE held (x)")  # from here on it has the file for itself, as who opens or closes the WAL
    storage = await Storage.open(config)
    try:
        asyncio.get_running_loop().call_later(0.2, other.close)
        async with storage.glance() as tx:
            assert await tx.scalar(select(duties.c.name).where(duties.c.name == "none")) is None
    finally:
        await storage.close()
