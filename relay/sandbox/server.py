"""The sandbox's SMTP side: a small server that takes everything, within bounds.

Promises: bounded lines, messages, connections, time and memory, and the answers that recipients ask for. Meant for
loopback; it checks nothing about who sends. Leaves to others: what becomes of a message (`keep`).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from relay.base.clock import Clock
from relay.sandbox.shelf import Received
from relay.sandbox.wishes import Memory, wish

log = structlog.get_logger()

_MAIL = re.compile(rb"FROM: ?<([^<>\s]*)>(?: (.*))?", re.IGNORECASE)
_RCPT = re.compile(rb"TO: ?<([^<>\s]+@[^<>\s@]+|postmaster)>(?: .*)?", re.IGNORECASE)
_SIZE = re.compile(rb"(?:^| )SIZE=(\d{1,20})(?: |$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Bounds; configuration feeds them."""

    hostname: str = "sandbox.test"
    max_message_bytes: int = 26_214_400
    # Message bytes being received, all connections together.
    max_bytes_in_flight: int = 67_108_864
    max_recipients: int = 100
    max_line_bytes: int = 4096
    max_connections: int = 100
    max_commands: int = 10_000
    idle_seconds: float = 60.0
    data_seconds: float = 300.0
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
        self.keep = keep
        self.clock = clock
        self.tls = tls
        self.settings = settings or SandboxSettings()
        self.memory = Memory(clock.monotonic, self.settings.remembered)
        self.bytes_in_flight = 0
        self._break_tls: dict[str, float] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port (0 asks for a free one). Raises OSError when it can't."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=self.settings.max_line_bytes * 4)
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def close(self) -> None:
        """Stop listening and end all conversations."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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

    def mend_tls(self, peer: str) -> None:
        """Handshakes of this address work again."""
        self._break_tls.pop(peer, None)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer), name="sandbox")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = _Conversation(self, reader, writer)
        try:
            if len(self._tasks) > self.settings.max_connections:
                conversation.say("421 4.7.0 Too many connections")
            else:
                await conversation.run()
        except TimeoutError:
            conversation.say("421 4.4.2 Timeout")
        except (OSError, ssl.SSLError, _End):
            pass
        except Exception:
            log.exception("sandbox.failed")
            conversation.say("421 4.3.0 Internal error")
        finally:
            conversation.forget()
            # What was said last still leaves, but nobody may hold the socket open.
            writer.close()
            try:
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()
            except (OSError, ssl.SSLError, TimeoutError):
                writer.transport.abort()


class _End(Exception):
    """The conversation is over."""


class _Conversation:
    def __init__(self, sandbox: Sandbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sandbox, self.settings = sandbox, sandbox.settings
        self.reader, self.writer = reader, writer
        self.peer: str = (writer.get_extra_info("peername") or ("",))[0]
        self.buffer = bytearray()
        self.counted = 0
        self.tls: str | None = None
        self.helo = ""
        self.mail_from: str | None = None
        self.recipients: list[str] = []

    def say(self, text: str) -> None:
        if not self.writer.is_closing():
            self.writer.write(text.encode("utf-8", "replace") + b"\r\n")

    async def run(self) -> None:
        self.say(f"220 {self.settings.hostname} ESMTP sandbox")
        for _ in range(self.settings.max_commands):
            line = await self._line()
            verb, _, rest = line.partition(b" ")
            await self._command(verb.upper(), rest.strip(), line)
            await self.writer.drain()
        self.say("421 4.7.0 Too many commands")

    async def _command(self, verb: bytes, rest: bytes, line: bytes) -> None:
        if verb in (b"EHLO", b"HELO"):
            self._hello(verb, rest)
        elif verb == b"MAIL":
            self._mail(rest)
        elif verb == b"RCPT":
            self._rcpt(rest)
        elif verb == b"DATA":
            await self._data()
        elif verb == b"STARTTLS" and self.sandbox.tls is not None and self.tls is None:
            await self._starttls(self.sandbox.tls)
        elif verb == b"RSET":
            self._reset()
            self.say("250 2.0.0 OK")
        elif verb == b"NOOP":
            self.say("250 2.0.0 OK")
        elif verb == b"QUIT":
            self.say("221 2.0.0 Bye")
            raise _End
        else:
            self.say("502 5.5.1 Command not implemented")

    def _reset(self) -> None:
        self.mail_from, self.recipients = None, []

    def _hello(self, verb: bytes, name: bytes) -> None:
        self._reset()
        self.helo = name.decode("ascii", "replace")[:255]
        if verb == b"HELO":
            self.say(f"250 {self.settings.hostname}")
            return
        size = f"SIZE {self.settings.max_message_bytes}"
        offers = ["PIPELINING", size, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self.sandbox.tls is not None and self.tls is None:
            offers.append("STARTTLS")
        lines = [self.settings.hostname, *offers]
        self.say("\r\n".join([f"250-{text}" for text in lines[:-1]] + [f"250 {lines[-1]}"]))

    def _mail(self, rest: bytes) -> None:
        found = _MAIL.fullmatch(rest)
        if not self.helo or self.mail_from is not None:
            self.say("503 5.5.1 Bad sequence of commands")
        elif found is None:
            self.say("501 5.1.7 Malformed sender")
        elif (size := _SIZE.search(found[2] or b"")) and int(size[1]) > self.settings.max_message_bytes:
            self.say("552 5.3.4 Message too large")
        else:
            self.mail_from = found[1].decode("utf-8", "replace")
            self.say("250 2.1.0 OK")

    def _rcpt(self, rest: bytes) -> None:
        found = _RCPT.fullmatch(rest)
        if self.mail_from is None:
            self.say("503 5.5.1 Bad sequence of commands")
            return
        if found is None:
            self.say("501 5.1.3 Malformed recipient")
            return
        if len(self.recipients) >= self.settings.max_recipients:
            self.say("452 4.5.3 Too many recipients")
            return
        recipient = found[1].decode("utf-8", "replace")
        asked = wish(recipient)
        if asked.kind == "tlsfail" and self.tls is not None:
            # Who is meant is known only now, after the handshake: the next one breaks.
            self.sandbox.break_tls(self.peer)
            self.say("451 4.7.5 TLS will fail on your next connection, as the address asks")
            raise _End
        refusal = self.sandbox.memory.answer(asked, self.mail_from, recipient)
        if refusal is not None:
            self.say(refusal)
            return
        if asked.kind == "tlsfail":
            self.sandbox.mend_tls(self.peer)
        self.recipients.append(recipient)
        self.say("250 2.1.5 OK")

    async def _data(self) -> None:
        if not self.recipients or self.mail_from is None:
            self.say("503 5.5.1 MAIL and RCPT first")
            return
        self.say("354 End data with <CR><LF>.<CR><LF>")
        await self.writer.drain()
        async with asyncio.timeout(self.settings.data_seconds):
            raw = await self._content()
        slow = max((w.seconds for w in map(wish, self.recipients) if w.kind == "slow"), default=0.0)
        if slow:
            await asyncio.sleep(min(slow, self.settings.max_slow_seconds))
        self.sandbox.keep(
            Received(
                self.mail_from, tuple(self.recipients), raw, self.peer, self.helo, self.tls, self.sandbox.clock.now()
            )
        )
        self._reset()
        self.say("250 2.0.0 Kept by the sandbox")

    async def _starttls(self, context: ssl.SSLContext) -> None:
        # RFC 3207 §4: nothing may follow STARTTLS before the handshake.
        if self.buffer:
            self.say("503 5.5.1 No pipelining after STARTTLS")
            raise _End
        self.say("220 2.0.0 Go ahead")
        if self.sandbox.breaks_tls(self.peer):
            await self.writer.drain()
            async with asyncio.timeout(self.settings.idle_seconds):
                await self.reader.read(1)
            self.say("this is no handshake, as the address asked")
            raise _End
        await self.writer.start_tls(context)
        self.tls = self.writer.get_extra_info("ssl_object").version()
        # RFC 3207 §4.2: both sides forget what was said before.
        self._reset()
        self.helo = ""

    async def _line(self) -> bytes:
        """One command without its line end; a lone LF ends one too."""
        async with asyncio.timeout(self.settings.idle_seconds):
            while (end := self.buffer.find(b"\n")) < 0:
                if len(self.buffer) > self.settings.max_line_bytes:
                    self.say("500 5.5.2 Line too long")
                    raise _End
                await self._more()
        line = bytes(self.buffer[:end]).removesuffix(b"\r")
        del self.buffer[: end + 1]
        if len(line) > self.settings.max_line_bytes:
            self.say("500 5.5.2 Line too long")
            raise _End
        return line

    async def _more(self) -> int:
        data = await self.reader.read(65536)
        if not data:
            raise _End
        self.buffer += data
        return len(data)

    async def _content(self) -> bytes:
        """RFC 5321 §4.1.1.4: everything up to CRLF.CRLF, and only that, with the added periods taken off."""
        buffer = self.buffer
        # DATA's own line end begins the first line: with it, one search finds every end, an empty message's too.
        buffer[:0] = b"\r\n"
        self._count(len(buffer))
        seen = 0
        while (end := buffer.find(b"\r\n.\r\n", seen)) < 0:
            seen = max(0, len(buffer) - 4)
            self._count(await self._more())
        content = bytes(buffer[: end + 2]).replace(b"\r\n.", b"\r\n")
        del buffer[: end + 5]
        self.forget()
        return content[2:]

    def _count(self, octets: int) -> None:
        self.counted += octets
        self.sandbox.bytes_in_flight += octets
        if len(self.buffer) > self.settings.max_message_bytes + 7:
            self.say("552 5.3.4 Message too large")
            raise _End
        if self.sandbox.bytes_in_flight > self.settings.max_bytes_in_flight:
            self.say("452 4.3.1 The sandbox is full at the moment")
            raise _End

    def forget(self) -> None:
        """Give back what this message was counted for."""
        self.sandbox.bytes_in_flight -= self.counted
        self.counted = 0
