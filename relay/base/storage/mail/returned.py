"""Recipients whose mail comes back: who a return path belongs to, and a bounce that came after the try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update

from relay.base.storage.engine import Tx
from relay.base.storage.mail.settle import finish
from relay.base.storage.mail.values import Returned
from relay.base.storage.tables import messages, recipients

# A recipient in one of these states may still hear from the other side.
_HEARING = ("queued", "deferred", "sent")
_FACTS = (
    recipients.c.id, recipients.c.message_id, recipients.c.member_id, recipients.c.domain_id, recipients.c.address,
    recipients.c.state, messages.c.queue_id, messages.c.return_path,
)


def _facts(*where: Any) -> Any:
    return select(*_FACTS).join(messages, messages.c.id == recipients.c.message_id).where(*where)


async def returned(tx: Tx, recipient_id: int, *, settled: bool = False) -> Returned | None:
    """Whose return path this is, while reports about it may still come (`settled`: also afterwards); else None."""
    query = _facts(recipients.c.id == recipient_id, messages.c.return_path != "")
    row = (await tx.execute(query if settled else query.where(recipients.c.state.in_(_HEARING)))).first()
    return Returned(*row) if row is not None else None


async def returned_for_update(tx: Tx, ids: Sequence[int]) -> dict[int, Returned]:
    """The same in any state, locked until commit."""
    query = _facts(recipients.c.id.in_(ids)).order_by(recipients.c.id).with_for_update(of=recipients)
    return {row.id: Returned(*row) for row in await tx.execute(query)}


async def only_recipient(tx: Tx, queue_id: str) -> Returned | None:
    """The recipient of a message that has exactly one; an unguessable queue id then is as good as a return path."""
    rows = (await tx.execute(_facts(messages.c.queue_id == queue_id).limit(2))).all()
    return Returned(*rows[0]) if len(rows) == 1 and rows[0].return_path else None


async def bounce_late(tx: Tx, found: Returned, *, at: float, code: int | None, says: str) -> None:
    """Make a recipient `bounced` that the other side had taken, or was still being tried. `says` is at most kept."""
    await tx.execute(
        update(recipients)
        .where(recipients.c.id == found.id, recipients.c.state.in_(_HEARING))
        .values(
            state="bounced", settled_at=at, code=code, says=says[:1000], lease_owner=None, lease_until=None,
        )
    )
    await finish(tx, {found.message_id: at})
