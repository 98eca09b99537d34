"""Writing messages, bodies and recipients; counting what is open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, text

from relay.base.storage.engine import Tx
from relay.base.storage.mail.values import NewMessage
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import OPEN, bodies, heads, messages, recipients

_IS_OPEN = text(OPEN)
_MESSAGES = Prepared(lambda insert: insert(messages).returning(messages.c.id, sort_by_parameter_order=True))
_BODIES = Prepared(lambda insert: insert(bodies))
_RECIPIENTS = Prepared(lambda insert: insert(recipients).returning(recipients.c.id, sort_by_parameter_order=True))
_HEADS = Prepared(lambda insert: insert(heads))


async def add(tx: Tx, batch: Sequence[NewMessage]) -> None:
    """Write messages with bodies and recipients; sets `id` and `recipient_ids` of each."""
    ids = await _MESSAGES.ids(tx, [m.row for m in batch])
    rows: list[dict[str, Any]] = []
    for message, got in zip(batch, ids, strict=True):
        message.id = got
        rows.extend(
            {
                "message_id": got, "member_id": message.row["member_id"],
                "domain_id": message.row["domain_id"] if message.counted else None,
                "address": r.address, "destination": r.destination, "state": "queued", "next_at": r.next_at,
                "expires_at": r.expires_at, "notify": r.notify, "orcpt": r.orcpt,
                "lease_owner": r.lease_owner, "lease_until": r.lease_until,
            }
            for r in message.recipients
        )
    await _BODIES.many(tx, [{"message_id": m.id, "head": m.head, "body": m.body} for m in batch])
    got_ids = iter(await _RECIPIENTS.ids(tx, rows))
    own: list[dict[str, Any]] = []
    for message in batch:
        message.recipient_ids = tuple(next(got_ids) for _ in message.recipients)
        own.extend(
            {"recipient_id": i, "message_id": message.id, "head": r.head}
            for i, r in zip(message.recipient_ids, message.recipients, strict=True)
            if r.head is not None
        )
    if own:
        await _HEADS.many(tx, own)


async def queued(tx: Tx) -> tuple[int, dict[int, int]]:
    """(open recipients in all, of each member)."""
    rows = await tx.execute(
        select(recipients.c.member_id, func.count()).where(_IS_OPEN).group_by(recipients.c.member_id)
    )
    of_members = {r[0]: r[1] for r in rows}
    return sum(of_members.values()), of_members


async def last_due(tx: Tx, member_id: int, domain_id: int, max_age: float) -> float | None:
    """When the last open mail of a domain is due for the first time, `max_age` before it expires; None without any."""
    r = recipients.c
    query = select(func.max(r.expires_at)).where(r.member_id == member_id, r.domain_id == domain_id, _IS_OPEN)
    expires_at = await tx.scalar(query)
    return None if expires_at is None else float(expires_at) - max_age
