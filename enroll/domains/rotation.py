"""The life of a DKIM pair: pending → live → retiring → removed.

A rotation puts a new pair beside the live one. Mail is signed with the old pair until the new one's records are
seen; then they change places in one transaction, and the old records stay published while mail signed with them
may still be under way. At the end the private halves are overwritten and the owner is told to take the records down.
"""

from __future__ import annotations

import asyncio

import structlog

from enroll.domains.pairs import new_pair
from enroll.errors import conflict
from relay.base.clock import DAY, Clock
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, versions
from relay.base.storage import domains as rows
from relay.base.storage.domains import KeyRow, NewPair, Row

log = structlog.get_logger("domains")


class Rotation:
    """Makes pairs and moves them on."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, vault: Vault) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._making = asyncio.Semaphore(config.submission.signing_threads)

    async def make(self, member_id: int, name: str) -> NewPair:
        """A new pair, made off the loop, few at once."""
        async with self._making:
            return await new_pair(self._vault, member_id, name, self._clock.now())

    async def begin(self, row: Row) -> None:
        """Put a new pair beside the live one of `row`. Raises EnrollError 409 when there is nothing to rotate."""
        async with self._storage.read() as tx:
            self._may_begin(row, (await rows.pairs(tx, [row.id])).get(row.id, []))
        pair = await self.make(row.member_id, row.name)

        async def write(tx: Tx) -> None:
            fresh = await rows.get(tx, row.id, lock=True)
            if fresh is None:
                raise conflict("The domain is gone.")
            self._may_begin(fresh, (await rows.pairs(tx, [row.id])).get(row.id, []))
            now = self._clock.now()
            await rows.add_pair(tx, row.id, pair, now)
            # The clock looks soon, and the owner's next look is not answered from before the change.
            look = now + self._config.enrollment.recheck_pending_seconds
            due = look if fresh.next_check_at is None else min(look, fresh.next_check_at)
            waits = fresh.state == "verified"
            await rows.change(tx, row.id, checked_at=None, next_check_at=due if waits else fresh.next_check_at)
            await versions.bump(tx, versions.DIRECTORY)

        await self._storage.write(write)
        log.info("dkim.rotating", domain=row.name, domain_id=row.id, stem=pair.stem)

    async def promote(self, tx: Tx, pairs: list[KeyRow], pair_id: int, now: float) -> None:
        """Make one pair live, and what was live retire."""
        for pair in pairs:
            if pair.state == "live" and pair.id != pair_id:
                await rows.set_pair_state(tx, pair.id, "retiring", now)
        await rows.set_pair_state(tx, pair_id, "live", now)

    async def remove_retired(self, limit: int = 100) -> int:
        """Destroy the private halves of pairs whose time is over; returns how many pairs."""
        before = self._clock.now() - self._config.enrollment.retiring_days * DAY
        async with self._storage.read() as tx:
            if not await rows.retired(tx, before, 1):
                return 0

        async def write(tx: Tx) -> int:
            found = await rows.retired(tx, before, limit)
            await rows.destroy_pairs(tx, [pair_id for _, pair_id in found], self._clock.now())
            await versions.bump(tx, versions.DIRECTORY)
            return len(found)

        return await self._storage.write(write)

    @staticmethod
    def _may_begin(row: Row, pairs: list[KeyRow]) -> None:
        states = {pair.state for pair in pairs}
        if row.state in ("suspended", "blocked", "deleted"):
            raise conflict(f"The domain is {row.state}.")
        if "live" not in states:
            raise conflict("The domain has not been verified yet: its first keys are still new.")
        if "pending" in states:
            raise conflict("A rotation is under way: publish the new pair's records first.")
