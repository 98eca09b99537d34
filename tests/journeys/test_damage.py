"""A damaged database is said: as an error in the log, by /readyz and by the doctor."""

from __future__ import annotations

import asyncio
import sqlite3
from types import SimpleNamespace

import pytest
from aiohttp import ClientSession
from structlog.testing import capture_logs

from posthouse.doctor import examine
from posthouse.doctor.finding import FAIL
from posthouse.serve import Node
from relay.base.config import Config
from relay.base.storage import Storage, StorageDamaged, operator_queries
from relay.base.storage.errors import classify
from tests.kit.storage import make_config
from tests.kit.world import World


async def test_pages_that_nobody_reads_are_found_all_the_same(sqlite_config: Config) -> None:
    data = sqlite_config.server.data_dir
    config = make_config(data, roles=["http"], http={"listen": ["127.0.0.1:0"]})
    world = await World.make(config)
    await world.member()
    await world.close()
    path = data / "posthouse.db"
    with sqlite3.connect(path) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_webhook_deliveries_created_at'"
        (page,) = db.execute(query).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)

    with capture_logs() as lines:
        node = await Node.start(config)
        try:
            async with asyncio.timeout(30):
                while not node.core.storage.damage:  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.01)
            assert node.http is not None
            async with ClientSession() as http, http.get(f"http://127.0.0.1:{node.http.ports[0]}/readyz") as answer:
                assert (answer.status, (await answer.json())["checks"]["storage"]) == (503, False)
        finally:
            await node.stop(0.0)
    assert [line["log_level"] for line in lines if line["event"] == "storage.damaged"] == ["error"]
    (found,) = await examine(config, only=["database"])
    assert found.status == FAIL
    assert "posthouse restore FILE" in found.fix


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.DatabaseError("database disk image is malformed"), sqlite3.DatabaseError("file is not a database"),
        type("Damaged", (Exception,), {"orig": SimpleNamespace(sqlstate="XX001")})("invalid page in block 7"),
        type("Damaged", (Exception,), {"orig": SimpleNamespace(sqlstate="XX002")})("index is corrupted"),
    ],
)
def test_what_engines_say_of_damage(error: Exception) -> None:
    assert isinstance(classify(error), StorageDamaged)


async def test_who_stumbles_over_it_says_it(sqlite_config: Config) -> None:
    world = await World.make(sqlite_config)
    await world.member()
    await world.close()
    path = sqlite_config.server.data_dir / "posthouse.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    storage = await Storage.open(sqlite_config)
    try:
        with capture_logs() as lines:
            for _ in range(3):
                with pytest.raises(StorageDamaged):
                    async with storage.read() as tx:
                        await operator_queries.health(tx, 0.0)
        assert storage.damage
        assert len([line for line in lines if line["event"] == "storage.damaged"]) == 1
    finally:
        await storage.close()
