"""gzip (RFC 1952) by several threads: a stream cut into pieces, each a member of its own, written in order.

Members one after the other are one gzip file (RFC 1952 §2.2), so whatever reads gzip reads this. The threads are nice:
what else runs on the machine goes first.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO

PIECE = 1 << 20
_LEVEL = 1  # most of a backup is base64, which higher levels make hardly smaller, and much later
_NICE = 10


class Packer:
    """Takes bytes by `write` and writes them, packed, to `out`. A context: its end writes what is left."""

    def __init__(self, out: IO[bytes], threads: int | None = None) -> None:
        """`threads`: as many as there are cores, if not given."""
        self._out = out
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="packing", initializer=_be_nice)
        self._piece = bytearray()
        self._packed: deque[Future[bytes]] = deque()

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self._pack(bytes(self._piece))
                self._drain(0)
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, data: bytes) -> int:
        """Take `data`; what of it is packed already is written. Raises OSError."""
        self._piece += data
        while len(self._piece) >= PIECE:
            self._pack(bytes(self._piece[:PIECE]))
            del self._piece[:PIECE]
        return len(data)

    def _pack(self, piece: bytes) -> None:
        self._packed.append(self._pool.submit(gzip.compress, piece, _LEVEL, mtime=0))
        self._drain(2 * self._threads)

    def _drain(self, most: int) -> None:
        """Write what is first in line until at most so many pieces are in hand."""
        while len(self._packed) > most:
            self._out.write(self._packed.popleft().result())


def _be_nice() -> None:
    # On Linux each thread has a priority of its own; where it has none, there is none to change.
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
