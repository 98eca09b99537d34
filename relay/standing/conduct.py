"""Allowance by conduct: what a domain may send a day once its first weeks are over, by what it did the day before.

Pure arithmetic, and the duty that applies it once a day. A day on which much of the allowance was used, and a week
without more bounces and complaints than the notice line, makes it grow; little use leaves it as it is; bounces and
complaints of the day that are credibly over the notice line take it down, a step for each line of standing. Where a
fault of the relay itself made mail bounce that day, bounces take nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import structlog

from relay import warming
from relay.base.clock import DAY, Clock, utc_day
from relay.base.config import Config
from relay.base.storage import Storage, Tx, conduct, incidents, stats, versions
from relay.directory import DomainEntry
from relay.standing.arithmetic import wilson_lower

log = structlog.get_logger("standing")
_PAGE = 500
_BACK_DAYS = 30  # so many missed days are made up for
_WEEK = 7
Change = Literal["grew", "held", "shrank"]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What became of a domain's mail: recipients accepted, delivered, bounced; complaints."""

    used: int = 0
    delivered: int = 0
    bounced: int = 0
    complaints: int = 0

    @property
    def finished(self) -> int:
        """Recipients of whom something is known."""
        return self.delivered + self.bounced

    def __add__(self, other: Numbers) -> Numbers:
        return Numbers(
            self.used + other.used, self.delivered + other.delivered, self.bounced + other.bounced,
            self.complaints + other.complaints,
        )


@dataclass(frozen=True, slots=True)
class Tomorrow:
    """Recipients a day from the next UTC day on: if little is sent, if at least `enough` are and it stays clean, and if
    bounces or complaints go over the notice line."""

    today: int
    unused: int
    clean: int
    bad: int
    enough: int
    formula: str


def start(config: Config) -> int:
    """The allowance of the last fixed tier, with which conduct begins."""
    return config.warming.tiers[-1].per_day


def _floor(config: Config) -> int:
    tiers = config.warming.tiers
    return tiers[max(0, len(tiers) - 2)].per_day


def _ceiling(config: Config) -> int:
    return max(config.warming.ceiling, start(config))


def after(per_day: int, day: Numbers, week: Numbers, config: Config, *, faulted: bool = False) -> tuple[int, Change]:
    """The next day's allowance. `week`: the seven days that end with `day`; `faulted`: the relay itself had a fault on
    the day."""
    w = config.warming
    steps = _steps(day, config, faulted=faulted)
    if steps:
        return max(min(per_day, _floor(config)), math.floor(per_day / w.grow_by**steps)), "shrank"
    known = 2 * day.finished >= day.used > 0
    if known and day.used >= w.grow_use * per_day and _clean(week, config):
        grown = min(math.ceil(per_day * w.grow_by), _ceiling(config))
        return (grown, "grew") if grown > per_day else (per_day, "held")
    return min(per_day, _ceiling(config)), "held"


def _steps(day: Numbers, config: Config, *, faulted: bool) -> int:
    """How many lines of standing the day's shares are credibly over."""
    s, n = config.standing, day.finished
    if n < s.min_volume:
        return 0
    reached = 0.0 if faulted else wilson_lower(min(day.bounced, n), n) / s.bounce_share
    if day.complaints >= s.min_complaints:
        reached = max(reached, wilson_lower(min(day.complaints, n), n) / s.complaint_share)
    return sum(reached >= line for line in (s.notice_at, s.slow_at, 1.0))


def _clean(week: Numbers, config: Config) -> bool:
    """Whether the shares as they are, not only what is credible of them, are below the notice line."""
    s, n = config.standing, max(1, week.finished)
    if week.bounced >= s.notice_at * s.bounce_share * n:
        return False
    return week.complaints < s.min_complaints or week.complaints < s.notice_at * s.complaint_share * n


def tomorrow(per_day: int, config: Config) -> Tomorrow:
    """What the next day brings, under three assumptions."""
    w, s = config.warming, config.standing
    enough = math.ceil(w.grow_use * per_day)
    good = Numbers(enough, enough)
    worst = max(s.min_volume, s.min_complaints, enough)
    formula = (
        f"A clean day on which {100 * w.grow_use:g} % is used: times {w.grow_by:g}, up to {_ceiling(config)}. Little "
        f"use: unchanged. Bounces credibly over {100 * s.bounce_share * s.notice_at:g} % or complaints over "
        f"{100 * s.complaint_share * s.notice_at:g} %: divided by {w.grow_by:g} for each line of standing they are "
        f"over ({s.notice_at:g}, {s.slow_at:g} and 1 of {100 * s.bounce_share:g} % and {100 * s.complaint_share:g} %), "
        f"down to {_floor(config)}."
    )
    return Tomorrow(
        per_day, after(per_day, Numbers(), Numbers(), config)[0], after(per_day, good, good, config)[0],
        after(per_day, Numbers(worst, 0, worst), Numbers(worst, 0, worst), config)[0], enough, formula,
    )


def outlook(domain: DomainEntry, config: Config, now: float, *, slowed: bool) -> Tomorrow | None:
    """What tomorrow brings a domain; None where its age, the operator or its member's standing decides."""
    tier = warming.tier_of(domain.tier, domain.first_verified_at, config.warming.tiers, now)
    if slowed or domain.tier is not None or tier is not config.warming.tiers[-1]:
        return None
    return tomorrow(start(config) if domain.conduct is None else domain.conduct, config)


class Conduct:
    """Applies it, once a day and domain."""

    def __init__(self, storage: Storage, config: Config, clock: Clock) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        self._done = ""

    async def turn(self) -> None:
        """Write today's allowances, if that has not been done. Raises StorageError."""
        now = self._clock.now()
        today = utc_day(now)
        if self._done == today:
            return
        begins = self._begins_after()
        last = 0
        while True:
            async with self._storage.read() as tx:
                found = await conduct.candidates(tx, now - begins, last, _PAGE)
            due = [one for one in found if one.day is None or one.day < today]
            if due:
                await self._storage.write(partial(self._page, due, now))
            if len(found) < _PAGE:
                break
            last = found[-1].domain_id
        self._done = today

    def _begins_after(self) -> float:
        """Seconds after its first proof at which a domain's age says no more."""
        tiers = self._config.warming.tiers
        return (tiers[-2].until_day if len(tiers) > 1 else 0) * DAY

    async def _page(self, found: Sequence[conduct.Candidate], now: float, tx: Tx) -> None:
        first = utc_day(now - (_BACK_DAYS + _WEEK) * DAY)
        counted: dict[int, dict[str, Numbers]] = {}
        for day in await stats.days(tx, first, among=[one.domain_id for one in found]):
            numbers = Numbers(day.accepted, day.delivered, day.bounced, day.complaints)
            counted.setdefault(day.domain_id, {})[day.day] = numbers
        faults = await _faults(tx)
        made = [(one, self._today(one, counted.get(one.domain_id, {}), faults, now)) for one in found]
        rows = [row for _, row in made if row is not None]
        await conduct.keep(tx, rows)
        if changed := [one.domain_id for one, row in made if row is not None and row["per_day"] != one.per_day]:
            await versions.bump(tx, versions.DIRECTORY, domains=changed)
            log.info("conduct.applied", domains=len(changed))

    def _today(
        self, one: conduct.Candidate, counted: Mapping[str, Numbers], faults: set[str], now: float
    ) -> dict[str, object] | None:
        """Today's row; None where nothing was sent since the last one."""
        since = one.day or utc_day(one.first_verified_at + self._begins_after())
        days = [utc_day(now - back * DAY) for back in range(_BACK_DAYS + _WEEK, 0, -1)]
        per_day, change, used = one.per_day if one.per_day is not None else start(self._config), "held", 0
        for at, day in enumerate(days):
            if day < since or at < _WEEK:
                continue
            week = sum((counted.get(d, Numbers()) for d in days[at - _WEEK + 1 : at + 1]), Numbers())
            numbers = counted.get(day, Numbers())
            per_day, change = after(per_day, numbers, week, self._config, faulted=day in faults)
            used = numbers.used
        if used == 0 and per_day == one.per_day:
            return None
        if one.per_day is None and per_day == start(self._config):
            return None  # as its tier says
        return {
            "domain_id": one.domain_id, "day": utc_day(now), "per_day": per_day, "used": used, "change": change,
        }


async def _faults(tx: Tx) -> set[str]:
    """Days on which a fault of the relay itself was seen."""
    days: set[str] = set()
    for incident in await incidents.listing(tx):
        at = max(incident.opened_at, incident.seen_at - _BACK_DAYS * DAY)
        while at <= incident.seen_at + DAY:
            if utc_day(min(at, incident.seen_at)) not in days:
                days.add(utc_day(min(at, incident.seen_at)))
            at += DAY
    return days

