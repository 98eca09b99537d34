"""Two `serve` processes on one database: they share the ports, the work and the rules."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from relay.base.config import Tier
from tests.kit.ports import free_port
from tests.kit.served import Served, Town
from tests.kit.storage import PostgresServer

MESSAGES = 800


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Where the shared database is, on each engine."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.url()
    return "sqlite:///posthouse.db"


async def two(town: Town, stack: AsyncExitStack, **environ: str) -> list[Served]:
    """Two processes that start at the same moment."""
    return list(
        await asyncio.gather(*(stack.enter_async_context(town.serve(**environ)) for _ in range(2)))
    )


async def test_two_processes_deliver_every_message_once(url: str, tmp_path: Path) -> None:
    names = [f"u{i:05d}" for i in range(MESSAGES if url.startswith("sqlite") else MESSAGES // 2)]
    async with Town.made(tmp_path, url) as town, AsyncExitStack() as stack:
        shared = f'["127.0.0.1:{free_port()}"]'
        nodes = await two(town, stack, SUBMISSION__LISTEN=shared)
        assert nodes[0].port == nodes[1].port
        acked = await town.flood(nodes, list(names), connections=12, http_every=4)
        assert sorted(acked) == names
        await town.all_arrived(names)
        # What would come a second time would come with the leases that are given back now.
        assert [await node.stop() for node in nodes] == [0, 0]
        assert town.arrived() == Counter(names)
        assert set((await town.states()).values()) == {"sent"}
        for node in nodes:
            assert not [e for e in node.events("warning", "error", "critical") if e["event"] != "tls.self_signed"]


async def test_fifty_senders_at_two_processes_and_both_doors_get_exactly_the_allowance(
    url: str, tmp_path: Path
) -> None:
    allowed = 100
    tier = Tier(name="few", per_hour=allowed, per_day=allowed)
    async with Town.made(tmp_path, url, tier=None, keys=3) as town, AsyncExitStack() as stack:
        nodes = await two(town, stack, WARMING__TIERS=f"[{tier.model_dump_json()}]")
        refused: Counter[str] = Counter()
        acked = await town.flood(
            nodes, [f"u{i:04d}" for i in range(4 * allowed)], connections=50, http_every=3, refused=refused
        )
        assert len(acked) == allowed
        assert sum(refused.values()) == 3 * allowed
        assert set(refused) == {"451 4.7.1", "429 RATE_LIMITED"}, [n.events("error", "warning") for n in nodes]
        await town.all_arrived(acked)
        assert [await node.stop() for node in nodes] == [0, 0]
        assert town.arrived() == Counter(acked)


async def test_two_processes_may_start_together_where_nothing_is_yet(url: str, tmp_path: Path) -> None:
    """Key, certificate, tables and the relay's own member are made once."""
    async with Town.made(tmp_path / "town") as town, AsyncExitStack() as stack:
        fresh = tmp_path / "fresh"
        nodes = await two(town, stack, SERVER__DATA_DIR=str(fresh), DATABASE__URL=url)
        for node in nodes:
            assert await node.stop() == 0
            assert not node.events("error", "critical")
