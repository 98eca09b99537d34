"""Reports owed to senders: which, and the facts they are written from. One report tells of one kind of news about one
message, for all of its recipients that have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Integer, LargeBinary, bindparam, func, literal_column, or_, select, update

from relay.base.storage.engine import Tx
from relay.base.storage.mail.returned import STAGE
from relay.base.storage.mail.values import ReportedRecipient, ReportFacts
from relay.base.storage.prepared import Prepared
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


async def report_facts(tx: Tx, message_id: int, kind: str, limit: int, most: int = 1 << 20) -> ReportFacts | None:
    """The facts for one owed report about up to `limit` recipients; None if none is owed any more.

    `content` are the message's first `most` octets, empty when its bytes are gone. For a quick connection too: each
    statement finds by key, and `report_done` asks again.
    """
    owed = {"b_message": message_id, "b_kind": kind}
    rows = await _OWED.all(tx, owed | {"b_limit": limit})
    found = await _MESSAGE.all(tx, {"b_message": message_id, "b_most": most})
    if not rows or not found:
        return None
    domain_id, queue_id, mail_from, header_from, header_id, envid, ret, subject, received_at, tls, content = found[0]
    if not content:
        # Each recipient has a copy of its own: the first one's stands for all.
        content = next((row[0] for row in await _HEAD.all(tx, {"b_message": message_id})), b"")
    tries = {t[0]: t[1:] for t in await _TRIES.all(tx, owed)}
    people = []
    for id_, address, orcpt, code, says, expires_at in rows:
        host, at, enhanced, stage = tries.get(id_, ("", received_at, "", ""))
        people.append(
            ReportedRecipient(
                id=id_, address=address, orcpt=orcpt, code=code, enhanced=enhanced, says=says, host=host, at=at,
                expires_at=expires_at, late=stage == STAGE,
            )
        )
    return ReportFacts(
        kind=kind, recipients=tuple(people), domain_id=domain_id, queue_id=queue_id, mail_from=mail_from,
        header_from=header_from, header_id=header_id, envid=envid, ret=ret, subject=subject, received_at=received_at,
        content=content or b"", tls_required=None if tls is None else bool(tls),
    )


def _owed() -> Any:
    r = recipients.c
    return (
        select(r.id, r.address, r.orcpt, r.code, r.says, r.expires_at)
        .where(r.message_id == bindparam("b_message"), r.report_due == bindparam("b_kind"))
        .order_by(r.id).limit(bindparam("b_limit", type_=Integer))
    )


def _message() -> Any:
    m, b = messages.c, bodies.c
    start = func.substr(b.body, 1, bindparam("b_most", type_=Integer), type_=LargeBinary)
    return (
        select(
            m.domain_id, m.queue_id, m.mail_from, m.header_from, m.header_id, m.envid, m.ret, m.subject, m.received_at,
            m.tls_required, start,
        )
        .join(bodies, b.message_id == m.id, isouter=True).where(m.id == bindparam("b_message"))
    )


def _head() -> Any:
    h = heads.c
    return select(h.head).where(h.message_id == bindparam("b_message")).order_by(h.recipient_id).limit(1)


def _tries() -> Any:
    """The last try of each recipient that it is owed for."""
    r, a = recipients.c, attempts.c
    last = (
        select(func.max(a.id)).join(recipients, r.id == a.recipient_id)
        .where(r.message_id == bindparam("b_message"), r.report_due == bindparam("b_kind")).group_by(a.recipient_id)
    )
    return select(a.recipient_id, a.host, a.at, a.enhanced, a.stage).where(a.id.in_(last))


_OWED = Prepared(lambda _: _owed())
_MESSAGE = Prepared(lambda _: _message())
_HEAD = Prepared(lambda _: _head())
_TRIES = Prepared(lambda _: _tries())


async def report_done(tx: Tx, ids: Sequence[int], kind: str, sent_to: str = "") -> bool:
    """Say that the report about these recipients is in the queue, on its way to `sent_to`, or ("") is not to be
    sent.

    False, and nothing changed: it is not owed for all of them any more; somebody else did it, or there is other news.
    """
    r = recipients.c
    mine = select(r.id).where(r.id.in_(ids), r.report_due == kind).order_by(r.id).with_for_update()
    if len((await tx.execute(mine)).all()) != len(ids):
        return False
    done: dict[str, str | None] = {"report_due": None}
    if sent_to and kind == "failed":
        done["report_sent_to"] = sent_to
    await tx.execute(update(recipients).where(r.id.in_(ids)).values(done))
    return True
