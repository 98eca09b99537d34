"""What a domain's daily counters say: volume, how it moves, rates, reputation. Pure over `daily_stats`.

Shares are of the recipients that were accepted, and of one whole they add up to 100 %: delivered, bounced, and the
rest, which is under way or was suppressed or cancelled. What was accepted before a window and finished in it makes
its whole that much larger, so that no share is ever more than all.

Reputation is 100 − 8·(bounces in percent of what was sent) − 400·(complaints in percent of what was delivered),
within 0 and 100, over 30 days: a bounce rate of 12.5 % or a complaint rate of 0.25 % leaves nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from relay.base.storage.stats import Day, Sums

WINDOW_DAYS = 30
DEFAULT_DAYS = 30
MAX_DAYS = 365
_BUCKETS = ((90, "excellent"), (70, "good"), (50, "fair"), (0, "poor"))


@dataclass(frozen=True, slots=True)
class Period:
    """One UTC day, `YYYY-MM-DD`, in recipients. Days without activity are absent from a list of these."""

    period: str
    sent: int
    delivered: int
    bounced: int
    complaints: int
    opens: int = 0
    clicks: int = 0


@dataclass(frozen=True, slots=True)
class Shares:
    """What became of one whole, in percent with one decimal; they add up to 100."""

    delivered: float
    bounced: float
    rest: float


def shares(sent: int, delivered: int, bounced: int) -> Shares | None:
    """The shares of `sent` recipients; None without any."""
    done = delivered + bounced
    whole = max(sent, done)
    if whole <= 0:
        return None
    tenths = round(1000 * bounced / whole)
    others = round(1000 * delivered / whole) if done < whole else 1000 - tenths
    return Shares(others / 10, tenths / 10, (1000 - others - tenths) / 10)


@dataclass(frozen=True, slots=True)
class Overview:
    """A domain's figures over fixed windows that end today.

    volume_7d: recipients sent to in 7 days; volume_delta: against the 7 before (`+12%`, `new`, None without
    volume); rates in percent with one decimal and reputation 0–100 over 30 days, None without volume. `rest_rate` is
    what was neither delivered nor bounced.
    """

    volume_7d: int
    volume_delta: str | None
    delivery_rate: float | None
    bounce_rate: float | None
    rest_rate: float | None
    complaint_rate: float | None
    reputation: int | None
    reputation_bucket: str | None


@dataclass(frozen=True, slots=True)
class Stats(Overview):
    """The same, and `periods` over the days asked for."""

    days: int
    periods: list[Period]


def clamp_days(days: int | None) -> int:
    """1 to 365; 30 when nothing readable was asked for."""
    return DEFAULT_DAYS if days is None else min(max(days, 1), MAX_DAYS)


def first_day(now: float, days: int) -> str:
    """The UTC day with which a window of `days` that ends today begins."""
    return (datetime.fromtimestamp(now, UTC) - timedelta(days=days - 1)).strftime("%Y-%m-%d")


def needed_since(now: float, days: int) -> str:
    """The first day whose counters `figures` wants to see."""
    return first_day(now, max(days, WINDOW_DAYS))


def figures(counted: Iterable[Day], now: float, days: int) -> Stats:
    """All figures from the counters of one domain (or of several, which are added up)."""
    by_day: dict[str, Period] = {}
    for d in counted:
        old = by_day.get(d.day, Period(d.day, 0, 0, 0, 0))
        by_day[d.day] = Period(
            d.day, old.sent + d.accepted, old.delivered + d.delivered, old.bounced + d.bounced,
            old.complaints + d.complaints, old.opens + d.opens, old.clicks + d.clicks,
        )
    ordered = [by_day[day] for day in sorted(by_day)]
    month = [p for p in ordered if p.period >= first_day(now, WINDOW_DAYS)]
    this_week = sum(p.sent for p in ordered if p.period >= first_day(now, 7))
    last_week = sum(p.sent for p in ordered if first_day(now, 14) <= p.period < first_day(now, 7))
    sent, delivered = sum(p.sent for p in month), sum(p.delivered for p in month)
    bounced, complaints = sum(p.bounced for p in month), sum(p.complaints for p in month)
    shown = [p for p in ordered if p.period >= first_day(now, days) and _active(p)]
    found = _shown(sent, delivered, bounced, complaints, this_week, last_week)
    return Stats(**asdict(found), days=days, periods=shown)


def overview(sums: Sums | None) -> Overview:
    """The figures of one domain from its sums over `windows`; None: it has none."""
    if sums is None:
        return _shown(0, 0, 0, 0, 0, 0)
    s = sums
    return _shown(s.accepted, s.delivered, s.bounced, s.complaints, s.week, s.week_before)


def windows(now: float) -> dict[str, str]:
    """The first UTC day of each window that `overview` needs sums over, by its name there."""
    return {"since": first_day(now, WINDOW_DAYS), "week": first_day(now, 7), "week_before": first_day(now, 14)}


def _shown(
    sent: int, delivered: int, bounced: int, complaints: int, this_week: int, last_week: int
) -> Overview:
    score = reputation(sent, delivered, bounced, complaints)
    of = shares(sent, delivered, bounced) if sent else None
    return Overview(
        volume_7d=this_week, volume_delta=volume_delta(this_week, last_week),
        delivery_rate=of.delivered if of else None, bounce_rate=of.bounced if of else None,
        rest_rate=of.rest if of else None,
        complaint_rate=_percent(complaints, delivered, 2), reputation=score, reputation_bucket=bucket(score),
    )


def volume_delta(this: int, before: int) -> str | None:
    """The change in whole percent, always signed; `new` when there was nothing before; None when nothing is now."""
    if this == 0:
        return None
    if before == 0:
        return "new"
    return f"{_half_up((this - before) * 100, before):+d}%"


def reputation(sent: int, delivered: int, bounced: int, complaints: int) -> int | None:
    """0 (worst) to 100; None when nothing was sent."""
    if sent == 0:
        return None
    bounce_percent = 100 * bounced / max(sent, delivered + bounced)
    complaint_percent = 100 * complaints / delivered if delivered else (100.0 if complaints else 0.0)
    return max(0, min(100, round(100 - 8 * bounce_percent - 400 * complaint_percent)))


def bucket(score: int | None) -> str | None:
    """The word for a reputation."""
    return None if score is None else next(word for least, word in _BUCKETS if score >= least)


def daily(counted: Sequence[Day], now: float, days: int) -> list[int]:
    """Recipients sent to on each of the last `days` days, oldest first, days without any as 0."""
    sums: dict[str, int] = {}
    for d in counted:
        sums[d.day] = sums.get(d.day, 0) + d.accepted
    start = datetime.fromtimestamp(now, UTC) - timedelta(days=days - 1)
    return [sums.get((start + timedelta(days=i)).strftime("%Y-%m-%d"), 0) for i in range(days)]


def _active(p: Period) -> bool:
    return bool(p.sent or p.delivered or p.bounced or p.complaints or p.opens or p.clicks)


def _percent(part: int, whole: int, digits: int = 1) -> float | None:
    return round(100 * part / whole, digits) if whole else None


def _half_up(numerator: int, denominator: int) -> int:
    """Nearest whole number, halves away from zero: no banker's surprise in a figure people compare."""
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))
