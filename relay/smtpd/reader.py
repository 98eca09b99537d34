"""The reader of a connection: what has come in and is not read yet. asyncio's, with three things it doesn't offer.

They rest on private attributes of asyncio.StreamReader, declared here: to look at what has arrived (a command that is
here already needs no flush before it), to put octets in front of it, and to follow a transport that TLS has taken
over, which asyncio does by itself for its own protocol class only.
"""

from __future__ import annotations

import asyncio

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
