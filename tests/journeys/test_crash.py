"""kill -9 at any moment: what was acknowledged arrives, byte for byte; twice at most what was on its way.

A sample, with the real program and whole loads; `bench/crash.py` goes through every storage call one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.kit.served import Town
from tests.kit.storage import PostgresServer

MESSAGES = 500
LANES = 20  # of one destination: each has one message under way and one being written down


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_of_all_acknowledged_messages_none_is_lost(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "sqlite:///posthouse.db"
    if engine == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.url()
    waiting = [f"u{i:04d}" for i in range(MESSAGES * 2)]
    acked: list[str] = []
    tried: list[str] = []
    under_way: set[str] = set()
    async with Town.made(tmp_path, url) as town:
        # At uneven moments, the clients in full flow.
        for quota in (7, 300) if engine == "sqlite" else (200,):
            async with town.serve() as node:
                reached = asyncio.Event()
                load = asyncio.create_task(
                    town.flood(
                        [node], waiting, http_every=4, acked=acked, tried=tried,
                        on_ack=lambda n, quota=quota, reached=reached: reached.set() if n >= quota else None,
                    )
                )
                await asyncio.wait_for(reached.wait(), 60)
                await node.kill()
                await load
            settled = {name for name, state in (await town.states()).items() if state == "sent"}
            arrived = set(town.arrived())
            assert settled <= arrived, "the tables say sent, and the exchanger has never seen it"
            under_way |= arrived - settled
            assert len(arrived - settled) <= 2 * LANES
        async with town.serve() as node:
            # Some may have been taken, and their clients were never told so: they come again, to be sent once.
            await town.flood([node], [name for name in tried if name not in acked], acked=acked)
            await town.flood([node], waiting[: MESSAGES - len(acked)], http_every=4, acked=acked)
            await town.all_arrived(acked)
            assert await node.stop() == 0
            assert not node.events("error", "critical")
        assert len(acked) >= MESSAGES
        assert await town.taken_twice() == []
        assert all(len(same) == 1 for same in town.copies().values()), "a duplicate that differs"
        assert {name for name, n in town.arrived().items() if n > 1} <= under_way
        assert set((await town.states()).values()) == {"sent"}
    if engine == "sqlite":
        with contextlib.closing(sqlite3.connect(tmp_path / "posthouse.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
