"""Receiving sites, for commands and pages: what is known of each, what waits for it, pausing and resuming.

How mail is paced is `relay.delivery.pacing`; what processes know of a site together stands in the tables.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from enroll.errors import conflict, not_found
from posthouse.wiring import Core, courier
from relay.base import names
from relay.base.clock import iso
from relay.base.storage import Tx, mail, operator_queries, sites, versions
from relay.base.storage.sites import Share, Site
from relay.delivery.sites import SiteLimits, SiteTable

_MOST = 10_000
HELD = "paused by the operator"


@dataclass(frozen=True)
class Seen:
    """One site: its bounds as configured, its row if it is in trouble, who has shares of it."""

    name: str
    limits: SiteLimits
    row: Site | None
    shares: list[Share]
    now: float

    @property
    def state(self) -> str:
        """In a word or a few."""
        return state(self.row, self.now)

    @property
    def why(self) -> str:
        """Where its treatment comes from, with the host's words."""
        if self.row is not None:
            return f"{self.row.source}: {self.row.host} said {self.row.says}" if self.row.says else self.row.source
        return "configuration" if self.limits.configured else "default"

    def facts(self) -> dict[str, Any]:
        """For programs."""
        row = self.row
        paused = row is not None and not row.held and row.paused_until > self.now
        return {
            "site": self.name, "state": self.state, "lanes": int(row.lanes) if row else self.limits.lanes,
            "rate": (row.rate if row else None) or self.limits.rate,
            "in_use": sum(s.lanes for s in self.shares), "waiting": sum(s.waiting for s in self.shares),
            "paused_until": iso(row.paused_until) if row is not None and paused else None,
            "failures": row.failures if row else 0,
            "source": row.source if row else "configuration" if self.limits.configured else "default",
            "host": row.host if row else "", "reply": row.says if row else "",
            "changed_at": iso(row.changed_at) if row else None,
        }


def state(row: Site | None, now: float) -> str:
    """A site's state in a word."""
    if row is None:
        return "ok"
    if row.held:
        return HELD
    return "paused" if row.paused_until > now else "slowed"


def in_words(row: Site, now: float) -> str:
    """Why mail to a site waits, in a sentence; "" where it doesn't."""
    if row.held:
        return f"{row.name} is paused by the operator: posthouse site resume {row.name}"
    said = f": {row.host} said {row.says}" if row.says else ""
    if row.paused_until > now:
        return f"{row.name} is paused until {iso(row.paused_until)}{said}"
    rate = f" and {row.rate:g} messages a second" if row.rate is not None else ""
    return f"{row.name} is slowed to {1 if row.failures else int(row.lanes)} conversations{rate}{said}"


async def seen(core: Core, *, known: bool) -> list[Seen]:
    """Those that are in trouble or in use; with `known` those that are known by name too."""
    table, now = SiteTable(core.config), core.clock.now()
    async with core.storage.read() as tx:
        rows = {s.name: s for s in await sites.listing(tx, _MOST)}
        shares = await sites.shares(tx, now, _MOST)
    found = sorted({*rows, *(s.site for s in shares), *(table.names if known else ())})
    return [
        Seen(n, table.limits(n.partition("/")[0]), rows.get(n), [s for s in shares if s.site == n], now) for n in found
    ]


async def one(core: Core, name: str) -> Seen:
    """The site of this name, or of this domain. Raises EnrollError 404."""
    known = {s.name: s for s in await seen(core, known=True)}
    if name in known:
        return known[name]
    try:
        domain = names.domain(name)
    except names.BadName as e:
        raise not_found(f"{name}: no such site, and no domain either ({e.reason})") from None
    async with core.storage.read() as tx:
        site = (await sites.serving(tx, [domain])).get(domain)
    if site is None:
        carrier = courier(core, random.Random())
        try:
            site = await carrier.site(domain)
        finally:
            await carrier.close()
    return known.get(site) or Seen(site, SiteTable(core.config).limits(site), None, [], core.clock.now())


async def pause(core: Core, name: str) -> Seen:
    """No mail to a site until it is resumed; the site as it was before. Raises EnrollError 404."""
    found = await one(core, name)

    async def do(tx: Tx) -> None:
        await sites.pause(tx, found.name, found.limits.lanes, core.clock.now())
        await versions.bump(tx, versions.SITES)

    await core.storage.write(do)
    return found


async def resume(core: Core, name: str) -> tuple[Seen, int]:
    """End a pause, whoever made it: the site as it was before, and how many recipients are due at once. Raises
    EnrollError 404, or 409 where it isn't paused."""
    found = await one(core, name)
    now = core.clock.now()

    async def do(tx: Tx) -> tuple[bool, int]:
        if not await sites.resume(tx, found.name, now):
            return False, 0
        await versions.bump(tx, versions.SITES)
        return True, await mail.unpark(tx, found.name, now)

    done, due = await core.storage.write(do)
    if not done:
        raise conflict(f"{found.name} is not paused")
    return found, due


@dataclass(frozen=True)
class Waiting:
    """What waits for one site. `why`: in a sentence, "" where nothing holds it back; `until`: the end of a pause."""

    site: str
    open: int
    held: int
    oldest_at: float
    state: str
    why: str


async def waiting(core: Core, limit: int) -> list[Waiting]:
    """The queue by site, the largest first, and every site that is paused."""
    now = core.clock.now()
    async with core.storage.read() as tx:
        counted = await operator_queries.waiting_by_site(tx, limit)
        rows = {s.name: s for s in await sites.listing(tx, _MOST)}
    found = [
        Waiting(c.site, c.open, c.held, c.oldest_at, state(row, now), in_words(row, now) if row else "")
        for c in counted for row in [rows.get(c.site)]
    ]
    missing = [s for s in rows.values() if s.name not in {c.site for c in counted} and state(s, now) != "slowed"]
    return found + [Waiting(s.name, 0, 0, now, state(s, now), in_words(s, now)) for s in missing]
