"""Daily counters as charts: bars and lines in plain numbers, for inline SVG that stretches to any width. Pure.

Each chart says in a sentence what it shows, and holds its figures as a table: nobody needs to see the picture, or its
colours, to know them. Days without activity are there, with nothing in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from enroll.stats import Period, Shares, shares

HEIGHT = 100
STEP = 10
_GAP = 2
_RATE_DAYS = 7


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle, from the top left; `kind` is its class in the style sheet."""

    x: int
    y: float
    height: float
    kind: str
    says: str
    width: int = STEP - _GAP


@dataclass(frozen=True, slots=True)
class Line:
    """One line through points (`x,y x,y …`); an interruption begins another of the same kind."""

    points: str
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart `width` by 100. `top`: what the upper edge stands for; `legend`: (class, words) of what is in it."""

    title: str
    summary: str
    width: int
    top: str
    first: str
    last: str
    legend: tuple[tuple[str, str], ...]
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def days_of(periods: Iterable[Period], now: float, days: int) -> list[Period]:
    """One for each of the last `days` UTC days, oldest first."""
    known = {p.period: p for p in periods}
    start = datetime.fromtimestamp(now, UTC) - timedelta(days=days - 1)
    names = [(start + timedelta(days=i)).strftime("%Y-%m-%d") for i in range(days)]
    return [known.get(name, Period(name, 0, 0, 0, 0)) for name in names]


def volume(days: Sequence[Period]) -> Chart | None:
    """Recipients a day: delivered below, bounced above, what is under way on top. None where nothing was sent."""
    # What was sent one day may be delivered the next: the column is as high as whichever is more.
    tallest = max((max(p.sent, p.delivered + p.bounced) for p in days), default=0)
    if not tallest:
        return None
    bars = []
    for i, p in enumerate(days):
        parts = (("delivered", p.delivered), ("bounced", p.bounced), ("waiting", p.sent - p.delivered - p.bounced))
        bars += _stack(i, [(kind, n) for kind, n in parts if n > 0], tallest, p.period)
    sent, delivered, bounced = (sum(getattr(p, f) for p in days) for f in ("sent", "delivered", "bounced"))
    return _chart(
        "Volume", f"{sent} sent, {delivered} delivered, {bounced} bounced in {len(days)} days", days, str(tallest),
        (("delivered", "delivered"), ("bounced", "bounced"), ("waiting", "in transit or not counted yet")), bars,
        columns=("Day", "Sent", "Delivered", "Bounced", "Complaints"),
        row=lambda p: (p.sent, p.delivered, p.bounced, p.complaints),
    )


def rates(days: Sequence[Period]) -> Chart | None:
    """Delivered and bounced, in percent of what was sent in the seven days up to each: the shares that the figures
    beside it show of 30 days. None while nothing is finished."""
    weeks: list[Shares | None] = []
    for i in range(len(days)):
        week = days[max(0, i - _RATE_DAYS + 1) : i + 1]
        weeks.append(shares(*(sum(getattr(p, f) for p in week) for f in ("sent", "delivered", "bounced"))))
    latest = next((share for share in reversed(weeks) if share is not None), None)
    if latest is None or all(share is None or share.rest == 100 for share in weeks):
        return None
    found = dict(zip((p.period for p in days), weeks, strict=True))

    def row(p: Period) -> tuple[str, str, str]:
        share = found[p.period]
        if share is None:
            return "–", "–", "–"
        return f"{share.delivered:.1f} %", f"{share.bounced:.1f} %", f"{share.rest:.1f} %"

    return _chart(
        "Rates", f"latest: {latest.delivered:.1f} % delivered, {latest.bounced:.1f} % bounced, over {_RATE_DAYS} days "
        "each", days, "100 %", (("delivered", "delivered"), ("bounced", "bounced")), (),
        lines=(
            *_lines("delivered", [s.delivered if s else None for s in weeks]),
            *_lines("bounced", [s.bounced if s else None for s in weeks]),
        ),
        columns=("7 days up to", "Delivered", "Bounced", "Neither"), row=row,
    )


def readers(days: Sequence[Period]) -> Chart | None:
    """Opens and clicks a day, side by side, machines left out. None where nothing was opened or followed."""
    tallest = max((max(p.opens, p.clicks) for p in days), default=0)
    if not tallest:
        return None
    bars = []
    half = (STEP - _GAP) // 2
    for i, p in enumerate(days):
        for kind, n, x in (("opens", p.opens, i * STEP), ("clicks", p.clicks, i * STEP + half)):
            if n:
                height = _height(n, tallest)
                bars.append(Bar(x, round(HEIGHT - height, 1), height, kind, f"{p.period}: {n} {kind}", half))
    opens, clicks = sum(p.opens for p in days), sum(p.clicks for p in days)
    return _chart(
        "Opens and clicks", f"{opens} opens, {clicks} clicks in {len(days)} days; known bots left out", days,
        str(tallest), (("opens", "opens"), ("clicks", "clicks")), bars, columns=("Day", "Opens", "Clicks"),
        row=lambda p: (p.opens, p.clicks),
    )


def _chart(
    title: str, summary: str, days: Sequence[Period], top: str, legend: tuple[tuple[str, str], ...],
    bars: Sequence[Bar], *, lines: tuple[Line, ...] = (), columns: tuple[str, ...],
    row: Callable[[Period], tuple[object, ...]],
) -> Chart:
    active = [p for p in days if p.sent or p.delivered or p.bounced or p.complaints or p.opens or p.clicks]
    return Chart(
        title=title, summary=summary, width=len(days) * STEP - _GAP, top=top, first=days[0].period,
        last=days[-1].period, legend=legend, bars=tuple(bars), lines=lines, columns=columns,
        rows=tuple((p.period, *map(str, row(p))) for p in reversed(active)),
    )


def _stack(i: int, parts: Sequence[tuple[str, int]], tallest: int, period: str) -> list[Bar]:
    bars, bottom = [], float(HEIGHT)
    for kind, n in parts:
        height = _height(n, tallest)
        bottom = round(max(0.0, bottom - height), 1)
        bars.append(Bar(i * STEP, bottom, height, kind, f"{period}: {n} {kind}"))
    return bars


def _height(n: int, tallest: int) -> float:
    """What is there can be seen, however small."""
    return max(1.5, round(HEIGHT * n / tallest, 1))


def _lines(kind: str, values: Sequence[float | None]) -> list[Line]:
    runs: list[list[tuple[float, str]]] = [[]]
    for i, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        x = i * STEP + (STEP - _GAP) / 2
        runs[-1].append((x, f"{HEIGHT - value:.1f}"))
    # A day alone is drawn as a line of the day's width.
    half = (STEP - _GAP) / 2
    wide = [run if len(run) > 1 else [(x + side, y) for x, y in run for side in (-half, half)] for run in runs if run]
    return [Line(" ".join(f"{x:g},{y}" for x, y in run), kind) for run in wide]
