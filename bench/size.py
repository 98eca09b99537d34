"""A full house: a long queue, log and suppression list, many domains. What each costs at the start and after.

    .venv/bin/python -m bench.size [--engine sqlite|postgresql] [--waiting 1000000] [--finished 0]
                                   [--suppressed 1000000] [--domains 0] [--seconds 10] [--rate 100]

The tables are filled by SQL, through the relay's own storage. Then: how long a claim takes and how long the list of the
queue, the relay's start and its stop, what it keeps in memory, how soon the 250 comes at a steady rate, and how soon an
answer about the log. An empty relay does the same before. With `--domains`, one is enrolled each second meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import urllib.request
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from sqlalchemy import text

from bench import dns, meter, tools
from bench.machines import domains as enroll
from bench.ours import DOMAIN, HANDLE, Posthouse
from bench.tools import Login, Programs, Work
from relay.base.config import load as load_config
from relay.base.storage import Storage, Tx, mail
from tests.kit.storage import PostgresServer

_SLICE = 50_000
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT CAST(:low AS integer) UNION ALL SELECT i + 1 FROM n WHERE i < :high)"
_MESSAGES = f"""
INSERT INTO messages (queue_id, member_id, door, mail_from, header_from, subject, header_id, category, size, smtputf8,
                      return_path, received_at, finished_at, domain_id, key_id)
{_NUMBERS}
SELECT :name || i, d.member_id, 'smtp', 'sender@{DOMAIN}', '', '', '', 'bulk', 4096, false, '', :now - 100,
       CAST(:finished_at AS double precision), d.id, 1
FROM n, (SELECT id, member_id FROM domains LIMIT 1) d
"""
_RECIPIENTS = """
INSERT INTO recipients (message_id, member_id, domain_id, address, destination, state, next_at, expires_at, settled_at)
SELECT id, member_id, domain_id, 'user' || id || '@later' || id % 10000 || '.test', 'later' || id % 10000 || '.test',
       :state, :next_at, :now + 400000, finished_at
FROM messages WHERE id > :after
"""
_SUPPRESSED = f"""
INSERT INTO suppressions (member_id, canonical, original, reason, created_at)
{_NUMBERS}
SELECT d.member_id, 'no' || i || '@never.test', 'no' || i || '@never.test', 'import', :now
FROM n, (SELECT member_id FROM domains LIMIT 1) d
"""


class _Undo(Exception):
    """So that a trial leaves nothing."""


async def fill(storage: Storage, a: argparse.Namespace) -> None:
    """Write what was asked for, in slices."""
    now = time.time()
    for name, count, at, state in (("d", a.finished, now - 50, "sent"), ("w", a.waiting, None, "deferred")):
        for low in range(1, count + 1, _SLICE):
            high = min(low + _SLICE - 1, count)

            async def do(tx: Tx, low: int = low, high: int = high, name: str = name, at: float | None = at,
                         state: str = state) -> None:  # fmt: skip
                after = await tx.scalar(text("SELECT coalesce(max(id), 0) FROM messages"))
                values = {"low": low, "high": high, "name": name, "now": now, "finished_at": at}
                await tx.execute(text(_MESSAGES), values)
                await tx.execute(
                    text(_RECIPIENTS), {"state": state, "next_at": now + 90_000, "now": now, "after": after}
                )

            await storage.write(do)
    for low in range(1, a.suppressed + 1, _SLICE):
        values = {"low": low, "high": min(low + _SLICE - 1, a.suppressed), "now": now}
        await storage.write(lambda tx, values=values: tx.execute(text(_SUPPRESSED), values))  # type: ignore[misc]


async def claims(storage: Storage) -> float:
    """Seconds of the quickest of five claims, when all that waits is due; nothing stays claimed."""
    best = float("inf")

    async def do(tx: Tx) -> None:
        nonlocal best
        now = time.time() + 100_000
        began = time.perf_counter()
        await mail.claim(tx, owner="bench", now=now, until=now + 60, limit=200, member_share=500, shares={})
        best = min(best, time.perf_counter() - began)
        raise _Undo

    for _ in range(5):
        with suppress(_Undo):
            await storage.write(do)
    return best


async def _add_domains(server: Posthouse, stop: asyncio.Event) -> None:
    """A domain a second."""
    number = 0
    while not stop.is_set():
        number += 1
        await server.ask("domain", "add", HANDLE, f"late{number}.example")
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)


async def observe(programs: Programs, server: Posthouse, a: argparse.Namespace) -> None:
    """Start, offer mail, ask about the log, stop; print."""
    began = time.monotonic()
    login: Login = await server.start()
    ready = time.monotonic() - began
    stop = asyncio.Event()
    adding = asyncio.create_task(_add_domains(server, stop)) if a.domains and not server.fresh else None
    try:
        work = Work("steady", int(a.rate * a.seconds), rate=a.rate, per_connection=1 if a.domains else 0)
        said = await tools.load(programs, login, work, seconds=a.seconds + 60)
        asked = time.monotonic()
        await asyncio.to_thread(_get, f"http://127.0.0.1:{login.http}/v1/messages?limit=50", login.password)
        page = time.monotonic() - asked
        asked = time.monotonic()
        await server.ask("queue", "list")
        listed = time.monotonic() - asked
        memory = meter.anonymous(server.pids[0])
    finally:
        stop.set()
        if adding is not None:
            await asyncio.gather(adding, return_exceptions=True)
        began = time.monotonic()
        await server.stop()
    print(
        f"{server.name:6} ready {ready:.1f} s, 250 p50 {said['p50_ms']:.1f} p99 {said['p99_ms']:.1f} max "
        f"{said['max_ms']:.1f} ms, opening p50 {said['open_p50_ms']:.1f} ms, page of the log {page * 1e3:.0f} ms, "
        f"queue list {listed:.1f} s, {memory:.0f} MiB, stop {time.monotonic() - began:.1f} s"
    )


def _get(url: str, key: str) -> bytes:
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        found: bytes = answer.read()
    return found


async def run(a: argparse.Namespace) -> int:
    """Everything; 0."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posthouse-bench-")))
        programs = await tools.build(folder)
        known = await stack.enter_async_context(dns.names())
        sink = await stack.enter_async_context(tools.sink(programs))
        postgres = PostgresServer() if a.engine == "postgresql" else None
        if postgres:
            stack.callback(postgres.stop)
        servers = [
            Posthouse(folder / name, sink.port, known, name=name, fresh=name == "empty", postgres=postgres)
            for name in ("empty", "full")
        ]
        for server in servers:
            stack.callback(server.group.remove)
            await server.set_up()
        full = servers[1]
        if a.domains:
            await enroll(full, a.domains)
        storage = await Storage.open(load_config(full.config))
        try:
            began = time.monotonic()
            await fill(storage, a)
            print(f"filled in {time.monotonic() - began:.0f} s; a claim of 200: {await claims(storage) * 1e3:.1f} ms")
        finally:
            await storage.close()
        for server in servers:
            await observe(programs, server, a)
    return 0


def main() -> int:
    """The command."""
    p = argparse.ArgumentParser(prog="python -m bench.size", description=(__doc__ or "").partition("\n")[0])
    p.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    p.add_argument("--waiting", type=int, default=1_000_000, help="recipients that wait for tomorrow")
    p.add_argument("--finished", type=int, default=0, help="finished messages in the log")
    p.add_argument("--suppressed", type=int, default=1_000_000, help="entries on the member's list")
    p.add_argument("--domains", type=int, default=0, help="verified domains of the member")
    p.add_argument("--seconds", type=float, default=10.0, help="of mail at a steady rate")
    p.add_argument("--rate", type=float, default=100.0, help="messages a second")
    return asyncio.run(run(p.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
