"""Events: appended, never changed, read in the order of their ids, so that a cursor skips none.

On SQLite there is one writer, and ids rise as transactions commit. On PostgreSQL a later id may be there before an
earlier one: the database says for each open transaction above which id its own will be (a trigger of schema 0024 takes
a shared advisory lock that has the number in its name, and goes with the transaction). Readers go no further than the
lowest of these, by `settled`. Nobody waits for anybody; who keeps a transaction open delays readers only.

A program older than schema 0024 reads whatever is there. Until the last of them has ended, and somebody has said so
(`posthouse upgrade --finish`), appenders also wait for each other, as they did.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, select, text

from relay.base.events import BOUNCED, COMPLAINED, DEFERRED, SENT, UNSUBSCRIBED, Event
from relay.base.storage.engine import Tx, locks_rows, serialise
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import beside, events, messages
from relay.base.storage.tables.ground import UNORDERED

_RECORDED_MAX = 500
_LOCK = 0x504F5354  # PostgreSQL, beside older programs: ids are given in the order of commits
_GIVEN = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM events_id_seq")
_LOWEST = text("""
    SELECT min((classid::bigint << 32 | objid::bigint) & ((1::bigint << 40) - 1)) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 8 = 5263448
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")
_OPEN = text("""
    SELECT pid, application_name, state, extract(epoch FROM clock_timestamp() - xact_start)::float FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
    ORDER BY xact_start LIMIT 1
""")


_APPEND = Prepared(lambda insert: insert(events))


@dataclass(frozen=True, slots=True)
class OfForward:
    """An event about mail that was forwarded for a domain."""

    id: int
    domain_id: int
    type: str
    at: float
    data: dict[str, Any]


async def append(tx: Tx, batch: Sequence[Event]) -> None:
    """Add events. Call it last in a transaction: beside an older program it waits for other appenders to commit."""
    if not batch:
        return
    if locks_rows(tx) and not await _unordered(tx):
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
    upto = await settled(tx)
    query = select(events).where(events.c.id > cursor, events.c.id <= upto).order_by(events.c.id).limit(limit)
    if member_id is not None:
        query = query.where(events.c.member_id == member_id)
    if types:
        query = query.where(events.c.type.in_(types))
    return [_event(row) for row in await tx.execute(query)]


async def settled(tx: Tx) -> int:
    """The id up to which nothing is to come any more: where readers stop, and what begins now begins after. Ask it
    before the events, in a statement of its own."""
    if not locks_rows(tx):
        return int(await tx.scalar(select(func.max(events.c.id))) or 0)
    # In this order: whoever begins after the first look gets ids above `given`; whoever began before it and still goes
    # on is seen by the second.
    given = int(await tx.scalar(_GIVEN) or 0)
    lowest = await tx.scalar(_LOWEST)
    return given if lowest is None else min(given, int(lowest))


async def _unordered(tx: Tx) -> bool:
    """Whether no older program is left. It never goes back, so a connection asks until it hears so once."""
    about = tx.sync_connection.info if tx.sync_connection is not None else {}
    if not about.get(UNORDERED):
        about[UNORDERED] = await tx.scalar(select(beside.c.n).where(beside.c.name == UNORDERED))
    return bool(about[UNORDERED])


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The writing transaction that has been open longest, but for the one that asks."""

    pid: int
    application: str
    state: str
    seconds: float


async def longest_open(tx: Tx) -> OpenTransaction | None:
    """It, on PostgreSQL; readers of events may be waiting for it."""
    if not locks_rows(tx):
        return None
    row = (await tx.execute(_OPEN)).first()
    return None if row is None else OpenTransaction(row[0], row[1] or "", row[2] or "", float(row[3] or 0.0))


async def of_forwards(tx: Tx, after: int, upto: int, limit: int) -> list[OfForward]:
    """What became of forwarded mail, in events with an id above `after` and not above `upto`, oldest first."""
    e, m = events.c, messages.c
    query = (
        select(e.id, m.domain_id, e.type, e.at, e.data).join(messages, m.id == e.message_id)
        .where(
            e.id > after, e.id <= upto, e.domain_id.is_(None), e.type.in_((SENT, DEFERRED, BOUNCED)),
            m.door == "forward", m.domain_id.is_not(None),
        )
        .order_by(e.id).limit(limit)
    )
    return [OfForward(*row) for row in await tx.execute(query)]


async def of_message(
    tx: Tx, message_id: int, limit: int = 500, *, types: Sequence[str] = (), recipient_id: int | None = None
) -> list[Event]:
    """The events of one message, all or those of some types or of one recipient, oldest first."""
    query = select(events).where(events.c.message_id == message_id).order_by(events.c.id).limit(limit)
    if types:
        query = query.where(events.c.type.in_(types))
    if recipient_id is not None:
        query = query.where(events.c.recipient_id == recipient_id)
    return [_event(row) for row in await tx.execute(query)]


async def timeline(
    tx: Tx, message_id: int, *, types: Sequence[str] = (), recipient_id: int | None = None
) -> list[Event]:
    """The same, at most 500, and at most 500 complaints and leavings besides: opens and clicks without number must
    not hide those."""
    found = await of_message(tx, message_id, types=types, recipient_id=recipient_id)
    rare = await of_message(tx, message_id, types=(COMPLAINED, UNSUBSCRIBED), recipient_id=recipient_id)
    return sorted({e.id: e for e in [*found, *rare]}.values(), key=lambda e: e.id)


_RECORDED = Prepared(
    lambda _: select(events.c.data)
    .where(
        events.c.message_id == bindparam("message"), events.c.recipient_id == bindparam("recipient"),
        events.c.type == bindparam("kind"),
    )
    .order_by(events.c.id).limit(_RECORDED_MAX)
)


async def recorded(tx: Tx, message_id: int, recipient_id: int, kind: str) -> list[dict[str, Any]]:
    """The data of a recipient's events of one type, oldest first, at most 500."""
    rows = await _RECORDED.all(tx, {"message": message_id, "recipient": recipient_id, "kind": kind})
    return [json.loads(data) if isinstance(data, str) else data or {} for (data,) in rows]


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
