"""Clocks that need no room of their own: posting owed reports; judging standing, with enrollment's letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from enroll.errors import EnrollError
from enroll.services import Services
from posthouse.rooms import Rooms
from relay.base.storage import StorageError, Tx
from relay.delivery.reports import Reports
from relay.standing import Letter, NoticeLater, Watch

log = structlog.get_logger("duties")
_ROUNDS = 20


async def watch_standing(rooms: Rooms) -> None:
    """Count outcomes and judge members until cancelled."""
    await Watch(rooms.storage, rooms.config, rooms.clock, owner=rooms.owner, tell=tell(rooms.enroll)).run()


def tell(enroll: Services) -> Callable[[Letter], Awaitable[Callable[[Tx], Awaitable[None]]]]:
    """What prepares a letter to a member."""

    async def prepare(letter: Letter) -> Callable[[Tx], Awaitable[None]]:
        assert enroll.for_domains is not None
        try:
            member = await enroll.accounts.by_id(letter.member_id)
            join = await enroll.for_domains.notices.mail(
                member.email, letter.subject, f"Hello {member.handle},\n\n{letter.text}", about="standing"
            )
        except EnrollError as e:
            raise NoticeLater from e

        async def joined(tx: Tx) -> None:
            try:
                await join(tx)
            except EnrollError as e:
                raise NoticeLater from e

        return joined

    return prepare


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
