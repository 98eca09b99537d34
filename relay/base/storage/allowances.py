"""Allowances: what each sending domain has spent, as entries that leave after 60 minutes and 24 hours."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select, tuple_

from relay.base.storage.engine import Tx, locks_rows
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import allowances, domains

_WRITERS = 4096
_CLOCKS_DIFFER = 5.0  # seconds, of several machines, at most


async def lock(tx: Tx, domain_ids: Sequence[int]) -> bool:
    """Hold these domains' allowances until commit; whether somebody else may have spent since they were read. (SQLite
    has one writer anyway.)"""
    if not domain_ids or not locks_rows(tx):
        return False
    query = select(domains.c.id).where(domains.c.id.in_(domain_ids)).order_by(domains.c.id)
    # FOR NO KEY UPDATE: a plain FOR UPDATE also stops those who only refer to the domain (events, counters), and
    # they may hold the counter that we want next.
    await tx.execute(query.with_for_update(key_share=True))
    return True


async def entries(tx: Tx, domain_ids: Sequence[int], since: float) -> dict[int, list[tuple[float, int]]]:
    """(at, n) of each domain after `since`, oldest first; domains without any are absent."""
    if _ENTRIES.direct(tx):
        found = {d: [(at, n) for at, n in await _ENTRIES.all(tx, {"domain": d, "since": since})] for d in domain_ids}
        return {d: rows for d, rows in found.items() if rows}
    c = allowances.c
    query = select(c.domain_id, c.at, c.n).where(c.domain_id.in_(domain_ids), c.at > since).order_by(c.at)
    read: dict[int, list[tuple[float, int]]] = {}
    for domain_id, at, n in await tx.execute(query):
        read.setdefault(domain_id, []).append((at, n))
    return read


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


async def spend(tx: Tx, spent: Mapping[tuple[int, float], int], writer: str) -> None:
    """Add entries: (domain id, at) → recipients.

    Where processes write beside each other, each has entries of its own within half a second, so that none waits for
    another's commit; and they are dated as by the clock that is furthest ahead, or they would leave too early there.
    """
    if not spent:
        return
    beside = _CLOCKS_DIFFER + zlib.crc32(writer.encode()) % _WRITERS / (2 * _WRITERS) if locks_rows(tx) else 0.0
    await _SPEND.many(tx, [{"domain_id": d, "at": at + beside, "n": n} for (d, at), n in sorted(spent.items())])


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` entries that have left every window; returns how many."""
    c = allowances.c
    old = select(c.domain_id, c.at).where(c.at < before).order_by(c.at).limit(limit)
    return (await tx.execute(delete(allowances).where(tuple_(c.domain_id, c.at).in_(old)))).rowcount
