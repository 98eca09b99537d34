"""The sandbox's mail exchanger, on aiosmtpd: it takes everything, and answers as the recipient's address asks.

Meant for loopback (check-config holds it to that); it checks nothing about who sends. The protocol, its grammar and
the limit of a message's size are aiosmtpd's; ours are the scenarios, the bound on connections, and a handshake that
breaks on request. What becomes of a message is decided by `keep`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session, TLSSetupException

from relay.base.clock import Clock
from relay.sandbox.scenarios import Memory, scenario
from relay.sandbox.store import Received

log = structlog.get_logger()

# What it offers beyond aiosmtpd's own list; a reply's enhanced code is written by the scenarios.
_OFFERS = ("PIPELINING", "ENHANCEDSTATUSCODES")
_MAX_LINE = 65_536


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Bounds; configuration feeds them."""

    hostname: str = "sandbox.test"
    max_message_bytes: int = 26_214_400
    max_recipients: int = 100
    max_connections: int = 100
    # Between two commands, and for a message's content; then the connection closes.
    idle_seconds: float = 300.0
    max_slow_seconds: float = 60.0
    # Sender and recipient pairs remembered for deferrals and greylisting.
    remembered: int = 10_000
    # How long after `tlsfail@` was asked for a client address gets broken handshakes.
    tlsfail_seconds: float = 120.0


class Sandbox:
    """The server. `keep` is called once for every message taken, before its 250."""

    def __init__(
        self, keep: Callable[[Received], object], *, clock: Clock, tls: ssl.SSLContext | None = None,
        settings: SandboxSettings | None = None,
    ) -> None:
        self.keep, self.clock, self.tls = keep, clock, tls
        self.settings = settings or SandboxSettings()
        self.memory = Memory(clock.monotonic, self.settings.remembered)
        self.connections: set[_Exchanger] = set()
        self._break_tls: dict[str, float] = {}
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port (0 asks for a free one). Raises OSError when it can't."""
        # aiosmtpd writes each command and each line of a message to a logger of this name.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        self._server = await asyncio.get_running_loop().create_server(lambda: _Exchanger(self), host, port)
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def close(self) -> None:
        """Stop listening and end all conversations."""
        if self._server is not None:
            self._server.close()
        ended = [exchanger.abort() for exchanger in list(self.connections)]
        await asyncio.gather(*ended, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def break_tls(self, peer: str) -> None:
        """From now on, for a while, the TLS handshakes of this address fail."""
        now = self.clock.monotonic()
        self._break_tls = {ip: until for ip, until in self._break_tls.items() if until > now}
        if len(self._break_tls) < self.settings.remembered:
            self._break_tls[peer] = now + self.settings.tlsfail_seconds

    def breaks_tls(self, peer: str) -> bool:
        """True while the handshakes of this address fail."""
        return self._break_tls.get(peer, 0.0) > self.clock.monotonic()

    def restore_tls(self, peer: str) -> None:
        """Handshakes of this address work again."""
        self._break_tls.pop(peer, None)


class _Exchanger(SMTP):
    """One connection: aiosmtpd's protocol with the scenarios as its handler."""

    command_size_limit = 4096
    line_length_limit = _MAX_LINE

    def __init__(self, sandbox: Sandbox) -> None:
        # aiosmtpd shares one dict among all connections and adds to it with each EHLO.
        self.command_size_limits = defaultdict(lambda: self.command_size_limit)
        settings = sandbox.settings
        super().__init__(
            _Scenarios(sandbox), data_size_limit=settings.max_message_bytes, enable_SMTPUTF8=True,
            hostname=settings.hostname, ident="ESMTP sandbox", tls_context=sandbox.tls, timeout=settings.idle_seconds,
            auth_exclude_mechanism=("LOGIN", "PLAIN"), loop=asyncio.get_running_loop(),
        )
        self.sandbox = sandbox

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or send away one connection too many."""
        crowd = self.sandbox.connections
        # After STARTTLS aiosmtpd makes the same connection once more.
        if self not in crowd and len(crowd) >= self.sandbox.settings.max_connections:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"421 4.7.0 Too many connections\r\n")
            transport.close()
            return
        crowd.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection; one that was sent away never began."""
        if self in self.sandbox.connections:
            self.sandbox.connections.discard(self)
            super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """The client has no more to say."""
        return super().eof_received() if self in self.sandbox.connections else None

    def abort(self) -> asyncio.Future[None]:
        """Cut the connection; the task to wait for is returned."""
        assert self._handler_coroutine is not None
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        self._handler_coroutine.cancel()
        return self._handler_coroutine

    def take_time(self, seconds: float) -> None:
        """The answer comes late on purpose: the client isn't idle meanwhile."""
        self._reset_timeout(seconds + self.sandbox.settings.idle_seconds)

    async def smtp_STARTTLS(self, arg: str) -> None:
        """RFC 3207, and a handshake that fails where `tlsfail@` was asked for."""
        assert self.session is not None
        if arg or self.tls_context is None or not self.sandbox.breaks_tls(_peer(self.session)):
            await super().smtp_STARTTLS(arg)
            return
        await self.push("220 2.0.0 Go ahead")
        await self._reader.read(1)
        await self.push("this is no handshake, as the address asked")
        self._writer.close()


class _Scenarios:
    """aiosmtpd's hooks: what this recipient asks for."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """What is announced: no AUTH, and what holds besides."""
        session.host_name = hostname
        kept = [r for r in responses if not r[4:].startswith(("AUTH", "HELP"))]
        lines = [r[4:] for r in kept] + list(_OFFERS)
        return [f"250-{text}" for text in lines[:-1]] + [f"250 {lines[-1]}"]

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Everybody may send."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: _Exchanger, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse, defer or take, as the address asks."""
        sandbox = self._sandbox
        if len(envelope.rcpt_tos) >= sandbox.settings.max_recipients:
            return "452 4.5.3 Too many recipients"
        asked = scenario(address)
        if asked.kind == "tlsfail" and session.ssl is not None:
            # Who is meant is known only now, after the handshake: the next one breaks.
            sandbox.break_tls(_peer(session))
            asyncio.get_running_loop().call_soon(server._writer.close)
            return "451 4.7.5 TLS will fail on your next connection, as the address asks"
        refusal = sandbox.memory.answer(asked, _sender(envelope), address)
        if refusal is not None:
            return refusal
        if asked.kind == "tlsfail":
            sandbox.restore_tls(_peer(session))
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: _Exchanger, session: Session, envelope: Envelope) -> str:
        """Keep the message, late where that was asked for."""
        sandbox = self._sandbox
        slow = max((s.seconds for s in map(scenario, envelope.rcpt_tos) if s.kind == "slow"), default=0.0)
        if slow:
            slow = min(slow, sandbox.settings.max_slow_seconds)
            server.take_time(slow)
            await asyncio.sleep(slow)
        assert isinstance(envelope.content, bytes)
        tls = session.ssl["ssl_object"].version() if session.ssl is not None else None
        sandbox.keep(
            Received(
                _sender(envelope), tuple(envelope.rcpt_tos), envelope.content, _peer(session),
                _text(session.host_name or ""), tls, sandbox.clock.now(),
            )
        )
        return "250 2.0.0 Kept by the sandbox"

    async def handle_exception(self, error: Exception) -> str:
        """The cause to the log; the client hears nothing of it."""
        # A client that trusts no certificate it can't verify leaves in the handshake, and comes again.
        if not isinstance(error, TLSSetupException):
            log.error("sandbox.failed", exc_info=error)
        return "451 4.3.0 Internal error"


def _peer(session: Session) -> str:
    return str(session.peer[0]) if session.peer else ""


def _sender(envelope: Envelope) -> str:
    """aiosmtpd leaves the null sender its brackets."""
    sender = envelope.mail_from or ""
    return "" if sender == "<>" else _text(sender)


def _text(text: str) -> str:
    """Octets that were no UTF-8 become replacement characters."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
