"""kill -9 at every storage call, one after the other: start, take mail by SMTP and HTTP, deliver, die at call N.

    python -m bench.crash [--engine sqlite|postgresql] [--moment before|after|both] [--every K] [--from N] [--to N]
                          [--messages M] [--jobs J]

Each run: a fresh database, a relay killed by `crash_at.c` at its N-th storage call, then a second relay on what is
left. It must find a sound database, deliver every acknowledged message, and deliver twice at most what was under way,
byte for byte the same. What came by SMTP and was not acknowledged, its clients send again (the relay may have died
between the commit and its 250): that may not be taken twice. N goes from 1 until a relay lives through all its work.
Bounded: loopback only, `--messages` a run, and a run that hangs is a fault. Exit 0 when nothing was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit.served import Served, Town
from tests.kit.storage import PostgresServer

HERE = Path(__file__).parent
LANES = 20  # of one destination: each has one message under way and one being written down
RUN_SECONDS = 120.0


@dataclass
class Tally:
    """What all runs saw."""

    runs: int = 0
    killed: int = 0
    acked: int = 0
    under_way: int = 0
    twice: int = 0
    again: int = 0
    faults: list[str] = field(default_factory=list)


async def one(
    shim: Path, number: int, moment: str, messages: int, tally: Tally, postgres: PostgresServer | None,
    making: asyncio.Lock,
) -> bool:
    """One run; True if the relay was killed."""
    folder = Path(tempfile.mkdtemp(prefix="ph-crash-"))
    where = f"{moment} call {number}"
    try:
        async with asyncio.timeout(RUN_SECONDS):
            url = await asyncio.to_thread(postgres.url) if postgres else "sqlite:///posthouse.db"
            async with contextlib.AsyncExitStack() as stack:
                async with making:  # migrations of one process take turns
                    town = await stack.enter_async_context(Town.made(folder, url))
                tried: list[str] = []
                killed, acked = await _until_killed(town, shim, number, moment, messages, tried)
                tally.runs += 1
                tally.killed += killed
                tally.acked += len(acked)
                tally.faults += [f"{where}: {fault}" for fault in await _aftermath(town, acked, tried, folder, tally)]
                return killed
    except Exception as e:
        tally.faults.append(f"{where}: {type(e).__name__}: {e}")
        return True
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _until_killed(
    town: Town, shim: Path, number: int, moment: str, messages: int, tried: list[str]
) -> tuple[bool, list[str]]:
    acked: list[str] = []
    names = [f"u{i}" for i in range(messages)]
    process: Served | None = None
    # A relay killed before it is ready has acknowledged nothing.
    with contextlib.suppress(AssertionError):
        preload = {"LD_PRELOAD": str(shim), "CRASH_AT": str(number), "CRASH_WHEN": moment}
        async with town.serve(preload=preload) as node:
            process = node
            await town.flood([node], names, connections=4, http_every=4, acked=acked, tried=tried)
            while node.process.returncode is None and not set(acked) <= set(town.arrived()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if node.process.returncode is None:
                await node.stop()
    return process is None or process.process.returncode == -9, acked


async def _aftermath(town: Town, acked: list[str], tried: list[str], folder: Path, tally: Tally) -> list[str]:
    faults = []
    before = set(town.arrived())
    settled = {name for name, state in (await town.states()).items() if state == "sent"}
    if settled - before:
        faults.append(f"sent in the tables, never seen: {sorted(settled - before)}")
    under_way = before - settled
    tally.under_way += len(under_way)
    if len(under_way) > 2 * LANES:
        faults.append(f"{len(under_way)} deliveries under way")
    async with town.serve() as node:
        again = [name for name in tried if name not in acked]
        tally.again += len(again)
        await town.flood([node], again, acked=acked)
        try:
            await town.all_arrived(acked, 30.0)
        except TimeoutError:
            faults.append(f"LOST: {sorted(set(acked) - set(town.arrived()))}")
        if await node.stop() != 0:
            faults.append("the second relay did not end well")
        faults += [f"the second relay said: {line}" for line in node.events("error", "critical")]
    faults += [f"taken twice: {name}" for name in await town.taken_twice()]
    twice = {name for name, n in town.arrived().items() if n > 1}
    tally.twice += len(twice)
    if twice - under_way:
        faults.append(f"twice without need: {sorted(twice - under_way)}")
    faults += [f"copies of {name} differ" for name, same in town.copies().items() if len(same) > 1]
    if (folder / "posthouse.db").exists():
        with contextlib.closing(sqlite3.connect(folder / "posthouse.db")) as db:
            if db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                faults.append("the database is damaged")
    return faults


def build(folder: Path) -> Path:
    """The shim, compiled."""
    made = folder / "crash_at.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(HERE / "crash_at.c"), "-ldl"], check=True
    )
    return made


async def sweep(wanted: Any) -> Tally:
    """Every N, until a relay lives."""
    tally = Tally()
    moments = ["before", "after"] if wanted.moment == "both" else [wanted.moment]
    postgres = PostgresServer() if wanted.engine == "postgresql" else None
    folder = Path(tempfile.mkdtemp(prefix="ph-crash-shim-"))
    try:
        shim = build(folder)
        if postgres:
            await asyncio.to_thread(postgres.url)
        numbers = iter(range(wanted.first, wanted.to + 1, wanted.every))
        alive = asyncio.Event()
        making = asyncio.Lock()

        async def work() -> None:
            for number in numbers:
                if alive.is_set():
                    return
                for moment in moments:
                    seen = len(tally.faults)
                    if not await one(shim, number, moment, wanted.messages, tally, postgres, making):
                        alive.set()
                        return
                    sys.stderr.write("".join(f"\n{fault}\n" for fault in tally.faults[seen:]))
                sys.stderr.write(
                    f"\rcall {number}: {tally.runs} runs, {tally.acked} acknowledged, {len(tally.faults)} faults  "
                )

        await asyncio.gather(*(work() for _ in range(wanted.jobs)))
    finally:
        if postgres:
            await asyncio.to_thread(postgres.stop)
        shutil.rmtree(folder, ignore_errors=True)
    return tally


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--moment", choices=["before", "after", "both"], default="both")
    parser.add_argument("--every", type=int, default=1, help="only each K-th call")
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--to", type=int, default=5000)
    parser.add_argument("--messages", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=2)
    wanted = parser.parse_args()
    since = time.monotonic()
    tally = asyncio.run(sweep(wanted))
    sys.stderr.write("\n")
    sys.stdout.write(
        f"{wanted.engine}: {tally.runs} runs in {time.monotonic() - since:.0f} s, killed in {tally.killed}; "
        f"{tally.acked} messages acknowledged, {tally.under_way} deliveries under way at a kill, "
        f"{tally.twice} made twice; {tally.again} handed in again; {len(tally.faults)} faults\n"
    )
    for fault in tally.faults:
        sys.stdout.write(f"  {fault}\n")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
