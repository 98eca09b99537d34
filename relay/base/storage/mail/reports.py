"""Reports owed to senders: which, and the facts they are written from. One report tells of one kind of news about one
message, for all of its recipients that have it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, literal_column, or_, select, update

from relay.base.storage.engine import Tx
from relay.base.storage.mail.returned import STAGE
from relay.base.storage.mail.values import ReportedRecipient, ReportFacts
from relay.base.storage.tables import attempts, bodies, heads, messages, recipients

_LOOK = 1000


async def reports_due(tx: Tx, limit: int, settled_before: float) -> list[tuple[int, str]]:
    """(message id, kind) of up to `limit` owed reports, oldest first.

    While a message has open recipients, news that is not older than `settled_before` (Unix seconds) waits for theirs.
    """
    r, m = recipients.c, messages.c
    query = (
        select(r.message_id, r.report_due).join(messages, m.id == r.message_id)
        .where(
            literal_column("report_due IS NOT NULL"),
            or_(m.finished_at.is_not(None), r.settled_at.is_(None), r.settled_at <= settled_before),
        )
        .order_by(r.id).limit(max(limit, _LOOK))
    )
    found = dict.fromkeys((row[0], row[1]) for row in await tx.execute(query))
    return list(found)[:limit]


async def report_facts(tx: Tx, message_id: int, kind: str, limit: int) -> ReportFacts | None:
    """The facts for one owed report about up to `limit` recipients; None if none is owed any more.

    `content` is empty when the message's bytes are gone.
    """
    r, m, a, b = recipients.c, messages.c, attempts.c, bodies.c
    rows = (
        await tx.execute(
            select(r.id, r.address, r.orcpt, r.code, r.says, r.expires_at)
            .where(r.message_id == message_id, r.report_due == kind).order_by(r.id).limit(limit)
        )
    ).all()
    message = (
        await tx.execute(
            select(
                m.domain_id, m.queue_id, m.mail_from, m.header_from, m.header_id, m.envid, m.ret, m.subject,
                m.received_at, b.body,
            )
            .join(bodies, b.message_id == m.id, isouter=True).where(m.id == message_id)
        )
    ).first()
    if not rows or message is None:
        return None
    content = message.body
    if content == b"":
        # Each recipient has a copy of its own: the first one's stands for all.
        h = heads.c
        content = await tx.scalar(select(h.head).where(h.message_id == message_id).order_by(h.recipient_id).limit(1))
    last = select(func.max(a.id)).where(a.recipient_id.in_([row.id for row in rows])).group_by(a.recipient_id)
    tries = {
        t.recipient_id: t
        for t in await tx.execute(select(a.recipient_id, a.host, a.at, a.enhanced, a.stage).where(a.id.in_(last)))
    }
    people = []
    for row in rows:
        t = tries.get(row.id)
        people.append(
            ReportedRecipient(
                row.id, row.address, row.orcpt, row.code, t.enhanced if t else "", row.says, t.host if t else "",
                t.at if t else message.received_at, row.expires_at, t is not None and t.stage == STAGE,
            )
        )
    return ReportFacts(
        kind, tuple(people), message.domain_id, message.queue_id, message.mail_from, message.header_from,
        message.header_id, message.envid, message.ret, message.subject, message.received_at, content or b"",
    )


async def report_done(tx: Tx, ids: Sequence[int], kind: str) -> bool:
    """Say that the report about these recipients is in the queue, or is not to be sent.

    False, and nothing changed: it is not owed for all of them any more; somebody else did it, or there is other news.
    """
    r = recipients.c
    mine = select(r.id).where(r.id.in_(ids), r.report_due == kind).order_by(r.id).with_for_update()
    if len((await tx.execute(mine)).all()) != len(ids):
        return False
    await tx.execute(update(recipients).where(r.id.in_(ids)).values(report_due=None))
    return True
