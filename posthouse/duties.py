"""Work in the background that is too small for a place of its own: looking for damage, posting owed reports."""

from __future__ import annotations

import asyncio

import structlog

from relay.base.clock import HOUR
from relay.base.storage import Storage, StorageError, archive
from relay.delivery.dsn import Reports

log = structlog.get_logger("duties")
_ROUNDS = 20
_CHECK_SECONDS = 6 * HOUR


async def look_for_damage(storage: Storage) -> None:
    """See whether the database is whole, now and every few hours, until cancelled: pages that nobody reads are found
    damaged when they are needed."""
    while True:
        try:
            broken = await archive.check(storage)
            if broken:
                storage.damaged(broken[0])
        except StorageError as e:
            log.warning("storage.not_checked", cause=str(e))
        await asyncio.sleep(_CHECK_SECONDS)


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
