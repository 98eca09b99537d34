"""The snapshot: keyed hashes in memory that answer "certainly not on a list" without a query.

A hit is confirmed in the tables. The accepting transaction asks the tables again, so a snapshot that is a second old
refuses late, never wrongly.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable

import structlog

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.runtime import stopped
from relay.base.storage import Storage, StorageError, suppressions, versions
from relay.suppression.lists import Lists

log = structlog.get_logger()
_OVERLAP = 1000  # ids of concurrent transactions may appear out of order
_FRESH_LEAST, _FRESH_SHARE = 5000, 16  # new hashes stand apart up to so many, or to this part of all the others


class Suppressions(Lists):
    """The lists with their snapshot. One a process, for policy."""

    def __init__(self, storage: Storage, config: Config, clock: Clock) -> None:
        super().__init__(storage, config, clock)
        self._sorted = array("Q")
        self._fresh: set[int] = set()
        self._last_id = 0
        self._version = -1
        self._stopping = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the list, then look for changes until `stop`."""
        await self.refresh()
        self.task = asyncio.create_task(self._follow(), name="suppressions")

    async def stop(self) -> None:
        """End the looking."""
        if self.task is not None:
            # Asked, not cancelled: a read that is cut off half way would leave its connection to be cleaned up.
            self._stopping.set()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def refresh(self) -> None:
        """Take in what was added. What was removed only costs a query until the next start."""
        if await versions.glimpse(self._storage, versions.SUPPRESSIONS) == self._version:
            return
        async with self._storage.read() as tx:
            version = (await versions.current(tx)).get(versions.SUPPRESSIONS, 0)
            after = max(0, self._last_id - _OVERLAP)
            while True:
                rows = await suppressions.every(tx, after=after)
                if not rows:
                    break
                self._fresh.update(_hash(m, c) for _, m, c in rows)
                after = rows[-1][0]
            self._last_id = max(self._last_id, after)
            self._version = version
        if len(self._fresh) > max(_FRESH_LEAST, len(self._sorted) // _FRESH_SHARE):
            self._sorted = _merged(self._sorted, self._fresh)
            self._fresh = set()

    async def _follow(self) -> None:
        while not await stopped(self._stopping, self._config.database.snapshot_seconds):
            try:
                await self.refresh()
            except StorageError as e:
                log.warning("suppressions.stale", cause=str(e))

    async def _added(self) -> None:
        await self.refresh()

    def exact(self, version: int) -> bool:
        """True if nothing was added since the snapshot that had this version."""
        return version == self._version

    def maybe(self, member_id: int, canonical: str) -> bool:
        """False: certainly not on the list (as of the snapshot). True: ask `find`."""
        wanted = _hash(member_id, canonical)
        if wanted in self._fresh:
            return True
        at = bisect_left(self._sorted, wanted)
        return at < len(self._sorted) and self._sorted[at] == wanted


def _merged(ordered: array[int], new: Iterable[int]) -> array[int]:
    """Both in order, each value once. Whole stretches are copied, so a million of them never become a million objects:
    a set takes ten times the array's 8 bytes each."""
    out, at = array("Q"), 0
    for value in sorted(new):
        here = bisect_left(ordered, value, at)
        out.extend(ordered[at:here])
        out.append(value)
        at = here + (here < len(ordered) and ordered[here] == value)
    out.extend(ordered[at:])
    return out


def _hash(member_id: int, canonical: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{member_id}:{canonical}".encode(), digest_size=8).digest(), "big")
