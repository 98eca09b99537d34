"""`Node`: the parts of the wanted roles, put together in order and taken down in the opposite one.

Start: the core (storage, keys, directory), then work in the background, then the listeners; a start that fails leaves
nothing listening. Stop: they take nothing new and say so (421 4.3.2), what is under way may finish, leases go back,
the core closes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from enroll.domains import HostedZone
from enroll.zone import DnsServer, RateLimit, Zones
from posthouse.check_config import cannot_listen, split
from posthouse.serve.http import http_application
from posthouse.serve.ports import Claims, Taken
from posthouse.serve.sandbox import Mailbox
from posthouse.serve.tasks import Patience, Tasks
from posthouse.wiring import Core, inbound_server, submission_server, worker, works
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import SecretsError
from relay.base.storage import StorageError
from relay.base.tls import Certificate, TlsError
from relay.base.web import Listener
from relay.delivery.worker import Worker
from relay.inbound import InboundServer
from relay.sandbox import Responder, Sandbox, SandboxSettings
from relay.submission import SubmissionServer

log = structlog.get_logger("node")


class StartError(Exception):
    """The node can't start; `lines` says why, one clear line each. Nothing is left listening."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)
        super().__init__("; ".join(lines))


class Node:
    """One running process. Make it with `Node.start`."""

    def __init__(self, config: Config, clock: Clock, patience: Patience | None) -> None:
        self.config, self.clock = config, clock
        self.tasks = Tasks(clock, patience)
        self.submission: SubmissionServer | None = None
        self.inbound: InboundServer | None = None
        self.http: Listener | None = None
        self.worker: Worker | None = None
        self.mailbox: Mailbox | None = None
        self.sandbox: Sandbox | None = None
        self.responder: Responder | None = None
        self.dns: list[DnsServer] = []
        self.hosted: HostedZone | None = None
        self.stopping = False
        self.settled = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()
        self._core: Core | None = None
        self._claims = Claims(config)

    @property
    def core(self) -> Core:
        """The open core."""
        assert self._core is not None
        return self._core

    @property
    def failed(self) -> asyncio.Future[str]:
        """Done, with a name, when a part of the work was given up: the process should end."""
        return self.tasks.failed

    @classmethod
    async def start(
        cls, config: Config, *, clock: Clock | None = None, zones: Zones | None = None,
        patience: Patience | None = None, dns_open_world: bool = False, alone: bool = False,
    ) -> Node:
        """Everything that `config.roles` asks for, listening and working. `zones` are what the role dns answers;
        `alone`: nobody else may use the data folder.

        Raises StartError.
        """
        node = cls(config, clock or Clock(), patience)
        try:
            await node._start(zones or Zones(), dns_open_world, alone)
        except BaseException as e:
            await node._take_down(0.0)
            lines = _lines(e)
            if lines is None:
                raise
            raise StartError(lines) from e
        return node

    async def _start(self, zones: Zones, dns_open_world: bool, alone: bool) -> None:
        roles = set(self.config.roles)
        self.config.server.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._claims.folder(alone=alone)
        self._claims.ports(split(address) for address in self._addresses())
        # Before the core: a relay that asks its own DNS server (the demo) needs it from the start.
        if "dns" in roles:
            if self.config.hosted_zone:
                self.hosted = HostedZone(self.config)
                zones.put(self.hosted.zone)
            for address in self.config.dns.listen:
                await self._start_dns(address, zones, dns_open_world)
        self._core = await Core.open(self.config, self.clock, delivers="delivery" in roles)
        self._watch_core()
        for name, work in works(self.core).items():
            self.tasks.keep(name, work)
        if self.hosted is not None:
            await self.hosted.open(self.core.storage)
            self.tasks.keep("hosted records", self.hosted.follow)
        if "sandbox" in roles and self.config.sandbox.enabled:
            await self._start_sandbox()
        if "delivery" in roles:
            self._start_delivery()
        if "http" in roles:
            await self._start_http()
        if "submission" in roles:
            await self._start_submission()
        if "inbound" in roles:
            await self._start_inbound()
        log.info(
            "node.started", roles=sorted(roles), owner=self.core.owner, http=self.http.ports if self.http else [],
            submission=self.submission.ports if self.submission else [],
            submission_tls=self.submission.tls_ports if self.submission else [],
            inbound=self.inbound.ports if self.inbound else [], dns=[server.port for server in self.dns],
        )

    def _addresses(self) -> Iterator[str]:
        """Where the ports are that processes of one database share."""
        c = self.config
        listen = {
            "submission": [*c.submission.listen, *c.submission.listen_tls], "inbound": c.inbound.listen,
            "http": c.http.listen, "dns": c.dns.listen,
        }
        for role in self.config.roles:
            yield from listen.get(role, [])

    def _watch_core(self) -> None:
        """The core's own tasks can't be started again from here, but must not die unseen."""
        core = self.core
        self.tasks.watch("directory", core.directory.task)
        self.tasks.watch("suppressions", core.suppressions.task)
        self.tasks.watch("storage", core.storage.task)

    async def _start_dns(self, address: str, zones: Zones, open_world: bool) -> None:
        host, port = split(address)
        d = self.config.dns
        limit = RateLimit(
            d.answers_a_second, monotonic=self.clock.monotonic, slip=d.answers_slip, max_networks=d.answers_networks
        )
        server = DnsServer(
            zones, host, port, reuse_port=True, open_world=open_world, limit=limit, max_connections=d.max_connections,
            max_connections_an_address=d.max_connections_an_address,
        )
        await _listening(address, server.start())
        self.dns.append(server)

    async def _start_sandbox(self) -> None:
        config = self.config
        s = config.sandbox
        name = f"sandbox.{config.server.hostname}"
        self.responder = Responder(config, self.core.resolver, self.clock, host=name, port=self._inbound_port)
        self.responder.start()
        self.mailbox = Mailbox(
            self.core.resolver, most=s.keep_messages, most_bytes=s.keep_bytes, responder=self.responder
        )
        certificate = Certificate.of(config, self.clock)
        settings = SandboxSettings(hostname=name, max_message_bytes=config.submission.max_message_bytes)
        self.sandbox = Sandbox(self.mailbox.keep, clock=self.clock, tls=certificate.context, settings=settings)
        host, port = split(s.listen)
        await _listening(s.listen, self.sandbox.start(host, port))

    def _inbound_port(self) -> int:
        """Where the relay's own exchangers listen: as configured, else this process's, else the usual one."""
        config = self.config
        if config.sandbox.answer_port:
            return config.sandbox.answer_port
        if self.inbound is not None and self.inbound.ports:
            return self.inbound.ports[0]
        return split(config.inbound.listen[0])[1] if config.inbound.listen else 25

    def _start_delivery(self) -> None:
        def settled(*_: object) -> None:
            # Whoever waits takes the event anew after each round.
            self.settled.set()
            self.settled = asyncio.Event()

        self.worker = worker(self.core, settled)
        self.tasks.keep("delivery", self.worker.run)

    async def _start_http(self) -> None:
        await self.core.domains.overviews.prepare()
        app = http_application(
            self.core, tasks=self.tasks.troubles, mailbox=self.mailbox,
            checks={"accepting": lambda: not self.stopping, "tasks": lambda: self.tasks.well},
        )
        self.http = Listener(app, self.config)
        await _listening(", ".join(self.config.http.listen), self.http.start())

    async def _start_submission(self) -> None:
        server = submission_server(self.core)
        listen = [*self.config.submission.listen, *self.config.submission.listen_tls]
        await _listening(", ".join(listen), server.start())
        self.submission = server

    async def _start_inbound(self) -> None:
        server = inbound_server(self.core)
        await _listening(", ".join(self.config.inbound.listen), server.start())
        self.inbound = server

    # -- the end -----------------------------------------------------------------------------------------------

    async def stop(self, seconds: float | None = None) -> None:
        """Take nothing new, let what is under way finish within `seconds`, give the rest back, close."""
        seconds = self.config.server.shutdown_seconds if seconds is None else seconds
        log.info("node.stopping", seconds=seconds)
        await self._take_down(seconds)
        log.info("node.stopped")

    async def _take_down(self, seconds: float) -> None:
        self.stopping = True
        until = self.clock.monotonic() + seconds

        def left() -> float:
            return max(0.0, until - self.clock.monotonic())

        # Listeners and worker finish side by side, each within what is left; then nobody needs the rest any more.
        ends: list[Any] = []
        if self.submission is not None:
            ends.append(self.submission.stop(seconds * 0.8))
        if self.inbound is not None:
            ends.append(self.inbound.stop(seconds * 0.8))
        if self.http is not None:
            ends.append(self.http.stop())
        if self.hosted is not None:
            self.tasks.let_end("hosted records")
            self.hosted.stop()
        if self.worker is not None:
            self.tasks.let_end("delivery")
            ends.append(self.worker.stop(seconds * 0.8))
        await _all(ends)
        await self.tasks.stop()
        if self.sandbox is not None:
            await _all([self.sandbox.close()])
        if self.responder is not None:
            await _all([self.responder.close()])
        if self._core is not None:
            core, self._core = self._core, None
            await _all([asyncio.wait_for(core.close(), left() + 5.0)])
        await _all([server.close() for server in self.dns])
        self._claims.close()
        self.submission = self.inbound = self.http = self.worker = self.sandbox = self.responder = None
        self.dns = []


async def _listening(address: str, start: Any) -> None:
    try:
        await start
    except OSError as e:
        raise StartError([cannot_listen(address, e)]) from None


async def _all(ends: Sequence[Any]) -> None:
    """Wait for every one of them; one that fails doesn't keep the others from ending."""
    for result in await asyncio.gather(*ends, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("node.stop_failed", exc_info=result)


def _lines(error: BaseException) -> list[str] | None:
    """The lines for what an operator can fix; None for anything else."""
    match error:
        case StartError() | TlsError() | Taken():
            return error.lines
        case SecretsError():
            return [str(error)]
        case StorageError():
            return [f"database: {str(error).partition(chr(10))[0][:300]}"]
        case OSError():
            return [f"{error.filename or 'system'}: {(error.strerror or str(error)).lower()}"]
    return None


