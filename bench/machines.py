"""Several processes on one PostgreSQL: what a message costs there, and what more processes bring.

    .venv/bin/python -m bench.machines [--quick] [--processes 1,4] [--messages 2000] [--domains 300] [--commit-ms 5]

First one process, its connections through a counter: transactions, round trips, bytes and syncs of the write-ahead
log for a message, at a low rate and at full load. These don't depend on the machine. Then, directly, each number of
processes in turn, every commit of the server lasting `--commit-ms` (commit_delay), mail from many domains over HTTP:
messages a second, and the ratio to one process. `--quick`: few of each, under a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from bench import dns, http, tools
from bench.ours import Posthouse
from bench.tools import Login, Programs, Sink, Work
from bench.work import quiet
from relay.base.clock import Clock
from relay.base.config import load as load_config
from relay.base.storage import accounts
from tests.kit.storage import PostgresServer
from tests.kit.world import MemberAt, World

_SOCKET = ".s.PGSQL.5432"
_LOW = 10.0  # messages a second at low load


class Counter:
    """A socket in a folder of its own that leads to the server's: counts how often the talk turns from question to
    answer."""

    def __init__(self, server: str, folder: Path) -> None:
        self._server, self._folder = server, folder
        self.round_trips = 0
        self._listening: asyncio.Server | None = None

    async def __aenter__(self) -> Counter:
        self._folder.mkdir()
        self._listening = await asyncio.start_unix_server(self._one, str(self._folder / _SOCKET))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(f"{self._server}/{_SOCKET}")
        asked = [False]

        async def onward() -> None:
            while data := await reader.read(65536):
                asked[0] = True
                back.write(data)
            back.close()

        async def answers() -> None:
            while data := await there.read(65536):
                self.round_trips += asked[0]
                asked[0] = False
                writer.write(data)
            writer.close()

        await asyncio.gather(onward(), answers(), return_exceptions=True)


async def numbers(url: str) -> dict[str, float]:
    """What the server has counted so far."""
    db = await asyncpg.connect(url)
    try:
        await db.execute("SELECT pg_stat_force_next_flush()")
        commits = await db.fetchval("SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database")
        wal = await db.fetchval("SELECT wal_bytes FROM pg_stat_wal")
        syncs = await db.fetchval("SELECT coalesce(sum(fsyncs), 0) FROM pg_stat_io WHERE object = 'wal'")
        return {"transactions": float(commits), "WAL bytes": float(wal), "WAL syncs": float(syncs)}
    finally:
        await db.close()


async def domains(server: Posthouse, count: int) -> list[str]:
    """Make so many verified domains of the benchmark's member; a sender at each."""
    world = await World.make(load_config(server.config), Clock())
    try:
        async with world.storage.read() as tx:
            found = await accounts.by_handle(tx, "bench")
        assert found is not None
        member = MemberAt(found.id, found.handle, found.did, "", 0)
        for i in range(count):
            await world.domain(member, f"d{i}.example", tier="bench")
    finally:
        await world.close()
    return [f"sender@d{i}.example" for i in range(count)]


async def counted(
    programs: Programs, sink: Sink, server: Posthouse, counter: Counter, url: str, work: Work
) -> dict[str, float]:
    """Each number for a message of `work`, what the relay does besides included."""
    login = await server.start()
    try:
        await tools.load(programs, login, Work("warm-up", 50))
        await sink.arrived(sink.messages + 1, seconds=2)
        await asyncio.sleep(1.0)
        before, trips, arrived = await numbers(url), counter.round_trips, sink.messages
        await tools.load(programs, login, work)
        await sink.arrived(arrived + work.messages, seconds=60)
        await asyncio.sleep(1.0)
        after = await numbers(url)
        said: dict[str, float] = {n: (after[n] - before[n]) / work.messages for n in after}
        return said | {"round trips": (counter.round_trips - trips) / work.messages}
    finally:
        await server.stop()


async def rate(sink: Sink, server: Posthouse, senders: Sequence[str], work: Work) -> tuple[float, float, float]:
    """(messages accepted a second, delivered a second, CPU seconds a message) from many domains."""
    login: Login = await server.start()
    try:
        await http.load(login, replace(work, messages=100), seconds=60, senders=senders)
        await asyncio.sleep(1.0)
        before, cpu = sink.messages, server.group.cpu()
        said: dict[str, Any] = await http.load(login, work, seconds=200, senders=senders)
        await sink.arrived(before + said["accepted"], seconds=100)
        await quiet(server.group)
        through = (sink.messages - before) / (sink.last_at - said["started"])
        return said["rate"], through, (server.group.cpu() - cpu) / work.messages
    finally:
        await server.stop()


async def run(a: argparse.Namespace) -> int:
    """Everything; 0."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posthouse-bench-")))
        programs = await tools.build(folder)
        known = await stack.enter_async_context(dns.names())
        sink = await stack.enter_async_context(tools.sink(programs))
        postgres = PostgresServer()
        stack.callback(postgres.stop)
        plain = await asyncio.to_thread(postgres.url)
        place = plain.partition("host=")[2]
        counter = await stack.enter_async_context(Counter(place, folder / "counted"))
        one = Posthouse(folder / "one", sink.port, known, postgres=_At(plain.replace(place, str(folder / "counted"))))
        stack.callback(one.group.remove)
        await one.set_up()
        for name, work in (
            ("low load", Work("low", a.low, connections=2, rate=_LOW)), ("full load", Work("full", a.messages)),
        ):
            found = await counted(programs, sink, one, counter, plain, work)
            said = ", ".join(f"{value:.1f} {what}" for what, value in sorted(found.items()))
            print(f"one process, {name}: a message takes {said}")
        shared = await asyncio.to_thread(postgres.url)
        db = await asyncpg.connect(shared)
        await db.execute(f"ALTER SYSTEM SET commit_delay = {int(a.commit_ms * 1000)}")
        await db.execute("ALTER SYSTEM SET commit_siblings = 0")
        await db.execute("SELECT pg_reload_conf()")
        await db.close()
        first = 0.0
        for n in a.processes:
            server = Posthouse(
                folder / f"p{n}", sink.port, known, processes=n, postgres=postgres, name=f"p{n}", http=True
            )
            stack.callback(server.group.remove)
            await server.set_up()
            senders = await domains(server, a.domains)
            many = Work("many", a.messages, connections=40, batch=1)
            accepted, through, cpu = await rate(sink, server, senders, many)
            first = first or through
            print(
                f"{n} process(es), {a.domains} domains, commits of {a.commit_ms:g} ms: {accepted:.0f} accepted, "
                f"{through:.0f} delivered a second, ×{through / first:.2f}, CPU {cpu * 1e3:.2f} ms a message"
            )
    return 0


class _At(PostgresServer):
    """A server whose one database is known already."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def url(self) -> str:
        """It."""
        return self._url


def main() -> int:
    """The command."""
    p = argparse.ArgumentParser(prog="python -m bench.machines", description=(__doc__ or "").partition("\n")[0])
    p.add_argument("--quick", action="store_true", help="few of each: under a minute")
    p.add_argument("--processes", type=lambda t: [int(n) for n in t.split(",")], default=[1, 4])
    p.add_argument("--messages", type=int, default=2000)
    p.add_argument("--domains", type=int, default=300)
    p.add_argument("--commit-ms", type=float, default=5.0, help="how long each commit of the server lasts")
    a = p.parse_args()
    a.low = 20 if a.quick else 100
    if a.quick:
        a.messages, a.domains, a.processes = 300, 50, [1, 2]
    return asyncio.run(run(a))


if __name__ == "__main__":
    sys.exit(main())
