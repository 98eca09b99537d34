"""Suppressions: whom a member no longer mails, by canonical address. The original is kept for display."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select, tuple_

from relay.base.storage import versions
from relay.base.storage.engine import Tx, upsert
from relay.base.storage.tables import suppressions

IN_MAX = 400


@dataclass(frozen=True, slots=True)
class Suppression:
    """One entry of a member's list."""

    id: int
    member_id: int
    canonical: str
    original: str
    reason: str
    detail: str
    created_at: float


async def find(tx: Tx, pairs: Iterable[tuple[int, str]]) -> dict[tuple[int, str], Suppression]:
    """Of these (member id, canonical address) pairs, the suppressed ones."""
    wanted = list(pairs)
    found: dict[tuple[int, str], Suppression] = {}
    for i in range(0, len(wanted), IN_MAX):
        part = wanted[i : i + IN_MAX]
        query = select(suppressions).where(tuple_(suppressions.c.member_id, suppressions.c.canonical).in_(part))
        for row in await tx.execute(query):
            found[row.member_id, row.canonical] = Suppression(*row)
    return found


async def add(tx: Tx, rows: Sequence[Suppression]) -> None:
    """Add entries; one that is there already keeps its first reason, except that a graver one replaces it."""
    if not rows:
        return
    statement = upsert(tx, suppressions)
    statement = statement.on_conflict_do_update(
        index_elements=["member_id", "canonical"],
        set_={"reason": statement.excluded.reason, "detail": statement.excluded.detail},
        where=(suppressions.c.reason == "unsubscribe") & (statement.excluded.reason != "unsubscribe"),
    )
    await tx.execute(
        statement,
        [
            {
                "member_id": s.member_id, "canonical": s.canonical, "original": s.original, "reason": s.reason,
                "detail": s.detail[:500], "created_at": s.created_at,
            }
            for s in rows
        ],
    )
    await versions.bump(tx, versions.SUPPRESSIONS)


async def remove(tx: Tx, member_id: int, canonical: str) -> bool:
    """Take an entry off; False if it was not there."""
    done = await tx.execute(
        delete(suppressions).where(suppressions.c.member_id == member_id, suppressions.c.canonical == canonical)
    )
    await versions.bump(tx, versions.SUPPRESSIONS)
    return done.rowcount > 0


async def page(tx: Tx, member_id: int, *, after: int = 0, limit: int = 50) -> list[Suppression]:
    """A member's entries with an id above `after`, in order."""
    query = (
        select(suppressions).where(suppressions.c.member_id == member_id, suppressions.c.id > after)
        .order_by(suppressions.c.id).limit(limit)
    )
    return [Suppression(*row) for row in await tx.execute(query)]


async def every(tx: Tx, *, after: int = 0, limit: int = 20_000) -> list[tuple[int, int, str]]:
    """(id, member id, canonical) of entries above `after`: for the in-memory snapshot."""
    query = (
        select(suppressions.c.id, suppressions.c.member_id, suppressions.c.canonical)
        .where(suppressions.c.id > after).order_by(suppressions.c.id).limit(limit)
    )
    return [(r[0], r[1], r[2]) for r in await tx.execute(query)]
