"""Whom a member no longer mails, and why.

A snapshot of keyed hashes in memory answers "certainly not on a list" without a query; a hit is confirmed in the
tables. The accepting transaction asks the tables again, so a snapshot that is a second old refuses late, never
wrongly.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from bisect import bisect_left

import structlog

from relay import replies
from relay.base import names
from relay.base.clock import Clock, iso
from relay.base.config import Config
from relay.base.runtime import stopped
from relay.base.storage import Storage, StorageError, suppressions, versions
from relay.base.storage.suppressions import Suppression
from relay.replies import Verdict

log = structlog.get_logger()
USER_INITIATED = frozenset({"login-link", "password-reset", "mfa-otp", "verification"})
TRANSACTIONAL = USER_INITIATED | {"transactional"}
BULK = frozenset({"bulk", "broadcast"})
CATEGORIES = TRANSACTIONAL | BULK
REASONS = ("unsubscribe", "complaint", "hard_bounce", "manual", "import")
_OVERLAP = 1000  # ids of concurrent transactions may appear out of order


def applies(reason: str, category: str) -> bool:
    """Whether an entry with this reason stops mail of this category."""
    return not (reason == "unsubscribe" and category in USER_INITIATED)


def refusal(found: Suppression) -> Verdict:
    """The loud refusal of a suppressed recipient: since when and why."""
    return Verdict(
        replies.SUPPRESSED, saw=f"{found.reason} since {iso(found.created_at)}",
        extra={"reason": found.reason, "since": iso(found.created_at), "recipient": found.original},
        member_id=found.member_id,
    )


class Suppressions:
    """The snapshot, and the list's own actions."""

    def __init__(self, storage: Storage, config: Config, clock: Clock) -> None:
        self._storage, self._config, self._clock = storage, config, clock
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
        async with self._storage.read() as tx:
            version = (await versions.current(tx)).get(versions.SUPPRESSIONS, 0)
            if version == self._version:
                return
            after = max(0, self._last_id - _OVERLAP)
            while True:
                rows = await suppressions.every(tx, after=after)
                if not rows:
                    break
                self._fresh.update(_hash(m, c) for _, m, c in rows)
                after = rows[-1][0]
            self._last_id = max(self._last_id, after)
            self._version = version
        if len(self._fresh) > 50_000:
            self._sorted = array("Q", sorted(self._fresh.union(self._sorted)))
            self._fresh = set()

    async def _follow(self) -> None:
        while not await stopped(self._stopping, self._config.database.snapshot_seconds):
            try:
                await self.refresh()
            except StorageError as e:
                log.warning("suppressions.stale", cause=str(e))

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

    async def find(self, member_id: int, canonical: str) -> Suppression | None:
        """The entry for this canonical address, from the tables."""
        async with self._storage.read() as tx:
            return (await suppressions.find(tx, [(member_id, canonical)])).get((member_id, canonical))

    async def add(self, member_id: int, address: str, reason: str, detail: str = "") -> Suppression:
        """Put an address on a member's list. Raises names.BadName, StorageError."""
        entry = Suppression(
            0, member_id, names.canonical(names.address(address)), address, reason, detail, self._clock.now()
        )
        await self._storage.write(lambda tx: suppressions.add(tx, [entry]))
        await self.refresh()
        return entry

    async def remove(self, member_id: int, address: str) -> bool:
        """Take an address off a member's list; False if it was not there."""
        canonical = names.canonical(names.address(address))
        return await self._storage.write(lambda tx: suppressions.remove(tx, member_id, canonical))

    async def page(self, member_id: int, *, after: int = 0, limit: int = 50) -> list[Suppression]:
        """A member's list from `after` on."""
        async with self._storage.read() as tx:
            return await suppressions.page(tx, member_id, after=after, limit=limit)


def _hash(member_id: int, canonical: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{member_id}:{canonical}".encode(), digest_size=8).digest(), "big")
