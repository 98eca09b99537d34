"""Clean-up: bytes of finished messages, then their log.

Each call looks at so many messages as it may remove, by an index of nothing but what is left to do, and says where the
next one goes on: what it costs is what it removes, however long the log is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import and_, delete, exists, or_, select, text, update

from relay.base.storage.engine import Tx
from relay.base.storage.tables import FINISHED, HAS_BYTES, attempts, bodies, heads, messages, recipients

Place = tuple[float, int]
"""A message among the finished ones: when it was finished, and its id."""
_OWED = exists().where(recipients.c.message_id == messages.c.id, recipients.c.report_due.is_not(None))


class Purged(NamedTuple):
    """How many messages a call has dealt with, and where the next one begins: None at the end."""

    removed: int
    next: Place | None


def _looked_at(before: Any, after: Place | None, limit: int) -> Any:
    m = messages.c
    query = select(m.id, m.finished_at, _OWED.label("owed")).where(before).order_by(m.finished_at, m.id).limit(limit)
    if after is not None:
        at, id_ = after
        query = query.where(m.finished_at >= at, or_(m.finished_at > at, m.id > id_))
    return query


def _place(rows: list[Any], limit: int) -> Place | None:
    return (rows[-1].finished_at, rows[-1].id) if len(rows) == limit else None


async def purge_bodies(tx: Tx, before: float, limit: int, after: Place | None = None) -> Purged:
    """Remove the bytes of up to `limit` messages finished before `before`, those after `after`."""
    due = and_(text(HAS_BYTES), messages.c.finished_at <= before)
    rows = list(await tx.execute(_looked_at(due, after, limit)))
    ids = [r.id for r in rows if not r.owed]
    if ids:
        await tx.execute(delete(heads).where(heads.c.message_id.in_(ids)))
        await tx.execute(delete(bodies).where(bodies.c.message_id.in_(ids)))
        await tx.execute(update(messages).where(messages.c.id.in_(ids)).values(has_bytes=False))
    return Purged(len(ids), _place(rows, limit))


async def purge_log(tx: Tx, before: float, limit: int, after: Place | None = None) -> Purged:
    """Remove up to `limit` messages finished before `before`, those after `after`, with recipients and attempts.
    Messages that still have their bytes stay."""
    due = and_(text(FINISHED), messages.c.finished_at < before, messages.c.has_bytes.is_(False))
    rows = list(await tx.execute(_looked_at(due, after, limit)))
    ids = [r.id for r in rows if not r.owed]
    if ids:
        of_them = select(recipients.c.id).where(recipients.c.message_id.in_(ids))
        await tx.execute(delete(attempts).where(attempts.c.recipient_id.in_(of_them)))
        # Of a message without the mark, see `unmarked`.
        await tx.execute(delete(heads).where(heads.c.message_id.in_(ids)))
        await tx.execute(delete(bodies).where(bodies.c.message_id.in_(ids)))
        await tx.execute(delete(recipients).where(recipients.c.message_id.in_(ids)))
        await tx.execute(delete(messages).where(messages.c.id.in_(ids)))
    return Purged(len(ids), _place(rows, limit))


async def unmarked(tx: Tx, since: float, limit: int, after: Place | None = None) -> tuple[list[int], Place | None]:
    """Of up to `limit` messages finished since `since`, those after `after`, the ones that have bytes and no mark of
    it: an older program has finished them, beside this one. And where the next look begins, None at the end."""
    recent = and_(text(FINISHED), messages.c.finished_at >= since)
    rows = list(await tx.execute(_looked_at(recent, after, limit)))
    ids = [r.id for r in rows]
    query = (
        select(bodies.c.message_id).join(messages, messages.c.id == bodies.c.message_id)
        .where(bodies.c.message_id.in_(ids), messages.c.has_bytes.is_(False))
    )
    return list((await tx.execute(query)).scalars()), _place(rows, limit)


async def mark(tx: Tx, ids: list[int]) -> None:
    """Say of these messages that they have bytes."""
    await tx.execute(update(messages).where(messages.c.id.in_(ids)).values(has_bytes=True))
