"""Checks of passwords one after another: of one key one at a time, and after a wrong one the next a while later.

Promises that no more wait for a key than may, and none longer than it may; that a check which doesn't say that it went
well counts as a wrong one; and that keys are forgotten as soon as they mean nothing any more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from relay.base.clock import Clock


class Busy(Exception):
    """Too many wait, or it took too long. `seconds`: after so many, trying again can help."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds} s")
        self.seconds = seconds


class _Line:
    __slots__ = ("free_at", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()  # hands itself on in the order of those who wait
        self.waiting = 0
        self.free_at = float("-inf")


class Pace:
    """The lines of all keys. `seconds`: from the start of a wrong check to the next; `longest`: of waiting."""

    def __init__(self, clock: Clock, *, seconds: float, waiting: int, longest: float) -> None:
        self._clock, self._seconds, self._most, self._longest = clock, seconds, waiting, longest
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()

    def busy(self, key: Hashable) -> bool:
        """Whether a check of `key` would have to wait."""
        line = self._lines.get(key)
        return line is not None and not self._idle(line)

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn of `key`; left by an exception, the check was a wrong one. Raises Busy."""
        line = self._line(key)
        if line.waiting >= self._most:
            raise Busy(line.waiting * self._seconds)
        line.waiting += 1
        try:
            async with asyncio.timeout(self._longest):
                await self._take(line)
        except TimeoutError:
            raise Busy(line.waiting * self._seconds) from None
        finally:
            line.waiting -= 1
        began, line.free_at = self._clock.monotonic(), float("-inf")
        try:
            yield
        except BaseException:
            line.free_at = began + self._seconds
            raise
        finally:
            line.lock.release()

    async def _take(self, line: _Line) -> None:
        await line.lock.acquire()
        try:
            if (wait := line.free_at - self._clock.monotonic()) > 0:
                await asyncio.sleep(wait)
        except BaseException:
            line.lock.release()
            raise

    def _line(self, key: Hashable) -> _Line:
        line = self._lines.get(key)
        if line is None:
            while self._lines and self._idle(next(iter(self._lines.values()))):
                self._lines.popitem(last=False)
            line = self._lines[key] = _Line()
        self._lines.move_to_end(key)
        return line

    def _idle(self, line: _Line) -> bool:
        return not line.waiting and not line.lock.locked() and line.free_at <= self._clock.monotonic()
