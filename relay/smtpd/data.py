"""Reading DATA: blocks up to CRLF.CRLF under bounds of our own, and dot-stuffing taken off in one pass.

Promises that only CRLF.CRLF ends the content, that no more of a message is held than its limit (also of a line
without end), that what is over a limit is read to its end and thrown away so that the connection stays usable, and
that a client which never ends is cut. Time is the conversation's, malformed content intake's matter.

`Reader` holds what has come in on a connection and is not read yet. It is asyncio's, with three things that asyncio
doesn't offer. They rest on private attributes of asyncio.StreamReader, declared here: to look at what has arrived (a
command that is here already needs no flush before it), to put octets in front of it, and to follow a transport that
TLS has taken over, which asyncio does by itself for its own protocol class only.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

READ_LIMIT = 65_536  # a line or a block is never collected beyond it; at twice as much the transport is paused


class Reader(asyncio.StreamReader):
    """Bounded octets in."""

    _buffer: bytearray
    _exception: BaseException | None
    _transport: asyncio.BaseTransport | None

    def __init__(self) -> None:
        super().__init__(limit=READ_LIMIT, loop=asyncio.get_running_loop())

    @property
    def arrived(self) -> bytearray:
        """What is not read yet; to look at, or to clear."""
        return self._buffer

    def move(self, transport: asyncio.BaseTransport) -> None:
        """From now on octets come from another transport."""
        self._transport = transport

    def let_go(self) -> None:
        """The connection is over: hold nothing that would keep it in memory."""
        self._transport = self._exception = None
        self._buffer.clear()


END = b"\r\n.\r\n"


class Endless(Exception):
    """The client sends on and on past the limit: the connection is of no more use."""


@dataclass(slots=True)
class Memory:
    """Bytes of unfinished messages held by all sessions of a process, and how many there may be."""

    limit: int
    held: int = 0

    @property
    def full(self) -> bool:
        """True when no more should be begun."""
        return self.held >= self.limit


class Content:
    """One message's content on its way in. Use as a context manager: leaving it gives its memory back.

    `received` grows with what has arrived; `too_large` and `no_memory` say why nothing was kept.
    """

    __slots__ = ("_chunks", "_held", "_limit", "_memory", "_raw", "_reader", "_tail", "no_memory", "received",
                 "too_large")

    def __init__(self, reader: Reader, memory: Memory, limit: int) -> None:
        self._reader, self._memory, self._limit = reader, memory, limit
        self._chunks: list[bytes] = []
        self._held = self._raw = self.received = 0
        self._tail = b""
        self.too_large = self.no_memory = False

    def __enter__(self) -> Content:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    async def read(self) -> bytes | None:
        """The content, its last CRLF included, without dot-stuffing; None when over a limit (read to its end).

        Raises IncompleteReadError when the client hangs up, Endless when it sends twice the limit.
        """
        # An empty message is only ".": a CRLF set before the content lets the one search find that end as well.
        self._reader._buffer[0:0] = b"\r\n"
        while True:
            try:
                last = await self._reader.readuntil(END)
            except asyncio.LimitOverrunError as overrun:
                self._take(await self._reader.readexactly(overrun.consumed))
                if self._raw > 2 * self._limit + len(END):
                    raise Endless from None
                continue
            break
        # Without the "." and its CRLF, which end the content but are not part of it.
        self._take(last[:-3])
        if self.too_large or self.no_memory:
            return None
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _take(self, chunk: bytes) -> None:
        """Keep a block. Each is worked on as it comes: all of a large message at once would hold others up."""
        self._raw += len(chunk)
        self.received = self._raw
        if self.too_large or self.no_memory:
            return
        # RFC 5321 §4.5.2: a period that begins a line is taken off (alone on its line it would have ended the data).
        # The last two octets before a block tell whether it begins with one; those before the first are the CRLF
        # that was set there.
        tail = self._tail or chunk[:2]
        kept = chunk if self._tail else chunk[2:]
        self._tail = (tail + kept)[-2:]
        whole = tail + kept
        if b"\r\n." in whole:
            kept = whole.replace(b"\r\n.", b"\r\n")[2:]
        # RFC 1870 §5: the periods taken off don't count.
        self.too_large = self._held + len(kept) > self._limit
        self.no_memory = not self.too_large and self._memory.held + len(kept) > self._memory.limit
        if self.too_large or self.no_memory:
            self._drop()
            return
        self._chunks.append(kept)
        self._held += len(kept)
        self._memory.held += len(kept)

    def _drop(self) -> None:
        self._chunks.clear()
        self._memory.held -= self._held
        self._held = 0
