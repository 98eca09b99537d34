"""Idempotency keys: the first answer to a request, by member and name.

A row without a status is a request that still runs. One that is older than `stale` may be taken over: its process
has died, and its message, written in the same transaction as the answer, is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, tuple_, update

from relay.base.storage.engine import Tx, upsert
from relay.base.storage.tables import idempotency


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a key: `status` None while the first request runs."""

    body_hash: str
    at: float
    status: int | None
    answer: dict[str, Any] | None


async def look(tx: Tx, member_id: int, name: str) -> Stored | None:
    """What is stored of a key, however old."""
    t = idempotency.c
    query = select(t.body_hash, t.at, t.status, t.answer).where(t.member_id == member_id, t.name == name)
    row = (await tx.execute(query)).first()
    return Stored(*row) if row is not None else None


async def begin(
    tx: Tx, member_id: int, name: str, body_hash: str, now: float, *, stale: float, forget: float
) -> Stored | None:
    """Take the key (None), or say what is stored. Rows older than `forget` and unfinished ones older than `stale`
    count as absent."""
    t = idempotency.c
    row = (
        await tx.execute(
            select(t.body_hash, t.at, t.status, t.answer)
            .where(t.member_id == member_id, t.name == name).with_for_update()
        )
    ).first()
    if row is not None:
        stored = Stored(*row)
        if stored.at >= forget and (stored.status is not None or stored.at >= stale):
            return stored
    statement = upsert(tx, idempotency).values(
        member_id=member_id, name=name, body_hash=body_hash, at=now, status=None, answer=None
    )
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["member_id", "name"],
            set_={"body_hash": body_hash, "at": now, "status": None, "answer": None},
        )
    )
    return None


async def finish(tx: Tx, member_id: int, name: str, status: int, answer: dict[str, Any]) -> None:
    """Keep the answer."""
    t = idempotency.c
    await tx.execute(
        update(idempotency).where(t.member_id == member_id, t.name == name).values(status=status, answer=answer)
    )


async def forget(tx: Tx, member_id: int, name: str, at: float) -> None:
    """Free a key that was taken `at`, whose request came to nothing that must be kept; not one taken over since."""
    t = idempotency.c
    await tx.execute(
        delete(idempotency).where(t.member_id == member_id, t.name == name, t.at == at, t.status.is_(None))
    )


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` rows older than `before`; returns how many."""
    t = idempotency.c
    old = select(t.member_id, t.name).where(t.at < before).order_by(t.at).limit(limit)
    return (await tx.execute(delete(idempotency).where(tuple_(t.member_id, t.name).in_(old)))).rowcount
