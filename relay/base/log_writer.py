"""Where log lines go while a relay serves: a bounded queue, and a thread that writes.

Promises that nobody who logs waits for whoever reads the log, that memory is bounded when nobody reads, that what is
dropped then is counted and said as soon as something can be written again, and that a line which comes again and
again within some seconds is written once and then as a count. `close` gives what is waiting a bounded time. A process
that is killed loses the lines of its last moment.
"""

from __future__ import annotations

import io
import os
import select
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_GATHER_SECONDS = 0.01  # lines that come together leave in one write
_KINDS = 200  # lines remembered, to know them when they come again
_LONGEST = 65_536  # of a line whose end has not come yet


class Writer:
    """The queue and its thread. `repeated` makes a line say that it came so many times more."""

    def __init__(
        self, fd: int, *, max_bytes: int, fold_seconds: float, close_seconds: float,
        repeated: Callable[[str, int], str], dropped: Callable[[int], str],
    ) -> None:
        self.fd, self._max, self._fold_seconds, self._close_seconds = fd, max_bytes, fold_seconds, close_seconds
        self._repeated, self._says_dropped = repeated, dropped
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._waiting: list[tuple[str, str]] = []
        self._bytes = self._unsaid = 0
        self._awake = self._closing = False
        self._known: OrderedDict[str, tuple[float, int, str]] = OrderedDict()
        self.dropped = 0
        """Lines dropped since the start, or lost in writing."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, head: str, rest: str) -> None:
        """Take a line (without its end) to be written; `head` is what differs when the same happens again. Never
        waits for a reader."""
        size = len(head) + len(rest) + 1
        with self._lock:
            if self._bytes + size > self._max:
                self.dropped += 1
                self._unsaid += 1
                return
            self._bytes += size
            self._waiting.append((head, rest))
            wake, self._awake = not self._awake, True
        if wake:
            self._wake.set()

    def close(self) -> bool:
        """Write what is waiting, for as long as that may take; True when all of it is out."""
        with self._lock:
            self._closing = self._awake = True
        self._wake.set()
        self._thread.join(self._close_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            pending = any(count for _, count, _ in self._known.values())
            self._wake.wait(self._fold_seconds if pending else None)
            if not self._closing:
                time.sleep(_GATHER_SECONDS)
            with self._lock:
                self._wake.clear()
                batch, self._waiting = self._waiting, []
                unsaid, self._unsaid = self._unsaid, 0
                closing, self._awake = self._closing, self._closing
            lines = self._folded(batch, time.monotonic(), everything=closing)
            if unsaid:
                lines.append(self._says_dropped(unsaid))
            self._write(lines)
            with self._lock:
                self._bytes -= sum(len(head) + len(rest) + 1 for head, rest in batch)
                empty = not self._waiting
            if closing and empty:
                return

    def _folded(self, batch: list[tuple[str, str]], now: float, *, everything: bool) -> list[str]:
        """The lines to write: the new ones, and the counts of those whose seconds are over."""
        out = []
        for head, rest in batch:
            seen = self._known.get(rest)
            if seen is not None and now - seen[0] < self._fold_seconds:
                self._known[rest] = (seen[0], seen[1] + 1, head)
                continue
            if seen is not None:
                out += self._counted(rest, self._known.pop(rest))
            self._known[rest] = (now, 0, head)
            out.append(head + rest)
        while self._known:
            rest, seen = next(iter(self._known.items()))
            if not everything and len(self._known) <= _KINDS and now - seen[0] < self._fold_seconds:
                break
            out += self._counted(rest, self._known.pop(rest))
        return out

    def _counted(self, rest: str, seen: tuple[float, int, str]) -> list[str]:
        return [self._repeated(seen[2] + rest, seen[1])] if seen[1] else []

    def _write(self, lines: list[str]) -> None:
        data = memoryview("".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace"))
        try:
            while data:
                try:
                    data = data[os.write(self.fd, data) :]
                except BlockingIOError:
                    # Somebody who shares it has set it so, and its reader is slow: this thread can wait.
                    select.select([], [self.fd], [])
        except (OSError, ValueError):
            # A log that can't be written (a full disk, no reader) must not stop the mail.
            with self._lock:
                lost = bytes(data).count(b"\n")
                self.dropped += lost
                self._unsaid += lost


class Stream(io.TextIOBase):
    """What stands in for standard error meanwhile: whatever else is printed there (warnings, a thread's last words)
    waits for nobody either."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._begun = ""

    def write(self, text: str) -> int:
        """Whole lines go; the rest waits for its end."""
        *whole, begun = (self._begun + text).split("\n")
        self._begun = begun[-_LONGEST:]
        if whole:
            self.writer.put("", "\n".join(whole))
        return len(text)

    def writable(self) -> bool:
        """As files are."""
        return True

    def fileno(self) -> int:
        """Of what it stands in for."""
        return self.writer.fd
