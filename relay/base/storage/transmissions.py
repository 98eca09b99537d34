"""Transmissions: what was sent as one to several people, each by itself. Writes `transmissions`,
`transmission_recipients`, `transmission_contents`.

What a transmission has come to is read from its recipients' own rows (`status`, `updated`), for as long as those are
kept; nothing of it is written down twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, case, delete, exists, false, func, insert, not_, or_, select, true

from relay.base.storage.engine import Tx, locks_rows, upsert
from relay.base.storage.tables import (
    domains,
    recipients,
    transmission_contents,
    transmission_recipients,
    transmissions,
)

IN_PROGRESS, PROCESSED, REJECTED = "IN_PROGRESS", "PROCESSED", "REJECTED"
Field = Literal["id", "type", "status", "updatedDate", "emailSubject"]
Compare = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in", "starts"]
_t, _p, _c, _r = transmissions.c, transmission_recipients.c, transmission_contents.c, recipients.c


@dataclass(frozen=True, slots=True)
class NewTransmission:
    """A transmission about to be written; columns of `transmissions`."""

    uuid: str
    member_id: int
    domain_id: int
    kind: str
    subject: str
    sender_name: str
    sender_address: str
    reply_to: dict[str, str] | None
    metadata: dict[str, str] | None
    placeholder: str
    idempotency_key: str | None
    body_hash: str
    created_at: float


@dataclass(frozen=True, slots=True)
class TransmissionRow:
    """A transmission; `domain`: the name that it was sent from, `updated_at`: when its last recipient was settled."""

    id: int
    uuid: str
    domain: str | None
    kind: str
    subject: str
    sender_name: str
    sender_address: str
    reply_to: dict[str, str] | None
    metadata: dict[str, str] | None
    placeholder: str
    body_hash: str
    created_at: float
    updated_at: float
    status: str


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One recipient. `recipient_id` None: refused, and `reason` says why. `state`, `code` and `says` as they stand
    now; None once the log has forgotten them."""

    transmission_id: int
    address: str
    name: str
    recipient_id: int | None
    reason: str
    state: str | None
    code: int | None
    says: str | None


@dataclass(frozen=True, slots=True)
class Is:
    """One field compared; `value` a list for `in`. Dates in Unix seconds, of which the whole ones count."""

    field: Field
    how: Compare
    value: Any


@dataclass(frozen=True, slots=True)
class Not:
    """What `of` is not."""

    of: Condition


@dataclass(frozen=True, slots=True)
class Every:
    """Every one of these."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of these."""

    of: tuple[Condition, ...]


Condition = Is | Not | Every | Either


@dataclass(frozen=True, slots=True)
class Order:
    """By one field."""

    field: Field
    down: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page has ended: the values of what it is ordered by, and the row's id."""

    values: tuple[Any, ...]
    id: int


# -- writing -------------------------------------------------------------------------------------------------------


async def add(tx: Tx, new: NewTransmission, people: Sequence[tuple[str, str, int | None, str]], html: str) -> bool:
    """Write a transmission with its recipients (address, name, recipient id, reason), and its content unless "".

    False where the member has used the idempotency key: nothing is written.
    """
    values = {name: getattr(new, name) for name in NewTransmission.__slots__}
    made = await tx.execute(upsert(tx, transmissions).values(**values).on_conflict_do_nothing().returning(_t.id))
    number = made.scalar_one_or_none()
    if number is None:
        return False
    await tx.execute(
        insert(transmission_recipients),
        [
            {"transmission_id": number, "position": at, "address": a, "name": n, "recipient_id": r, "reason": why[:500]}
            for at, (a, n, r, why) in enumerate(people)
        ],
    )
    if html:
        await tx.execute(
            insert(transmission_contents).values(transmission_id=number, html=html, created_at=new.created_at)
        )
    return True


async def remove(tx: Tx, numbers: Collection[int]) -> None:
    """Forget transmissions; what was sent stays in the message log."""
    for table, column in (
        (transmission_contents, _c.transmission_id), (transmission_recipients, _p.transmission_id),
        (transmissions, _t.id),
    ):
        await tx.execute(delete(table).where(column.in_(numbers)))


async def forget_member(tx: Tx, member_id: int) -> None:
    """Forget everything of a member's transmissions."""
    theirs = select(_t.id).where(_t.member_id == member_id)
    await tx.execute(delete(transmission_contents).where(_c.transmission_id.in_(theirs)))
    await tx.execute(delete(transmission_recipients).where(_p.transmission_id.in_(theirs)))
    await tx.execute(delete(transmissions).where(_t.member_id == member_id))


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` transmissions of before `before` of which nothing waits; returns how many."""
    old = select(_t.id).where(_t.created_at < before, not_(_has("queued", "deferred"))).order_by(_t.created_at)
    numbers = list((await tx.execute(old.limit(limit))).scalars())
    if numbers:
        await remove(tx, numbers)
    return len(numbers)


async def purge_contents(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` contents of before `before`; returns how many."""
    old = select(_c.transmission_id).where(_c.created_at < before).order_by(_c.created_at).limit(limit)
    return (await tx.execute(delete(transmission_contents).where(_c.transmission_id.in_(old)))).rowcount


# -- reading -------------------------------------------------------------------------------------------------------


async def by_key(tx: Tx, member_id: int, key: str) -> TransmissionRow | None:
    """The member's transmission with this idempotency key."""
    return await _one(tx, _t.member_id == member_id, _t.idempotency_key == key)


async def get(tx: Tx, member_id: int, uuid: str) -> TransmissionRow | None:
    """A member's transmission by its uuid."""
    return await _one(tx, _t.member_id == member_id, _t.uuid == uuid)


async def content(tx: Tx, number: int) -> str | None:
    """The content of a transmission, while it is kept."""
    found = await tx.scalar(select(_c.html).where(_c.transmission_id == number))
    return None if found is None else str(found)


async def people(tx: Tx, numbers: Collection[int]) -> list[PersonRow]:
    """The recipients of these transmissions, each transmission's in the order in which they were named."""
    query = (
        select(_p.transmission_id, _p.address, _p.name, _p.recipient_id, _p.reason, _r.state, _r.code, _r.says)
        .outerjoin(recipients, _r.id == _p.recipient_id)
        .where(_p.transmission_id.in_(numbers)).order_by(_p.transmission_id, _p.position)
    )
    return [PersonRow(*row) for row in await tx.execute(query)]


async def find(
    tx: Tx, member_id: int, *, where: Condition, order: Sequence[Order], after: Place | None, limit: int,
    names: Collection[str] | None = None,
) -> list[TransmissionRow]:
    """A member's transmissions that `where` is true of, in this order and then by id, those behind `after`; `names`:
    sent from these domains only."""
    query = _rows().where(_t.member_id == member_id, _condition(tx, where))
    if names is not None:
        query = query.where(domains.c.name.in_(names))
    ways = [(_value(tx, o.field), o.down) for o in order]
    # The last one breaks ties, in the direction of the first.
    ways.append((_t.id, bool(order) and order[0].down))
    if after is not None:
        query = query.where(_behind(ways, [*after.values, after.id]))
    query = query.order_by(*(way.desc() if down else way.asc() for way, down in ways)).limit(limit)
    return [TransmissionRow(*row) for row in await tx.execute(query)]


def place_of(row: TransmissionRow, order: Sequence[Order]) -> Place:
    """Where a page that ends with this row ends."""
    values = {
        "id": row.uuid, "type": row.kind, "status": row.status, "updatedDate": row.updated_at,
        "emailSubject": row.subject,
    }
    return Place(tuple(values[o.field] for o in order), row.id)


def _behind(ways: Sequence[tuple[Any, bool]], values: Sequence[Any]) -> Any:
    """What comes after these values in the order of `ways`."""
    steps = []
    for at, ((way, down), value) in enumerate(zip(ways, values, strict=True)):
        same = [earlier == was for (earlier, _), was in zip(ways[:at], values[:at], strict=True)]
        steps.append(and_(*same, way < value if down else way > value))
    return or_(*steps)


def _has(*states: str) -> Any:
    """Whether a recipient of the transmission is in one of these states."""
    return exists(
        select(_p.position).join(recipients, _r.id == _p.recipient_id)
        .where(_p.transmission_id == _t.id, _r.state.in_(states)).correlate(transmissions)
    )


def _status() -> Any:
    # Whose row the log has forgotten was settled long ago; nothing says any more how.
    forgotten = exists(
        select(_p.position).outerjoin(recipients, _r.id == _p.recipient_id)
        .where(_p.transmission_id == _t.id, _p.recipient_id.is_not(None), _r.id.is_(None)).correlate(transmissions)
    )
    return case(
        (_has("queued", "deferred"), IN_PROGRESS), (or_(_has("sent", "bounced"), forgotten), PROCESSED), else_=REJECTED
    )


def _updated() -> Any:
    settled = (
        select(func.max(_r.settled_at)).join(transmission_recipients, _r.id == _p.recipient_id)
        .where(_p.transmission_id == _t.id).correlate(transmissions).scalar_subquery()
    )
    return func.coalesce(settled, _t.created_at)


def _value(tx: Tx, field: Field) -> Any:
    if field == "emailSubject":
        # By code points on either engine, whatever the database's locale.
        return _t.subject.collate("C") if locks_rows(tx) else _t.subject
    return {"id": _t.uuid, "type": _t.kind, "status": _status(), "updatedDate": _updated()}[field]


def _condition(tx: Tx, one: Condition) -> Any:
    match one:
        case Not(of):
            return not_(_condition(tx, of))
        case Every(parts):
            return and_(true(), *(_condition(tx, part) for part in parts))
        case Either(parts):
            return or_(false(), *(_condition(tx, part) for part in parts))
    value = _value(tx, one.field)
    if one.field == "updatedDate":
        return _within(value, one.how, one.value)
    match one.how:
        case "in":
            return value.in_(one.value)
        case "starts":
            return func.substr(value, 1, len(one.value)) == one.value
        case "eq":
            return value == one.value
        case "ne":
            return value != one.value
        case "lt":
            return value < one.value
        case "lte":
            return value <= one.value
        case "gt":
            return value > one.value
    return value >= one.value


def _within(value: Any, how: Compare, given: Any) -> Any:
    """Times are shown in whole seconds, and compared as they are shown."""
    if how == "in":
        return or_(false(), *(_within(value, "eq", one) for one in given))
    begins, ends = float(int(given // 1)), float(int(given // 1)) + 1.0
    whole = given == begins
    match how:
        case "eq":
            return and_(value >= begins, value < ends) if whole else false()
        case "ne":
            return or_(value < begins, value >= ends) if whole else true()
        case "lt":
            return value < (begins if whole else ends)
        case "lte":
            return value < ends
        case "gt":
            return value >= ends
    return value >= (begins if whole else ends)


def _rows() -> Any:
    return select(
        _t.id, _t.uuid, domains.c.name, _t.kind, _t.subject, _t.sender_name, _t.sender_address, _t.reply_to,
        _t.metadata, _t.placeholder, _t.body_hash, _t.created_at, _updated().label("updated_at"),
        _status().label("status"),
    ).select_from(transmissions).outerjoin(domains, domains.c.id == _t.domain_id)


async def _one(tx: Tx, *where: Any) -> TransmissionRow | None:
    row = (await tx.execute(_rows().where(*where))).first()
    return TransmissionRow(*row) if row else None
