"""Receiving sites as all processes see them: what was learnt of each, who may hold how many lanes, whom they serve.

A site without trouble has no row, and nothing is written for it but shares, where somebody wants more than its free
lane. Promises: of simultaneous signs one counts; the lanes given out are never more than the site's; a share whose
owner is gone, or has not renewed it, is free. Whoever changes a row raises the version `sites` in the same
transaction (`relay.base.storage.versions`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, or_, select, update

from relay.base.storage.engine import Tx, serialise, upsert
from relay.base.storage.tables import destinations, site_shares, sites

LEARNT, OPERATOR = "learnt", "operator"
_LOCK = 0x53495445  # PostgreSQL: shares are given out by one process at a time
_TOO_LONG = 3  # leases; so far the clocks of several machines may differ
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Site:
    """A row: a site that is not treated as by default. Times are Unix seconds, rates messages a second."""

    name: str
    lanes: float
    rate: float | None
    paused_until: float
    failures: int
    held: bool
    says: str
    host: str
    source: str
    changed_at: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of pacing. `pause_seconds`: the first pause; each further one before a success is twice as long."""

    pause_seconds: float
    max_pause_seconds: float
    slowed_rate: float
    min_rate: float
    rate_growth: float
    free_rate: float

    def pause(self, failures: int, asked: float = 0.0) -> float:
        """How long a site rests after `failures` earlier signs, where its host asks for `asked` seconds."""
        backed_off = self.pause_seconds * 2.0 ** min(failures, 30)
        return min(self.max_pause_seconds, max(asked, backed_off))

    def slower(self, rate: float | None) -> float:
        """The rate after a sign."""
        return max(self.min_rate, self.slowed_rate if rate is None else rate / 2)


@dataclass(frozen=True, slots=True)
class Sign:
    """A host asked for less: `says`, verbatim. `lanes` and `rate` are what the site has where it has no row."""

    name: str
    lanes: int
    rate: float | None
    asked: float
    says: str
    host: str


@dataclass(frozen=True, slots=True)
class Want:
    """What a process wants of a site: so many lanes, of which `in_use` can't be given back yet. `most` and `rate`: the
    site's as configured; `worked`: successes there since it last asked."""

    lanes: int
    in_use: int
    most: int
    rate: float | None = None
    worked: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What it got: `lanes` of `total`. `site` is the row, or None."""

    lanes: int
    total: int
    site: Site | None


@dataclass(frozen=True, slots=True)
class Share:
    """One process's lanes at a site."""

    site: str
    owner: str
    lanes: int
    waiting: int
    until: float


async def listing(tx: Tx, limit: int, names: Collection[str] | None = None) -> list[Site]:
    """Rows by name, all or those of `names`."""
    query = select(sites).order_by(sites.c.name).limit(limit)
    if names is not None:
        query = query.where(sites.c.name.in_(names))
    return [Site(*row) for row in await tx.execute(query)]


async def shares(tx: Tx, now: float, limit: int) -> list[Share]:
    """Shares that have not ended."""
    c = site_shares.c
    query = select(site_shares).where(c.until > now).order_by(c.site, c.owner).limit(limit)
    return [Share(*row) for row in await tx.execute(query)]


async def sign(tx: Tx, given: Sign, limits: Limits, now: float) -> tuple[Site, bool]:
    """Write a sign down; the row as it then is, and whether it was this sign that changed it: while a site is paused
    others are about what is known."""
    await tx.execute(
        upsert(tx, sites).values(
            name=given.name, lanes=float(given.lanes), rate=given.rate, paused_until=0.0, source=LEARNT,
            changed_at=now,
        ).on_conflict_do_nothing(index_elements=["name"])
    )
    was = Site(*(await tx.execute(select(sites).where(sites.c.name == given.name).with_for_update())).one())
    # A pause that ends later than any could is of a clock that has been set back since.
    if now < was.paused_until <= now + _TOO_LONG * limits.max_pause_seconds:
        return was, False
    changes: dict[str, Any] = {
        "lanes": max(1.0, was.lanes / 2), "rate": limits.slower(was.rate), "failures": min(was.failures + 1, 30),
        "paused_until": now + limits.pause(was.failures, given.asked), "says": given.says[:1000],
        "host": given.host[:253], "source": LEARNT, "changed_at": now,
    }
    await tx.execute(
        update(sites).where(sites.c.name == given.name, sites.c.paused_until == was.paused_until).values(**changes)
    )
    # Whoever has a share asks again: for none while the site is paused, then for one of fewer.
    await tx.execute(delete(site_shares).where(site_shares.c.site == given.name))
    return replace(was, **changes), True


async def share(
    tx: Tx, owner: str, wants: Mapping[str, Want], limits: Limits, *, now: float, seconds: float,
    is_dead: Callable[[str], bool], healed: Collection[str] = (),
) -> tuple[dict[str, Grant], bool]:
    """What `owner` may have of each site it wants something of, for `seconds`; and whether a row has changed.

    `healed`: names of rows that are good for nothing any more. Lanes are given out by one process at a time, the
    sites in the order of their names."""
    await serialise(tx, _LOCK)
    changed = False
    if healed:
        changed = (await tx.execute(delete(sites).where(sites.c.name.in_(healed), ~sites.c.held))).rowcount > 0
    found: dict[str, Grant] = {}
    names = sorted(wants)
    for at in range(0, len(names), _AT_ONCE):
        part = names[at : at + _AT_ONCE]
        query = select(sites).where(sites.c.name.in_(part)).order_by(sites.c.name).with_for_update()
        rows = {row.name: Site(*row) for row in await tx.execute(query)}
        others, mine = await _holders(tx, owner, part, now, seconds, is_dead)
        written: list[dict[str, Any]] = []
        for name in part:
            want = wants[name]
            row, better = _recovered(rows.get(name), want, limits, now)
            if better:
                changed = True
                await _put(tx, name, row, now)
            total = _total(row, want.most, now)
            lanes = _lanes(owner, want, total, others.get(name, {}), now)
            found[name] = Grant(lanes, total, row)
            if lanes or want.lanes:
                # What is under way beyond that ends by itself; until then nobody else may have it.
                room = (max(1, int(row.lanes)) if row else want.most) - _taken(others.get(name, {}))
                written.append({
                    "site": name, "owner": owner, "lanes": max(lanes, min(want.in_use, max(0, room))),
                    "waiting": max(0, want.lanes - lanes), "until": now + seconds,
                })
        given_up = mine - {one["site"] for one in written}
        if given_up:
            await tx.execute(
                delete(site_shares).where(site_shares.c.owner == owner, site_shares.c.site.in_(given_up))
            )
        if written:
            put = upsert(tx, site_shares)
            await tx.execute(
                put.on_conflict_do_update(
                    index_elements=["site", "owner"],
                    set_={f: put.excluded[f] for f in ("lanes", "waiting", "until")},
                ),
                written,
            )
    return found, changed


async def _holders(
    tx: Tx, owner: str, names: Sequence[str], now: float, seconds: float, is_dead: Callable[[str], bool]
) -> tuple[dict[str, dict[str, Share]], set[str]]:
    """The others' shares that hold, by site and owner; and where `owner` has one. Dead ones are removed."""
    c = site_shares.c
    others: dict[str, dict[str, Share]] = {}
    mine: set[str] = set()
    dead: set[str] = set()
    for row in await tx.execute(select(site_shares).where(c.site.in_(names))):
        one = Share(*row)
        if one.owner == owner:
            mine.add(one.site)
        elif not now < one.until <= now + _TOO_LONG * seconds or one.owner in dead or is_dead(one.owner):
            dead.add(one.owner)
        else:
            others.setdefault(one.site, {})[one.owner] = one
    if dead:
        await tx.execute(delete(site_shares).where(c.site.in_(names), c.owner.in_(dead)))
        for holders in others.values():
            for name in dead & set(holders):
                del holders[name]
    return others, mine


def _total(row: Site | None, most: int, now: float) -> int:
    """The lanes of a site, of all processes together: after a pause one, until something has worked."""
    if row is None:
        return most
    if row.held or row.paused_until > now:
        return 0
    return 1 if row.failures else max(1, min(most, int(row.lanes)))


def _lanes(owner: str, want: Want, total: int, others: Mapping[str, Share], now: float) -> int:
    """One process's lanes. Alone it may have all, to grow into at once; beside others that wait, its part of them; the
    remainder goes round."""
    if not want.lanes and not want.in_use:
        return 0
    left = max(0, total - _taken(others))
    if not others:
        return total
    crowd = sorted([owner, *(o for o, s in others.items() if s.lanes or s.waiting)])
    turn = (crowd.index(owner) + int(now / 10.0)) % len(crowd)
    part = total // len(crowd) + (1 if turn < total % len(crowd) else 0)
    waiting = any(s.waiting for s in others.values())
    return min(left, want.lanes, part) if waiting else min(left, want.lanes)


def _taken(others: Mapping[str, Share]) -> int:
    return sum(s.lanes for s in others.values())


def _recovered(row: Site | None, want: Want, limits: Limits, now: float) -> tuple[Site | None, bool]:
    """The row after so many successes: None where nothing is left to be kept; and whether that is a change."""
    if row is None or not want.worked or row.held or row.paused_until > now:
        return row, False
    lanes = min(float(want.most), row.lanes + want.worked / row.lanes)
    rate = want.rate if row.rate is None else row.rate
    if rate is not None:
        rate *= min(2.0, (1.0 + limits.rate_growth) ** min(want.worked, 100))
        ceiling = limits.free_rate if want.rate is None else want.rate
        if rate >= ceiling:
            rate = want.rate
    if lanes >= want.most and rate == want.rate:
        return None, True
    return replace(row, lanes=lanes, rate=rate, failures=0, changed_at=now), True


async def _put(tx: Tx, name: str, row: Site | None, now: float) -> None:
    if row is None:
        await tx.execute(delete(sites).where(sites.c.name == name))
        return
    await tx.execute(
        update(sites).where(sites.c.name == name).values(
            lanes=row.lanes, rate=row.rate, failures=row.failures, changed_at=now
        )
    )


async def leave(tx: Tx, owner: str) -> None:
    """Give all shares of `owner` back (at a clean stop)."""
    await tx.execute(delete(site_shares).where(site_shares.c.owner == owner))


async def pause(tx: Tx, name: str, lanes: int, now: float) -> None:
    """The operator's pause, without an end."""
    put = upsert(tx, sites).values(
        name=name, lanes=float(lanes), paused_until=0.0, held=True, source=OPERATOR, changed_at=now
    )
    await tx.execute(
        put.on_conflict_do_update(index_elements=["name"], set_={"held": True, "changed_at": now})
    )


async def resume(tx: Tx, name: str, now: float) -> bool:
    """End every pause of a site; what was learnt of its lanes and rate stays. False: there was none."""
    s = sites.c
    ours = delete(sites).where(s.name == name, s.source == OPERATOR)
    rest = update(sites).where(s.name == name, or_(s.held, s.paused_until > now, s.failures > 0)).values(
        held=False, paused_until=0.0, failures=0, changed_at=now
    )
    return (await tx.execute(ours)).rowcount + (await tx.execute(rest)).rowcount > 0


async def seen(tx: Tx, served: Mapping[str, str], now: float) -> None:
    """Note which site serves each of these domains."""
    if not served:
        return
    put = upsert(tx, destinations)
    await tx.execute(
        put.on_conflict_do_update(
            index_elements=["domain"], set_={"site": put.excluded.site, "seen_at": put.excluded.seen_at}
        ),
        [{"domain": d[:253], "site": site, "seen_at": now} for d, site in sorted(served.items())],
    )


async def serving(tx: Tx, domains: Collection[str]) -> dict[str, str]:
    """Domain → site, of those domains that have been noted."""
    c = destinations.c
    return {row[0]: row[1] for row in await tx.execute(select(c.domain, c.site).where(c.domain.in_(domains)))}


async def served(tx: Tx, site: str, limit: int) -> list[str]:
    """Some domains of a site, those seen last."""
    c = destinations.c
    query = select(c.domain).where(c.site == site).order_by(c.seen_at.desc(), c.domain).limit(limit)
    return list((await tx.execute(query)).scalars())


async def purge(tx: Tx, before: float, now: float, limit: int) -> int:
    """Remove up to `limit` rows of each table that are out of date: what was learnt before `before` and holds nothing
    back, domains not seen since, shares that ended; returns how many."""
    s, h, d = sites.c, site_shares.c, destinations.c
    gone = 0
    for query in (
        delete(sites).where(
            s.name.in_(select(s.name).where(s.changed_at < before, ~s.held, s.paused_until <= now).limit(limit))
        ),
        delete(destinations).where(d.domain.in_(select(d.domain).where(d.seen_at < before).limit(limit))),
        delete(site_shares).where(h.until < before),
    ):
        gone += (await tx.execute(query)).rowcount
    return gone
