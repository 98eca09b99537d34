"""Events: appended, never changed; ids rise in commit order, so a cursor never skips one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from relay.base.events import Event
from relay.base.storage.engine import Tx, serialise
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import events

_LOCK = 0x504F5354  # PostgreSQL: ids are given in the order of commits


_APPEND = Prepared(lambda insert: insert(events))


async def append(tx: Tx, batch: Sequence[Event]) -> None:
    """Add events. Call it last in a transaction: on PostgreSQL it waits for other appenders to commit."""
    if not batch:
        return
    await serialise(tx, _LOCK)
    await _APPEND.many(
        tx,
        [
            {
                "at": e.at, "type": e.type, "member_id": e.member_id, "domain_id": e.domain_id,
                "message_id": e.message_id, "recipient_id": e.recipient_id, "data": e.data,
            }
            for e in batch
        ],
    )


async def after(
    tx: Tx, cursor: int, *, member_id: int | None = None, types: Sequence[str] = (), limit: int = 100
) -> list[Event]:
    """Events with an id above `cursor`, oldest first, of one member or of all."""
    query = select(events).where(events.c.id > cursor).order_by(events.c.id).limit(limit)
    if member_id is not None:
        query = query.where(events.c.member_id == member_id)
    if types:
        query = query.where(events.c.type.in_(types))
    return [_event(row) for row in await tx.execute(query)]


async def of_message(tx: Tx, message_id: int, limit: int = 500) -> list[Event]:
    """The events of one message, oldest first."""
    query = select(events).where(events.c.message_id == message_id).order_by(events.c.id).limit(limit)
    return [_event(row) for row in await tx.execute(query)]


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` events older than `before`; returns how many."""
    old = select(events.c.id).where(events.c.at < before).order_by(events.c.at).limit(limit)
    return (await tx.execute(delete(events).where(events.c.id.in_(old)))).rowcount


def _event(row: object) -> Event:
    r = row._mapping  # type: ignore[attr-defined]
    return Event(
        type=r["type"], member_id=r["member_id"], at=r["at"], domain_id=r["domain_id"],
        message_id=r["message_id"], recipient_id=r["recipient_id"], data=r["data"] or {}, id=r["id"],
    )
