"""Clean-up, a duty of one process: bytes of finished messages, the logs, allowances, refusals, deleted members' lists,
answers kept for idempotency. In small transactions, so that accepting never waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from relay.base.clock import DAY, HOUR, Clock, Steps
from relay.base.config import Config
from relay.base.duty import Duty
from relay.base.storage import (
    Storage,
    Tx,
    allowances,
    events,
    idempotency,
    mail,
    refusals,
    suppressions,
    webhooks,
)  # fmt: skip

DUTY = "retention"


class Retention:
    """Removes what is past its time."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, owner: str) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        self._steps = Steps(clock)
        self._duty = Duty(storage, clock, DUTY, owner, 3 * config.retention.purge_seconds)

    async def run(self) -> None:
        """Clean up until cancelled, every `purge_seconds`, while this process has the duty."""
        try:
            await self._duty.turns(self._turn, self._config.retention.purge_seconds)
        finally:
            await self._duty.leave()

    async def _turn(self) -> None:
        # Of a clock that was set wrong, somebody has an hour to set it right before anything counts as old.
        if await self._duty.ours() and not self._steps.within(HOUR):
            await self.once()

    async def once(self) -> dict[str, int]:
        """One round, everything due; returns what was removed."""
        r, now = self._config.retention, self._clock.now()
        rows = r.purge_rows
        jobs: dict[str, Callable[[Tx], Awaitable[int]]] = {
            "bodies": lambda tx: mail.purge_bodies(tx, now - r.bodies_days * DAY, rows),
            "messages": lambda tx: mail.purge_log(tx, now - r.log_days * DAY, rows),
            "events": lambda tx: events.purge(tx, now - r.log_days * DAY, rows),
            "webhooks": lambda tx: webhooks.purge(tx, now - r.log_days * DAY, rows),
            "refusals": lambda tx: refusals.purge(tx, now - r.refusals_days * DAY, rows),
            # Kept as long as the member (and what still comes in for one that is gone goes with it).
            "suppressions": lambda tx: suppressions.purge(tx, rows),
            "idempotency": lambda tx: idempotency.purge(
                tx, now - self._config.http.idempotency_hours * HOUR, rows
            ),
        }
        removed = {"allowances": await self._storage.write(lambda tx: allowances.purge(tx, now - DAY - HOUR))}
        for name, job in jobs.items():
            removed[name] = 0
            while True:
                n = await self._storage.write(job)
                removed[name] += n
                if n < rows:
                    break
        return removed
