"""Allowances: what each sending domain has spent, as entries that leave after 60 minutes and 24 hours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select, tuple_

from relay.base.storage.engine import Tx, locks_rows
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import allowances, domains


async def lock(tx: Tx, domain_ids: Sequence[int]) -> None:
    """Hold these domains' allowances until commit (PostgreSQL locks rows; SQLite has one writer anyway)."""
    if not locks_rows(tx):
        return
    query = select(domains.c.id).where(domains.c.id.in_(domain_ids)).order_by(domains.c.id)
    # FOR NO KEY UPDATE: a plain FOR UPDATE also stops those who only refer to the domain (events, counters), and
    # they may hold the counter that we want next.
    await tx.execute(query.with_for_update(key_share=True))


async def entries(tx: Tx, domain_ids: Sequence[int], since: float) -> dict[int, list[tuple[float, int]]]:
    """(at, n) of each domain after `since`, oldest first; domains without any are absent."""
    found = {d: [(at, n) for at, n in await _ENTRIES.all(tx, {"domain": d, "since": since})] for d in domain_ids}
    return {d: rows for d, rows in found.items() if rows}


_ENTRIES = Prepared(
    lambda _: select(allowances.c.at, allowances.c.n)
    .where(allowances.c.domain_id == bindparam("domain"), allowances.c.at > bindparam("since"))
    .order_by(allowances.c.at)
)


def _spend(insert: Callable[..., Any]) -> Any:
    new = insert(allowances)
    return new.on_conflict_do_update(
        index_elements=["domain_id", "at"], set_={"n": allowances.c.n + new.excluded.n}
    )


_SPEND = Prepared(_spend)


async def spend(tx: Tx, spent: Mapping[tuple[int, float], int]) -> None:
    """Add entries: (domain id, at) → recipients."""
    if not spent:
        return
    await _SPEND.many(tx, [{"domain_id": d, "at": at, "n": n} for (d, at), n in spent.items()])


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` entries that have left every window; returns how many."""
    c = allowances.c
    old = select(c.domain_id, c.at).where(c.at < before).order_by(c.at).limit(limit)
    return (await tx.execute(delete(allowances).where(tuple_(c.domain_id, c.at).in_(old)))).rowcount
