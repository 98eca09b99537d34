"""A job that one process does at a time: a named lease in the database, kept while the job goes on.

Promises that two processes never both believe to have it (while their clocks differ by 5 s at most), that it is
given back at a clean end, and that a database which can't be asked ends no job: the next turn asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from relay.base.clock import Clock
from relay.base.storage import Storage, StorageError, duties

log = structlog.get_logger("duty")
_CLOCKS_DIFFER = 5.0  # seconds, of several machines, at most


class Duty:
    """The job `name` in the eyes of one process, `owner`. `lease_seconds` after its last word it is anybody's."""

    def __init__(self, storage: Storage, clock: Clock, name: str, owner: str, lease_seconds: float) -> None:
        self._storage, self._clock = storage, clock
        self._name, self._owner, self._lease = name, owner, lease_seconds
        self._ask_at = self._until = float("-inf")

    @property
    def held(self) -> bool:
        """Whether it was ours when last asked, and the lease has not run out by anybody's clock."""
        return self._clock.monotonic() < self._until

    async def ours(self) -> bool:
        """Take or keep it: the tables are asked in every third of a lease. Raises StorageError."""
        mono, now = self._clock.monotonic(), self._clock.now()
        if mono >= self._ask_at:
            got = await self._storage.write(lambda tx: duties.take(tx, self._name, self._owner, now, self._lease))
            # What is another's is asked for a little more often than a lease ends.
            self._ask_at = mono + self._lease / (3 if got else 5)
            # Another machine's clock, which says when the lease is over there, may be ahead.
            self._until = mono + self._lease - min(_CLOCKS_DIFFER, self._lease / 4) if got else float("-inf")
        return self.held

    async def turns(self, turn: Callable[[], Awaitable[object]], every_seconds: float) -> None:
        """`turn()` for ever, whoever has the duty: it asks `ours` itself, and `leave` is for the caller's end."""
        while True:
            try:
                await turn()
            except StorageError as e:
                log.warning("duty.waits", duty=self._name, cause=str(e))
            await asyncio.sleep(every_seconds)

    async def leave(self) -> None:
        """Give it back, if the database lets us; else it runs out."""
        self._ask_at = self._until = float("-inf")
        try:
            await self._storage.write(lambda tx: duties.leave(tx, self._name, self._owner))
        except StorageError as e:
            log.warning("duty.waits", duty=self._name, cause=str(e))
