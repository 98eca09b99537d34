"""What receivers reported of a domain's mail: who sends as it, aligned or not, and the one thing to look at.

`summary` reads, the rest is pure. Reports that proved nobody's are shown apart and decide nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from relay.base.clock import DAY, utc_day
from relay.base.storage import Tx, aggregate
from relay.base.storage.aggregate import DmarcDay, TlsDay

_MOST_ROWS = 20_000
_MOST_SOURCES = 200
_LOOK_DAYS = 7
_OURS_SHARE, _OURS_LEAST = 0.05, 5
_STRANGERS_SHARE, _STRANGERS_LEAST = 0.1, 50


@dataclass(slots=True)
class Source:
    """An address that sends as the domain. `ours`: it is the relay's; `aligned`: messages that passed DMARC."""

    address: str
    ours: bool
    messages: int = 0
    aligned: int = 0
    dkim: int = 0
    spf: int = 0
    refused: int = 0
    signed_by: str = ""
    reporters: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Problem:
    """The one thing that is wrong. `code`: own_unaligned | stranger."""

    code: str
    says: str
    fix: str


@dataclass(frozen=True, slots=True)
class Reports:
    """Of some days up to now. `unproved`: messages in reports that did not prove to come from their reporter; they are
    in no other figure."""

    days: int
    messages: int
    aligned: int
    unproved: int
    reporters: tuple[str, ...]
    sources: tuple[Source, ...]
    by_day: tuple[tuple[str, int, int], ...]  # day, messages, aligned
    tls: tuple[TlsDay, ...]
    problem: Problem | None

    @property
    def any(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.messages or self.unproved or self.tls)


async def summary(tx: Tx, domain_id: int, own: Collection[str], now: float, days: int) -> Reports:
    """The last `days` days; `own` are the addresses that the relay sends from."""
    since = utc_day(now - days * DAY)
    rows = await aggregate.dmarc(tx, domain_id, since, _MOST_ROWS)
    tls = await aggregate.tls(tx, domain_id, since, _MOST_SOURCES)
    return summed(rows, tls, own, now, days)


def summed(
    rows: Sequence[DmarcDay], tls: Sequence[TlsDay], own: Collection[str], now: float, days: int
) -> Reports:
    """The rows as they are shown."""
    proved = [row for row in rows if row.proved]
    by_day: dict[str, list[int]] = {}
    for row in proved:
        day = by_day.setdefault(row.day, [0, 0])
        day[0] += row.n
        day[1] += row.n * (row.dkim or row.spf)
    week = [r for r in proved if r.day >= utc_day(now - _LOOK_DAYS * DAY)]
    return Reports(
        days=days, messages=sum(r.n for r in proved), aligned=sum(r.n for r in proved if r.dkim or r.spf),
        unproved=sum(r.n for r in rows if not r.proved), reporters=tuple(sorted({r.reporter for r in proved})),
        sources=tuple(_sources(proved, own)[:_MOST_SOURCES]),
        by_day=tuple((day, n, good) for day, (n, good) in sorted(by_day.items())), tls=tuple(tls),
        problem=problem(_sources(week, own)),
    )


def problem(sources: Sequence[Source]) -> Problem | None:
    """What of the last week's mail is wrong, the relay's own first."""
    for one in sources:
        failed = one.messages - one.aligned
        if one.ours and failed >= max(_OURS_LEAST, _OURS_SHARE * one.messages):
            says = (
                f"{failed} of {one.messages} messages that this relay ({one.address}) sent as you failed DMARC at "
                f"{_named(one)}"
            )
            return Problem("own_unaligned", says, "Check the DKIM and return-path records on this page.")
    total = sum(one.messages for one in sources)
    for one in sources:
        failed = one.messages - one.aligned
        if not one.ours and failed >= max(_STRANGERS_LEAST, _STRANGERS_SHARE * total):
            says = f"{one.address} sent {failed} messages as you that are not aligned, says {_named(one)}"
            fix = (
                "If it is a service of yours, have it sign with your domain; if it is nobody of yours, a stricter "
                "DMARC policy (p=quarantine, later p=reject) has receivers stop it."
            )
            return Problem("stranger", says, fix)
    return None


def _sources(rows: Sequence[DmarcDay], own: Collection[str]) -> list[Source]:
    found: dict[str, Source] = {}
    for row in rows:
        one = found.setdefault(row.address, Source(row.address, row.address in own))
        one.messages += row.n
        one.aligned += row.n * (row.dkim or row.spf)
        one.dkim += row.n * row.dkim
        one.spf += row.n * row.spf
        one.refused += row.n * (row.disposition in ("quarantine", "reject"))
        one.signed_by = row.signed_by or one.signed_by
        one.reporters.add(row.reporter)
    return sorted(found.values(), key=lambda one: (-one.messages, one.address))


def _named(source: Source) -> str:
    reporters = sorted(source.reporters)
    return ", ".join(reporters[:3]) + (f" and {len(reporters) - 3} more" if len(reporters) > 3 else "")
