"""`posthouse serve` as processes of their own, in a world that outlives them: DNS, a mail exchanger, a database.

    async with Town.made(folder) as town:
        async with town.serve() as node:
            acked = await town.flood(node, 100)
            await node.kill()
        async with town.serve(): …

The processes are real, and killed as a machine kills them; what they have in common is loaded once (`warm`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, TCPConnector
from sqlalchemy import func, insert, select

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import new_api_key
from relay.base.storage import Storage, Tx, versions
from relay.base.storage.tables import api_keys, messages, recipients
from tests.kit import warm
from tests.kit.dns import DnsWorld, make_zone
from tests.kit.dns import world as dns_world
from tests.kit.sink import Sink
from tests.kit.smtp import Talk, plain
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, World, letter

PATIENCE = 60.0


class Served:
    """One process and what it has logged."""

    def __init__(self, process: asyncio.subprocess.Process | warm.Copy) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._new = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"event": "", "level": "", "text": line.decode("utf-8", "replace")})
            self._new.set()
        self._new.set()

    async def logged(self, event: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The first line of this event, as soon as it is there."""
        seen = 0
        async with asyncio.timeout(seconds):
            while True:
                self._new.clear()
                for line in self.lines[seen:]:
                    if line["event"] == event:
                        return line
                seen = len(self.lines)
                if self._reading.done():
                    raise AssertionError(f"it ended without {event}: {self.lines[-5:]}")
                await self._new.wait()

    def events(self, *levels: str) -> list[dict[str, Any]]:
        """What it has logged at these levels."""
        return [line for line in self.lines if line.get("level") in levels]

    @property
    def port(self) -> int:
        """Its 587."""
        return int(self._started["submission"][0])

    @property
    def http(self) -> int:
        """Its HTTP port."""
        return int(self._started["http"][0])

    @property
    def _started(self) -> dict[str, Any]:
        return next(line for line in self.lines if line["event"] == "node.started")

    @property
    def pid(self) -> int:
        """The relay's own process id, whatever runs it."""
        with contextlib.suppress(StopIteration):
            return int(self._started["owner"].split("/")[1])
        return self.process.pid

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        for pid in {self.pid, self.process.pid} if self.process.returncode is None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.ended()

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        return await self.ended()

    async def ended(self, seconds: float = PATIENCE) -> int:
        """The exit code, as soon as there is one."""
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            await self._reading
        return code


@dataclass
class Town:
    """What is around the relay, and who uses it. `alice` owns example.test."""

    config: Config
    sink: Sink
    dns: DnsWorld
    alice: MemberAt
    keys: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def made(
        cls, folder: Path, url: str = "sqlite:///posthouse.db", *, tier: str | None = "unlimited", keys: int = 1,
        sink: Sink | None = None, **environ: str,
    ) -> AsyncIterator[Town]:
        """A world with a migrated database, alice, her domain and so many API keys."""
        config = make_config(folder, url)
        world = await World.make(config, Clock())
        try:
            alice = await world.member()
            await world.domain(alice, tier=tier)
            more = [await another_key(world, alice) for _ in range(keys - 1)]
        finally:
            await world.close()
        zones = [make_zone("sink.test", [("@", "MX", "10 mx.sink.test."), ("mx.sink.test", "A", "127.0.0.1")])]
        async with sink or Sink() as mx, dns_world(zones) as dns:
            yield cls(config, mx, dns, alice, [alice.key, *more], environ)

    def environment(self, **environ: str) -> dict[str, str]:
        """The environment of a process of this world."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("POSTHOUSE_")}
        server = f"127.0.0.1:{self.dns.server.port}"
        settings = {
            "SERVER__DATA_DIR": str(self.config.server.data_dir), "SERVER__HOSTNAME": "relay.test",
            "DATABASE__URL": self.config.database.url, "SUBMISSION__LISTEN": '["127.0.0.1:0"]',
            "SUBMISSION__LISTEN_TLS": "[]", "SUBMISSION__MAX_CONNECTIONS_AN_ADDRESS": "500",
            "HTTP__LISTEN": '["127.0.0.1:0"]', "DNS__RESOLVERS": json.dumps([server]),
            "DNS__AUTHORITATIVE_PORT": str(self.dns.server.port), "DELIVERY__PORT": str(self.sink.port),
            "DELIVERY__ALLOW_PRIVATE_NETWORKS": "true", "DELIVERY__POLL_SECONDS": "0.1",
            "ROLES": "submission http delivery",
        } | self.environ | environ
        return clean | {f"POSTHOUSE_{k}": v for k, v in settings.items()}

    @asynccontextmanager
    async def serve(
        self, *, before: Sequence[str] = (), preload: Mapping[str, str] | None = None, **environ: str
    ) -> AsyncIterator[Served]:
        """One process, ready. `before`: a program that runs it (strace); `preload`: more of its environment. It is
        killed at the end if it still runs."""
        environment = self.environment(**environ) | dict(preload or {})
        process: asyncio.subprocess.Process | warm.Copy
        if before or preload:
            process = await asyncio.create_subprocess_exec(
                *before, sys.executable, "-c", "from posthouse.cli import main; main()", "serve",
                env=environment, stderr=asyncio.subprocess.PIPE,
            )
        else:
            process = await warm.start(["serve"], environment)
        served = Served(process)
        try:
            await served.logged("node.started")
            yield served
        finally:
            await served.kill()

    # -- mail --------------------------------------------------------------------------------------------------

    async def flood(
        self, nodes: Sequence[Served], waiting: list[str], *, connections: int = 8, http_every: int = 0,
        acked: list[str] | None = None, on_ack: Callable[[int], None] = lambda n: None,
        refused: Counter[str] | None = None, tried: list[str] | None = None,
    ) -> list[str]:
        """Send one message to each name of `waiting` (emptying it) at sink.test, by SMTP and HTTP (`http_every`: each
        n-th connection speaks HTTP); returns the names that got a 250 or 200 (also into `acked`, as they come).

        A node that dies ends its connections; what was under way then is not sent again. `refused` counts the
        refusals by their first words; `tried` are the names whose mail was handed in by SMTP, whatever came of it.
        """
        done: list[str] = [] if acked is None else acked
        began: list[str] = [] if tried is None else tried
        no: Counter[str] = Counter() if refused is None else refused

        def ack(name: str) -> None:
            done.append(name)
            on_ack(len(done))

        async def one(i: int) -> None:
            node, key = nodes[i % len(nodes)], self.keys[i % len(self.keys)]
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError, ClientError, _Over):
                if http_every and i % http_every == 0:
                    await self._by_http(node, key, waiting, ack, no)
                else:
                    await self._by_smtp(node, key, waiting, ack, no, began)

        await asyncio.gather(*(one(i) for i in range(connections)))
        return done

    async def _by_smtp(
        self, node: Served, key: str, waiting: list[str], ack: Callable[[str], None], no: Counter[str],
        tried: list[str],
    ) -> None:
        async with await Talk.to(node.port) as talk:
            await log_in(talk, self.alice.handle, key)
            while waiting:
                name = waiting.pop()
                tried.append(name)
                await talk.send(
                    b"MAIL FROM:<news@example.test>\r\nRCPT TO:<%s@sink.test>\r\nDATA\r\n" % name.encode()
                )
                said = [await talk.reply() for _ in range(3)]
                if said[2][:3] != "354":
                    if said[2][:3] in ("", "421"):
                        raise _Over
                    no[" ".join((said[1] if said[1][:1] != "2" else said[0]).split(" ")[:2])] += 1
                    await talk.ask("RSET")
                    continue
                message_id = f"Message-ID: <{name}@client.test>\r\n".encode()
                await talk.send(message_id + letter(subject=name, body=body_of(name)) + b".\r\n")
                said[:] = [await talk.reply()]
                if said[0][:3] == "250":
                    ack(name)
                elif said[0][:3] in ("", "421"):
                    raise _Over
                else:
                    no[" ".join(said[0].split(" ")[:2])] += 1

    async def _by_http(
        self, node: Served, key: str, waiting: list[str], ack: Callable[[str], None], no: Counter[str]
    ) -> None:
        async with ClientSession(connector=TCPConnector(limit=1)) as http:
            while waiting:
                name = waiting.pop()
                sent = {
                    "from": "news@example.test", "to": f"{name}@sink.test", "subject": name,
                    "text": body_of(name).decode(),
                }
                async with http.post(
                    f"http://127.0.0.1:{node.http}/v1/send", json=sent, headers={"Authorization": f"Bearer {key}"}
                ) as answer:
                    got = await answer.json()
                    if answer.status == 200 and got["accepted"]:
                        ack(name)
                    else:
                        no[f"{answer.status} {got.get('code')}"] += 1

    def arrived(self) -> Counter[str]:
        """How often the mail for each name has come to the exchanger."""
        return Counter(t.rcpt_tos[0].partition("@")[0] for t in self.sink.messages)

    def copies(self) -> dict[str, set[bytes]]:
        """Name → the different messages that came for it."""
        found: dict[str, set[bytes]] = {}
        for t in self.sink.messages:
            found.setdefault(t.rcpt_tos[0].partition("@")[0], set()).add(t.mail_from.encode() + b"\n" + t.raw)
        return found

    async def all_arrived(self, names: Sequence[str], seconds: float = PATIENCE) -> None:
        """Wait until each of these names has its mail."""
        wanted = set(names)
        async with asyncio.timeout(seconds):
            while missing := wanted - set(self.arrived()):
                with contextlib.suppress(TimeoutError):
                    await self.sink.wait_for(len(self.sink.messages) + min(len(missing), 50), 0.5)

    async def states(self) -> dict[str, str]:
        """Name → state of its recipient, from the tables."""
        storage = await Storage.open(self.config)
        try:
            async with storage.read() as tx:
                rows = await tx.execute(select(recipients.c.address, recipients.c.state))
                return {r.address.partition("@")[0]: r.state for r in rows}
        finally:
            await storage.close()


    async def taken_twice(self) -> list[str]:
        """Subjects of messages by SMTP that stand in the queue's tables more than once."""
        storage = await Storage.open(self.config)
        m = messages.c
        try:
            async with storage.read() as tx:
                query = select(m.subject).where(m.door == "smtp").group_by(m.subject).having(func.count() > 1)
                return list((await tx.execute(query)).scalars())
        finally:
            await storage.close()


class _Over(Exception):
    """The process at the other end says goodbye or is gone."""


async def log_in(talk: Talk, username: str, secret: str, *, helo: str = "client.test") -> None:
    """Greeting, TLS and AUTH on a new connection; EOFError when the server ends it meanwhile."""
    for step in (None, f"EHLO {helo}", "STARTTLS", "TLS", f"EHLO {helo}", f"AUTH PLAIN {plain(username, secret)}"):
        if step == "TLS":
            await talk.handshake()
            continue
        said = await talk.reply() if step is None else await talk.ask(step)
        if said[:3] in ("", "421"):
            raise EOFError(said)
        assert said[:1] == "2", said


async def another_key(world: World, member: MemberAt) -> str:
    """One more API key of `member`, for everything."""
    text, public, secret = new_api_key()

    async def do(tx: Tx) -> None:
        await tx.execute(
            insert(api_keys).values(
                member_id=member.id, public_id=public, secret_hash=world.vault.api_key_hash(secret),
                scopes=["send", "read", "manage"], created_at=world.clock.now(),
            )
        )
        await versions.bump(tx, versions.DIRECTORY)

    await world.storage.write(do)
    return text


def body_of(name: str) -> bytes:
    """A body that can be told from every other."""
    return f"Dear {name},\r\nthis is yours.\r\n".encode()
