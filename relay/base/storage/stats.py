"""Daily counters of each domain (UTC days). They outlive the message log.

Where transactions run beside each other, a day's row would keep all but one of them waiting until its commit is on
disk. There each appends rows of its own, the days are read together with them, and `fold` adds them up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from sqlalchemy import FromClause, Select, delete, func, select, union_all

from relay.base.storage.engine import Tx, locks_rows
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import daily_pending, daily_stats, domains

FIELDS = ("accepted", "delivered", "deferred", "bounced", "complaints", "opens", "clicks")


@dataclass(frozen=True, slots=True)
class Day:
    """One domain's counters of one day."""

    domain_id: int
    day: str
    member_id: int
    accepted: int
    delivered: int
    deferred: int
    bounced: int
    complaints: int
    opens: int = 0
    clicks: int = 0


def _count(insert: Callable[..., Any]) -> Any:
    new = insert(daily_stats)
    return new.on_conflict_do_update(
        index_elements=["domain_id", "day"], set_={f: daily_stats.c[f] + new.excluded[f] for f in FIELDS}
    )


_COUNT = Prepared(_count)
_APPEND = Prepared(lambda insert: insert(daily_pending))


async def count(tx: Tx, counted: Mapping[tuple[int, str, int], Mapping[str, int]]) -> None:
    """Add: (domain id, day, member id) → field → number."""
    rows = [
        {"domain_id": d, "day": day, "member_id": m, **{f: fields.get(f, 0) for f in FIELDS}}
        for (d, day, m), fields in sorted(counted.items())
    ]
    if not rows:
        return
    await (_APPEND if locks_rows(tx) else _COUNT).many(tx, rows)


async def fold(tx: Tx, limit: int) -> int:
    """Add up to `limit` appended rows to their days; returns how many."""
    p = daily_pending.c
    oldest = select(p.id).where(p.id > 0).order_by(p.id).limit(limit).with_for_update(skip_locked=True)
    shown = (p.domain_id, p.day, p.member_id, *(p[f] for f in FIELDS))
    taken = delete(daily_pending).where(p.id.in_(oldest)).returning(*shown)
    added: dict[tuple[int, str, int], dict[str, int]] = {}
    n = 0
    for domain_id, day, member_id, *numbers in await tx.execute(taken):
        n += 1
        fields = added.setdefault((domain_id, day, member_id), dict.fromkeys(FIELDS, 0))
        for f, number in zip(FIELDS, numbers, strict=True):
            fields[f] += number
    if added:
        await _COUNT.many(tx, [{"domain_id": d, "day": day, "member_id": m, **fields}
                               for (d, day, m), fields in sorted(added.items())])
    return n


def counted(tx: Tx) -> FromClause:
    """The days as they are to be read: a domain and day may have several rows."""
    if not locks_rows(tx):
        return daily_stats
    names = ("domain_id", "day", "member_id", *FIELDS)
    both = (select(*(t.c[name] for name in names)) for t in (daily_stats, daily_pending))
    return union_all(*both).subquery("counted")


async def days(
    tx: Tx, since: str, *, member_id: int | None = None, domain_id: int | None = None,
    among: Collection[int] | None = None,
) -> list[Day]:
    """The counters from day `since` on, oldest first; of all domains, or of those `among` these ids."""
    t = counted(tx).c
    query = (
        select(t.domain_id, t.day, t.member_id, *(func.sum(t[f]) for f in FIELDS)).where(t.day >= since)
        .group_by(t.domain_id, t.day, t.member_id).order_by(t.day)
    )
    if member_id is not None:
        query = query.where(t.member_id == member_id)
    if domain_id is not None:
        query = query.where(t.domain_id == domain_id)
    if among is not None:
        query = query.where(t.domain_id.in_(among))
    return [Day(*row) for row in await tx.execute(query)]


@dataclass(frozen=True, slots=True)
class Sums:
    """One domain's counters added up over a window; `week` and `week_before` are what was accepted in two shorter
    ones."""

    domain_id: int
    accepted: int
    delivered: int
    bounced: int
    complaints: int
    week: int
    week_before: int


async def sums(tx: Tx, member_id: int, *, since: str, week: str, week_before: str) -> dict[int, Sums]:
    """Of each domain of a member that has any, the sums from day `since` on; of what was accepted, also from day
    `week` on, and from `week_before` until then. One statement, whatever the number of domains."""
    t = counted(tx).c
    # FILTER leaves a row out before it is added: half the time of a CASE that adds 0.
    both = func.sum(t.accepted).filter(t.day >= week_before)
    query = (
        select(
            t.domain_id, func.sum(t.accepted), func.sum(t.delivered), func.sum(t.bounced), func.sum(t.complaints),
            func.sum(t.accepted).filter(t.day >= week), both,
        )
        # Domain by domain, as the rows lie, nothing has to be sorted.
        .where(t.domain_id.in_(select(domains.c.id).where(domains.c.member_id == member_id)), t.day >= since)
        .group_by(t.domain_id)
    )
    return {
        of: Sums(of, accepted, delivered, bounced, complaints, week or 0, (both_weeks or 0) - (week or 0))
        for of, accepted, delivered, bounced, complaints, week, both_weeks in await _at_once(tx, query)
    }


async def _at_once(tx: Tx, query: Select[Any]) -> list[Any]:
    """The rows of a query over numbers. On SQLite they come as one value: the driver takes Python's lock for every row,
    and a thread that adds up would get no further than the others let it."""
    if tx.dialect.name != "sqlite":
        return list(await tx.execute(query))
    rows = query.subquery()
    found: str = (await tx.execute(select(func.json_group_array(func.json_array(*rows.c))))).scalar_one()
    values: list[list[Any]] = from_json(found)
    return values


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters of one UTC day, `YYYY-MM-DD`, over a member's domains."""

    day: str
    accepted: int
    delivered: int
    bounced: int
    complaints: int


async def daily(
    tx: Tx, member_id: int, since: str, *, names: Collection[str] | None = None
) -> list[Totals]:
    """A member's counters of each UTC day from `since` on; days without any are absent."""
    t = counted(tx).c
    query: Any = (
        select(t.day, *(func.sum(t[f]) for f in ("accepted", "delivered", "bounced", "complaints")))
        .where(t.member_id == member_id, t.day >= since).group_by(t.day).order_by(t.day)
    )
    if names is not None:
        query = query.join(domains, domains.c.id == t.domain_id).where(domains.c.name.in_(names))
    return [Totals(row[0], *(int(n) for n in row[1:])) for row in await tx.execute(query)]
