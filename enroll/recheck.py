"""The clock that asks DNS again: one process at a time, few domains at once, nobody starved by a bad one.

Which domains are due stands in their rows, so a restart forgets nothing. Also finishes enrollments whose process
died between its two transactions, and ends the life of retired DKIM pairs. What a look means is `domains`' business.
"""

from __future__ import annotations

import asyncio

import structlog

from enroll.domains import Domains
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.duty import Duty
from relay.base.storage import Storage, StorageError, Tx
from relay.base.storage import domains as rows
from relay.replies import Refused

log = structlog.get_logger("recheck")
DUTY = "recheck"
_LEASE_SECONDS = 300.0


class Recheck:
    """`run` until cancelled; `tick` is one turn. `owner` names this process among those that share the database."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, domains: Domains, *, owner: str) -> None:
        self._storage, self._config, self._clock, self._domains = storage, config, clock, domains
        self._duty = Duty(storage, clock, DUTY, owner, _LEASE_SECONDS)

    async def run(self) -> None:
        """Take turns until cancelled, then give the duty back."""
        try:
            await self._duty.turns(self.tick, self._config.enrollment.recheck_poll_seconds)
        finally:
            await self._duty.leave()

    async def tick(self) -> int:
        """Look at what is due, if the duty is ours; returns how many domains were looked at. Raises StorageError."""
        if not await self._duty.ours():
            return 0
        e = self._config.enrollment
        await self._domains.rotation.remove_retired()
        async with self._storage.read() as tx:
            due = await rows.due(tx, self._clock.now(), e.recheck_batch)
        looked = 0
        for at in range(0, len(due), e.recheck_concurrency):
            batch = due[at : at + e.recheck_concurrency]
            # A long turn keeps the lease fresh; a lost one means that another process is at it.
            if looked and not await self._duty.ours():
                break
            await asyncio.gather(*(self._look(domain_id) for domain_id in batch))
            looked += len(batch)
        return looked

    async def _look(self, domain_id: int) -> None:
        try:
            await self._domains.check(domain_id, by="clock")
            return
        except Refused as e:
            if e.status == 404:
                return
            log.info("recheck.later", domain_id=domain_id, code=e.code)
        except StorageError:
            raise
        except Exception:
            log.exception("recheck.failed", domain_id=domain_id)
        # A domain that can't be looked at now must not be first in line at every turn.
        await self._storage.write(lambda tx: self._postpone(tx, domain_id))

    async def _postpone(self, tx: Tx, domain_id: int) -> None:
        later = self._clock.now() + self._config.enrollment.recheck_pending_seconds
        await rows.change(tx, domain_id, next_check_at=later)
