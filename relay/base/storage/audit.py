"""The audit log: who changed what, from where, before and after. Writes `audit`; a row is never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, insert, or_, select

from relay.base.storage.engine import Tx
from relay.base.storage.tables import audit

OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `actor`: in what capacity, such as `OPERATOR`; `who`: the handle; `address`: where from; `member_id`:
    whom it concerns, None for the relay as a whole. `before` and `after` hold no secrets. `at` in Unix seconds."""

    at: float
    actor: str
    who: str
    address: str
    action: str
    subject: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    member_id: int | None = None
    id: int = 0


async def add(tx: Tx, entry: Entry) -> None:
    """Write a change down."""
    await tx.execute(
        insert(audit).values(
            at=entry.at, member_id=entry.member_id, actor=entry.actor, who=entry.who, address=entry.address[:64],
            action=entry.action, subject=entry.subject, before=dict(entry.before), after=dict(entry.after),
        )
    )


async def search(tx: Tx, text: str, *, before: int | None = None, limit: int = 100) -> list[Entry]:
    """The newest first, those with ids under `before`, where who did it, the action, the subject or the address
    contains `text` in any letter case."""
    a = audit.c
    query: Any = select(a.at, a.actor, a.who, a.address, a.action, a.subject, a.before, a.after, a.member_id, a.id)
    if text:
        low = text.lower()
        columns = (a.who, a.action, a.subject, a.address)
        query = query.where(or_(*(func.lower(c).contains(low, autoescape=True) for c in columns)))
    if before is not None:
        query = query.where(a.id < before)
    return [Entry(*row) for row in await tx.execute(query.order_by(a.id.desc()).limit(limit))]


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` entries older than `before`; returns how many."""
    a = audit.c
    old = select(a.id).where(a.at < before).order_by(a.at).limit(limit)
    return int((await tx.execute(delete(audit).where(a.id.in_(old)))).rowcount)
