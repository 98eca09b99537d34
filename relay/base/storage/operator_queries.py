"""What the operator asks about everybody's mail: any member's messages, the open queue, how the database is doing.

SELECT only. What a member may ask about its own mail is `reports`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, func, or_, select, text

from relay.base.storage.engine import Tx
from relay.base.storage.tables import OPEN, api_keys, destinations, domains, duties, messages, recipients

_IS_OPEN = text(f"recipients.{OPEN}")


@dataclass(frozen=True, slots=True)
class Queued:
    """One recipient as the operator's list shows it. Times are Unix seconds."""

    id: int
    message_id: int
    queue_id: str
    member_id: int
    domain: str | None
    mail_from: str
    address: str
    destination: str
    state: str
    held: bool
    attempts: int
    received_at: float
    next_at: float
    expires_at: float
    code: int | None
    says: str
    leased_until: float | None


@dataclass(frozen=True, slots=True)
class Admission:
    """Who a message came from and what let it in: ids of the tables that enroll writes."""

    message_id: int
    queue_id: str
    member_id: int
    domain_id: int | None
    key_id: int | None
    return_path: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """A message that a member handed in, as far as it is decided by more than its content, and the key it came with."""

    queue_id: str
    member_id: int
    key_id: int
    public_id: str
    domains: Sequence[str] | None
    default_category: str
    null_sender: bool
    door: str
    mail_from: str
    header_from: str
    category: str
    recipients: Sequence[str]


@dataclass(frozen=True, slots=True)
class Health:
    """The queue and the database at a glance. Times are Unix seconds, None where there is nothing."""

    open: int
    held: int
    overdue: int
    oldest_due_at: float | None
    leased: int
    reports_due: int
    newest_at: float | None
    duties: dict[str, tuple[str, float]]


async def find(
    tx: Tx, *, ids: Sequence[int] = (), queue_ids: Sequence[str] = (), member_id: int | None = None,
    domain: str | None = None, to: str | None = None, error: str | None = None, state: str | None = None,
    held: bool | None = None, only_open: bool = True, after: int = 0, newest: bool = False,
    before: int | None = None, limit: int = 100,
) -> list[Queued]:
    """Recipients by id or message, narrowed by what is given: `domain` is the sender's, `to` an address or a
    destination domain, `error` a part of the last reply (any letter case). In order of their ids above `after`; with
    `newest` the other way round, those under `before`."""
    r, m = recipients.c, messages.c
    query = _chosen(
        select(
            r.id, r.message_id, m.queue_id, r.member_id, domains.c.name, m.mail_from, r.address, r.destination,
            r.state, r.held, r.attempts, m.received_at, r.next_at, r.expires_at, r.code, r.says, r.lease_until,
        ),
        ids=ids, queue_ids=queue_ids, member_id=member_id, domain=domain, to=to, error=error, state=state, held=held,
        only_open=only_open,
    )
    if newest:
        query = (query if before is None else query.where(r.id < before)).order_by(r.id.desc())
    else:
        query = query.where(r.id > after).order_by(r.id)
    rows = await tx.execute(query.limit(limit))
    return [Queued(*row) for row in rows]


async def count(
    tx: Tx, *, ids: Sequence[int] = (), queue_ids: Sequence[str] = (), member_id: int | None = None,
    domain: str | None = None, to: str | None = None, error: str | None = None, held: bool | None = None,
) -> int:
    """How many open recipients `find` would show in all."""
    query = _chosen(
        select(func.count()), ids=ids, queue_ids=queue_ids, member_id=member_id, domain=domain, to=to, error=error,
        state=None, held=held, only_open=True,
    )
    return await tx.scalar(query) or 0


def _chosen(
    query: Any, *, ids: Sequence[int], queue_ids: Sequence[str], member_id: int | None, domain: str | None,
    to: str | None, error: str | None, state: str | None, held: bool | None, only_open: bool,
) -> Any:
    """`query` over recipients, with messages and domains, narrowed as `find` says."""
    r, m = recipients.c, messages.c
    query = query.select_from(
        recipients.join(messages, m.id == r.message_id).outerjoin(domains, domains.c.id == r.domain_id)
    )
    wanted: list[Any] = [_IS_OPEN] if only_open else []
    if ids or queue_ids:
        wanted.append(or_(r.id.in_(ids), m.queue_id.in_(queue_ids)))
    if member_id is not None:
        wanted.append(r.member_id == member_id)
    if domain is not None:
        wanted.append(domains.c.name == domain)
    if to is not None:
        wanted.append(or_(r.address == to, r.destination == to.lower()))
    if error is not None:
        wanted.append(func.lower(r.says).contains(error.lower(), autoescape=True))
    if state is not None:
        wanted.append(r.state == state)
    if held is not None:
        wanted.append(r.held.is_(held))
    return query.where(*wanted)


@dataclass(frozen=True, slots=True)
class SiteQueue:
    """What waits for one site: open recipients, of them those held, and when the oldest was accepted."""

    site: str
    open: int
    held: int
    oldest_at: float


async def waiting_by_site(tx: Tx, limit: int) -> list[SiteQueue]:
    """The open queue by receiving site, the largest first; a destination that is not known to be served by any counts
    by itself."""
    r, m = recipients.c, messages.c
    site = func.coalesce(destinations.c.site, r.destination)
    query = (
        select(site, func.count(), func.sum(case((r.held, 1), else_=0)), func.min(m.received_at))
        .select_from(
            recipients.join(messages, m.id == r.message_id)
            .outerjoin(destinations, destinations.c.domain == r.destination)
        )
        .where(_IS_OPEN).group_by(site).order_by(func.count().desc(), site).limit(limit)
    )
    return [SiteQueue(row[0], row[1], int(row[2] or 0), row[3]) for row in await tx.execute(query)]


async def admission(
    tx: Tx, *, queue_id: str | None = None, recipient_id: int | None = None, header_id: str | None = None
) -> Admission | None:
    """The newest message with this queue id, this recipient, or this Message-ID."""
    m = messages.c
    query: Any = select(m.id, m.queue_id, m.member_id, m.domain_id, m.key_id, m.return_path)
    if recipient_id is not None:
        of_recipient = select(recipients.c.message_id).where(recipients.c.id == recipient_id).scalar_subquery()
        query = query.where(m.id == of_recipient)
    elif header_id is not None:
        query = query.where(m.header_id == header_id)
    else:
        query = query.where(m.queue_id == queue_id)
    row = (await tx.execute(query.order_by(m.id.desc()).limit(1))).first()
    return Admission(*row) if row else None


async def health(tx: Tx, now: float) -> Health:
    """How the queue is doing at `now`."""
    r = recipients.c
    free = and_(_IS_OPEN, r.held.is_(False), or_(r.lease_until.is_(None), r.lease_until <= now))
    count = select(func.count()).select_from(recipients)
    due = (await tx.execute(select(func.count(), func.min(r.next_at)).where(free, r.next_at <= now))).one()
    named = await tx.execute(select(duties.c.name, duties.c.owner, duties.c.until))
    return Health(
        open=await tx.scalar(count.where(_IS_OPEN)) or 0,
        held=await tx.scalar(count.where(_IS_OPEN, r.held.is_(True))) or 0,
        overdue=due[0],
        oldest_due_at=due[1],
        leased=await tx.scalar(count.where(r.lease_owner.is_not(None), r.lease_until > now)) or 0,
        reports_due=await tx.scalar(count.where(r.report_due.is_not(None))) or 0,
        newest_at=await tx.scalar(select(func.max(messages.c.received_at))),
        duties={row.name: (row.owner, row.until) for row in named},
    )


async def submitted(tx: Tx, since: float, limit: int = 5000) -> list[Submitted]:
    """What was accepted with a key and a sender since `since`, newest first."""
    m, k = messages.c, api_keys.c
    query = (
        select(m.id, m.queue_id, m.member_id, m.key_id, k.public_id, k.domains, k.default_category, k.null_sender,
               m.door, m.mail_from, m.header_from, m.category)
        .join(api_keys, k.id == m.key_id).where(m.received_at >= since, m.mail_from != "")
        .order_by(m.id.desc()).limit(limit)
    )
    rows = [row._mapping for row in await tx.execute(query)]
    people: dict[int, list[str]] = {}
    for at in range(0, len(rows), 400):
        ids = [row["id"] for row in rows[at : at + 400]]
        r = recipients.c
        query_people = select(r.message_id, r.address).where(r.message_id.in_(ids)).order_by(r.id)
        for message_id, address in await tx.execute(query_people):
            people.setdefault(message_id, []).append(address)
    return [
        Submitted(**{name: row[name] for name in row if name != "id"}, recipients=people.get(row["id"], []))
        for row in rows
    ]
