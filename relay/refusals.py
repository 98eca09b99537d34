"""Recording refusals: a verdict gets its reference at once, the page behind it is written in the background.

Bounded for each member and address and in all: past the bound a refusal is still said, without a page.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import structlog

from relay.base.clock import HOUR, Clock
from relay.base.config import Config
from relay.base.events import REJECTED, SUPPRESSED, Event
from relay.base.netguard import client_key
from relay.base.secrets import random_id
from relay.base.storage import Storage, StorageError, Tx, events
from relay.base.storage import refusals as rows
from relay.base.storage.refusals import RefusalRow
from relay.base.throttle import Throttle
from relay.replies import Verdict

log = structlog.get_logger()
_WAITING_MAX = 1000


class Refusals:
    """Takes verdicts in, gives them their reference."""

    def __init__(self, storage: Storage, config: Config, clock: Clock) -> None:
        self._storage, self._clock = storage, clock
        self._throttle = Throttle(config.retention.refusals_an_hour, HOUR)
        self._waiting: deque[RefusalRow] = deque()
        self._task: asyncio.Task[None] | None = None

    def record(
        self, verdict: Verdict, *, door: str, address: str, member_id: int | None, request: dict[str, Any] | None
    ) -> Verdict:
        """The verdict with its reference. `request` is what asking again needs (addresses, size; never bytes)."""
        if not verdict.reply.policy or verdict.reference:
            return verdict
        who = member_id if member_id is not None else client_key(address)
        now = self._clock.monotonic()
        if self._throttle.wait(who, now) > 0 or len(self._waiting) >= _WAITING_MAX:
            return verdict
        self._throttle.count(who, now)
        reference = random_id()
        verdict = verdict.referred(reference)
        self._waiting.append(
            RefusalRow(reference, self._clock.now(), member_id, door, verdict.reply.name, _facts(verdict), request)
        )
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="refusals")
        return verdict

    async def flush(self) -> None:
        """Wait until everything recorded so far is written (or given up)."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(100, len(self._waiting)))]

            async def add(tx: Tx, batch: list[RefusalRow] = batch) -> None:
                await rows.add(tx, batch)
                await events.append(tx, [_event(row) for row in batch if row.member_id is not None])

            try:
                await self._storage.write(add)
            except StorageError as e:
                log.warning("refusals.lost", count=len(batch), cause=str(e))


def _event(row: RefusalRow) -> Event:
    """A refusal is loud: its member's feed tells of it too."""
    type_ = SUPPRESSED if row.rule == "suppressed" else REJECTED
    data = {"rule": row.rule, "door": row.door, "reference": row.id, "saw": row.verdict["saw"]}
    recipient = row.verdict["extra"].get("recipient")
    if recipient:
        data["recipient"] = recipient
    return Event(type_, row.member_id or 0, row.at, data=data)


def _facts(verdict: Verdict) -> dict[str, Any]:
    return {
        "rule": verdict.reply.name, "saw": verdict.saw, "wanted": verdict.wanted,
        "passes_at": verdict.passes_at, "extra": verdict.extra, "cure": verdict.cure,
    }
