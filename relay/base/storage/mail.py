"""Messages, bodies, recipients, attempts: what the queue is made of. Writing side; lists for people are `reports`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, case, delete, exists, func, insert, literal_column, or_, select, text, update

from relay.base.storage.engine import Tx
from relay.base.storage.tables import OPEN, attempts, bodies, heads, messages, recipients

_IS_OPEN = text(OPEN)


@dataclass(slots=True)
class NewRecipient:
    """A recipient about to be written. `head` is None where the message's shared head serves."""

    address: str
    destination: str
    next_at: float
    expires_at: float
    head: bytes | None = None
    notify: str | None = None
    orcpt: str | None = None
    lease_owner: str | None = None
    lease_until: float | None = None


@dataclass(slots=True)
class NewMessage:
    """A message about to be written: `row` are columns of `messages`; `head` + `body` are its final bytes."""

    row: dict[str, Any]
    head: bytes
    body: bytes
    recipients: list[NewRecipient]
    id: int = 0
    recipient_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed recipient with what delivering it needs. `head` and `body` are loaded by `bytes_of`."""

    id: int
    message_id: int
    member_id: int
    domain_id: int | None
    address: str
    destination: str
    attempts: int
    expires_at: float
    notify: str | None
    orcpt: str | None
    queue_id: str
    mail_from: str
    return_path: str
    envid: str | None
    ret: str | None
    smtputf8: bool
    size: int
    received_at: float
    delay_told: bool


@dataclass(slots=True)
class Settlement:
    """What became of one try. `state` None: the lease is only given back, nothing else changes."""

    recipient_id: int
    message_id: int
    lease_owner: str
    state: str | None
    next_at: float
    at: float
    code: int | None = None
    says: str = ""
    report_due: str | None = None
    delay_told: bool = False
    attempt: dict[str, Any] | None = None


async def add(tx: Tx, batch: Sequence[NewMessage]) -> None:
    """Write messages with bodies and recipients; sets `id` and `recipient_ids` of each."""
    ids = await tx.execute(
        insert(messages).returning(messages.c.id, sort_by_parameter_order=True), [m.row for m in batch]
    )
    rows: list[dict[str, Any]] = []
    for message, got in zip(batch, ids.scalars(), strict=True):
        message.id = got
        rows.extend(
            {
                "message_id": got, "member_id": message.row["member_id"], "domain_id": message.row["domain_id"],
                "address": r.address, "destination": r.destination, "state": "queued", "next_at": r.next_at,
                "expires_at": r.expires_at, "notify": r.notify, "orcpt": r.orcpt,
                "lease_owner": r.lease_owner, "lease_until": r.lease_until,
            }
            for r in message.recipients
        )
    await tx.execute(insert(bodies), [{"message_id": m.id, "head": m.head, "body": m.body} for m in batch])
    got_ids = iter(
        (
            await tx.execute(
                insert(recipients).returning(recipients.c.id, sort_by_parameter_order=True), rows
            )
        ).scalars().all()
    )
    own: list[dict[str, Any]] = []
    for message in batch:
        message.recipient_ids = tuple(next(got_ids) for _ in message.recipients)
        own.extend(
            {"recipient_id": i, "message_id": message.id, "head": r.head}
            for i, r in zip(message.recipient_ids, message.recipients, strict=True)
            if r.head is not None
        )
    if own:
        await tx.execute(insert(heads), own)


async def queued(tx: Tx, member_ids: Iterable[int]) -> tuple[int, dict[int, int]]:
    """(open recipients in all, of each of these members)."""
    total = await tx.scalar(select(func.count()).select_from(recipients).where(_IS_OPEN))
    rows = await tx.execute(
        select(recipients.c.member_id, func.count()).where(_IS_OPEN, recipients.c.member_id.in_(list(member_ids)))
        .group_by(recipients.c.member_id)
    )
    return int(total or 0), {r[0]: r[1] for r in rows}


_DUE = [
    recipients.c.id, recipients.c.message_id, recipients.c.member_id, recipients.c.domain_id, recipients.c.address,
    recipients.c.destination, recipients.c.attempts, recipients.c.expires_at, recipients.c.notify,
    recipients.c.orcpt, messages.c.queue_id, messages.c.mail_from, messages.c.return_path, messages.c.envid,
    messages.c.ret, messages.c.smtputf8, messages.c.size, messages.c.received_at, recipients.c.delay_told,
]


def _ready(now: float) -> Any:
    return and_(
        _IS_OPEN,
        recipients.c.next_at <= now,
        recipients.c.held.is_(False),
        or_(recipients.c.lease_until.is_(None), recipients.c.lease_until <= now),
    )


async def claim(
    tx: Tx, *, owner: str, now: float, until: float, limit: int, member_share: int, shares: dict[int, int]
) -> list[Due]:
    """Lease up to `limit` due recipients, oldest first; while more are waiting, at most `member_share` of a member.

    `shares` says how many of each member this owner already holds.
    """
    pick = (
        select(recipients.c.id, recipients.c.member_id).where(_ready(now))
        .order_by(recipients.c.next_at, recipients.c.id).limit(limit * 2).with_for_update(skip_locked=True)
    )
    rows = (await tx.execute(pick)).all()
    if len(rows) >= limit * 2:
        rows = await _fair(tx, now, limit, member_share, shares)
    chosen: list[int] = []
    held = dict(shares)
    for row in rows:
        if len(chosen) >= limit:
            break
        if held.get(row.member_id, 0) < member_share or len(rows) <= limit:
            held[row.member_id] = held.get(row.member_id, 0) + 1
            chosen.append(row.id)
    if not chosen:
        return []
    await tx.execute(
        update(recipients).where(recipients.c.id.in_(chosen)).values(lease_owner=owner, lease_until=until)
    )
    query = select(*_DUE).join(messages, messages.c.id == recipients.c.message_id).where(recipients.c.id.in_(chosen))
    return [Due(*row) for row in await tx.execute(query.order_by(recipients.c.next_at, recipients.c.id))]


async def _fair(tx: Tx, now: float, limit: int, member_share: int, shares: dict[int, int]) -> list[Any]:
    """The oldest due recipients of every member with mail waiting, members with the fewest held ones first."""
    ids = await _members_waiting(tx)
    ids.sort(key=lambda m: (shares.get(m, 0), m))
    each = max(1, min(member_share, -(-limit // max(1, len(ids)))))
    picked: list[Any] = []
    for member in ids:
        room = min(member_share - shares.get(member, 0), max(each, 1))
        if room <= 0 or len(picked) >= limit:
            continue
        query = (
            select(recipients.c.id, recipients.c.member_id)
            .where(recipients.c.member_id == member, _ready(now))
            .order_by(recipients.c.next_at, recipients.c.id).limit(room).with_for_update(skip_locked=True)
        )
        picked.extend((await tx.execute(query)).all())
    return picked


async def _members_waiting(tx: Tx) -> list[int]:
    """Members with open recipients, by skipping along the index: one probe a member, however long the queue."""
    found = await tx.execute(
        text(
            f"WITH RECURSIVE m(id) AS (SELECT min(member_id) FROM recipients WHERE {OPEN} "
            f"UNION ALL SELECT (SELECT min(r.member_id) FROM recipients r WHERE r.{OPEN} AND r.member_id > m.id) "
            "FROM m WHERE m.id IS NOT NULL) SELECT id FROM m WHERE id IS NOT NULL"  # noqa: S608: constants only
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


_SETTLE = (
    update(recipients)
    .where(recipients.c.id == bindparam("b_id"), recipients.c.lease_owner == bindparam("b_owner"), _IS_OPEN)
    .values(
        state=bindparam("b_state"), next_at=bindparam("b_next_at"), attempts=recipients.c.attempts + 1,
        lease_owner=None, lease_until=None, code=bindparam("b_code"), says=bindparam("b_says"),
        settled_at=bindparam("b_settled_at"), report_due=bindparam("b_report_due"),
        delay_told=or_(recipients.c.delay_told, bindparam("b_delay_told")),
    )
)
_FINISH = (
    update(messages)
    .where(
        messages.c.id == bindparam("b_id"), messages.c.finished_at.is_(None),
        ~exists().where(recipients.c.message_id == bindparam("b_id"), _IS_OPEN),
    )
    .values(finished_at=bindparam("b_at"))
)


async def owned(tx: Tx, ids: Sequence[int], owner: str) -> set[int]:
    """Of these recipients, the ones still open and leased to `owner` (locked until commit)."""
    query = (
        select(recipients.c.id)
        .where(recipients.c.id.in_(ids), recipients.c.lease_owner == owner, _IS_OPEN).with_for_update()
    )
    return set((await tx.execute(query)).scalars())


async def settle(tx: Tx, batch: Sequence[Settlement]) -> None:
    """Write what became of leased recipients (those in `owned`), their attempts, and which messages are finished."""
    back = [s.recipient_id for s in batch if s.state is None]
    if back:
        await tx.execute(
            update(recipients).where(recipients.c.id.in_(back)).values(lease_owner=None, lease_until=None)
        )
    done = [s for s in batch if s.state is not None]
    if not done:
        return
    await tx.execute(
        _SETTLE,
        [
            {
                "b_id": s.recipient_id, "b_owner": s.lease_owner, "b_state": s.state, "b_next_at": s.next_at,
                "b_code": s.code, "b_says": s.says[:1000], "b_report_due": s.report_due,
                "b_settled_at": s.at if s.state != "deferred" else None, "b_delay_told": s.delay_told,
            }
            for s in done
        ],
    )
    tried = [s.attempt for s in done if s.attempt is not None]
    if tried:
        await tx.execute(insert(attempts), tried)
    await finish(tx, {s.message_id: s.at for s in done if s.state not in ("queued", "deferred")})


async def finish(tx: Tx, candidates: dict[int, float]) -> None:
    """Mark those messages finished whose recipients are all settled (message id → time)."""
    if candidates:
        await tx.execute(_FINISH, [{"b_id": m, "b_at": at} for m, at in candidates.items()])


async def change(
    tx: Tx, action: str, *, now: float, ids: Sequence[int], member_id: int | None = None
) -> list[tuple[int, int, int, int | None]]:
    """`cancel`, `retry`, `hold`, `release`, `drop` of open recipients nobody is delivering just now.

    Returns (recipient id, message id, member id, domain id) of those changed.
    """
    where: list[Any] = [recipients.c.id.in_(ids), _IS_OPEN]
    if action in ("cancel", "drop"):
        where.append(or_(recipients.c.lease_until.is_(None), recipients.c.lease_until <= now))
    if member_id is not None:
        where.append(recipients.c.member_id == member_id)
    actions: dict[str, dict[str, Any]] = {
        "cancel": {"state": "cancelled", "settled_at": now, "says": "cancelled by its sender"},
        "drop": {"state": "cancelled", "settled_at": now, "says": "dropped by the operator"},
        "retry": {"next_at": now, "held": False},
        "hold": {"held": True},
        "release": {"held": False},
    }
    changed = (
        await tx.execute(
            update(recipients).where(*where).values(**actions[action]).returning(
                recipients.c.id, recipients.c.message_id, recipients.c.member_id, recipients.c.domain_id
            )
        )
    ).all()
    if action in ("cancel", "drop"):
        await finish(tx, {row.message_id: now for row in changed})
    return [(r[0], r[1], r[2], r[3]) for r in changed]


async def give_back(tx: Tx, owner: str) -> int:
    """Free every lease of `owner` (at a clean stop); returns how many."""
    done = await tx.execute(
        update(recipients).where(recipients.c.lease_owner == owner, _IS_OPEN)
        .values(lease_owner=None, lease_until=None)
    )
    return done.rowcount


async def next_due(tx: Tx) -> float | None:
    """When the next open, unheld recipient is due (Unix seconds), or None."""
    due = case(
        (recipients.c.lease_until.is_not(None), recipients.c.lease_until), else_=recipients.c.next_at
    )
    query = select(due).where(_IS_OPEN, recipients.c.held.is_(False)).order_by(recipients.c.next_at).limit(1)
    got: float | None = await tx.scalar(query)
    return got


async def purge_bodies(tx: Tx, before: float, limit: int) -> int:
    """Remove the bytes of up to `limit` messages finished before `before`; returns how many."""
    old = (
        select(bodies.c.message_id)
        .join(messages, messages.c.id == bodies.c.message_id)
        .where(messages.c.finished_at <= before, messages.c.finished_at.is_not(None))
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


async def reports_due(tx: Tx, limit: int) -> list[tuple[int, str]]:
    """(recipient id, kind) of recipients whose sender is owed a report."""
    query = (
        select(recipients.c.id, recipients.c.report_due)
        .where(literal_column("report_due IS NOT NULL")).order_by(recipients.c.id).limit(limit)
    )
    return [(r[0], r[1]) for r in await tx.execute(query)]


async def report_done(tx: Tx, recipient_id: int, kind: str) -> bool:
    """Say that the report is in the queue (or is not to be sent). False: somebody else did it already."""
    done = await tx.execute(
        update(recipients).where(recipients.c.id == recipient_id, recipients.c.report_due == kind)
        .values(report_due=None)
    )
    return done.rowcount > 0
