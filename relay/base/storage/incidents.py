"""Incidents: faults of the relay itself, as other hosts told us. One open at most of each kind, which others join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from relay.base.storage.engine import Tx, serialise
from relay.base.storage.tables import incidents

OPEN, CLOSED = "open", "closed"
_LOCK = 0x494E4349  # PostgreSQL: two processes open no two


@dataclass(frozen=True, slots=True)
class Incident:
    """`examples`: `{"at", "host", "recipient", "reply"}` of some that joined. Times in Unix seconds."""

    id: int
    kind: str
    state: str
    opened_at: float
    seen_at: float
    closed_at: float | None
    count: int
    examples: list[dict[str, Any]]


async def join(
    tx: Tx, kind: str, *, seen_at: float, count: int, examples: Sequence[dict[str, Any]], keep: int
) -> bool:
    """Join the open incident of this kind, or open one; True when it was opened. The first `keep` examples stay."""
    await serialise(tx, _LOCK)
    t = incidents.c
    row = (
        await tx.execute(select(t.id, t.seen_at, t.count.label("n"), t.examples).where(t.kind == kind, t.state == OPEN))
    ).first()
    if row is None:
        await tx.execute(
            insert(incidents).values(
                kind=kind, state=OPEN, opened_at=seen_at, seen_at=seen_at, count=count, examples=list(examples)[:keep]
            )
        )
        return True
    await tx.execute(
        update(incidents).where(t.id == row.id).values(
            seen_at=max(seen_at, row.seen_at), count=row.n + count, examples=[*row.examples, *examples][:keep],
        )
    )
    return False


async def listing(
    tx: Tx, *, state: str | None = None, before: int | None = None, limit: int = 100
) -> list[Incident]:
    """The newest first, those with ids under `before`."""
    query = _rows().order_by(incidents.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(incidents.c.state == state)
    if before is not None:
        query = query.where(incidents.c.id < before)
    return [Incident(*row) for row in await tx.execute(query)]


async def get(tx: Tx, incident_id: int) -> Incident | None:
    """The incident with this id."""
    row = (await tx.execute(_rows().where(incidents.c.id == incident_id))).first()
    return Incident(*row) if row is not None else None


async def close(tx: Tx, incident_id: int, now: float) -> bool:
    """Close it; False when it isn't open."""
    t = incidents.c
    done = await tx.execute(
        update(incidents).where(t.id == incident_id, t.state == OPEN).values(state=CLOSED, closed_at=now)
    )
    return bool(done.rowcount)


async def close_quiet(tx: Tx, before: float, now: float) -> int:
    """Close those that nothing has joined since `before`."""
    t = incidents.c
    done = await tx.execute(
        update(incidents).where(t.state == OPEN, t.seen_at < before).values(state=CLOSED, closed_at=now)
    )
    return done.rowcount


async def open_now(tx: Tx) -> dict[str, int]:
    """Kind → how many are open."""
    t = incidents.c
    found = await tx.execute(select(t.kind, func.count()).where(t.state == OPEN).group_by(t.kind))
    return {row[0]: row[1] for row in found}


def _rows() -> Any:
    t = incidents.c
    return select(t.id, t.kind, t.state, t.opened_at, t.seen_at, t.closed_at, t.count, t.examples)


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` incidents that were closed before `before`; returns how many."""
    i = incidents.c
    old = select(i.id).where(i.closed_at <= before).order_by(i.closed_at).limit(limit)
    return int((await tx.execute(delete(incidents).where(i.id.in_(old)))).rowcount)
