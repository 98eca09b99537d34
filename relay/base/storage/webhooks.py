"""Webhooks: where members want their events, and the log of what was posted there. Writes both of its tables.

An event waits in the feed until its endpoint has room for it; only then a row of the log stands for it. Cursor and
rows move in one transaction, so an event is neither skipped nor taken twice. Secrets come and go sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, delete, exists, func, insert, or_, select, update

from relay.base.events import Event
from relay.base.storage.engine import Tx
from relay.base.storage.tables import domains, events, members, webhook_deliveries, webhooks

LIVE, FAILING, DISABLED, DELETED = "live", "failing", "disabled", "deleted"
WAITING, DELIVERED, FAILED = "waiting", "delivered", "failed"
TEST = "test"
_W, _D = webhooks.c, webhook_deliveries.c


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint with its sealed secrets; times are Unix seconds; no `types`: all."""

    id: int
    public_id: str
    member_id: int
    url: str
    types: tuple[str, ...]
    description: str
    secret: bytes
    old_secret: bytes | None
    old_until: float | None
    state: str
    reason: str
    cursor: int
    failing_since: float | None
    created_at: float


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One event on its way to one endpoint; `status` is that of the last answer."""

    id: int
    event_id: int | None
    type: str
    state: str
    attempts: int
    next_at: float
    created_at: float
    expires_at: float
    tried_at: float | None
    status: int | None
    seconds: float
    says: str


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose time has come, with its event (None when the log keeps it no longer) and domain name."""

    row: DeliveryRow
    event: Event | None
    domain: str | None


def _rows() -> Select[Any]:
    return select(
        _W.id, _W.public_id, _W.member_id, _W.url, _W.types, _W.description, _W.secret, _W.old_secret, _W.old_until,
        _W.state, _W.reason, _W.cursor, _W.failing_since, _W.created_at,
    )


def _endpoint(row: Any) -> EndpointRow:
    values = list(row)
    values[4] = tuple(values[4] or ())
    values[6] = bytes(values[6])
    values[7] = None if values[7] is None else bytes(values[7])
    return EndpointRow(*values)


_DELIVERY = (
    _D.id, _D.event_id, _D.type, _D.state, _D.attempts, _D.next_at, _D.created_at, _D.expires_at, _D.tried_at,
    _D.status, _D.seconds, _D.says,
)


def _delivery(row: Any) -> DeliveryRow:
    return DeliveryRow(*tuple(row)[: len(_DELIVERY)])


# -- for the owner ---------------------------------------------------------------------------------------------


async def add(
    tx: Tx, *, public_id: str, member_id: int, url: str, types: Sequence[str], description: str, secret: bytes,
    now: float, cursor: int,
) -> None:
    """A new endpoint; it gets the events after `cursor`."""
    await tx.execute(
        insert(webhooks).values(
            public_id=public_id, member_id=member_id, url=url, types=list(types), description=description,
            secret=secret, state=LIVE, cursor=cursor, created_at=now,
        )
    )


async def of_member(tx: Tx, member_id: int, *, limit: int) -> list[EndpointRow]:
    """A member's endpoints, oldest first."""
    query = _rows().where(_W.member_id == member_id, _W.state != DELETED).order_by(_W.id).limit(limit)
    return [_endpoint(row) for row in await tx.execute(query)]


async def one(tx: Tx, member_id: int, public_id: str) -> EndpointRow | None:
    """An endpoint of this member."""
    query = _rows().where(_W.member_id == member_id, _W.public_id == public_id, _W.state != DELETED)
    row = (await tx.execute(query)).first()
    return None if row is None else _endpoint(row)


async def rotate(tx: Tx, endpoint: EndpointRow, secret: bytes, old_until: float) -> bool:
    """Put `secret` in place of the one in `endpoint`, which stays good until `old_until`; False if it changed."""
    done = await tx.execute(
        update(webhooks)
        .where(_W.id == endpoint.id, _W.secret == endpoint.secret, _W.state != DELETED)
        .values(secret=secret, old_secret=endpoint.secret, old_until=old_until)
    )
    return bool(done.rowcount)


async def sealed(tx: Tx, *, below: int | None, limit: int) -> list[EndpointRow]:
    """Up to `limit` endpoints with secrets, of anybody, ids below `below`, newest first."""
    query = _rows().where(_W.state != DELETED).order_by(_W.id.desc()).limit(limit)
    return [_endpoint(row) for row in await tx.execute(query if below is None else query.where(_W.id < below))]


async def oldest_sealed(tx: Tx) -> EndpointRow | None:
    """The endpoint that a re-sealing comes to last."""
    row = (await tx.execute(_rows().where(_W.state != DELETED).order_by(_W.id).limit(1))).first()
    return None if row is None else _endpoint(row)


async def reseal(tx: Tx, endpoint: EndpointRow, secret: bytes, old_secret: bytes | None) -> bool:
    """Put the secrets of `endpoint`, sealed anew, in its place; False if they changed."""
    done = await tx.execute(
        update(webhooks)
        .where(_W.id == endpoint.id, _W.secret == endpoint.secret, _W.state != DELETED)
        .values(secret=secret, old_secret=old_secret)
    )
    return bool(done.rowcount)


async def enable(tx: Tx, endpoint_id: int, cursor: int) -> bool:
    """Take up a disabled endpoint again, with the events after `cursor`; False when it is not disabled."""
    done = await tx.execute(
        update(webhooks)
        .where(_W.id == endpoint_id, _W.state == DISABLED)
        .values(state=LIVE, reason="", failing_since=None, cursor=cursor)
    )
    return bool(done.rowcount)


async def remove(tx: Tx, endpoint_id: int) -> bool:
    """Post nothing more there and forget its secrets; the log goes with its time."""
    done = await tx.execute(
        update(webhooks)
        .where(_W.id == endpoint_id, _W.state != DELETED)
        .values(state=DELETED, secret=b"", old_secret=None, old_until=None, url="")
    )
    return bool(done.rowcount)


async def log(tx: Tx, endpoint_id: int, *, before: int | None, state: str | None, limit: int) -> list[DeliveryRow]:
    """What was posted there, newest first, ids below `before`."""
    query = select(*_DELIVERY).where(_D.webhook_id == endpoint_id).order_by(_D.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_D.id < before)
    if state is not None:
        query = query.where(_D.state == state)
    return [_delivery(row) for row in await tx.execute(query)]


async def add_test(tx: Tx, endpoint_id: int, now: float, expires_at: float) -> int:
    """A test on its way; the id of its row in the log."""
    made = await tx.execute(
        insert(webhook_deliveries)
        .values(
            webhook_id=endpoint_id, type=TEST, state=WAITING, next_at=now, created_at=now, expires_at=expires_at
        )
        .returning(_D.id)
    )
    return int(made.scalar_one())


async def replay(
    tx: Tx, endpoint: EndpointRow, *, event_id: int | None, since: float | None, now: float, expires_at: float,
    limit: int,
) -> int:
    """Post again: one event, or those since a time that the endpoint wants; returns how many are on their way.

    Also events that were never posted there. Those that the cursor has not reached yet come by themselves.
    """
    e = events.c
    query = (
        select(e.id, e.type).where(e.member_id == endpoint.member_id, e.id <= endpoint.cursor)
        .order_by(e.id).limit(limit)
    )
    query = query.where(e.id == event_id) if event_id is not None else query.where(e.at >= (since or 0.0))
    if endpoint.types and event_id is None:
        query = query.where(e.type.in_(endpoint.types))
    wanted = {row.id: row.type for row in await tx.execute(query)}
    if not wanted:
        return 0
    mine = and_(_D.webhook_id == endpoint.id, _D.event_id >= min(wanted), _D.event_id <= max(wanted))
    again: dict[int, int] = {}
    for row in await tx.execute(select(_D.id, _D.event_id).where(mine)):
        if row.event_id in wanted:
            again[row.event_id] = row.id
    if again:
        change = {"state": WAITING, "attempts": 0, "next_at": now, "expires_at": expires_at}
        query_ids = list(again.values())
        for i in range(0, len(query_ids), 400):
            await tx.execute(update(webhook_deliveries).where(_D.id.in_(query_ids[i : i + 400])).values(**change))
    fresh = [n for n in wanted if n not in again]
    if fresh:
        await tx.execute(
            insert(webhook_deliveries),
            [_new(endpoint.id, n, wanted[n], now=now, expires_at=expires_at) for n in fresh],
        )
    return len(wanted)


def _new(endpoint_id: int, event_id: int, kind: str, *, now: float, expires_at: float) -> dict[str, Any]:
    return {
        "webhook_id": endpoint_id, "event_id": event_id, "type": kind, "state": WAITING, "next_at": now,
        "created_at": now, "expires_at": expires_at,
    }


# -- for who posts ---------------------------------------------------------------------------------------------


async def behind(tx: Tx, upto: int, *, max_waiting: int, limit: int) -> list[int]:
    """Ids of endpoints with events in the feed, up to the id `upto`, that they have room for: fewer than `max_waiting`
    rows waiting."""
    waiting = (
        select(func.count()).select_from(webhook_deliveries)
        .where(_D.webhook_id == _W.id, _D.state == WAITING).correlate(webhooks).scalar_subquery()
    )
    e = events.c
    ahead = exists().where(e.member_id == _W.member_id, e.id > _W.cursor, e.id <= upto)
    query = (
        select(_W.id).join(members, and_(members.c.id == _W.member_id, members.c.status != "deleted"))
        .where(_W.state.in_((LIVE, FAILING)), ahead, waiting < max_waiting).order_by(_W.cursor).limit(limit)
    )
    return list((await tx.execute(query)).scalars())


async def fan_out(
    tx: Tx, endpoint_ids: Sequence[int], upto: int, *, now: float, expires_at: float, limit: int
) -> int:
    """Take up to `limit` (event, endpoint) pairs, up to the id `upto`, from the feed into the log; returns how many
    were looked at."""
    e = events.c
    query = (
        select(_W.id, _W.types, e.id.label("event_id"), e.type)
        .join_from(webhooks, events, and_(e.member_id == _W.member_id, e.id > _W.cursor, e.id <= upto))
        .where(_W.id.in_(list(endpoint_ids)), _W.state.in_((LIVE, FAILING))).order_by(e.id, _W.id).limit(limit)
    )
    fresh: list[dict[str, Any]] = []
    cursors: dict[int, int] = {}
    looked = 0
    for row in await tx.execute(query):
        looked += 1
        cursors[row.id] = row.event_id
        if not row.types or row.type in row.types:
            fresh.append(_new(row.id, row.event_id, row.type, now=now, expires_at=expires_at))
    if fresh:
        await tx.execute(insert(webhook_deliveries), fresh)
    for endpoint_id, cursor in cursors.items():
        await tx.execute(update(webhooks).where(_W.id == endpoint_id).values(cursor=cursor))
    return looked


async def due_endpoints(tx: Tx, now: float, *, without: Sequence[int], limit: int) -> list[EndpointRow]:
    """Endpoints with something to post now, those in `without` left out: first those that took what they got last,
    each group with the one whose turn is longest due in front."""
    ready = exists().where(_D.webhook_id == _W.id, _D.state == WAITING, _D.next_at <= now)
    # A test goes to a disabled endpoint too: that is how its owner finds out whether it is well again.
    tested = exists().where(_D.webhook_id == _W.id, _D.state == WAITING, _D.next_at <= now, _D.event_id.is_(None))
    oldest = (
        select(func.min(_D.next_at)).where(_D.webhook_id == _W.id, _D.state == WAITING)
        .correlate(webhooks).scalar_subquery()
    )
    query = (
        _rows().join(members, and_(members.c.id == _W.member_id, members.c.status != "deleted"))
        .where(or_(and_(_W.state.in_((LIVE, FAILING)), ready), and_(_W.state == DISABLED, tested)))
        .where(_W.id.not_in(list(without)))
        .order_by(_W.failing_since.is_not(None), oldest, _W.id).limit(limit)
    )
    return [_endpoint(row) for row in await tx.execute(query)]


async def due(tx: Tx, endpoint: EndpointRow, now: float, limit: int) -> list[Due]:
    """What is to be posted there now, in the order in which it happened."""
    e = events.c
    query = (
        select(*_DELIVERY, e.at, e.type.label("event_type"), e.domain_id, e.message_id, e.recipient_id, e.data,
               domains.c.name)
        .select_from(
            webhook_deliveries.outerjoin(events, e.id == _D.event_id).outerjoin(domains, domains.c.id == e.domain_id)
        )
        .where(_D.webhook_id == endpoint.id, _D.state == WAITING, _D.next_at <= now)
        .order_by(func.coalesce(_D.event_id, 0), _D.id).limit(limit)
    )
    if endpoint.state == DISABLED:
        query = query.where(_D.event_id.is_(None))
    found = []
    for row in await tx.execute(query):
        event = None
        if row.event_type is not None:
            event = Event(
                type=row.event_type, member_id=endpoint.member_id, at=row.at, domain_id=row.domain_id,
                message_id=row.message_id, recipient_id=row.recipient_id, data=row.data or {}, id=row.event_id,
            )
        found.append(Due(_delivery(row), event, row.name))
    return found


async def settle(
    tx: Tx, delivery_id: int, *, state: str, next_at: float, tried_at: float, status: int | None, seconds: float,
    says: str,
) -> None:
    """Write down what became of a try."""
    await tx.execute(
        update(webhook_deliveries).where(_D.id == delivery_id, _D.state == WAITING)
        .values(
            state=state, next_at=next_at, tried_at=tried_at, status=status, seconds=seconds, says=says[:500],
            attempts=_D.attempts + 1,
        )
    )


async def mark_healthy(tx: Tx, endpoint_id: int) -> None:
    """The endpoint took something: whatever was wrong is over."""
    await tx.execute(
        update(webhooks)
        .where(_W.id == endpoint_id, _W.state.in_((LIVE, FAILING)))
        .where(or_(_W.failing_since.is_not(None), _W.state == FAILING))
        .values(state=LIVE, reason="", failing_since=None)
    )


async def mark_failing(tx: Tx, endpoint_id: int, now: float) -> tuple[str, float] | None:
    """The endpoint refused something: (its state, since when it refuses), or None when it takes nothing anyway."""
    active = and_(_W.id == endpoint_id, _W.state.in_((LIVE, FAILING)))
    await tx.execute(update(webhooks).where(active, _W.failing_since.is_(None)).values(failing_since=now))
    row = (await tx.execute(select(_W.state, _W.failing_since).where(active))).first()
    return None if row is None else (row.state, float(row.failing_since))


async def set_state(tx: Tx, endpoint_id: int, state: str, reason: str, *, was: Sequence[str]) -> bool:
    """Change the state where it is one of `was`; False when it isn't."""
    done = await tx.execute(
        update(webhooks).where(_W.id == endpoint_id, _W.state.in_(list(was))).values(state=state, reason=reason[:500])
    )
    return bool(done.rowcount)


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` rows of the log that are older than `before`, and after the last of them deleted endpoints
    without a log."""
    old = select(_D.id).where(_D.created_at < before).order_by(_D.created_at).limit(limit)
    done = await tx.execute(delete(webhook_deliveries).where(_D.id.in_(old)))
    if done.rowcount < limit:
        kept = exists().where(_D.webhook_id == _W.id)
        await tx.execute(delete(webhooks).where(_W.state == DELETED, ~kept))
    return done.rowcount
