"""The recipients of one message by its queue id, for who knows that id from the message itself."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from relay.base.storage.engine import Tx
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import messages, recipients


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
