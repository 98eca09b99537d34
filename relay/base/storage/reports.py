"""What people ask about their mail: lists and details over the relay's tables. SELECT only.

Every question but the operator's own (`waiting`, `answers`) names a member; what belongs to another one is not there.
`names` narrows to those domains, for API keys that may see only some.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, literal_column, or_, select, text

from relay.base.events import AFTERWARDS
from relay.base.storage.engine import Tx
from relay.base.storage.tables import (
    HAPPENED_AFTERWARDS,
    OPEN,
    attempts,
    domains,
    events,
    members,
    messages,
    recipients,
    webhook_deliveries,
    webhooks,
)

STATES = ("queued", "deferred", "sent", "bounced", "suppressed", "cancelled")


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """One recipient with what a list shows of its message. Times are Unix seconds."""

    id: int
    message_id: int
    queue_id: str
    domain: str | None
    mail_from: str
    header_from: str
    subject: str
    category: str
    received_at: float
    address: str
    state: str
    held: bool
    attempts: int
    next_at: float
    settled_at: float | None
    code: int | None
    says: str


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try. `kind` is delivered, later or never; `says` the remote reply as it came; `tls_policy` which TLS was
    asked of the host, `tls_verdict` what was found of its certificate, or what TLS failed for; "": it isn't known."""

    recipient_id: int
    at: float
    kind: str
    host: str
    ip: str
    tls: str
    stage: str
    code: int | None
    enhanced: str
    says: str
    seconds: float
    tls_policy: str = ""
    tls_cipher: str = ""
    tls_verdict: str = ""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message."""

    id: int
    queue_id: str
    domain: str | None
    door: str
    mail_from: str
    header_from: str
    subject: str
    header_id: str
    category: str
    tags: list[str] | None
    metadata: dict[str, Any] | None
    size: int
    received_at: float
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class DetailRow:
    """One recipient of a message in full. `notify`: the reports that its sender wants (RFC 3461 §4.1), None where it
    said nothing; `report_due`: the kind that is owed now; `report_sent_to`: where the one of its failure went."""

    id: int
    address: str
    state: str
    held: bool
    attempts: int
    next_at: float
    expires_at: float
    settled_at: float | None
    code: int | None
    says: str
    notify: str | None = None
    report_due: str | None = None
    report_sent_to: str | None = None


def _of_member(query: Any, member_id: int, names: Collection[str] | None) -> Any:
    """The query joined with messages and domains, narrowed to the member and the domains its key may see."""
    query = query.outerjoin(domains, domains.c.id == messages.c.domain_id).where(messages.c.member_id == member_id)
    return query if names is None else query.where(domains.c.name.in_(names))


async def recipients_of(
    tx: Tx,
    member_id: int,
    *,
    names: Collection[str] | None = None,
    state: str | None = None,
    event: str | None = None,
    address: str | None = None,
    domain: str | None = None,
    since: float | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[RecipientRow]:
    """Recipients, newest first: ids below `before`, received from `since` on, to exactly `address`; `event`: those of
    whom one of AFTERWARDS is known."""
    r, m = recipients.c, messages.c
    query: Any = select(
        r.id, r.message_id, m.queue_id, domains.c.name, m.mail_from, m.header_from, m.subject, m.category,
        m.received_at, r.address, r.state, r.held, r.attempts, r.next_at, r.settled_at, r.code, r.says,
    ).join_from(recipients, messages, m.id == r.message_id)
    query = _of_member(query, member_id, names).where(r.member_id == member_id)
    if state is not None:
        query = query.where(r.state == state)
    if event is not None:
        query = query.where(r.id.in_(_who_did(member_id, event)))
    if address is not None:
        query = query.where(r.address == address)
    if domain is not None:
        query = query.where(domains.c.name == domain)
    if since is not None:
        query = query.where(m.received_at >= since)
    if before is not None:
        query = query.where(r.id < before)
    rows = await tx.execute(query.order_by(r.id.desc()).limit(limit))
    return [RecipientRow(*row) for row in rows]


def _who_did(member_id: int, kind: str) -> Any:
    """The recipients of a member who did this. In the very words of the partial index, or it would not be used."""
    if kind not in AFTERWARDS:
        raise ValueError(kind)
    e = events.c
    return select(e.recipient_id).where(
        e.member_id == member_id, text(HAPPENED_AFTERWARDS), e.type == literal_column(f"'{kind}'"),
        e.recipient_id.is_not(None),
    )


async def afterwards(tx: Tx, message_ids: Collection[int]) -> dict[int, list[str]]:
    """What is known of recipients of these messages after delivery: recipient id → types in the order of AFTERWARDS."""
    e = events.c
    query = (
        select(e.recipient_id, e.type).where(e.message_id.in_(message_ids), e.type.in_(AFTERWARDS)).distinct()
    )
    found: dict[int, list[str]] = {}
    for recipient_id, kind in await tx.execute(query):
        found.setdefault(recipient_id, []).append(kind)
    return {i: sorted(kinds, key=AFTERWARDS.index) for i, kinds in found.items()}


async def stages(tx: Tx, recipient_ids: Sequence[int]) -> dict[int, str]:
    """At which command each recipient's last try ended; without those that had none."""
    a = attempts.c
    query = select(a.recipient_id, a.stage).where(a.recipient_id.in_(recipient_ids)).order_by(a.id)
    return {row.recipient_id: row.stage for row in await tx.execute(query)}


async def message(
    tx: Tx,
    member_id: int,
    *,
    names: Collection[str] | None = None,
    queue_id: str | None = None,
    recipient_id: int | None = None,
) -> tuple[MessageRow, list[DetailRow], list[AttemptRow]] | None:
    """A message by its queue id with all recipients, or by one recipient's id with that one; None if not theirs."""
    m, r, a = messages.c, recipients.c, attempts.c
    query: Any = select(
        m.id, m.queue_id, domains.c.name, m.door, m.mail_from, m.header_from, m.subject, m.header_id, m.category,
        m.tags, m.metadata, m.size, m.received_at, m.finished_at,
    ).select_from(messages)
    if recipient_id is not None:
        query = query.where(m.id == select(r.message_id).where(r.id == recipient_id).scalar_subquery())
    else:
        query = query.where(m.queue_id == queue_id)
    row = (await tx.execute(_of_member(query, member_id, names))).first()
    if row is None:
        return None
    found = MessageRow(*row)
    people: Any = (
        select(
            r.id, r.address, r.state, r.held, r.attempts, r.next_at, r.expires_at, r.settled_at, r.code, r.says,
            r.notify, r.report_due, r.report_sent_to,
        )
        .where(r.message_id == found.id).order_by(r.id)
    )
    if recipient_id is not None:
        people = people.where(r.id == recipient_id)
    listed = [DetailRow(*p) for p in await tx.execute(people)]
    tries: Any = (
        select(
            a.recipient_id, a.at, a.kind, a.host, a.ip, a.tls, a.stage, a.code, a.enhanced, a.says, a.seconds,
            a.tls_policy, a.tls_cipher, a.tls_verdict,
        )
        .where(a.recipient_id.in_([p.id for p in listed])).order_by(a.id)
    )
    return found, listed, [AttemptRow(*t) for t in await tx.execute(tries)]


async def domain_names(tx: Tx, member_id: int) -> dict[int, str]:
    """The names of a member's domains by id, those that are gone included."""
    query = select(domains.c.id, domains.c.name).where(domains.c.member_id == member_id)
    return {row[0]: row[1] for row in await tx.execute(query)}


@dataclass(frozen=True, slots=True)
class EventsWanted:
    """Which events of a member a search is for: of these types and domains (None: of any, or of none), at `since` or
    later and before `until` (Unix seconds), of one message (by its queue id, its Message-ID, or the `MessageID` of its
    metadata), and with `text` somewhere in what is known of it, in any letter case."""

    member_id: int
    types: Collection[str]
    domain_ids: Collection[int] | None = None
    since: float | None = None
    until: float | None = None
    message: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event with what a list shows of its message and its recipient; `code` is the last reply's."""

    id: int
    type: str
    at: float
    queue_id: str | None
    metadata: dict[str, Any] | None
    header_from: str | None
    subject: str | None
    recipient: str | None
    domain: str | None
    code: int | None


async def events_found(
    tx: Tx, wanted: EventsWanted, *, start: int = 0, before: int | None = None, limit: int = 100
) -> list[EventRow]:
    """Events, the newest first: from the `start`th on, with ids below `before`."""
    e, m = events.c, messages.c
    query = _searched(select(
        e.id, e.type, e.at, m.queue_id, m.metadata, m.header_from, m.subject, _recipient(), domains.c.name,
        recipients.c.code,
    ), wanted)
    if before is not None:
        query = query.where(e.id < before)
    return [EventRow(*row) for row in await tx.execute(query.order_by(e.id.desc()).offset(start).limit(limit))]


async def events_counted(tx: Tx, wanted: EventsWanted) -> int:
    """How many there are."""
    return int(await tx.scalar(_searched(select(func.count(events.c.id)), wanted)) or 0)


def _recipient() -> Any:
    return func.coalesce(recipients.c.address, events.c.data["recipient"].as_string())


def _searched(query: Any, wanted: EventsWanted) -> Any:
    e, m, r = events.c, messages.c, recipients.c
    query = (
        query.select_from(events).outerjoin(messages, m.id == e.message_id)
        .outerjoin(recipients, r.id == e.recipient_id).outerjoin(domains, domains.c.id == e.domain_id)
        .where(e.member_id == wanted.member_id, e.type.in_(wanted.types))
    )
    if wanted.domain_ids is not None:
        query = query.where(e.domain_id.in_(wanted.domain_ids))
    if wanted.since is not None:
        query = query.where(e.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(e.at < wanted.until)
    if wanted.message:
        named = m.metadata["MessageID"].as_string() == wanted.message
        query = query.where(or_(m.queue_id == wanted.message, m.header_id == wanted.message, named))
    if wanted.text:
        shown = (m.subject, m.header_from, m.header_id, r.says, domains.c.name, _recipient())
        text_ = wanted.text.lower()
        query = query.where(or_(*(func.lower(column).contains(text_, autoescape=True) for column in shown)))
    return query


async def waiting(tx: Tx, now: float) -> tuple[dict[str, int], float]:
    """What waits in the queue: recipients by state (`queued`, `deferred`, and `held` of both), and for how many
    seconds the oldest due one has been due."""
    r = recipients.c
    is_open = text(OPEN)
    rows = await tx.execute(select(r.state, r.held, func.count()).where(is_open).group_by(r.state, r.held))
    counts = {"queued": 0, "deferred": 0, "held": 0}
    for state, held, count in rows:
        counts["held" if held else state] += count
    oldest = await tx.scalar(select(func.min(r.next_at)).where(is_open, r.held.is_(False)))
    return counts, max(0.0, now - oldest) if oldest is not None else 0.0


@dataclass(frozen=True, slots=True)
class Population:
    """How many there are: members by status, domains by state, what webhooks wait for."""

    members: dict[str, int]
    domains: dict[str, int]
    webhooks_waiting: int
    webhooks_failing: int


async def population(tx: Tx) -> Population:
    """Who is enrolled, the relay's own member left out, and how their webhooks fare."""

    async def by(column: Any, *where: Any) -> dict[str, int]:
        query = select(column, func.count()).where(*where).group_by(column)
        return {row[0]: row[1] for row in await tx.execute(query)}

    waiting = select(func.count()).where(webhook_deliveries.c.state == "waiting")
    w = webhooks.c
    failing = select(func.count()).where(or_(w.failing_since.is_not(None), w.state == "disabled"), w.state != "deleted")
    return Population(
        await by(members.c.status, members.c.system.is_(False)), await by(domains.c.state),
        await tx.scalar(waiting) or 0, await tx.scalar(failing) or 0,
    )


async def answers(tx: Tx) -> None:
    """The smallest question: does the database answer with our schema?"""
    await tx.execute(select(messages.c.id).limit(1))
