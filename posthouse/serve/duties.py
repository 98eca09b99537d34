"""Clocks that need no room of their own: posting owed reports, judging standing, noticing mailboxes that fail; with
enrollment's letters."""

from __future__ import annotations

import asyncio

import structlog

from enroll.domains import MailboxWatch
from posthouse.serve.letters import tell
from posthouse.wiring import Rooms
from relay.base.clock import HOUR
from relay.base.storage import StorageError, archive
from relay.delivery.dsn import Reports
from relay.standing import Watch

log = structlog.get_logger("duties")
_ROUNDS = 20
_CHECK_SECONDS = 6 * HOUR


async def look_for_damage(rooms: Rooms) -> None:
    """See whether the database is whole, now and every few hours, until cancelled: pages that nobody reads are found
    damaged when they are needed."""
    while True:
        try:
            broken = await archive.check(rooms.storage)
            if broken:
                rooms.storage.damaged(broken[0])
        except StorageError as e:
            log.warning("storage.not_checked", cause=str(e))
        await asyncio.sleep(_CHECK_SECONDS)


async def watch_standing(rooms: Rooms) -> None:
    """Count outcomes and judge members until cancelled."""
    watch = Watch(
        rooms.storage, rooms.config, rooms.clock, rooms.vault, owner=rooms.owner, tell=tell(rooms.enroll, "standing")
    )
    await watch.run()


async def watch_mailboxes(rooms: Rooms) -> None:
    """Notice mailboxes that take no forwarded mail any more, until cancelled."""
    assert rooms.enroll.for_domains is not None
    notices = rooms.enroll.for_domains.notices
    await MailboxWatch(rooms.storage, rooms.config, rooms.clock, notices, owner=rooms.owner).run()


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
