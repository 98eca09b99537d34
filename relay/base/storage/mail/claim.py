"""Leasing due recipients, fairly, and loading their bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from sqlalchemy import and_, or_, select, text, update

from relay.base.storage.engine import Tx
from relay.base.storage.mail.values import Due
from relay.base.storage.tables import OPEN, bodies, heads, messages, recipients

_IS_OPEN = text(OPEN)

_DUE = [
    recipients.c.id, recipients.c.message_id, recipients.c.member_id, recipients.c.domain_id, recipients.c.address,
    recipients.c.destination, recipients.c.attempts, recipients.c.expires_at, recipients.c.notify,
    recipients.c.orcpt, messages.c.queue_id, messages.c.mail_from, messages.c.return_path, messages.c.envid,
    messages.c.ret, messages.c.smtputf8, messages.c.size, messages.c.received_at, recipients.c.delay_told,
    messages.c.door, messages.c.category, messages.c.key_id, messages.c.tls_required,
]


def _ready(now: float) -> Any:
    return and_(
        _IS_OPEN,
        recipients.c.next_at <= now,
        recipients.c.held.is_(False),
        or_(recipients.c.lease_until.is_(None), recipients.c.lease_until <= now),
    )


async def claim(
    tx: Tx, *, owner: str, now: float, until: float, limit: int, member_share: int, shares: dict[int, int],
    without: Sequence[str] = (),
) -> list[Due]:
    """Lease up to `limit` due recipients, oldest first. Beyond `member_share` a member gets only what is left when
    all others have what they wait for, up to their share.

    `shares` says how many of each member this owner already holds; destinations in `without` are passed over.
    """
    ready = _ready(now)
    if without:
        ready = and_(ready, recipients.c.destination.not_in(without))
    pick = (
        select(recipients.c.id, recipients.c.member_id).where(ready)
        .order_by(recipients.c.next_at, recipients.c.id).limit(limit * 2).with_for_update(skip_locked=True)
    )
    rows: list[Any] = list((await tx.execute(pick)).all())
    if len(rows) >= limit * 2:
        rows = await _fair(tx, ready, limit, member_share, shares) + rows
    chosen = _chosen(rows, limit, member_share, shares)
    if not chosen:
        return []
    await tx.execute(
        update(recipients).where(recipients.c.id.in_(chosen)).values(lease_owner=owner, lease_until=until)
    )
    query = select(*_DUE).join(messages, messages.c.id == recipients.c.message_id).where(recipients.c.id.in_(chosen))
    return [Due(*row) for row in await tx.execute(query.order_by(recipients.c.next_at, recipients.c.id))]


def _chosen(rows: Sequence[Any], limit: int, member_share: int, shares: Mapping[int, int]) -> list[int]:
    """Ids of the first `limit` of `rows`: those of members within their share, then the rest."""
    held = dict(shares)
    chosen: dict[int, None] = {}
    for within_share in (True, False):
        for row in rows:
            if len(chosen) >= limit:
                return list(chosen)
            if row.id in chosen or (within_share and held.get(row.member_id, 0) >= member_share):
                continue
            held[row.member_id] = held.get(row.member_id, 0) + 1
            chosen[row.id] = None
    return list(chosen)


async def _fair(
    tx: Tx, ready: Any, limit: int, member_share: int, shares: Mapping[int, int]
) -> list[Any]:
    """Members with mail waiting take turns, each with its oldest, up to its share; those who hold the fewest begin."""
    free = {m: member_share - shares.get(m, 0) for m in await _members_waiting(tx)}
    ids = sorted((m for m, left in free.items() if left > 0), key=lambda m: (shares.get(m, 0), m))[:limit]
    lines: dict[int, list[Any]] = {}

    async def fill(member: int, most: int) -> bool:
        """The member's line; whether there may be more of it."""
        most = min(limit, free[member], most)
        query = (
            select(recipients.c.id, recipients.c.member_id).where(recipients.c.member_id == member, ready)
            .order_by(recipients.c.next_at, recipients.c.id).limit(most).with_for_update(skip_locked=True)
        )
        lines[member] = list((await tx.execute(query)).all())
        return len(lines[member]) == most < min(limit, free[member])

    # A first part of each line; of those who have more, the rest only where all of that does not fill the room.
    longer = [m for m in ids if await fill(m, -(-limit // len(ids)))]
    for member in longer:
        if sum(len(line) for line in lines.values()) >= limit:
            break
        await fill(member, limit)
    return [row for turn in zip_longest(*lines.values()) for row in turn if row is not None]


async def _members_waiting(tx: Tx) -> list[int]:
    """Members with open recipients, by skipping along the index: one probe a member, however long the queue."""
    found = await tx.execute(
        text(
            "WITH RECURSIVE m(id) AS (SELECT min(member_id) FROM recipients WHERE state IN ('queued', 'deferred') "
            "UNION ALL SELECT (SELECT min(r.member_id) FROM recipients r "
            "WHERE r.state IN ('queued', 'deferred') AND r.member_id > m.id) "
            "FROM m WHERE m.id IS NOT NULL) SELECT id FROM m WHERE id IS NOT NULL"
        )
    )
    return [row[0] for row in found]


async def bytes_of(tx: Tx, wanted: Sequence[tuple[int, int]]) -> dict[int, tuple[bytes, bytes]]:
    """(recipient id, message id) pairs → recipient id → (head, body). A purged message is absent."""
    shared = {
        row.message_id: (row.head, row.body)
        for row in await tx.execute(
            select(bodies.c.message_id, bodies.c.head, bodies.c.body).where(
                bodies.c.message_id.in_({m for _, m in wanted})
            )
        )
    }
    own = {
        row.recipient_id: row.head
        for row in await tx.execute(
            select(heads.c.recipient_id, heads.c.head).where(heads.c.recipient_id.in_([r for r, _ in wanted]))
        )
    }
    return {r: (own.get(r, shared[m][0]), shared[m][1]) for r, m in wanted if m in shared}
