"""The wire under the commands: lines in, replies out, TLS, time limits, budgets. A fence around aiosmtpd 1.4.6.

Promises: a command line ends in CRLF and is bounded; replies to pipelined commands leave in one write; every reply
but the greeting and EHLO's carries an enhanced code, also those aiosmtpd words itself; a time limit is said (421)
before the connection closes; a client that hangs up cancels nothing; what an exception says stays in the log.
What the commands mean is `relay.submission.session`.

Of aiosmtpd's parts this touches private ones (`_reader`, `_writer`, `_handle_client`, `_set_rset_state`), so its
version is pinned and each of these promises is tested by behaviour.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
from aiosmtpd.smtp import SMTP, Session

from relay import replies
from relay.base.secrets import random_id
from relay.replies import Reply, Verdict
from relay.submission.data import Content
from relay.submission.grammar import CODES, ENHANCED, HTTP, MAX_LINE, MAX_LINES

if TYPE_CHECKING:
    from relay.submission.rooms import House

log = structlog.get_logger()

READ_LIMIT = 65_536  # of the stream reader; a line or a block is never collected beyond it
_LINGER_SECONDS = 5.0  # for a client to read our last words
_DISCARD_SECONDS = 1.0
_DISCARD_BLOCKS = 64  # 4 MiB
Command = Callable[[Any, str], Awaitable[None]]


class Conversation(SMTP):
    """One connection, from the first octet to the last. `commands` is the table of a subclass."""

    commands: ClassVar[Mapping[str, Command]] = {}

    def __init__(self, house: House, *, implicit_tls: bool) -> None:
        # Not SMTP.__init__: it looks its own methods up by introspection for every connection (0.17 ms), and its
        # size limits are one dict for all connections. What the methods kept from it read is set here.
        loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(
            self, asyncio.StreamReader(limit=READ_LIMIT, loop=loop), self._cb_client_connected, loop=loop
        )
        self.loop, self.house, self.limits = loop, house, house.config.submission
        self.hostname = house.config.server.hostname
        self.event_handler, self._handle_hooks = None, {}
        self.session = self.envelope = self.transport = None
        self._original_transport = self._timeout_handle = self._handler_coroutine = None
        self.implicit_tls, self.secure = implicit_tls, False
        self.address = ""
        self.tls_version: str | None = None
        self._out: list[bytes] = []
        self._closing = self._gone = self._waiting = self._leaving = self._overrun = False
        self._mute = implicit_tls  # under a handshake there is nothing that could be said
        self._bad = self._idle = 0
        self._deadline = self._login_by = math.inf
        self._content: Content | None = None
        self._content_since = self._content_moved = 0.0
        self._content_seen = 0
        s = self.limits
        self._tick_seconds = min(s.command_timeout_seconds, s.login_timeout_seconds, s.data_grace_seconds) / 4

    # -- the connection's life -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; too many: 421 and close, without a task."""
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) and peer else ""
        refused = self.house.admit(self)
        if refused is not None:
            self._gone = True
            # On 465 there is nothing that could be said before the handshake.
            if not self.implicit_tls:
                _writable(transport).write(replies.line(refused).encode("ascii") + b"\r\n")
            transport.close()
            return
        if self.implicit_tls:
            # The ClientHello must reach the TLS layer, not this one: start_tls reads on.
            transport.pause_reading()  # type: ignore[attr-defined]
        self._login_by = self.loop.time() + self.limits.login_timeout_seconds
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Let the task see the end of the stream. It is not cancelled: it may be in the middle of a commit."""
        self._gone = True
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        ended: asyncio.Future[None] = self._closed  # type: ignore[attr-defined]
        if ended.done():
            ended.exception()  # looked at, or it would be reported as forgotten
        self.transport = None
        self.house.release(self)
        self._let_go()

    def eof_received(self) -> bool | None:
        """What came before the end of the stream is still answered, where TCP alone can do that."""
        return asyncio.StreamReaderProtocol.eof_received(self)

    async def _handle_client(self) -> None:
        """The whole conversation, as the task that `connection_made` starts."""
        try:
            await self._converse()
            await self._flush()
            if self._overrun:
                await self._discard()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # the client is gone, or never spoke TLS
        except Exception:
            log.exception("submission.broken", client=self.address)
        finally:
            self.hang_up()
            self._handler_coroutine = None
            self._let_go()

    async def _discard(self) -> None:
        """Read on for a moment: closing with octets unread resets the connection, and our last words with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                for _ in range(_DISCARD_BLOCKS):
                    if not await self._reader.read(READ_LIMIT):
                        break

    def _let_go(self) -> None:
        """Break the cycles of a conversation that is over: its TLS buffers (256 KiB) are freed now, not by the
        garbage collector some hundred connections later."""
        if self._gone and self._handler_coroutine is None:
            self._client_connected_cb = None
            # A connection that was refused at once never had them.
            for part in ("_reader", "_writer"):
                self.__dict__.pop(part, None)

    async def _converse(self) -> None:
        if self.implicit_tls:
            await self._start_tls()
        self._arm()
        greeting = self.greeting()
        self.say(*greeting)
        if not greeting[0].startswith("220"):
            return
        while not self._closing:
            line = await self._read_line(MAX_LINE)
            if line is not None:
                await self._obey(line)
                self._arm()

    def greeting(self) -> list[str]:
        """The first reply's lines; a conversation that doesn't begin with 220 ends there."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """Close; what is written still goes out, for a few seconds."""
        self._closing = True
        if self.transport is not None and not self._gone:
            self.transport.close()
            if self._timeout_handle is not None:
                self._timeout_handle.cancel()
            self._timeout_handle = self.loop.call_later(_LINGER_SECONDS, self.abort)
        else:
            if self._timeout_handle is not None:
                self._timeout_handle.cancel()
            self.house.release(self)

    def abort(self) -> None:
        """Close now, whatever is unsaid."""
        if not self._gone and self.transport is not None:
            _writable(self.transport).abort()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The conversation's task, once there is one."""
        return self._handler_coroutine

    @property
    def client(self) -> Session:
        """What the client has said of itself since the last switch of TLS (aiosmtpd's session)."""
        assert self.session is not None
        return self.session

    @property
    def _arrived(self) -> bytearray:
        """What has come in and is not read yet."""
        buffer: bytearray = self._reader._buffer  # type: ignore[attr-defined]
        return buffer

    def _set_rset_state(self) -> None:
        """Forget the transaction."""
        raise NotImplementedError

    def cut(self, reply: Reply) -> None:
        """Say a last word from outside the conversation's own task, and close."""
        if not self._gone and not self._closing and self.transport is not None:
            if not self._mute:
                self._writer.write(b"".join(self._out) + replies.line(reply).encode("ascii") + b"\r\n")
            self._out.clear()
            self.hang_up()

    def leave(self) -> None:
        """The server stops: 421 now if nothing is under way, else after the command or message under way."""
        self._leaving = True
        if self._waiting:
            self.cut(replies.SHUTTING_DOWN)

    # -- time ------------------------------------------------------------------------------------------------

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Called once, at the start: one slow tick a connection instead of a timer a command."""
        self._timeout_handle = self.loop.call_later(self._tick_seconds, self._tick)

    def _arm(self, *, logged_in: bool = False) -> None:
        """The next command must be here in time; before the login there is a limit for all of it."""
        if logged_in:
            self._login_by = math.inf
        # RFC 5321 §4.5.3.2.7: at least 5 minutes for a command.
        self._deadline = min(self.loop.time() + self.limits.command_timeout_seconds, self._login_by)

    def _disarm(self) -> None:
        """We are at work ourselves: no limit on the client."""
        self._deadline = math.inf

    def _tick(self) -> None:
        if self._gone or self._closing:
            return
        now = self.loop.time()
        late = now >= self._deadline if self._content is None else self._too_slow(self._content, now)
        if late:
            self.cut(replies.TIMEOUT)
        else:
            self._timeout_handle = self.loop.call_later(self._tick_seconds, self._tick)

    def _too_slow(self, content: Content, now: float) -> bool:
        """RFC 5321 §4.5.3.2.8 wants patience for each block; the average rate ends what drips for ever."""
        seen = content.received + len(self._arrived)
        if seen > self._content_seen:
            self._content_seen, self._content_moved = seen, now
        took = now - self._content_since
        slow = took > self.limits.data_grace_seconds and seen < took * self.limits.data_min_bytes_a_second
        return slow or now - self._content_moved >= self.limits.command_timeout_seconds

    # -- in --------------------------------------------------------------------------------------------------

    async def _read_line(self, limit: int) -> str | None:
        """The next line without CRLF, or None when it was refused (and answered). Bounded by the reader's limit."""
        if b"\n" not in self._arrived:
            await self._flush()
            # RFC 5321 §3.8: a server that goes says 421 whenever it likes.
            if self._leaving:
                self.say(replies.line(replies.SHUTTING_DOWN), close=True)
                return None
        self._waiting = True
        try:
            raw = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as overrun:
            # Nobody who speaks SMTP sends a command of 64 KiB.
            await self._reader.readexactly(overrun.consumed)
            self.say(replies.line(replies.BAD_LINE), replies.line(replies.TOO_MANY_ERRORS), close=True)
            self._overrun = True
            return None
        finally:
            self._waiting = False
        line = raw[:-2]
        # RFC 5321 §2.3.8: only CRLF ends a line. What two programs could split differently ends the conversation.
        if raw[-2:] != b"\r\n" or b"\r" in line:
            self.say(replies.line(replies.SMUGGLING), close=True)
            return None
        if len(raw) > limit:
            word = raw[:5].partition(b" ")[0].upper().decode("ascii", "replace")
            if len(raw) > MAX_LINES.get(word, limit):
                self.bad(replies.BAD_LINE)
                return None
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            self.bad(replies.BAD_LINE)
            return None
        return text

    async def _obey(self, line: str) -> None:
        word, _, argument = line.partition(" ")
        name = word.upper()
        command = self.commands.get(name)
        if command is None:
            # A browser or a scanner: the rest of what it sends would only be more bad commands.
            if name in HTTP:
                self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)
            else:
                self.bad(replies.BAD_COMMAND)
            return
        try:
            await command(self, argument.strip(" \t"))
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            raise
        except Exception:
            self._content = None
            self.failed(name)

    def failed(self, command: str) -> None:
        """The unforeseen: the cause to the log, a reference to the client, and a session as after RSET."""
        reference = random_id(6)
        log.exception("submission.failed", command=command, client=self.address, reference=reference)
        self._set_rset_state()
        self.refuse(Verdict(replies.INTERNAL, reference=reference))

    # -- out -------------------------------------------------------------------------------------------------

    def say(self, *lines: str, close: bool = False) -> None:
        """Put one reply's lines (without CRLF) to those that leave at the next flush."""
        self._out += [line.encode("ascii", "backslashreplace") + b"\r\n" for line in lines]
        if close:
            self._closing = True

    def refuse(self, verdict: Verdict) -> None:
        """Say a verdict in our reply table's words."""
        self.say(*verdict.smtp_lines(self.house.config.server.public_url), close=verdict.reply.closes)

    def bad(self, reply: Reply, saw: str = "") -> None:
        """Say that a command was wrong, and count it."""
        self._bad += 1
        self.say(replies.line(reply, saw))
        if self._bad >= self.limits.max_bad_commands:
            self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)

    def idle(self) -> bool:
        """Count a command that leads nowhere; False when there have been too many (and it is said)."""
        self._idle += 1
        if self._idle > self.limits.max_idle_commands:
            self.say(replies.line(replies.TOO_MANY_ERRORS), close=True)
            return False
        return True

    async def push(self, status: str | bytes) -> None:
        """aiosmtpd's way to answer: the enhanced code it leaves out is put in (RFC 2034 §4), but not for HELO."""
        text = status if isinstance(status, str) else status.decode("ascii", "replace")
        greeting = text == f"250 {self.hostname}"
        if text[:1] in "245" and not greeting and not ENHANCED.match(text):
            text = f"{text[:4]}{CODES.get(text[:3], text[0] + '.0.0')} {text[4:]}"
        if text[:1] == "5":
            self._bad += 1
        self.say(replies.printable(text), close=self._bad >= self.limits.max_bad_commands)

    async def _flush(self) -> None:
        if self._out and not self._gone:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._writer.write(data)
            await self._writer.drain()

    # -- TLS -------------------------------------------------------------------------------------------------

    async def _start_tls(self) -> None:
        """Put TLS between this conversation and its transport. Raises what the handshake raises."""
        assert self.transport is not None
        plain = _writable(self.transport)
        # RFC 3207 §4.2: what came in the clear after STARTTLS is forgotten. Nothing is awaited between here and
        # the moment at which the TLS layer takes the transport over.
        self._arrived.clear()
        self._mute = True
        left = max(1.0, min(self._login_by - self.loop.time(), self.limits.login_timeout_seconds))
        try:
            upgraded = await self.loop.start_tls(
                plain, self, self.house.tls_context(), server_side=True, ssl_handshake_timeout=left
            )
        except Exception as e:
            # After a failed handshake nobody calls connection_lost.
            self._gone = True
            plain.abort()
            raise ConnectionResetError from e
        if upgraded is None or self._gone:
            raise ConnectionResetError
        self.transport = upgraded
        # As asyncio.StreamWriter.start_tls does from Python 3.11 on, and for the reader too.
        for part in (self, self._writer, self._reader):
            part._transport = upgraded  # type: ignore[union-attr]
        self._over_ssl = True
        # RFC 3207 §4.2: all that was known of the client is forgotten.
        self._set_rset_state()
        self.session = self._create_session()
        self.session.peer = upgraded.get_extra_info("peername")
        self.secure, self._mute = True, False
        tls = upgraded.get_extra_info("ssl_object")
        self.tls_version = tls.version() if tls is not None else "TLS"


def _writable(transport: asyncio.BaseTransport) -> asyncio.WriteTransport:
    """What a stream's transport always is, for the type checker."""
    return transport  # type: ignore[return-value]
