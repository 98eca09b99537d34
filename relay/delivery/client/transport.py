"""The client's end of the wire: bytes out, whole replies in, under bounds and clocks.

Promises: a reply is handed over only when something asked for it; anything the server says unasked marks the
wire as failed (data injected before a TLS handshake looks just like that). Lines, replies and waiting are bounded.
A failed wire stays failed, and its socket is closed.

Leaves to others: what to say, and what a reply means.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast

from relay.delivery.client.limits import Limits
from relay.outcome import Failure, Reply


class WireFailed(Exception):
    """The wire can't be used any more; `failure` is one of outcome's words."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure: Failure = failure


class Wire(asyncio.Protocol):
    """One TCP connection to a mail exchanger, before and after TLS. One coroutine uses it at a time."""

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._lines: list[bytes] = []
        self._code = 0
        self._reply_bytes = 0
        self._replies: deque[Reply] = deque()
        self._needed = 0
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._resumed: asyncio.Future[None] | None = None
        self.closed: asyncio.Future[None] = loop.create_future()
        self.failure: Failure | None = None
        # The greeting is owed without a command.
        self.owed = 1
        self.deadline = loop.time() + limits.conversation_seconds
        self.last_words: Reply | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's class, they only behave so.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.failure is None:
            self.failure = "closed"
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self.failure is not None:
            return
        if self._rest:
            data = self._rest + data
        lines = data.split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            failure = self._line(line)
            if failure is not None:
                # What nobody asked for needs no further judgement, whatever it looks like.
                self.fail("out_of_step" if self.owed <= 0 and failure != "closed" else failure)
                return
        if self._rest and self.owed <= 0:
            self.fail("out_of_step")
        elif len(self._rest) > self._limits.reply_line_bytes:
            self.fail("oversized")
        elif len(self._replies) >= self._needed:
            self._wake()

    def _line(self, line: bytes) -> Failure | None:
        """Take one line without its LF."""
        if len(line) > self._limits.reply_line_bytes:
            return "oversized"
        # RFC 5321 §2.3.8 wants CRLF; a lone LF ends a reply line too, since nothing here depends on it.
        line = line.removesuffix(b"\r")
        # RFC 5321 §4.2: three digits, then nothing, SP or "-", then text.
        if not line[:3].isdigit() or len(line) < 3 or line[3:4] not in (b"", b" ", b"-"):
            return "garbage"
        code = int(line[:3])
        if self._lines and code != self._code:
            # RFC 5321 §4.2.1: every line of a reply has the same code.
            return "garbage"
        self._code = code
        self._reply_bytes += len(line)
        self._lines.append(line[4:])
        if len(self._lines) > self._limits.reply_lines or self._reply_bytes > self._limits.reply_bytes:
            return "oversized"
        if line[3:4] == b"-":
            return None
        reply = Reply(code, tuple(self._lines))
        self._lines = []
        self._reply_bytes = 0
        if self.owed <= 0:
            # RFC 5321 §3.8: a server that closes may say 421 unasked. Kept, so that it can be shown.
            self.last_words = reply
            return "closed" if code == 421 else "out_of_step"
        self.owed -= 1
        self._replies.append(reply)
        return None

    def fail(self, failure: Failure) -> None:
        """Close, and tell whoever waits for a reply why there is none."""
        if self.failure is None:
            self.failure = failure
        self._rest = b""
        self._lines = []
        self.abort()
        self._wake()

    def _wake(self) -> None:
        for future in (self._waiter, self._resumed):
            if future is not None and not future.done():
                future.set_result(None)

    # What the conversation calls.

    def send(self, data: bytes, replies: int) -> None:
        """Write `data`, which is owed so many `replies`. A wire that failed swallows it."""
        self.owed += replies
        if self._transport is not None and self.failure is None:
            self._transport.write(data)

    @property
    def replies_waiting(self) -> bool:
        """True when a reply came that nobody took."""
        return bool(self._replies)

    async def gather(self, replies: int, seconds: float) -> None:
        """Wait until so many replies are there, or the wire failed.

        `seconds` may pass between two replies; the deadline bounds the whole. Take them with `take`."""
        while len(self._replies) < replies and self.failure is None:
            had = len(self._replies)
            now = self._loop.time()
            if now >= self.deadline:
                self.fail("deadline")
                return
            late_at = min(now + seconds, self.deadline)
            self._needed = replies
            self._waiter = self._loop.create_future()
            timer = self._loop.call_at(late_at, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
                self._needed = 0
            if self._loop.time() >= late_at and len(self._replies) == had and self.failure is None:
                self.fail("deadline" if self._loop.time() >= self.deadline else "timeout")

    def take(self) -> Reply:
        """The next reply. Raises WireFailed when there is none."""
        if self._replies:
            return self._replies.popleft()
        raise WireFailed(self.failure or "out_of_step")

    async def reply(self, seconds: float) -> Reply:
        """Wait for the next reply and take it. Raises WireFailed."""
        await self.gather(1, seconds)
        return self.take()

    async def drained(self, seconds: float) -> bool:
        """Wait until the other side has read enough for us to go on; False when it failed or answered already."""
        while self._paused and self.failure is None and not self._replies:
            now = self._loop.time()
            late_at = min(now + seconds, self.deadline)
            self._resumed = self._loop.create_future()
            timer = self._loop.call_at(late_at, self._wake)
            try:
                await self._resumed
            finally:
                timer.cancel()
                self._resumed = None
            if self._paused and self.failure is None and self._loop.time() >= late_at:
                self.fail("deadline" if late_at >= self.deadline else "timeout")
        return self.failure is None and not self._replies

    async def start_tls(self, context: ssl.SSLContext, host: str, seconds: float) -> ssl.SSLObject:
        """Do the TLS handshake with the name `host`. Raises WireFailed, ssl.SSLError, OSError, TimeoutError.

        Nothing read before the switch is read after it (RFC 3207 §4.2)."""
        if self.failure is not None or self._transport is None:
            raise WireFailed(self.failure or "closed")
        if self._rest or self._lines or self._replies:
            self.fail("injected")
            raise WireFailed("injected")
        seconds = max(0.001, min(seconds, self.deadline - self._loop.time()))
        plain = self._transport
        try:
            encrypted = await self._loop.start_tls(
                plain, self, context, server_hostname=host, ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=self._limits.quit_seconds,
            )
        except BaseException:
            self.failure = self.failure or "tls"
            plain.abort()
            raise
        assert encrypted is not None
        self._transport = encrypted
        self.owed = 0
        tls: ssl.SSLObject = encrypted.get_extra_info("ssl_object")
        return tls

    @property
    def source(self) -> str:
        """Our end's address; "" where there is none."""
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return str(name[0]) if name else ""

    def leave(self, farewell: bytes) -> None:
        """Say `farewell` and close without waiting for an answer."""
        if self._transport is None:
            return
        if self.failure is None:
            self.failure = "closed"
            self._transport.write(farewell)
            self._transport.close()
        else:
            self._transport.abort()

    def abort(self) -> None:
        """Close the socket at once."""
        if self.failure is None:
            self.failure = "closed"
        if self._transport is not None:
            self._transport.abort()
