"""What processes tell each other of receiving sites, by the tables: signs at once, everything else once a second.

A process that wants more of a site than its free lane asks for a share, in one transaction a second for all its
sites; a site without trouble of which nobody wants more costs nothing here but one look at a version. A storage that
is away is asked again: meanwhile what this process has heard itself goes on to hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from relay.base.clock import HOUR, Clock
from relay.base.runtime import is_dead
from relay.base.storage import Storage, StorageError, Tx, sites, versions
from relay.base.storage.sites import Grant, Sign, Site
from relay.delivery.pacing import Pacer, PacingSettings

log = structlog.get_logger()
_SECOND = 1.0
_ROWS = 10_000
_NOTED = 10_000


class Shares:
    """A process's side of the tables `sites` and `site_shares`."""

    def __init__(
        self, storage: Storage, pacer: Pacer, settings: PacingSettings, clock: Clock, owner: str,
        is_dead: Callable[[str], bool] = is_dead,
    ) -> None:
        self._storage, self._pacer, self._clock, self._owner = storage, pacer, clock, owner
        self._seconds, self._limits = settings.share_seconds, settings.limits
        self._is_dead = is_dead
        self._version = -1
        self._shared = False
        self._noted: dict[str, tuple[str, float]] = {}
        self._to_note: dict[str, str] = {}

    async def run(self, waiting: Callable[[], Mapping[str, int]], changed: Callable[[], None]) -> None:
        """Until cancelled. `waiting`: recipients that wait at each site; `changed` is called when something may go on
        that could not before."""
        looked_at = shared_at = float("-inf")
        pacer = self._pacer
        while True:
            now = self._clock.monotonic()
            due = (shared_at if pacer.wanting else looked_at) + _SECOND
            if not pacer.signs and now < due:
                await _stirred(pacer.stirred, due - now)
                continue
            try:
                await self.write_signs()
                if now >= due:
                    looked_at = now
                    await self.look()
                    if await self.share(waiting()):
                        shared_at = now
            except StorageError as e:
                log.warning("sites.not_shared", cause=str(e))
                await asyncio.sleep(_SECOND)
            changed()

    async def write_signs(self) -> None:
        """Tell the others of what this process has heard. Raises StorageError; what was not written stays."""
        while self._pacer.signs:
            given = self._pacer.signs[0]
            now = self._clock.now()
            row, won = await self._storage.write(partial(self._sign, given, now))
            self._pacer.signs.pop(0)
            self._pacer.saved(given, row, won, now)
            log.info(
                "site.paused", site=given.name, host=given.host, reply=given.says[:200], failures=row.failures,
                seconds=round(max(0.0, row.paused_until - now), 1), first=won,
            )

    async def _sign(self, given: Sign, now: float, tx: Tx) -> tuple[Site, bool]:
        row, won = await sites.sign(tx, given, self._limits, now)
        if won:
            await versions.bump(tx, versions.SITES)
        return row, won

    async def look(self) -> None:
        """Read what has changed at sites in trouble. Raises StorageError."""
        version = await versions.glimpse(self._storage, versions.SITES)
        if version == self._version:
            return
        async with self._storage.read() as tx:
            found = await sites.listing(tx, _ROWS)
        self._pacer.rows(found, self._clock.now())
        self._version = version

    async def share(self, waiting: Mapping[str, int]) -> bool:
        """Ask for what is wanted, give back what isn't, note whom sites in trouble serve; False: nothing of that.
        Raises StorageError."""
        wants, healed = self._pacer.demands(waiting), self._pacer.healed()
        noted, self._to_note = self._to_note, {}
        if not (wants or healed or noted):
            return False
        asked_at, now = self._clock.monotonic(), self._clock.now()

        async def do(tx: Tx) -> dict[str, Grant]:
            found, changed = await sites.share(
                tx, self._owner, wants, self._limits, now=now, seconds=self._seconds, is_dead=self._gone, healed=healed
            )
            await sites.seen(tx, noted, now)
            if changed:
                await versions.bump(tx, versions.SITES)
            return found

        self._shared = True
        self._pacer.granted(await self._storage.write(do), asked_at, now)
        return True

    def note(self, served: Mapping[str, str]) -> None:
        """That these domains are served by these sites: written with the next share, and not again for an hour."""
        now = self._clock.monotonic()
        for domain, site in served.items():
            known = self._noted.get(domain)
            if known is not None and known[0] == site and now - known[1] < HOUR:
                continue
            if len(self._noted) >= _NOTED:
                self._noted.clear()
            self._noted[domain] = (site, now)
            self._to_note[domain] = site
        self._pacer.wanting = self._pacer.wanting or bool(self._to_note)

    async def leave(self) -> None:
        """Give all shares back. Raises StorageError."""
        if self._shared:
            await self._storage.write(lambda tx: sites.leave(tx, self._owner))

    def _gone(self, owner: str) -> bool:
        return owner != self._owner and self._is_dead(owner)


async def _stirred(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
