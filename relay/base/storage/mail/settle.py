"""Writing what became of recipients: tries, the owner's actions, leases given back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import String, bindparam, case, exists, func, literal_column, or_, select, text, update

from relay.base.storage.engine import Tx, locks_rows
from relay.base.storage.mail.values import Settlement
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import OPEN, attempts, messages, recipients

_IS_OPEN = text(OPEN)
_SUCCESS_OWED = literal_column("CASE WHEN report_due IN ('arrived', 'expanded', 'relayed') THEN report_due END", String)

_SETTLE = Prepared(
    lambda _: update(recipients)
    .where(recipients.c.id == bindparam("b_id"), recipients.c.lease_owner == bindparam("b_owner"), _IS_OPEN)
    .values(
        state=bindparam("b_state"), next_at=bindparam("b_next_at"),
        attempts=recipients.c.attempts + bindparam("b_tries"),
        lease_owner=None, lease_until=None, code=bindparam("b_code"), says=bindparam("b_says"),
        settled_at=bindparam("b_settled_at"),
        # The host's own report of success may have been quicker than this.
        report_due=func.coalesce(bindparam("b_report_due", type_=String), _SUCCESS_OWED),
        delay_told=or_(recipients.c.delay_told, bindparam("b_delay_told")),
    )
)
_FINISH = Prepared(
    lambda _: update(messages)
    .where(
        messages.c.id == bindparam("b_id"), messages.c.finished_at.is_(None),
        ~exists().where(recipients.c.message_id == bindparam("b_id"), _IS_OPEN),
    )
    .values(finished_at=bindparam("b_at"), has_bytes=True)
)
_ATTEMPTS = Prepared(lambda insert: insert(attempts))
_PARK = Prepared(
    lambda _: update(recipients)
    .where(recipients.c.id == bindparam("b_id"), recipients.c.lease_owner == bindparam("b_owner"), _IS_OPEN)
    .values(next_at=bindparam("b_next_at"), lease_owner=None, lease_until=None, says=bindparam("b_says"))
)
_OWNED = Prepared(
    lambda _: select(recipients.c.id)
    .where(recipients.c.id == bindparam("b_id"), recipients.c.lease_owner == bindparam("b_owner"), _IS_OPEN)
)


async def owned(tx: Tx, ids: Sequence[int], owner: str) -> set[int]:
    """Of these recipients, the ones still open and leased to `owner` (locked until commit)."""
    if not locks_rows(tx):
        return {row[0] for i in ids for row in await _OWNED.all(tx, {"b_id": i, "b_owner": owner})}
    query = (
        select(recipients.c.id)
        .where(recipients.c.id.in_(ids), recipients.c.lease_owner == owner, _IS_OPEN)
        # Like everybody who locks several: in one order, or two of them would wait for each other.
        .order_by(recipients.c.id).with_for_update()
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
    await _SETTLE.many(
        tx,
        [
            {
                "b_id": s.recipient_id, "b_owner": s.lease_owner, "b_state": s.state, "b_next_at": s.next_at,
                "b_tries": 1 if s.attempt is not None else 0,
                "b_code": s.code, "b_says": s.says[:1000], "b_report_due": s.report_due,
                "b_settled_at": s.at if s.state != "deferred" else None, "b_delay_told": s.delay_told,
            }
            for s in done
        ],
    )
    tried = [s.attempt for s in done if s.attempt is not None]
    if tried:
        await _ATTEMPTS.many(tx, tried)
    await finish(tx, {s.message_id: s.at for s in done if s.state not in ("queued", "deferred")})


def waits_for(site: str) -> str:
    """What stands beside a recipient that waits for a paused site."""
    return f"waits: {site} is paused"


async def park(tx: Tx, owner: str, rows: Sequence[tuple[int, float, str]]) -> None:
    """Give leases of `owner` back untried: (recipient id, its next time, the paused site that it waits for)."""
    if rows:
        await _PARK.many(
            tx,
            [
                {"b_id": i, "b_owner": owner, "b_next_at": at, "b_says": waits_for(site)}
                for i, at, site in sorted(rows)
            ],
        )


async def unpark(tx: Tx, site: str, now: float) -> int:
    """Make due what was given back because `site` was paused; returns how many."""
    done = await tx.execute(
        update(recipients)
        .where(_IS_OPEN, recipients.c.next_at > now, recipients.c.says == waits_for(site)).values(next_at=now)
    )
    return done.rowcount


async def finish(tx: Tx, candidates: dict[int, float]) -> None:
    """Mark those messages finished whose recipients are all settled (message id → time)."""
    if candidates:
        await _FINISH.many(tx, [{"b_id": m, "b_at": at} for m, at in sorted(candidates.items())])


async def change(
    tx: Tx, action: str, *, now: float, ids: Sequence[int], member_id: int | None = None
) -> list[tuple[int, int, int, int | None]]:
    """`cancel`, `retry`, `hold`, `release`, `drop` of open recipients.

    What some worker has (delivering it or about to) is not stopped: `cancel`, `hold` and `drop` leave it alone.
    Returns (recipient id, message id, member id, domain id) of those changed.
    """
    where: list[Any] = [recipients.c.id.in_(ids), _IS_OPEN]
    if action in ("cancel", "hold", "drop"):
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


async def renew(tx: Tx, owner: str, ids: Sequence[int], until: float) -> set[int]:
    """Lengthen leases that `owner` still has; returns the ids of those. What is held back is not kept either."""
    kept = await tx.execute(
        update(recipients)
        .where(
            recipients.c.id.in_(ids), recipients.c.lease_owner == owner, recipients.c.held.is_(False), _IS_OPEN
        )
        .values(lease_until=until).returning(recipients.c.id)
    )
    return set(kept.scalars())


async def catch_up(tx: Tx, now: float, was: float) -> int:
    """Make open recipients due that are due between `now` and `was`; returns how many."""
    done = await tx.execute(
        update(recipients).where(_IS_OPEN, recipients.c.next_at > now, recipients.c.next_at <= was)
        .values(next_at=now)
    )
    return done.rowcount


async def owners(tx: Tx) -> list[str]:
    """Everybody who holds a lease, by skipping along the index: one probe an owner, however many leases."""
    found = await tx.execute(
        text(
            "WITH RECURSIVE o(name) AS (SELECT min(lease_owner) FROM recipients WHERE lease_owner IS NOT NULL "
            "UNION ALL SELECT (SELECT min(r.lease_owner) FROM recipients r WHERE r.lease_owner > o.name) "
            "FROM o WHERE o.name IS NOT NULL) SELECT name FROM o WHERE name IS NOT NULL"
        )
    )
    return [row[0] for row in found]


async def next_due(tx: Tx) -> float | None:
    """When the next open, unheld recipient is due (Unix seconds), or None."""
    due = case(
        (recipients.c.lease_until.is_not(None), recipients.c.lease_until), else_=recipients.c.next_at
    )
    query = select(due).where(_IS_OPEN, recipients.c.held.is_(False)).order_by(recipients.c.next_at).limit(1)
    got: float | None = await tx.scalar(query)
    return got
