"""The command: `python -m bench.run [--peer postfix] [--rounds 3] [--work sub-n,sub-1] [--json FILE]`.

Servers take turns within each round, so that a slow spell of the machine hits all alike. Exit 0 when everything
offered was accepted, arrived and carried good signatures; 1 when not, or when something is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import deferred, dns, postfix, report, signatures, tools
from bench.meter import calibrate
from bench.ours import Posthouse
from bench.postfix import Postfix
from bench.tools import BenchError, Programs, Sink, Work
from bench.work import Result, Server, measure
from tests.kit.storage import PostgresServer

# Messages are many enough for seconds of steady work, and few enough for a coffee.
WORKS = {
    "sub-n": Work("sub-n", 5000),
    "sub-1": Work("sub-1", 2000, per_connection=1),
    "sub-n-100k": Work("sub-n-100k", 500, size=102_400),
    "http": Work("http", 5000, batch=1),
    "http-batch": Work("http-batch", 5000, batch=100, connections=4),
    "multi50": Work("multi50", 150, recipients=50, header="X-Posthouse-Category: transactional"),
}
PEERS = {
    "postfix": {"tuned": False}, "postfix-tuned": {"tuned": True},
    "postfix-plain": {"tuned": False, "signs": False}, "postfix-plain-tuned": {"tuned": True, "signs": False},
}
WARM_UP = 200
BOTH, RSA, NONE = ["rsa-sha256", "ed25519-sha256"], ["rsa-sha256"], list[str]()


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, checked."""
    p = argparse.ArgumentParser(prog="python -m bench.run", description="Posthouse's own benchmark, on loopback.")
    p.add_argument("--peer", type=_list, default=[], help=f"beside it: {', '.join(PEERS)} (comma-separated)")
    p.add_argument("--rounds", type=int, default=3, help="rounds of every server and work (1 to 50)")
    p.add_argument("--work", type=_list, default=["sub-n", "sub-1"], help=f"of {', '.join(WORKS)}")
    p.add_argument("--processes", type=_list, default=["1"], help="of Posthouse: 1, 2, or 1,2 for both")
    p.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite", help="Posthouse's database")
    p.add_argument("--messages", type=int, help="messages a piece of work (100 to 1000000)")
    p.add_argument("--quick", action="store_true", help="one round of few messages: does it run at all?")
    p.add_argument("--deferred", type=int, metavar="N", help="instead: accept rate with N deferred recipients queued")
    p.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    a = p.parse_args(given)
    if a.quick:
        a.rounds, a.messages = 1, a.messages or 400
    if unknown := {*a.work} - {*WORKS} | {*a.peer} - {*PEERS}:
        p.error(f"unknown: {', '.join(sorted(unknown))}")
    if any(not n.isdigit() or not 1 <= int(n) <= 16 for n in a.processes):
        p.error("--processes: 1 to 16")
    if not 1 <= a.rounds <= 50 or (a.messages is not None and not 100 <= a.messages <= 1_000_000):
        p.error("--rounds or --messages is out of bounds")
    if a.deferred is not None and not 100 <= a.deferred <= 1_000_000:
        p.error("--deferred: 100 to 1000000")
    return a


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


async def main(a: argparse.Namespace) -> int:
    """Do what the options ask."""
    if a.peer and (lines := postfix.missing()):
        raise BenchError("the peer can't run here: " + "; ".join(lines))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posthouse-bench-")))
        programs = await tools.build(folder)
        names = await stack.enter_async_context(dns.names())
        sink = await stack.enter_async_context(tools.sink(programs))
        if a.deferred is not None:
            return await deferred.run(
                programs, sink, names, folder, count=a.deferred, rounds=a.rounds, messages=a.messages or 3000,
                json=a.json,
            )
        postgres = PostgresServer() if a.engine == "postgresql" else None
        if postgres:
            stack.callback(postgres.stop)
        servers: list[Posthouse | Postfix] = [
            Posthouse(
                folder / f"posthouse-{n}", sink.port, names, processes=int(n), postgres=postgres,
                name=f"posthouse{f'-{n}' if n != '1' else ''}",
            )
            for n in a.processes
        ]
        if a.peer and any(WORKS[w].batch for w in a.work):
            raise BenchError("the peers have no HTTP side: measure http and http-batch by themselves")
        servers += [Postfix(folder / name, sink.port, **PEERS[name]) for name in a.peer]
        for server in servers:
            stack.callback(server.group.remove)
            _say(f"setting up {server.name}")
            await server.set_up()
        works = [replace(WORKS[w], messages=a.messages or WORKS[w].messages) for w in a.work]
        rounds: dict[tuple[str, str], list[Result]] = {(w.name, s.name): [] for w in works for s in servers}
        signed: dict[str, dict[str, int]] = {}
        for number in range(a.rounds):
            for work in works:
                for server in servers:
                    result, found = await once(programs, sink, server, work)
                    rounds[work.name, server.name].append(result)
                    signed[server.name] = found
                    _say(f"round {number + 1}  {work.name:12}{server.name:15}{result.accept_rate:7.0f}/s "
                         f"{result.cpu_ms:6.2f} ms  p99 {result.p99_ms:6.0f} ms  {result.fault}")
        about: dict[str, Any] = {
            "versions": {s.name: s.version for s in servers}, "cpu_from": servers[0].group.how,
            "signatures": signed, "speed_at_end": round(calibrate(), 1),
        }
        ours = [s.name for s in servers if isinstance(s, Posthouse)]
        data = report.summary(rounds, about, ours, a.peer)
    sys.stdout.write(report.table(data) + "\n")
    for name, found in signed.items():
        sys.stdout.write(f"{name}: signatures of {found.pop('messages')} messages at the sink: {found}, all good\n")
    if a.json:
        report.write(data, a.json)
    return 1 if any(r.lost for results in rounds.values() for r in results) else 0


async def once(programs: Programs, sink: Sink, server: Server, work: Work) -> tuple[Result, dict[str, int]]:
    """Start a server, warm it up, measure one piece of work, look at the signatures, stop it."""
    try:
        login = await server.start()
        await measure(programs, sink, server, login, replace(work, messages=min(WARM_UP, work.messages)))
        sink.samples()
        result = await measure(programs, sink, server, login, work)
        wanted = BOTH if not isinstance(server, Postfix) else RSA if server.signs else NONE
        return result, signatures.check(sink.samples(), server.keys(), wanted)
    finally:
        await server.stop()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def command() -> int:
    """`main` with signals that end it in order, and mistakes as lines."""

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await main(a)

    a = arguments()
    try:
        return asyncio.run(run())
    except BenchError as e:
        sys.stderr.write(f"bench: {e}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("bench: stopped\n")
        return 1


if __name__ == "__main__":
    sys.exit(command())
