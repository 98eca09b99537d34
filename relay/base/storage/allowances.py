"""Allowances: what each sending domain has spent, as entries that leave after 60 minutes and 24 hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, select

from relay.base.storage.engine import Tx, Upsert, locks_rows
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
    found: dict[int, list[tuple[float, int]]] = {}
    query = (
        select(allowances.c.domain_id, allowances.c.at, allowances.c.n)
        .where(allowances.c.domain_id.in_(domain_ids), allowances.c.at > since).order_by(allowances.c.at)
    )
    for row in await tx.execute(query):
        found.setdefault(row.domain_id, []).append((row.at, row.n))
    return found


_SPEND = Upsert(
    allowances,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["domain_id", "at"], set_={"n": allowances.c.n + insert.excluded.n}
    ),
)


async def spend(tx: Tx, spent: Mapping[tuple[int, float], int]) -> None:
    """Add entries: (domain id, at) → recipients."""
    if not spent:
        return
    await tx.execute(_SPEND.of(tx), [{"domain_id": d, "at": at, "n": n} for (d, at), n in spent.items()])


async def purge(tx: Tx, before: float) -> int:
    """Remove entries that have left every window."""
    return (await tx.execute(delete(allowances).where(allowances.c.at < before))).rowcount
