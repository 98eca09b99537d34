"""Warming: how much a sending domain may send, by age. Pure: entries and a clock's reading in, a judgement out.

Windows roll: an entry counts for 60 minutes and for 24 hours from its own time. What is spent is written by
the accepting transaction (`relay.intake`), never here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from relay import replies
from relay.base.clock import DAY, HOUR, MINUTE, not_before
from relay.base.config import Tier
from relay.replies import Verdict

UNLIMITED = "unlimited"
Entry = tuple[float, int]
"""(when it was spent, Unix seconds; how many recipients)."""


def tier_of(
    pinned: str | None, first_verified_at: float | None, tiers: Sequence[Tier], now: float, *, slowed: bool = False,
    conduct: int | None = None,
) -> Tier | None:
    """The tier of a domain: the pinned one, else by age, and in the last one as its conduct has it. None: unlimited.

    `slowed`: its member's standing asks for the next lower one (the first has none below it). `conduct`: recipients a
    day (`relay.standing.conduct`), None before that has been looked at.
    """
    tier = _tier(pinned, first_verified_at, tiers, now)
    last = tiers[-1]
    if pinned is None and tier is last and conduct is not None:
        if not slowed:
            return _by_conduct(last, conduct)
        if conduct > last.per_day:
            return last
    if not slowed:
        return tier
    return tiers[-1] if tier is None else tiers[max(0, tiers.index(tier) - 1)]


@lru_cache(maxsize=4096)
def _by_conduct(last: Tier, per_day: int) -> Tier:
    """The last tier with another number a day; its share of an hour stays."""
    per_hour = max(1, round(per_day * last.per_hour / last.per_day))
    return last.model_copy(update={"per_day": per_day, "per_hour": per_hour})


def _tier(pinned: str | None, first_verified_at: float | None, tiers: Sequence[Tier], now: float) -> Tier | None:
    if pinned == UNLIMITED:
        return None
    for tier in tiers:
        if tier.name == pinned:
            return tier
    age_days = (now - first_verified_at) / DAY if first_verified_at is not None else 0.0
    for tier in tiers:
        if tier.until_day == 0 or age_days < tier.until_day:
            return tier
    return tiers[-1]


def entry_time(tier: Tier, now: float, aggregate_from: int) -> float:
    """When an entry spent now is dated: high tiers by the minute (its end, so that nothing leaves early)."""
    if tier.per_hour >= aggregate_from:
        return math.ceil(now / MINUTE) * MINUTE
    return now


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether `want` recipients fit, and the numbers for it. `next_at`: when they will, None: never as one message."""

    fits: bool
    hour: int
    day: int
    next_at: float | None


def used(entries: Sequence[Entry], now: float) -> tuple[int, int]:
    """(recipients in the last 60 minutes, in the last 24 hours)."""
    hour = sum(n for at, n in entries if at > now - HOUR)
    day = sum(n for at, n in entries if at > now - DAY)
    return hour, day


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a tier still lets out: recipients in this hour and day, and when (Unix seconds) the first that are used
    come back."""

    tier: Tier
    hour: int
    day: int
    hour_at: float
    day_at: float


def remaining(entries: Sequence[Entry], tier: Tier, now: float) -> Remaining:
    """What is left after `entries`, oldest first."""
    hour, day = used(entries, now)
    first_hour, first_day = (next((at for at, _ in entries if at > now - w), now) for w in (HOUR, DAY))
    return Remaining(
        tier, max(0, tier.per_hour - hour), max(0, tier.per_day - day), first_hour + HOUR, first_day + DAY
    )


def judge(entries: Sequence[Entry], tier: Tier, now: float, want: int) -> Judgement:
    """Test both windows for `want` more recipients. `entries` oldest first."""
    hour, day = used(entries, now)
    if hour + want <= tier.per_hour and day + want <= tier.per_day:
        return Judgement(True, hour, day, now)
    if want > tier.per_hour or want > tier.per_day:
        return Judgement(False, hour, day, None)
    return Judgement(False, hour, day, max(_free(entries, now, HOUR, tier.per_hour - want),
                                           _free(entries, now, DAY, tier.per_day - want)))


def _free(entries: Sequence[Entry], now: float, window: float, room: int) -> float:
    """The first moment at which the entries of `window` sum to at most `room`."""
    live = [(at, n) for at, n in entries if at > now - window]
    total = sum(n for _, n in live)
    at = now
    for spent_at, n in live:
        if total <= room:
            break
        total -= n
        at = spent_at + window
    return at


def refusal(judgement: Judgement, tier: Tier, domain: str, want: int, member_id: int | None) -> Verdict:
    """The verdict for `want` recipients that do not fit: the next free slot, or how many one message may have."""
    facts = {
        "tier": tier.name, "domain": domain, "usedThisHour": judgement.hour, "perHour": tier.per_hour,
        "usedToday": judgement.day, "perDay": tier.per_day,
    }
    if judgement.next_at is None:
        most = min(tier.per_hour, tier.per_day)
        return Verdict(
            replies.TIER_TOO_SMALL, saw=f"{want} recipients", wanted=str(most), extra=facts | {"fits": most},
            member_id=member_id,
        )
    saw = f"{judgement.hour} of {tier.per_hour} this hour and {judgement.day} of {tier.per_day} today used"
    slot = not_before(judgement.next_at)
    return Verdict(
        replies.RATE_LIMITED, saw=saw, wanted=f"next slot {slot}", passes_at=math.ceil(judgement.next_at),
        extra=facts | {"nextSlot": slot}, member_id=member_id,
    )
