"""The way out, whole: a core on a real database, a worker, real DNS packets, an exchanger on loopback. No listeners."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy import select

from posthouse.wiring import courier, pacing
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage.tables import recipients
from relay.delivery.courier import Courier
from relay.delivery.suppression_check import SuppressionCheck
from relay.delivery.worker import Worker
from tests.kit.dns import make_zone
from tests.kit.dns import world as dns_world
from tests.kit.sink import Sink
from tests.kit.storage import make_config
from tests.kit.world import World


class Line:
    """A world with a worker, an exchanger and a DNS."""

    def __init__(self, world: World, sink: Sink, courier: Courier, dns: Any) -> None:
        self.world, self.sink, self.courier, self.dns = world, sink, courier, dns
        self.settled: asyncio.Queue[str] = asyncio.Queue()
        self.pacer, self.shares = pacing(world.core, courier.table)
        self.worker = Worker(
            world.queue, world.handoff, courier, SuppressionCheck(world.storage, world.suppressions),
            (self.pacer, self.shares), world.config, world.clock,
            on_settled=lambda state, seconds: self.settled.put_nowait(state),
        )
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Deliver from now on."""
        self.task = asyncio.create_task(self.worker.run())

    async def stop(self) -> None:
        """End the worker, if it runs."""
        if self.task is not None:
            await self.worker.stop(2.0)
            await self.task

    async def settle(self, n: int) -> list[str]:
        """The states of the next `n` settled tries."""
        return [await asyncio.wait_for(self.settled.get(), 10) for _ in range(n)]


@asynccontextmanager
async def line(
    config: Config, *, clock: Clock | None = None, sinks: Sequence[Sink] = (), database: dict[str, Any] | None = None,
    server: dict[str, Any] | None = None, ours: bool = False, more: dict[str, dict[str, Any]] | None = None,
    **delivery: Any
) -> AsyncIterator[Line]:
    """A line whose DNS knows sink.test, slow.test, example.test and null.test; the n-th of `sinks` serves bad<n>.test.

    `delivery` are keys of that section, `database` and `server` of those, `more` of others. `ours`: the exchanger
    stands where the relay's own port 25 is. The worker is not running yet.
    """
    async with Sink() as sink, AsyncExitStack() as others:
        zones = [
            make_zone(name, [("@", "MX", f"10 mx.{name}."), (f"mx.{name}", "A", "127.0.0.1")])
            for name in ("sink.test", "slow.test", "example.test")
        ]
        zones.append(make_zone("null.test", [("@", "MX", "0 .")]))
        for i, other in enumerate(sinks):
            # Another address, the same port: the relay has one port for all exchangers.
            other.host, other.port = f"127.0.1.{i + 1}", sink.port
            await others.enter_async_context(other)
            records = [("@", "MX", f"10 mx.bad{i}.test."), (f"mx.bad{i}.test", "A", other.host)]
            zones.append(make_zone(f"bad{i}.test", records))
        async with dns_world(zones) as dns:
            sections = {"port": sink.port, "allow_private_networks": True, "poll_seconds": 0.05, **delivery}
            config = make_config(
                config.server.data_dir, config.database.url, delivery=sections, database=dict(database or {}),
                server=dict(server or {}), inbound={"listen": [f"{sink.host}:{sink.port}"]} if ours else {},
                **(more or {}),
            )
            world = await World.make(config, clock or Clock(), resolver=dns.resolver)
            carries = courier(world.core, random.Random(1))
            made = Line(world, sink, carries, dns)
            try:
                yield made
            finally:
                await made.stop()
                await carries.close()
                await world.close()


async def states(world: World) -> dict[str, str]:
    """Address → state, from the tables."""
    async with world.storage.read() as tx:
        return {r.address: r.state for r in await tx.execute(select(recipients.c.address, recipients.c.state))}
