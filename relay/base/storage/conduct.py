"""The allowance of each domain and day that follows from its conduct. A day without a row has the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from relay.base.storage.engine import Tx, upsert
from relay.base.storage.tables import conduct_days, domains


@dataclass(frozen=True, slots=True)
class Candidate:
    """A domain that is old enough, and its newest allowance: `day` and `per_day` are None before the first."""

    domain_id: int
    first_verified_at: float
    day: str | None
    per_day: int | None


def newest(column: str) -> Any:
    """A domain's newest day, as a column of a query over domains."""
    t = conduct_days
    return (
        select(t.c[column]).where(t.c.domain_id == domains.c.id).order_by(t.c.day.desc()).limit(1)
        .correlate(domains).scalar_subquery()
    )


async def of(tx: Tx, domain_id: int) -> int | None:
    """Recipients a day of a domain; None before its conduct has been looked at."""
    t = conduct_days.c
    found = await tx.scalar(select(t.per_day).where(t.domain_id == domain_id).order_by(t.day.desc()).limit(1))
    return None if found is None else int(found)


async def candidates(tx: Tx, before: float, after: int, limit: int) -> list[Candidate]:
    """Verified domains without a tier of the operator's, first verified before `before`; by id, those above `after`."""
    d = domains.c
    query = (
        select(d.id, d.first_verified_at, newest("day"), newest("per_day"))
        .where(d.id > after, d.state == "verified", d.tier.is_(None), d.first_verified_at <= before)
        .order_by(d.id).limit(limit)
    )
    return [Candidate(*row) for row in await tx.execute(query)]


async def keep(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Write days: domain_id, day, per_day, used, change. One that is there stays as it is."""
    if rows:
        new = upsert(tx, conduct_days).on_conflict_do_nothing(index_elements=["domain_id", "day"])
        await tx.execute(new, list(rows))
