"""What receivers report about members' domains, by day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, tuple_

from relay.base.storage.engine import Tx, serialise, upsert
from relay.base.storage.tables import aggregate_reports, dmarc_days, domains, tls_days

_LOCK = 0x41474752  # PostgreSQL: reports are counted one after the other


@dataclass(frozen=True, slots=True)
class Head:
    """Which report. `proved`: the domain that it proved to come from, "" for none; `day` in UTC."""

    domain_id: int
    kind: str
    proved: str
    reporter: str
    report_id: str
    day: str
    received_at: float


@dataclass(frozen=True, slots=True)
class DmarcDay:
    """Messages of one address on one day, as one reporter saw them."""

    day: str
    reporter: str
    proved: bool
    address: str
    dkim: bool
    spf: bool
    disposition: str
    signed_by: str
    n: int


@dataclass(frozen=True, slots=True)
class TlsDay:
    """Sessions of one day with one result, as one reporter saw them."""

    day: str
    reporter: str
    proved: bool
    policy: str
    result: str
    host: str
    n: int


async def whose(tx: Tx, name: str) -> int | None:
    """The id of the domain `name` (A-labels) that a member has proved, paused or not; None for nobody's."""
    c = domains.c
    query = select(c.id).where(c.name == name, c.state.in_(("verified", "disabled"))).order_by(c.state.desc())
    found = await tx.scalar(query.limit(1))
    return None if found is None else int(found)


async def begin(tx: Tx, head: Head) -> bool:
    """Note that this report is taken; False if it has been before."""
    await serialise(tx, _LOCK)
    t = aggregate_reports.c
    query = select(t.id).where(
        t.domain_id == head.domain_id, t.kind == head.kind, t.proved == head.proved, t.report_id == head.report_id
    )
    if await tx.scalar(query) is not None:
        return False
    values = {name: getattr(head, name) for name in Head.__slots__}
    await tx.execute(upsert(tx, aggregate_reports).values(**values))
    return True


async def keep(tx: Tx, head: Head, rows: Sequence[dict[str, Any]], most: int) -> int:
    """Add rows of a report to its day, which has at most `most`; returns how many had no place."""
    dmarc = head.kind == "dmarc"
    table = dmarc_days if dmarc else tls_days
    c = table.c
    there = await tx.scalar(
        select(func.count()).select_from(table).where(c.domain_id == head.domain_id, c.day == head.day)
    )
    placed = rows[: max(0, most - int(there or 0))]
    of = {"domain_id": head.domain_id, "day": head.day, "reporter": head.reporter, "proved": bool(head.proved)}
    for row in placed:
        new = (upsert(tx, dmarc_days) if dmarc else upsert(tx, tls_days)).values(**of, **row)
        keys = [column.name for column in table.primary_key]
        changed = {"n": c.n + new.excluded.n}
        if dmarc:
            changed["signed_by"] = new.excluded.signed_by
        await tx.execute(new.on_conflict_do_update(index_elements=keys, set_=changed))
    return len(rows) - len(placed)


async def dmarc(tx: Tx, domain_id: int, since: str, most: int) -> list[DmarcDay]:
    """What was reported of a domain since a day, the largest numbers first."""
    c = dmarc_days.c
    columns = [c[name] for name in DmarcDay.__slots__]
    query = select(*columns).where(c.domain_id == domain_id, c.day >= since).order_by(c.n.desc(), c.day).limit(most)
    return [DmarcDay(*row) for row in await tx.execute(query)]


async def tls(tx: Tx, domain_id: int, since: str, most: int) -> list[TlsDay]:
    """The same of connections to its exchangers."""
    c = tls_days.c
    columns = [c[name] for name in TlsDay.__slots__]
    query = select(*columns).where(c.domain_id == domain_id, c.day >= since).order_by(c.n.desc(), c.day).limit(most)
    return [TlsDay(*row) for row in await tx.execute(query)]


async def purge(tx: Tx, before: str, limit: int) -> int:
    """Remove up to `limit` rows of days before `before` from each table; returns how many."""
    done = 0
    for table in (aggregate_reports, dmarc_days, tls_days):
        keys = tuple(table.primary_key)
        old = select(*keys).where(table.c.day < before).order_by(table.c.day).limit(limit)
        done += int((await tx.execute(delete(table).where(tuple_(*keys).in_(old)))).rowcount)
    return done
