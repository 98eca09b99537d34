"""Does a provider that asks for less mail get less, from every process, and does nobody else's mail wait for it?

    python -m bench.sites [--quick] [--engine sqlite|postgresql|both] [--processes 1,4]

One world for each engine and number of processes, all on loopback. At the same time, with 150 recipients at 150
domains each: a provider that answers 421 to everything (cold); one that took mail until just now (warm); a stranger
whose MX set names a large provider's hosts beside its own, which answer 421, and that provider's own customers. Where
there are several processes, one's clock runs 5 s ahead and one's 5 s behind; afterwards the process that holds the
lanes of a slowed provider is killed. Exit 0 when

- cold, at most 5 further MAILs come in the 10 s after the first sign, and not one from a sign repeated at once;
- warm, at most as many as conversations were open at that moment;
- the stranger pauses itself alone: all mail to the large provider's own customers arrives meanwhile;
- after the kill the others' mail goes on within the lease of a share.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from relay.base.storage import Storage, sites
from tests.kit.dns import make_zone
from tests.kit.served import Served, Town, log_in
from tests.kit.sink import Sink
from tests.kit.smtp import Talk
from tests.kit.storage import PostgresServer
from tests.kit.world import letter

DOMAINS = 150
TOO_MUCH = "421 4.7.28 an unusual rate of mail from your IP address, try again later"
_TOGETHER = 50  # recipients of one message
_WINDOW = 10.0
_LEASE = 10.0
_AHEAD = """import os, time
_real, _by = time.time, float(os.environ.get("BENCH_CLOCK_AHEAD", "0"))
time.time = lambda: _real() + _by
"""


class Provider:
    """An exchanger with customers. It notes when it was asked (MAIL), and what was open then."""

    def __init__(self, name: str, host: str, exchangers: Sequence[str] = ()) -> None:
        self.name = name
        self.sink = Sink(host=host)
        self.exchangers = list(exchangers) or [f"mx1.{name}", f"mx2.{name}"]
        self.mails: list[float] = []
        self.open_at_first = 0
        self.asked = asyncio.Event()
        self.refuses = False
        self.sink.on("MAIL", self._mail)

    def _mail(self, _: bytes) -> str:
        if not self.refuses:
            return "250 2.1.0 ok"
        if not self.mails:
            self.open_at_first = self.sink.open_now
        self.mails.append(time.monotonic())
        self.asked.set()
        return TOO_MUCH

    @property
    def further(self) -> int:
        """MAILs within the window after the first sign."""
        return sum(at - self.mails[0] <= _WINDOW for at in self.mails[1:]) if self.mails else 0

    def customers(self, n: int = DOMAINS) -> list[str]:
        """The domains whose exchangers it is."""
        return [f"{self.name.partition('.')[0]}{i}.test" for i in range(n)]

    def publish(self, town: Town, n: int = DOMAINS) -> None:
        """Its own zone, and its customers'."""
        for exchanger in self.exchangers:
            town.dns.zones.put(make_zone(exchanger, [("@", "A", self.sink.host)]))
        for domain in self.customers(n):
            mx = [("@", "MX", f"{10 * (i // 2 + 1)} {e}.") for i, e in enumerate(self.exchangers)]
            town.dns.zones.put(make_zone(domain, mx))


class Stage:
    """One world with its processes."""

    def __init__(self, title: str, town: Town, nodes: list[Served]) -> None:
        self.title, self.town, self.nodes = title, town, nodes
        self.faults: list[str] = []
        self.figures: dict[str, Any] = {}

    async def submit(self, addresses: Sequence[str]) -> None:
        """Messages to them, spread over all processes, each to some at once."""

        async def one(node: Served, mine: Sequence[str]) -> None:
            async with await Talk.to(node.port) as talk:
                await log_in(talk, self.town.alice.handle, self.town.keys[0])
                for at in range(0, len(mine), _TOGETHER):
                    some = mine[at : at + _TOGETHER]
                    lines = ["MAIL FROM:<news@example.test>", *(f"RCPT TO:<{a}>" for a in some), "DATA", ""]
                    await talk.send("\r\n".join(lines).encode())
                    said = [await talk.reply() for _ in range(len(some) + 2)]
                    assert said[-1][:3] == "354", said
                    await talk.send(letter() + b".\r\n")
                    assert (await talk.reply())[:3] == "250"

        n = len(self.nodes)
        await asyncio.gather(*(one(node, addresses[i::n]) for i, node in enumerate(self.nodes) if addresses[i::n]))

    def expect(self, good: bool, fault: str) -> None:
        """Note a fault."""
        if not good:
            self.faults.append(fault)

    async def rows(self) -> dict[str, sites.Site]:
        """What the relay has learnt of sites."""
        storage = await Storage.open(self.town.config)
        try:
            async with storage.read() as tx:
                return {s.name: s for s in await sites.listing(tx, 1000)}
        finally:
            await storage.close()


async def measure(stage: Stage, cold: Provider, warm: Provider, google: Provider, evil: Provider) -> None:
    """The window of ten seconds, all four side by side."""
    await stage.submit([f"w{i}@{d}" for i, d in enumerate(warm.customers(60))])
    await warm.sink.wait_for(60, 60.0)
    cold.refuses = warm.refuses = evil.refuses = True
    await asyncio.gather(
        stage.submit([f"r@{d}" for d in cold.customers()]), stage.submit([f"r@{d}" for d in warm.customers()]),
        stage.submit([f"r@{d}" for d in evil.customers(30)]), stage.submit([f"r@{d}" for d in google.customers()]),
    )
    since = time.monotonic()
    stranger = {f"r@{d}" for d in evil.customers(30)}

    def customers_served() -> int:
        return sum(t.rcpt_tos[0] not in stranger for t in google.sink.messages)

    async with asyncio.timeout(120):
        while customers_served() < len(google.customers()):
            await google.sink.wait_for(len(google.sink.messages) + 1, 60.0)
    stage.figures["stranger: customers' own mail is there after, seconds"] = round(time.monotonic() - since, 1)
    first = max((p.mails[0] for p in (cold, warm) if p.mails), default=time.monotonic())
    await asyncio.sleep(max(0.0, first + _WINDOW + 0.2 - time.monotonic()))
    stage.figures["cold: further MAILs in 10 s"] = cold.further
    stage.figures["warm: further MAILs in 10 s"] = warm.further
    stage.figures["warm: conversations open at the first sign"] = warm.open_at_first
    stage.expect(bool(cold.mails) and cold.further <= 5, f"cold: {cold.further} further MAILs, not at most 5")
    stage.expect(
        bool(warm.mails) and warm.further <= warm.open_at_first,
        f"warm: {warm.further} further MAILs with {warm.open_at_first} conversations open",
    )
    found = await stage.rows()
    stage.expect("google" not in found, "the stranger has paused google")
    stage.expect(any("evil" in name for name in found), "the stranger was not paused")
    stage.expect(
        not {t.rcpt_tos[0] for t in cold.sink.messages}, "the cold provider has mail that it never took"
    )


async def kill(stage: Stage, slowed: Provider) -> None:
    """A provider that asked for less once, and takes mail again: whoever holds its lanes dies."""
    slowed.refuses = True
    await stage.submit([f"k@{slowed.customers()[0]}"])
    await asyncio.wait_for(slowed.asked.wait(), 30)
    slowed.refuses = False
    await stage.submit([f"k{i}@{d}" for i, d in enumerate(slowed.customers(60))])
    storage = await Storage.open(stage.town.config)
    try:
        holder = None
        async with asyncio.timeout(60):
            while holder is None:
                async with storage.read() as tx:
                    held = [s for s in await sites.shares(tx, time.time(), 1000) if s.lanes and "slowed" in s.site]
                holder = held[0].owner if held else None
                await asyncio.sleep(0.05)
    finally:
        await storage.close()
    victim = next(n for n in stage.nodes if str(n.pid) == holder.split("/")[1])
    await victim.kill()
    stage.nodes.remove(victim)
    before, since = len(slowed.sink.messages), time.monotonic()
    await stage.submit([f"l{i}@{d}" for i, d in enumerate(slowed.customers(60))])
    await slowed.sink.wait_for(before + 3, 60.0)
    took = time.monotonic() - since
    stage.figures["kill -9 of the holder: mail goes on after, seconds"] = round(took, 1)
    stage.expect(took <= _LEASE + 2.0, f"after the kill nothing went for {took:.1f} s")


async def play(engine: str, processes: int, url: str, folder: Path, net: int) -> Stage:
    """One engine, so many processes; `net`: the third octet of its exchangers' addresses."""
    (folder / "sitecustomize.py").write_text(_AHEAD, encoding="ascii")
    async with AsyncExitStack() as stack:
        main = Sink(host=f"127.0.{net}.1")
        town = await stack.enter_async_context(Town.made(folder, url, sink=main))
        named = ((2, "cold"), (3, "warm"), (4, "slowed"))
        cold, warm, slowed = (Provider(f"{name}.test", f"127.0.{net}.{i}") for i, name in named)
        google = Provider("customer.test", f"127.0.{net}.5", ["aspmx.l.google.com", "alt1.aspmx.l.google.com"])
        evil = Provider("evil.test", f"127.0.{net}.6", ["mx.evil.test", "aspmx.l.google.com", "mx2.evil.test"])
        for provider in (cold, warm, slowed, google, evil):
            provider.sink.port = main.port
            await stack.enter_async_context(provider.sink)
        for provider in (cold, warm, slowed, evil):
            provider.publish(town)
        google.publish(town)  # last: aspmx is where Google is, whatever the stranger says
        clocks = [0.0, 5.0, -5.0, 0.0] if processes > 1 else [0.0]
        nodes = [
            await stack.enter_async_context(
                town.serve(
                    preload={"PYTHONPATH": str(folder), "BENCH_CLOCK_AHEAD": str(by)} if by else None,
                    DELIVERY__SCHEDULE_SECONDS="[20.0]",
                )
            )
            for by in (clocks * processes)[:processes]
        ]
        stage = Stage(f"{engine}, {processes} process{'es' if processes > 1 else ''}", town, nodes)
        await measure(stage, cold, warm, google, evil)
        if processes > 1:
            await kill(stage, slowed)
        for node in nodes:
            errors = [line for line in node.events("error", "critical") if line["event"] != "incident.opened"]
            stage.expect(not errors, f"logged: {errors[:2]}")
        return stage


async def all_of(engines: Sequence[str], counts: Sequence[int], folder: Path, postgres: PostgresServer | None) -> bool:
    """Play them, side by side; returns whether all is well."""

    async def one(number: int, engine: str, processes: int) -> Stage:
        url = urls.get(number, "sqlite:///posthouse.db")
        mine = folder / str(number)
        mine.mkdir()
        return await play(engine, processes, url, mine, 10 + number)

    cases = [(e, n) for n in counts for e in engines]
    urls = {i: postgres.url() for i, (e, _) in enumerate(cases) if postgres and e == "postgresql"}
    good = True
    for stage in await asyncio.gather(*(one(i, e, n) for i, (e, n) in enumerate(cases))):
        sys.stdout.write(f"{stage.title}\n")
        for what, figure in stage.figures.items():
            sys.stdout.write(f"  {what:58} {figure}\n")
        for fault in stage.faults:
            sys.stdout.write(f"  FAULT {fault}\n")
        good = good and not stage.faults
    return good


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.sites", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--processes", default="1,4", help="how many, by commas")
    parser.add_argument("--quick", action="store_true", help="once; otherwise three times")
    wanted = parser.parse_args()
    engines = ["sqlite", "postgresql"] if wanted.engine == "both" else [wanted.engine]
    counts = [int(n) for n in wanted.processes.split(",")]
    good = True
    for _ in range(1 if wanted.quick else 3):
        postgres = PostgresServer() if "postgresql" in engines else None
        folder = Path(tempfile.mkdtemp(prefix="ph-sites-"))
        try:
            good = asyncio.run(all_of(engines, counts, folder, postgres)) and good
        finally:
            if postgres:
                postgres.stop()
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
