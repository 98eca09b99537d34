"""Refusals: what the page /r/<id> shows, kept for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select

from relay.base.storage.engine import Tx
from relay.base.storage.tables import refusals


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """One recorded refusal. `verdict` is Verdict's facts; `request` what asking again needs."""

    id: str
    at: float
    member_id: int | None
    door: str
    rule: str
    verdict: dict[str, Any]
    request: dict[str, Any] | None


async def add(tx: Tx, rows: Sequence[RefusalRow]) -> None:
    """Write refusals."""
    if rows:
        await tx.execute(
            insert(refusals),
            [
                {
                    "id": r.id, "at": r.at, "member_id": r.member_id, "door": r.door, "rule": r.rule,
                    "verdict": r.verdict, "request": r.request,
                }
                for r in rows
            ],
        )


async def get(tx: Tx, refusal_id: str) -> RefusalRow | None:
    """The refusal with this id."""
    row = (await tx.execute(select(refusals).where(refusals.c.id == refusal_id))).first()
    return RefusalRow(*row) if row else None


async def latest(tx: Tx, member_id: int, limit: int = 20) -> list[RefusalRow]:
    """A member's newest refusals, newest first."""
    query = select(refusals).where(refusals.c.member_id == member_id).order_by(refusals.c.at.desc()).limit(limit)
    return [RefusalRow(*row) for row in await tx.execute(query)]


async def counted(tx: Tx, since: float) -> list[tuple[str, str, int]]:
    """Refusals since `since` by way in (SMTP, HTTP) and rule, the most frequent first."""
    r = refusals.c
    query = select(r.door, r.rule, func.count()).where(r.at >= since).group_by(r.door, r.rule)
    rows = await tx.execute(query.order_by(func.count().desc(), r.door, r.rule))
    return [(row[0], row[1], row[2]) for row in rows]


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` refusals older than `before`."""
    old = select(refusals.c.id).where(refusals.c.at < before).order_by(refusals.c.at).limit(limit)
    return (await tx.execute(delete(refusals).where(refusals.c.id.in_(old)))).rowcount
