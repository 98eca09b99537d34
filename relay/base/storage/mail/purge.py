"""Clean-up: bytes of finished messages, then their log."""

from __future__ import annotations

from sqlalchemy import delete, exists, select

from relay.base.storage.engine import Tx
from relay.base.storage.tables import attempts, bodies, heads, messages, recipients


async def purge_bodies(tx: Tx, before: float, limit: int) -> int:
    """Remove the bytes of up to `limit` messages finished before `before`; returns how many."""
    old = (
        select(bodies.c.message_id)
        .join(messages, messages.c.id == bodies.c.message_id)
        .where(
            messages.c.finished_at <= before, messages.c.finished_at.is_not(None),
            ~exists().where(recipients.c.message_id == messages.c.id, recipients.c.report_due.is_not(None)),
        )
        .limit(limit)
    )
    ids = (await tx.execute(old)).scalars().all()
    if ids:
        await tx.execute(delete(heads).where(heads.c.message_id.in_(ids)))
        await tx.execute(delete(bodies).where(bodies.c.message_id.in_(ids)))
    return len(ids)


async def purge_log(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` finished messages older than `before`, with recipients and attempts."""
    old = (
        select(messages.c.id)
        .where(
            messages.c.finished_at < before,
            ~exists().where(bodies.c.message_id == messages.c.id),
            ~exists().where(recipients.c.message_id == messages.c.id, recipients.c.report_due.is_not(None)),
        )
        .order_by(messages.c.finished_at).limit(limit)
    )
    ids = (await tx.execute(old)).scalars().all()
    if ids:
        of_them = select(recipients.c.id).where(recipients.c.message_id.in_(ids))
        await tx.execute(delete(attempts).where(attempts.c.recipient_id.in_(of_them)))
        await tx.execute(delete(recipients).where(recipients.c.message_id.in_(ids)))
        await tx.execute(delete(messages).where(messages.c.id.in_(ids)))
    return len(ids)
