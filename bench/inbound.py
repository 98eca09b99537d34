"""Reports coming in beside submissions: `python -m bench.inbound [--seconds 60] [--reports 200] [--submissions 100]`.

The relay is held to one core. First it delivers messages to the sink, which records their return paths; then, at a
steady rate, reports about them (`returns`) are offered on port 25, each return path used once and oldest first, while
submissions are offered on 587. The recipients of those join the end of the line, as in life. What is late stays due:
a report's time runs from when it should have been offered, so a relay that falls behind can't hide it.

Exit 0 when both rates were reached, nothing was refused, every report did what it must, and memory stayed flat.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sqlite3
import ssl
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import dns, meter, profile, returns, tools
from bench.ours import COMMAND, Posthouse
from bench.tools import BenchError, Programs, Sink, Work, load
from bench.work import quiet

# Messages of one connection, in turn: most hosts bring one report, large ones many.
LENGTHS = (1, 1, 2, 1, 5, 1, 20)
REACHED = 0.98
_WORKERS = 64
_PAST = "past.test"  # where the messages of the preparation go: nobody writes to a recipient twice
_STARVED_SECONDS = 10.0
_IO_SECONDS = 60.0
_POINTS = 10
_AHEAD_SECONDS = 10  # so much more than the submissions can make up for is delivered before
_GROWTH, _GROWTH_MB = 1.05, 4.0


@dataclass
class Offering:
    """Reports offered at a steady rate to port 25; what became of them."""

    port: int
    rate: float
    total: int
    tls: float
    envelopes: Path
    took: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    started: float = 0.0
    ended: float = 0.0
    _next: int = 0
    _read: int = 0
    _waiting: deque[tuple[str, str]] = field(default_factory=deque)

    async def run(self) -> None:
        """Offer all of them."""
        self.started = self.ended = time.monotonic()
        context = ssl.create_default_context()
        # Whether a certificate is to be believed is not what is measured here.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(self._worker(context))

    async def _worker(self, context: ssl.SSLContext) -> None:
        while self._next < self.total:
            count = self.connections = self.connections + 1
            length = LENGTHS[count % len(LENGTHS)]
            secured = int(count * self.tls) > int((count - 1) * self.tls)
            try:
                await self._connection(length, context if secured else None)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as e:
                self.faults[type(e).__name__] += 1
            except BenchError as e:
                self.faults[str(e)[:100]] += 1

    async def _connection(self, length: int, context: ssl.SSLContext | None) -> None:
        due = await self._due()
        if due is None:
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(_IO_SECONDS):
                await _expect(reader, b"220")
                await _ask(reader, writer, b"EHLO mx.far.test\r\n")
                if context is not None:
                    await _ask(reader, writer, b"STARTTLS\r\n", b"220")
                    await writer.start_tls(context)
                    await _ask(reader, writer, b"EHLO mx.far.test\r\n")
            for left in reversed(range(length)):
                async with asyncio.timeout(_IO_SECONDS):
                    await self._report(*due, reader, writer)
                due = await self._due() if left else None
                if due is None:
                    break
            await _ask(reader, writer, b"QUIT\r\n", b"221")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _report(
        self, number: int, due: float, path: str, to: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        form = returns.form(number)
        sender = to if form is returns.HOLIDAY else "fbl@far.test" if form is returns.COMPLAINT else ""
        # RFC 2920 §3.1: MAIL, RCPT and DATA in one group.
        writer.write(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{path}>\r\nDATA\r\n".encode("ascii"))
        for code in (b"250", b"250", b"354"):
            await _expect(reader, code)
        writer.write(returns.stuffed(form, number, path, to))
        await _expect(reader, b"250")
        self.ended = time.monotonic()
        self.took.append(self.ended - due)
        self.changed[form.changes] += 1

    async def _due(self) -> tuple[int, float, str, str] | None:
        """Wait for the next report's time: its number, when it was due, return path, recipient. None: all done."""
        if self._next >= self.total:
            return None
        number, self._next = self._next, self._next + 1
        due = self.started + number / self.rate
        await asyncio.sleep(due - time.monotonic())
        patience = time.monotonic() + _STARVED_SECONDS
        while not self._waiting:
            self._refill()
            if time.monotonic() > patience:
                raise BenchError("no return path left: too few messages were delivered")
            if not self._waiting:
                await asyncio.sleep(0.05)
        path, to = self._waiting.popleft()
        return number, due, path, to

    def _refill(self) -> None:
        with self.envelopes.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode("ascii").splitlines():
            path, _, to = line.partition(" ")
            if path:
                self._waiting.append((path, to))


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: bytes, code: bytes = b"250"
) -> None:
    writer.write(command)
    await _expect(reader, code)


async def _expect(reader: asyncio.StreamReader, code: bytes) -> None:
    while True:
        line = await reader.readuntil(b"\n")
        if line[:3] != code:
            raise BenchError(line.decode("ascii", "replace").strip())
        if line[3:4] != b"-":
            return


@dataclass
class Watch:
    """Memory (MiB) and CPU (seconds) of the relay at so many points of a run."""

    group: meter.Group
    seconds: float
    memory: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Look, until cancelled."""
        start = time.monotonic()
        for point in range(1, _POINTS + 1):
            await asyncio.sleep(start + self.seconds * point / _POINTS - time.monotonic())
            self.memory.append(sum(meter.anonymous(pid) for pid in self.group.pids()))

    def flat(self) -> bool:
        """Whether the last third used no more than the middle: the first third fills caches."""
        third = len(self.memory) // 3
        middle, last = max(self.memory[third:-third]), max(self.memory[-third:])
        return last <= middle * _GROWTH + _GROWTH_MB


def one_core(command: Sequence[str]) -> list[str]:
    """`command` on the machine's last core, this program and its other children on the remaining ones."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:-1])
    start = f"import os, sys; os.sched_setaffinity(0, [{cores[-1]}]); os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", start, *command]


async def run(a: argparse.Namespace) -> int:
    """Prepare, offer, print."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posthouse-inbound-")))
        programs = await tools.build(folder)
        names = await stack.enter_async_context(dns.names())
        names.publish(_PAST, [(_PAST, "MX", "10 mx.sink.test")])
        sink = await stack.enter_async_context(tools.sink(programs, envelopes=True))
        target = folder / "profile"
        serve = [*COMMAND, "serve"]
        if a.profile:
            start = f"from bench.profile import inside; inside({str(target)!r})"
            serve = [sys.executable, "-c", start, "inside", str(folder / "relay" / "posthouse.toml")]
        relay = Posthouse(folder / "relay", sink.port, names, serve=one_core(serve))
        stack.callback(relay.group.remove)
        await relay.set_up()
        try:
            good, reports = await _measure(a, programs, sink, relay)
        finally:
            await relay.stop()
        good &= _applied(relay.database, reports)
        if a.profile:
            profile.print_all(profile.read(target), reports.total, a.top)
    return 0 if good else 1


async def _measure(a: argparse.Namespace, programs: Programs, sink: Sink, relay: Posthouse) -> tuple[bool, Offering]:
    login = await relay.start()
    total, mails = round(a.seconds * a.reports), round(a.seconds * a.submissions)
    # Enough that the oldest return path is some seconds old at any time, and none is missing at the end.
    before = max(total - mails, 0) + min(total, a.reports * _AHEAD_SECONDS)
    _say(f"delivering {before} messages to have their return paths")
    said = await load(programs, login, Work("before", before, to=_PAST), seconds=60 + before / 50)
    if not await sink.arrived(said["accepted"], seconds=60) or said["accepted"] < before:
        raise BenchError(f"only {said['accepted']} of {before} messages were accepted: {said['fault']}")
    await quiet(relay.group)
    reports = Offering(relay.inbound_port, a.reports, total, a.tls / 100, sink.envelopes)
    watch = Watch(relay.group, a.seconds)
    if a.profile:
        os.kill(relay.pids[0], signal.SIGUSR1)
    speed, stolen, cpu = meter.calibrate(), meter.stolen(), relay.group.cpu()
    offered: dict[str, Any] = {"accepted": 0, "refused": 0, "rate": 0.0, "p50_ms": 0.0, "p99_ms": 0.0, "fault": ""}
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch.run())
        beside = group.create_task(
            load(programs, login, Work("beside", mails, rate=a.submissions), seconds=a.seconds * 2 + 60)
        ) if mails else None
        await reports.run()
        offered = await beside if beside else offered
        busy = relay.group.cpu() - cpu
        lasted = time.monotonic() - reports.started
        await watching
    await quiet(relay.group)
    spent = relay.group.cpu() - cpu
    now = meter.calibrate() / speed
    _say(f"machine: {now:.0%} of its speed before; {meter.stolen() - stolen:.1f} s taken by its host")
    return _judge(a, reports, offered, watch, busy / lasted, spent), reports


def _judge(
    a: argparse.Namespace, reports: Offering, offered: dict[str, Any], watch: Watch, share: float, spent: float
) -> bool:
    took = sorted(reports.took)
    lasted = reports.ended - reports.started
    rate = len(took) / lasted if lasted else 0.0
    out = sys.stdout.write
    out(f"reports:     {rate:6.1f}/s of {a.reports:g} asked, {len(took)} of {reports.total} taken on "
        f"{reports.connections} connections, p50 {_share(took, 0.5):.0f} ms, p99 {_share(took, 0.99):.0f} ms\n")
    out(f"submissions: {offered['rate']:6.1f}/s of {a.submissions:g} asked, {offered['accepted']} accepted, "
        f"p50 {offered['p50_ms']:.0f} ms, p99 {offered['p99_ms']:.0f} ms\n")
    out(f"CPU:         {share:.0%} of one core; {spent:.1f} s in all"
        + ("" if a.submissions else f", {spent / max(len(took), 1) * 1e3:.2f} ms a report") + "\n")
    out(f"memory, MiB: {' '.join(f'{m:.0f}' for m in watch.memory)}\n")
    wrong = [f"{n} × {text}" for text, n in reports.faults.most_common(5)]
    if rate < a.reports * REACHED or len(took) < reports.total:
        wrong.append("reports: the asked rate was not reached")
    if a.submissions and (offered["rate"] < a.submissions * REACHED or offered["refused"]):
        wrong.append(f"submissions: the asked rate was not reached, or some were refused {offered['fault']}")
    if not watch.flat():
        wrong.append("memory grew")
    for line in wrong:
        out(f"FAILS: {line}\n")
    return not wrong


def _applied(database: Path, reports: Offering) -> bool:
    """Whether the relay's tables say of the recipients what the reports said. The relay has ended."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as tables:
        # What was put off at the first try is another matter.
        found = dict(tables.execute(
            "SELECT type, count(*) FROM events WHERE type = 'complained' OR json_extract(data, '$.late') GROUP BY type"
        ).fetchall())
    wanted = {kind: n for kind, n in reports.changed.items() if kind}
    said = {kind: found.get(kind, 0) for kind in wanted}
    sys.stdout.write(f"applied:     {', '.join(f'{n} {kind}' for kind, n in sorted(said.items()))}\n")
    if said != wanted:
        sys.stdout.write(f"FAILS: the reports said {wanted}\n")
    return said == wanted


def _share(ordered: list[float], part: float) -> float:
    return ordered[int(part * (len(ordered) - 1))] * 1e3 if ordered else 0.0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def command() -> int:
    """The options, and mistakes as lines."""
    p = argparse.ArgumentParser(prog="python -m bench.inbound", description="Reports coming in beside submissions.")
    p.add_argument("--seconds", type=float, default=60, help="how long (5 to 3600)")
    p.add_argument("--reports", type=float, default=200, help="reports a second (1 to 5000)")
    p.add_argument("--submissions", type=float, default=100, help="submissions a second beside them (0 to 5000)")
    p.add_argument("--tls", type=float, default=0, help="connections of every hundred on port 25 that use STARTTLS")
    p.add_argument("--profile", action="store_true", help="also: where the time goes (the figures are then no measure)")
    p.add_argument("--top", type=int, default=30, help="functions in that list")
    a = p.parse_args()
    if not (5 <= a.seconds <= 3600 and 1 <= a.reports <= 5000 and 0 <= a.submissions <= 5000 and 0 <= a.tls <= 100):
        p.error("a number is out of bounds")
    try:
        return asyncio.run(run(a))
    except BenchError as e:
        _say(f"bench: {e}")
        return 1
    except KeyboardInterrupt:
        _say("bench: stopped")
        return 1


if __name__ == "__main__":
    sys.exit(command())
