"""Recipients whose mail comes back: who a return path belongs to, and a bounce that came after the try;
and the recipients of a message by its queue id, for who knows that id from the message itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, or_, select, update

from relay.base.storage.engine import Tx, locks_rows
from relay.base.storage.mail.settle import finish
from relay.base.storage.mail.values import LateBounce, LateWord, Returned
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import attempts, messages, recipients


@dataclass(frozen=True, slots=True)
class Addressed:
    """One recipient of a message, in whatever state; `settled_at` once it is final."""

    id: int
    message_id: int
    member_id: int
    domain_id: int | None
    address: str
    category: str
    settled_at: float | None


_QUERY = Prepared(
    lambda _: select(
        recipients.c.id, recipients.c.message_id, recipients.c.member_id, recipients.c.domain_id,
        recipients.c.address, messages.c.category, recipients.c.settled_at,
    )
    .join(messages, messages.c.id == recipients.c.message_id)
    .where(messages.c.queue_id == bindparam("b_queue_id")).order_by(recipients.c.id)
)


async def addressed(tx: Tx, queue_id: str) -> list[Addressed]:
    """Its recipients in order; none once its log is removed."""
    return [Addressed(*row) for row in await _QUERY.all(tx, {"b_queue_id": queue_id})]


STAGE = "report"
"""The stage of an attempt that is none: something heard afterwards."""

# A recipient in one of these states may still hear from the other side.
_HEARING = ("queued", "deferred", "sent")
_IS_HEARING = or_(*(recipients.c.state == state for state in _HEARING))
_FACTS = (
    recipients.c.id, recipients.c.message_id, recipients.c.member_id, recipients.c.domain_id, recipients.c.address,
    recipients.c.state, messages.c.queue_id, messages.c.return_path, recipients.c.notify,
    recipients.c.delay_told, messages.c.category, recipients.c.settled_at,
)


def _facts(*where: Any) -> Any:
    return select(*_FACTS).join(messages, messages.c.id == recipients.c.message_id).where(*where)


_BY_ID = Prepared(lambda _: _facts(recipients.c.id == bindparam("b_id")))
_BOUNCE = Prepared(
    lambda _: update(recipients)
    .where(recipients.c.id == bindparam("b_id"), _IS_HEARING)
    .values(
        state="bounced", settled_at=bindparam("b_at"), code=bindparam("b_code"), says=bindparam("b_says"),
        lease_owner=None, lease_until=None, report_due=bindparam("b_report_due"),
    )
)
_HEARD = Prepared(lambda insert: insert(attempts))


async def returned(tx: Tx, recipient_id: int) -> Returned | None:
    """Whose return path this is, while reports about it may still come; else None."""
    for row in await _BY_ID.all(tx, {"b_id": recipient_id}):
        found = Returned(*row)
        if found.return_path and found.state in _HEARING:
            return found
    return None


async def complained_of(tx: Tx, recipient_id: int) -> Returned | None:
    """The recipient whom a complaint may name, in any state; None for the relay's own mail."""
    for row in await _BY_ID.all(tx, {"b_id": recipient_id}):
        found = Returned(*row)
        # A member's mail with a null sender has no return path; the relay's own is of no domain besides.
        if found.return_path or found.domain_id is not None:
            return found
    return None


async def returned_for_update(tx: Tx, ids: Sequence[int]) -> dict[int, Returned]:
    """The same in any state, locked until commit."""
    if not locks_rows(tx):
        return {i: Returned(*row) for i in ids for row in await _BY_ID.all(tx, {"b_id": i})}
    query = _facts(recipients.c.id.in_(ids)).order_by(recipients.c.id).with_for_update(of=recipients)
    return {row.id: Returned(*row) for row in await tx.execute(query)}


async def bounce_late(tx: Tx, batch: Sequence[LateBounce]) -> None:
    """Make recipients `bounced` that the other side had taken, or that were still being tried."""
    if batch:
        await _BOUNCE.many(
            tx,
            [
                {
                    "b_id": b.recipient_id, "b_at": b.at, "b_code": b.code, "b_says": b.says[:1000],
                    "b_report_due": b.report_due,
                }
                for b in batch
            ],
        )
        await finish(tx, {b.message_id: b.at for b in batch})


async def record_late(tx: Tx, batch: Sequence[LateWord]) -> None:
    """Keep what reports said, beside the attempts."""
    if batch:
        await _HEARD.many(
            tx,
            [
                {
                    "recipient_id": w.recipient_id, "at": w.at, "kind": w.kind, "host": w.host[:253],
                    "stage": STAGE, "code": w.code, "enhanced": w.enhanced[:12], "says": w.says[:1000],
                }
                for w in batch
            ],
        )


async def success_reported(tx: Tx, recipient_id: int) -> bool:
    """Whether a report of success has been heard of this recipient."""
    a = attempts.c
    query = select(a.id).where(a.recipient_id == recipient_id, a.stage == STAGE, a.kind == "delivered").limit(1)
    return (await tx.execute(query)).first() is not None


async def owe_reports(tx: Tx, owed: dict[int, str]) -> None:
    """Mark reports as owed to senders: recipient id → kind. Says of `delayed` that it has been told."""
    for recipient_id, kind in owed.items():
        mark = {"delay_told": True} if kind == "delayed" else {}
        await tx.execute(update(recipients).where(recipients.c.id == recipient_id).values(report_due=kind, **mark))
