"""Clocks that need no room of their own: posting owed reports."""

from __future__ import annotations

import asyncio

import structlog

from relay.base.storage import StorageError
from relay.delivery.reports import Reports

log = structlog.get_logger("duties")
_ROUNDS = 20


async def post_reports(reports: Reports, every_seconds: float) -> None:
    """Post what is owed, every `every_seconds`, until cancelled. Several processes may do it: each report is ticked
    off in the transaction that queues it, so it goes out once."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            # Bounded: a report that can't be written stays owed and must not keep this busy.
            for _ in range(_ROUNDS):
                if not await reports.post_due():
                    break
        except StorageError as e:
            log.warning("reports.wait", cause=str(e))
