"""How many recipients wait, in all and of each member: a count that is some seconds old, for the bounds of the queue.

Nobody waits for it but the first: while the next one is made, the last one serves. It is made the more rarely the
longer it takes, so that a full queue isn't counted all the time.
"""

from __future__ import annotations

import asyncio

import structlog

from relay.base.clock import Clock
from relay.base.storage import Storage, StorageError, mail

log = structlog.get_logger()
_SECONDS = 5.0
_TIMES = 20  # so many times as long as a count took, until the next one


class Waiting:
    """The count of one process."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage, self._clock = storage, clock
        self._total = 0
        self._of_members: dict[int, int] | None = None
        self._next_at = float("-inf")
        self._first = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def of(self, member_id: int) -> tuple[int, int]:
        """(recipients waiting, those of this member). Raises StorageError until there is a count."""
        if self._of_members is None:
            async with self._first:
                if self._of_members is None:
                    await self._count()
        elif self._clock.monotonic() >= self._next_at and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._again(), name="count-waiting")
        return self._total, (self._of_members or {}).get(member_id, 0)

    async def _again(self) -> None:
        try:
            await self._count()
        except StorageError as e:
            log.warning("intake.not_counted", cause=str(e))

    async def _count(self) -> None:
        began = self._clock.monotonic()
        self._next_at = began + _SECONDS
        async with self._storage.read() as tx:
            self._total, self._of_members = await mail.queued(tx)
        ended = self._clock.monotonic()
        self._next_at = max(self._next_at, ended + _TIMES * (ended - began))

    async def close(self) -> None:
        """Wait for the count under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
