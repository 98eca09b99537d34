"""One connection, as asyncio's protocol: octets in and out, TLS, and its end.

Promises: what is said together leaves in one write; a client that hangs up cancels nothing, its task only sees the end
of the stream; last words are written before the close, and the close doesn't wait for ever; what arrived in the clear
is forgotten at the handshake. What the octets mean is `relay.smtpd.conversation`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from typing import TYPE_CHECKING, cast

import structlog

from relay import replies
from relay.base.netguard import client_key
from relay.replies import Reply
from relay.smtpd.data import READ_LIMIT, Reader

if TYPE_CHECKING:
    from relay.smtpd.listener import Listener

log = structlog.get_logger()

# The client is gone, or never spoke TLS.
LOST = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)
_LINGER_SECONDS = 5.0  # for a client to read our last words
_DISCARD_SECONDS = 1.0
_DISCARD_BLOCKS = 64  # 4 MiB


class Connection(asyncio.Protocol):
    """From the first octet to the last. `converse` and `late` are a subclass's."""

    def __init__(self, listener: Listener, *, implicit_tls: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.listener, self.bounds = listener, listener.bounds
        self.implicit_tls, self.secure = implicit_tls, False
        self.address = self.counted_as = ""
        self.tls_version: str | None = None
        self.task: asyncio.Task[None] | None = None
        self.reader = Reader()
        self.closing = False
        self.open_by = math.inf
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._drained: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gone = self._waiting = self._leaving = self._overrun = False
        self._mute = implicit_tls  # under a handshake there is nothing that could be said

    # -- what a subclass is asked ----------------------------------------------------------------------------

    async def converse(self) -> None:
        """The whole conversation."""
        raise NotImplementedError

    def late(self, now: float) -> bool:
        """True when the client's time is over."""
        raise NotImplementedError

    def forget(self) -> None:
        """Forget all that is known of the client (RFC 3207 §4.2)."""
        raise NotImplementedError

    # -- what asyncio calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; too many: 421 and close, without a task."""
        stream = cast(asyncio.Transport, transport)
        peer = stream.get_extra_info("peername")
        self.address = str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) and peer else ""
        self.counted_as = client_key(self.address)
        refused = self.listener.admit(self)
        if refused is not None:
            self._gone = True
            # With implicit TLS there is nothing that could be said before the handshake.
            if not self.implicit_tls:
                stream.write(replies.line(refused).encode("ascii") + b"\r\n")
            stream.close()
            return
        if self.implicit_tls:
            # The ClientHello must reach the TLS layer, not this one: start_tls reads on.
            stream.pause_reading()
        self._transport = stream
        self.reader.set_transport(stream)
        self.open_by = self.loop.time() + self.bounds.opening_seconds
        self._timer = self.loop.call_later(self.bounds.tick_seconds, self._tick)
        self.task = self.loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        """Octets for the reader, which pauses the transport when it has enough."""
        self.reader.feed_data(data)

    def eof_received(self) -> bool:
        """What came before the end of the stream is still answered, where TCP alone can do that."""
        self.reader.feed_eof()
        return not self.secure

    def pause_writing(self) -> None:
        """The client doesn't read: the next flush waits."""
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        """There is room again, or nobody left to write to."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Let the task see the end of the stream. It is not cancelled: it may be in the middle of a commit."""
        self._gone = True
        self._stop_timer()
        if error is None:
            self.reader.feed_eof()
        else:
            self.reader.set_exception(error)
        self.resume_writing()
        self._transport = None
        self.listener.release(self)
        self._let_go()

    # -- its life and end ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self.converse()
            await self.flush()
            if self._overrun or self.reader.arrived:
                await self._discard()
        except LOST:
            pass
        except Exception:
            log.exception(f"{self.listener.name}.broken", client=self.address)
        finally:
            self.hang_up()
            self.task = None
            self._let_go()

    async def _discard(self) -> None:
        """Read on for a moment: closing with octets unread resets the connection, and our last words with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                for _ in range(_DISCARD_BLOCKS):
                    if not await self.reader.read(READ_LIMIT):
                        break

    def _let_go(self) -> None:
        """Break the cycles of a conversation that is over: its TLS buffers (256 KiB) are freed now, not by the
        garbage collector some hundred connections later."""
        if self._gone and self.task is None:
            self._transport = None
            self.reader.let_go()

    def _tick(self) -> None:
        if self._gone or self.closing:
            return
        if self.late(self.loop.time()):
            self.cut(replies.TIMEOUT)
        else:
            self._timer = self.loop.call_later(self.bounds.tick_seconds, self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def hang_up(self) -> None:
        """Close; what is written still goes out, for a few seconds."""
        self.closing = True
        self._stop_timer()
        if self._transport is not None and not self._gone:
            self._transport.close()
            self._timer = self.loop.call_later(_LINGER_SECONDS, self.abort)
        else:
            self.listener.release(self)

    def abort(self) -> None:
        """Close now, whatever is unsaid."""
        if not self._gone and self._transport is not None:
            self._transport.abort()

    def cut(self, reply: Reply) -> None:
        """Say a last word from outside the conversation's own task, and close."""
        if not self._gone and not self.closing and self._transport is not None:
            if not self._mute:
                self._transport.write(b"".join(self._out) + replies.line(reply).encode("ascii") + b"\r\n")
            self._out.clear()
            self.hang_up()

    def leave(self) -> None:
        """The server stops: 421 now if nothing is under way, else after the command or message under way."""
        self._leaving = True
        if self._waiting:
            self.cut(replies.SHUTTING_DOWN)

    # -- out -------------------------------------------------------------------------------------------------

    def say(self, *lines: str, close: bool = False) -> None:
        """Put one reply's lines (without CRLF) to those that leave at the next flush."""
        self._out += [line.encode("ascii", "backslashreplace") + b"\r\n" for line in lines]
        if close:
            self.closing = True

    async def flush(self) -> None:
        """Let what is said leave, in one write. Waits while the client doesn't read."""
        if self._out and not self._gone and self._transport is not None:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._transport.write(data)
            if self._drained is not None:
                await self._drained
                if self._gone:
                    raise ConnectionResetError

    # -- TLS -------------------------------------------------------------------------------------------------

    async def start_tls(self) -> None:
        """Put TLS between this conversation and its transport. Raises ConnectionResetError: no handshake."""
        plain = self._transport
        if plain is None:
            raise ConnectionResetError
        # RFC 3207 §4.2: what came in the clear after STARTTLS is forgotten. Nothing is awaited between here and
        # the moment at which the TLS layer takes the transport over.
        self.reader.arrived.clear()
        self._mute = True
        left = max(1.0, min(self.open_by - self.loop.time(), self.bounds.opening_seconds))
        try:
            upgraded = await self.loop.start_tls(
                plain, self, self.listener.tls_context(), server_side=True, ssl_handshake_timeout=left
            )
        except Exception as e:
            # After a failed handshake nobody calls connection_lost.
            self._gone = True
            plain.abort()
            # asyncio's frames hold this connection and the exception each other: without them it is freed at once.
            raise ConnectionResetError from e.with_traceback(None)
        if upgraded is None or self._gone:
            raise ConnectionResetError
        self._transport = upgraded
        self.reader.move(upgraded)
        self.forget()
        self.secure, self._mute = True, False
        tls = upgraded.get_extra_info("ssl_object")
        self.tls_version = tls.version() if tls is not None else "TLS"
