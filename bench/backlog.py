"""Do a full log and a full queue slow acceptance down, and how fast does a backlog leave?

    .venv/bin/python -m bench.backlog [--finished 1000000] [--waiting 0] [--seconds 20] [--rate 100] [--drain 150]
                                      [--stalls]

An empty relay and one that was filled by SQL take turns at the same steady rate, so that what the machine does besides
hits both: the full one's 250 should come as soon. Its clean-up runs meanwhile, and its stop is timed. Then messages of
fifty recipients: how many recipients a second reach the sink, for each one that was accepted a second. SQLite.

`--stalls` also says which callbacks kept the event loop longest, by their CPU time, which other load on the machine
doesn't lengthen.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from bench import stalls
from bench.dns import names
from bench.ours import Posthouse
from bench.tools import Programs, Sink, Work, build, load, sink
from bench.work import quiet

_MESSAGES = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO messages (queue_id, member_id, door, mail_from, header_from, subject, header_id, category, size, smtputf8,
                      return_path, received_at, finished_at, domain_id, key_id)
SELECT :name || i, member_id, 'smtp', 'sender@example.test', '', '', '', 'bulk', 4096, false, '', :now - 100,
       :finished_at, d.id, 1
FROM n, (SELECT id, member_id FROM domains LIMIT 1) d
"""
_RECIPIENTS = """
INSERT INTO recipients (message_id, member_id, domain_id, address, destination, state, next_at, expires_at, settled_at)
SELECT id, member_id, domain_id, 'user' || id || '@later' || id % 1000 || '.test', 'later' || id % 1000 || '.test',
       :state, :next_at, :now + 400000, finished_at
FROM messages WHERE queue_id LIKE :name || '%'
"""


def fill(database: Path, finished: int, waiting: int) -> None:
    """Write so many finished messages, and so many that wait for tomorrow."""
    now = time.time()
    with sqlite3.connect(database) as db:
        for name, count, at, state in (("done", finished, now - 50, "sent"), ("wait", waiting, None, "deferred")):
            if count:
                db.execute(_MESSAGES, {"count": count, "name": name, "now": now, "finished_at": at})
                db.execute(_RECIPIENTS, {"name": name, "state": state, "next_at": now + 90_000, "now": now})
    db.close()


async def door(programs: Programs, server: Posthouse, rate: float, seconds: float) -> None:
    """Offer mail at a steady rate, then stop."""
    began = time.monotonic()
    login = await server.start()
    ready = time.monotonic() - began
    try:
        if server.stalls is not None:
            os.kill(server.pids[0], signal.SIGUSR1)
        work = Work("steady", int(rate * seconds), rate=rate, per_connection=0)
        said = await load(programs, login, work, seconds=seconds + 60)
    finally:
        began = time.monotonic()
        await server.stop()
    print(
        f"{server.name:6} {said['rate']:6.0f} a second   p50 {said['p50_ms']:6.1f}   p99 {said['p99_ms']:6.1f}   "
        f"max {said['max_ms']:6.1f} ms   ready after {ready:.1f} s, stopped after {time.monotonic() - began:.1f} s"
    )
    if server.stalls is not None:
        for cpu, wall, what in stalls.read(server.stalls)[:8]:
            print(f"       {cpu * 1e3:6.1f} ms of CPU ({wall * 1e3:6.1f} ms passed)  {what}")


async def drain(programs: Programs, target: Sink, server: Posthouse, messages: int) -> None:
    """Messages of fifty recipients, as fast as they are taken."""
    login = await server.start()
    try:
        before, cpu = target.messages, server.group.cpu()
        header = "X-Posthouse-Category: transactional"
        said = await load(programs, login, Work("multi50", messages, recipients=50, header=header), seconds=120)
        wanted = said["accepted"] * 50
        await target.arrived(before + wanted, seconds=120)
        took = target.last_at - said["started"]
        await quiet(server.group)
        cpu = server.group.cpu() - cpu
    finally:
        await server.stop()
    accepted = said["rate"] * 50
    through = (target.messages - before) / took
    print(
        f"{server.name:6} {accepted:6.0f} recipients accepted a second, {through:6.0f} delivered: "
        f"{through / accepted:.2f}, CPU {cpu / max(wanted, 1) * 1e3:.2f} ms a recipient"
    )


async def run(asked: argparse.Namespace) -> int:
    """Everything; 0."""
    with tempfile.TemporaryDirectory(prefix="posthouse-bench-") as made:
        folder = Path(made)
        programs = await build(folder)
        async with names() as known, sink(programs) as target:
            empty = Posthouse(folder / "empty", target.port, known, name="empty", stalls=asked.stalls)
            full = Posthouse(folder / "full", target.port, known, name="full", fresh=False, stalls=asked.stalls)
            try:
                for server in (empty, full):
                    await server.set_up()
                await asyncio.to_thread(fill, full.database, asked.finished, asked.waiting)
                for _ in range(asked.rounds):
                    for server in (empty, full):
                        await door(programs, server, asked.rate, asked.seconds)
                if asked.drain:
                    await drain(programs, target, empty, asked.drain)
            finally:
                empty.group.remove()
                full.group.remove()
    return 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--finished", type=int, default=1_000_000, help="finished messages in the log")
    parser.add_argument("--waiting", type=int, default=0, help="recipients that wait for tomorrow")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--drain", type=int, default=150, help="messages of fifty recipients; 0: none")
    parser.add_argument("--stalls", action="store_true", help="say what kept the event loop longest")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
