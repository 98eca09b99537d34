"""Posthouse under test: set up through its own command line, started as `posthouse serve`.

Everything that a member would do is done: a member is made, a domain enrolled, its records published in a zone,
the proof asked over DNS. All of the policy stays on: warming is counted in the accepting transaction, in a tier too
high to refuse, and standing judges by shares that nothing reaches. Each start begins from a copy of the folder as it
was after set-up, so no run sees another's queue.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.dns import Names
from bench.meter import Group
from bench.tools import BenchError, Login, call, listening
from tests.kit.ports import free_port
from tests.kit.storage import PostgresServer

COMMAND = [sys.executable, "-c", "from posthouse.cli import main; main()"]
DOMAIN, HANDLE = "example.test", "bench"
_STOP_SECONDS = 30.0

CONFIG = """roles = ["submission", "inbound", "http", "delivery", "recheck"]

[server]
hostname = "mx.relay.test"
public_url = "http://127.0.0.1:{http}"
data_dir = "{data}"
shutdown_seconds = 10.0

[submission]
listen = ["127.0.0.1:{submission}"]
listen_tls = []
max_connections_an_address = 1000
max_messages_a_connection = 1000000

[inbound]
listen = ["127.0.0.1:{inbound}"]
max_connections_an_address = 1000

[http]
listen = ["127.0.0.1:{http}"]
max_connections_an_address = 1000

[dns]
resolvers = ["127.0.0.1:{dns}"]
authoritative_port = {dns}

[enrollment]
verify_cache_seconds = 0.1

[delivery]
port = {sink}
allow_private_networks = true
ipv6 = false
schedule_seconds = [86400.0]
max_queued_a_member = 1000000

[standing]
bounce_share = 0.99
complaint_share = 0.99
notice_at = 1.0
slow_at = 1.0

[[warming.tiers]]
name = "bench"
until_day = 0
per_hour = 10000000
per_day = 100000000
"""


class Posthouse:
    """The relay in `folder`, `processes` of it, delivering to the sink at `sink_port`.

    `serve` is the command of one process without options, for a profiler around it. fresh False: a start goes on with
    the queue of the run before.
    """

    def __init__(
        self, folder: Path, sink_port: int, names: Names, *, processes: int = 1,
        serve: Sequence[str] = (), fresh: bool = True, name: str = "", postgres: PostgresServer | None = None,
        stalls: bool = False, http: bool = False,
    ) -> None:  # fmt: skip
        """`postgres`: keep everything in a database there, from start to start; its CPU is not counted. `stalls`: the
        longest callbacks are written to the file of that name at the end (see `bench.stalls`). `http`: every process
        has the HTTP side."""
        self._postgres = postgres
        self.name = name or ("posthouse" if processes == 1 else f"posthouse-{processes}")
        self.group = Group(self.name)
        self.version = version("posthouse")
        self.fresh = fresh
        self.pids: list[int] = []
        self._folder, self._sink, self._names, self._processes = folder, sink_port, names, processes
        self._more = ["--role", "http"] if http else []
        self._serve = list(serve) or [*COMMAND, "serve"]
        self.stalls = folder / "stalls" if stalls else None
        if stalls:
            start = f"from bench.stalls import inside; inside({str(self.stalls)!r})"
            self._serve = [sys.executable, "-c", start, "inside", str(self.config)]
        self._ports = {"submission": free_port(), "inbound": free_port(), "http": free_port()}
        self._running: list[asyncio.subprocess.Process] = []
        self._earlier = 0
        self._key = ""
        self._txt: dict[str, str] = {}

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self._folder / "posthouse.toml"

    @property
    def inbound_port(self) -> int:
        """Where reports come in."""
        return self._ports["inbound"]

    @property
    def database(self) -> Path:
        """The SQLite file; to be looked into once the processes have ended."""
        return self._folder / "data" / "posthouse.db"

    @property
    def log(self) -> Path:
        """What the processes have said."""
        return self._folder / "log"

    def _configure(self, url: str = "") -> None:
        text = CONFIG.format(data=self._folder / "data", dns=self._names.port, sink=self._sink, **self._ports)
        if url:
            text += f'\n[database]\nurl = "{url}"\n'
        self.config.write_text(text, encoding="utf-8")

    async def set_up(self) -> None:
        """Make member, key and verified domain. Raises BenchError with what the command said."""
        data = self._folder / "data"
        data.mkdir(parents=True)
        self._configure(await asyncio.to_thread(self._postgres.url) if self._postgres else "")
        self._key = (await self.ask("member", "add", HANDLE, "--email", f"{HANDLE}@{DOMAIN}"))["apiKey"]
        records = (await self.ask("domain", "add", HANDLE, DOMAIN))["records"]
        # The MX: where the member's own reports go.
        mx = (DOMAIN, "MX", "10 mx.sink.test")
        self._names.publish(DOMAIN, [mx, *((r["name"], r["type"], r["value"]) for r in records)])
        self._txt = {r["name"]: r["value"] for r in records if r["purpose"].startswith("dkim")}
        found = await self.ask("domain", "check", DOMAIN)
        if found["state"] != "verified":
            raise BenchError(f"{DOMAIN} is {found['state']}: {found['reason']}")
        await self.ask("domain", "tier", DOMAIN, "bench")
        shutil.copytree(data, self._folder / "as set up")

    async def ask(self, *command: str) -> Any:
        """A command of the relay's own command line; its answer."""
        said = await call([*COMMAND, "--config", str(self.config), "--json", *command], env=_environment())
        return json.loads(said)

    async def waiting(self, state: str) -> int:
        """Recipients of a state in the queue, as the running relay's metrics say (they lag by seconds)."""
        said = await asyncio.to_thread(_get, f"http://127.0.0.1:{self._ports['http']}/metrics")
        found = re.search(rf'^posthouse_queue_recipients{{state="{state}"}} (\S+)$', said, re.MULTILINE)
        return int(float(found[1])) if found else 0

    async def start(self) -> Login:
        """Start the processes and wait until they answer. Raises BenchError."""
        data = self._folder / "data"
        if self.fresh:
            shutil.rmtree(data)
            shutil.copytree(self._folder / "as set up", data)
        self.pids = []
        for number in range(self._processes):
            # The first process does everything; more of them share the ports of mail and the queue.
            roles = [] if number == 0 else ["--role", "submission", "--role", "delivery", *self._more]
            with self.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *self.group.enter([*self._serve, *roles]), stdin=asyncio.subprocess.DEVNULL, stdout=log,
                    stderr=log, env={**os.environ, **_environment(), "POSTHOUSE_CONFIG": str(self.config)},
                )  # fmt: skip
            self._running.append(process)
            self.group.root(process.pid)
            self.pids.append(process.pid)
            try:
                await self._ready(number + 1)
            except BenchError as e:
                raise BenchError(f"{e}\n{self.log.read_text(errors='replace')[-2000:]}") from None
        return Login(self._ports["submission"], HANDLE, self._key, f"sender@{DOMAIN}", self._ports["http"])

    async def _ready(self, processes: int) -> None:
        """Wait until so many processes listen: each says so in the log, since they share a port."""
        for _ in range(400):
            if any(p.returncode is not None for p in self._running):
                raise BenchError("the relay ended while it was starting")
            if self._listening() >= self._earlier + processes:
                break
            await asyncio.sleep(0.05)
        else:
            raise BenchError("the relay does not listen after 20 s")
        await listening(self._ports["submission"])

    def _listening(self) -> int:
        """How often a process has said that it listens, in all starts so far."""
        return self.log.read_bytes().count(b"submission.listening") if self.log.exists() else 0

    async def stop(self) -> None:
        """SIGTERM, wait, and SIGKILL for what does not end in time."""
        for process in self._running:
            if process.returncode is None:
                process.terminate()
        for process in self._running:
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._running = []
        self._earlier = self._listening()

    def keys(self) -> dict[str, str]:
        """The DNS names of the keys it signs with, and their TXT values."""
        return self._txt


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def _environment() -> dict[str, str]:
    """No setting of the caller's own relay reaches the one under test."""
    foreign = sorted(name for name in os.environ if name.startswith("POSTHOUSE_"))
    if foreign:
        raise BenchError(f"unset {', '.join(foreign)}: the benchmark brings its own configuration")
    return {}
