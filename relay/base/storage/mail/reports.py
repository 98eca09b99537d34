"""Reports owed to senders: which, and the facts they are written from."""

from __future__ import annotations

from sqlalchemy import literal_column, select, update

from relay.base.storage.engine import Tx
from relay.base.storage.mail.values import ReportFacts
from relay.base.storage.tables import attempts, bodies, messages, recipients


async def reports_due(tx: Tx, limit: int) -> list[tuple[int, str]]:
    """(recipient id, kind) of recipients whose sender is owed a report."""
    query = (
        select(recipients.c.id, recipients.c.report_due)
        .where(literal_column("report_due IS NOT NULL")).order_by(recipients.c.id).limit(limit)
    )
    return [(r[0], r[1]) for r in await tx.execute(query)]


async def report_facts(tx: Tx, recipient_id: int) -> ReportFacts | None:
    """The facts for one owed report; None if it is not owed any more or its message's bytes are gone."""
    r, m, a, b = recipients.c, messages.c, attempts.c, bodies.c
    row = (
        await tx.execute(
            select(recipients, m.queue_id, m.mail_from, m.envid, m.ret, m.subject, m.received_at, m.smtputf8, b.body)
            .join(messages, m.id == r.message_id).join(bodies, b.message_id == m.id)
            .where(r.id == recipient_id, r.report_due.is_not(None))
        )
    ).first()
    if row is None:
        return None
    last = (
        await tx.execute(select(a.host, a.at, a.enhanced).where(a.recipient_id == recipient_id).order_by(a.id.desc()))
    ).first()
    return ReportFacts(
        row.id, row.report_due, row.address, row.orcpt, row.code, last.enhanced if last else "", row.says,
        last.host if last else "", last.at if last else row.received_at, row.expires_at, row.member_id, row.domain_id,
        row.queue_id, row.mail_from, row.envid, row.ret, row.subject, row.received_at, row.smtputf8, row.body,
    )


async def report_done(tx: Tx, recipient_id: int, kind: str) -> bool:
    """Say that the report is in the queue (or is not to be sent). False: somebody else did it already."""
    done = await tx.execute(
        update(recipients).where(recipients.c.id == recipient_id, recipients.c.report_due == kind)
        .values(report_due=None)
    )
    return done.rowcount > 0
