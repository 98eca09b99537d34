"""What became of messages: lists, details with every attempt, cancel and retry, and the feed of events.

A message is named by its queue id, one of its recipients by the integer that sending answered. Another member's are
not found, like those of domains that the key may not use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from enroll.services import Services
from enroll.sessions import Actor
from relay.base import names
from relay.base.clock import iso
from relay.base.events import AFTERWARDS, TYPES, Event, shown
from relay.base.events import Shown as EventShown
from relay.base.names import BadName
from relay.base.storage import events, reports
from relay.base.storage.reports import AttemptRow, DetailRow, MessageRow, RecipientRow
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.base.web.models import FormerId, Moment, OlderPage, Page, one_of, refuse_fields
from relay.queue import Handoff, Queue
from relay.replies import NOT_FOUND, NOT_POSSIBLE, Refused

_QUEUE_ID = re.compile(r"[a-z0-9]{8,32}")
_BIG = 2**62
Found = tuple[MessageRow, list[DetailRow], list[AttemptRow], list[Event]]


Happened = Annotated[str, Field(json_schema_extra={"enum": list(AFTERWARDS)})]
State = Annotated[str, Field(json_schema_extra={"enum": list(reports.STATES)})]
_From = TypedDict("_From", {"from": str})


class Row(_From):
    """One recipient in a list."""

    recipientId: int
    messageId: FormerId
    id: Annotated[str, Field(description="The message's queue id.")]
    recipient: str
    status: State
    subject: str
    domain: str | None
    category: str
    receivedAt: Moment
    attempts: int
    code: Annotated[int | None, Field(description="The last reply's code.")]
    reply: str
    nextAttemptAt: Moment | None
    settledAt: Moment | None
    events: Annotated[list[Happened], Field(description="What the recipient did with it.")]


class Messages(TypedDict):
    """A page, newest first."""

    messages: list[Row]
    cursor: Annotated[str | None, Field(description="Give it back as `cursor` for the next page; null: no more.")]


class Attempt(TypedDict):
    """One try at one recipient."""

    at: Moment
    result: str
    host: str
    ip: str
    tls: str | None
    stage: str
    code: int | None
    enhanced: str | None
    reply: str
    seconds: float
    tlsPolicy: Annotated[
        str | None,
        Field(
            description="Which TLS was asked of the host: none, opportunistic, required, verified (as configured), "
            "dane, mta-sts, mta-sts-testing, requiretls, tls-required-no."
        ),
    ]
    tlsCipher: str | None
    tlsVerdict: Annotated[
        str | None,
        Field(
            description="What was found of the host's certificate: verified, unverified, or, in the words of RFC 8460, "
            "what TLS failed for."
        ),
    ]


class Person(TypedDict):
    """One recipient of a message, with every attempt."""

    recipientId: int
    messageId: FormerId
    recipient: str
    status: State
    held: bool
    code: int | None
    reply: str
    nextAttemptAt: Moment | None
    expiresAt: Moment
    settledAt: Moment | None
    attempts: list[Attempt]
    reportTo: Annotated[str | None, Field(description="Where the report of the failure went; null: none did.")]


class Message(_From):
    """One message."""

    id: str
    domain: str | None
    door: str
    mailFrom: str
    subject: str
    messageIdHeader: str
    category: str
    tags: list[str]
    metadata: dict[str, str | int | float | bool | None]
    size: Annotated[int, Field(description="Octets.")]
    receivedAt: Moment
    finishedAt: Moment | None
    recipients: list[Person]
    timeline: Annotated[
        list[EventShown],
        Field(description="All that happened to it, oldest first: the first 500 events, and every complaint and "
              "leaving. The rest stands in GET /v1/events."),
    ]


class Changed(Message):
    """The message after the change, and which of its recipients changed."""

    action: str
    recipientIds: list[int]
    messageIds: Annotated[
        list[int], Field(description="The former name of `recipientIds`, until 1.0.", deprecated=True)
    ]


class Cleared(TypedDict):
    """What became of a domain's queue, in recipients."""

    cancelled: int
    left: Annotated[int, Field(description="Those that were being delivered at that moment.")]


class Events(TypedDict):
    """Events after a cursor, oldest first."""

    events: list[EventShown]
    cursor: Annotated[str, Field(description="Give it back as `cursor`, also when there was nothing new.")]
    more: Annotated[bool, Field(description="True when there is more to fetch at once.")]


class Filter(Page):
    """What GET /v1/messages can be narrowed by."""

    status: Annotated[str, *one_of(reports.STATES)] | None = None
    event: Annotated[str, *one_of(AFTERWARDS)] | None = Field(None, description="What the recipient did with it.")
    recipient: str | None = Field(None, description="An address.")
    domain: str | None = Field(None, description="A sending domain.")
    since: str | None = Field(None, description="RFC 3339 or Unix seconds.")


class Feed(OlderPage):
    """Which part of the feed GET /v1/events answers."""

    type: list[Annotated[str, *one_of(sorted(TYPES))]] = Field(default_factory=list, description="Only these.")


@dataclass(frozen=True, slots=True)
class Mail:
    """The queue, and this process's worker where it has one."""

    queue: Queue
    handoff: Handoff | None = None


_calls = Calls("Messages and events", KEY_OR_SIGN_IN)
_of_domains = Calls("Domains", KEY_OR_SIGN_IN)
_ONE = "/v1/messages/{id}"
_NAMED = "`id` is a queue id, or the `recipientId` of one recipient: then of this one alone."


class OfMessages:
    """The handlers."""

    def __init__(self, services: Services, mail: Mail) -> None:
        self._config, self._storage, self._mail = services.config, services.storage, mail

    @_calls.get("/v1/messages", "List recipients, newest first")
    async def list(self, who: Actor, query: Filter) -> Messages:
        with _naming("recipient"):
            to = names.address(query.recipient).text if query.recipient is not None else None
        with _naming("domain"):
            name = names.domain(query.domain) if query.domain is not None else None
        limit = query.size(self._config.http)
        async with self._storage.read() as tx:
            rows = await reports.recipients_of(
                tx, who.member.id, names=who.domains, state=query.status, event=query.event, address=to, domain=name,
                since=_since(query.since), before=query.cursor, limit=limit + 1,
            )
            happened = await reports.afterwards(tx, {r.message_id for r in rows[:limit]})
        cursor = str(rows[limit - 1].id) if len(rows) > limit else None
        return {"messages": [_row(r, happened.get(r.id, [])) for r in rows[:limit]], "cursor": cursor}

    @_calls.get(_ONE, "One message with every attempt", description=_NAMED)
    async def get(self, who: Actor, id: str) -> Message:
        return message_view(*await self._found(who, id))

    @_calls.post(f"{_ONE}/cancel", "Cancel what is still waiting", scope="send", description=_NAMED)
    async def cancel(self, who: Actor, id: str) -> Changed:
        return await self._change("cancel", who, id)

    @_calls.post(f"{_ONE}/retry", "Try again now", scope="send", description=_NAMED)
    async def retry(self, who: Actor, id: str) -> Changed:
        changed = await self._change("retry", who, id)
        if self._mail.handoff is not None:
            self._mail.handoff.wake.set()
        return changed

    @_calls.get("/v1/events", "Events in order, by cursor")
    async def events(self, who: Actor, query: Feed) -> Events:
        after, limit = query.cursor or 0, query.size(self._config.http)
        async with self._storage.read() as tx:
            found = await events.after(tx, after, member_id=who.member.id, types=query.type, limit=limit + 1)
            domains = await reports.domain_names(tx, who.member.id)
        more = len(found) > limit
        found = found[:limit]
        allowed = who.domains
        entries = [
            shown(e, domains.get(e.domain_id or 0))
            for e in found if allowed is None or domains.get(e.domain_id or 0) in allowed
        ]
        return {"events": entries, "cursor": str(found[-1].id if found else after), "more": more}

    async def _change(self, action: str, who: Actor, named: str) -> Changed:
        _, people, _, _ = await self._found(who, named)
        done = await self._mail.queue.change(action, [p.id for p in people], member_id=who.member.id)
        if not done:
            states = ", ".join(sorted({p.state for p in people}))
            raise Refused(
                NOT_POSSIBLE,
                saw=f"no recipient is waiting: {states}" if states not in ("queued", "deferred")
                else "the message is being delivered just now",
            )
        after = message_view(*await self._found(who, named))
        return {"action": action, "recipientIds": done, "messageIds": done, **after}

    async def _found(self, who: Actor, text: str) -> Found:
        wanted: dict[str, Any]
        if text.isascii() and text.isdigit() and int(text[:20]) < _BIG and len(text) <= 20:
            wanted = {"recipient_id": int(text)}
        elif _QUEUE_ID.fullmatch(text.lower()):
            wanted = {"queue_id": text.lower()}
        else:
            raise Refused(NOT_FOUND)
        async with self._storage.read() as tx:
            found = await reports.message(tx, who.member.id, names=who.domains, **wanted)
            if found is None:
                raise Refused(NOT_FOUND)
            happened = await events.timeline(tx, found[0].id, recipient_id=wanted.get("recipient_id"))
        return *found, happened


class Queues:
    """What waits from a domain."""

    def __init__(self, services: Services, mail: Mail) -> None:
        self._domains, self._mail = services.for_domains.domains, mail

    @_of_domains.delete(
        "/v1/domains/{id}/queue", "Cancel all that waits from a domain", scope="send",
        description="`id` is a domain's id, uuid or name. Nothing is reported to its senders; each is an event.",
    )
    async def clear(self, who: Actor, id: str) -> Cleared:
        domain = await self._domains.get(who.member.id, id)
        if not who.may_use(domain.name):
            raise Refused(NOT_FOUND)
        cancelled, left = await self._mail.queue.clear(who.member.id, domain.name)
        return {"cancelled": cancelled, "left": left}


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Refuse what can't be meant by its field's name."""
    try:
        yield
    except BadName as e:
        refuse_fields([(field, e.reason)])
    except (ValueError, OverflowError):
        refuse_fields([(field, "not readable")])


def _since(text: str | None) -> float | None:
    """RFC 3339 or Unix seconds."""
    if text is None:
        return None
    with _naming("since"):
        # A "+" that a client forgot to escape arrives as a blank.
        plain = text.replace(" ", "+")
        if text.replace(".", "", 1).isdigit() and text.isascii():
            return float(text)
        at = datetime.fromisoformat(plain.upper())
        if at.tzinfo is None:
            raise ValueError
        return at.timestamp()


def _row(r: RecipientRow, happened: list[str]) -> Row:
    return {
        "recipientId": r.id, "messageId": r.id, "id": r.queue_id, "recipient": r.address, "status": r.state,
        "from": r.header_from or r.mail_from, "subject": r.subject, "domain": r.domain, "category": r.category,
        "receivedAt": iso(r.received_at), "attempts": r.attempts, "code": r.code, "reply": r.says,
        "nextAttemptAt": _next(r.state, r.held, r.next_at), "settledAt": _iso(r.settled_at),
        "events": happened,
    }


def message_view(
    message: MessageRow, people: list[DetailRow], tries: list[AttemptRow], happened: list[Event]
) -> Message:
    """A message as it is shown."""
    of: dict[int, list[Attempt]] = {}
    for one in tries:
        of.setdefault(one.recipient_id, []).append(
            {
                "at": iso(one.at), "result": one.kind, "host": one.host, "ip": one.ip, "tls": one.tls or None,
                "stage": one.stage, "code": one.code, "enhanced": one.enhanced or None, "reply": one.says,
                "seconds": round(one.seconds, 3), "tlsPolicy": one.tls_policy or None,
                "tlsCipher": one.tls_cipher or None, "tlsVerdict": one.tls_verdict or None,
            }
        )
    return {
        "id": message.queue_id, "domain": message.domain, "door": message.door, "mailFrom": message.mail_from,
        "from": message.header_from or message.mail_from, "subject": message.subject,
        "messageIdHeader": message.header_id, "category": message.category, "tags": message.tags or [],
        "metadata": message.metadata or {}, "size": message.size, "receivedAt": iso(message.received_at),
        "finishedAt": _iso(message.finished_at),
        "recipients": [
            {
                "recipientId": p.id, "messageId": p.id, "recipient": p.address, "status": p.state, "held": p.held,
                "code": p.code, "reply": p.says, "nextAttemptAt": _next(p.state, p.held, p.next_at),
                "expiresAt": iso(p.expires_at), "settledAt": _iso(p.settled_at), "attempts": of.get(p.id, []),
                "reportTo": p.report_sent_to,
            }
            for p in people
        ],
        "timeline": [shown(e, message.domain if e.domain_id else None) for e in happened],
    }


def _next(state: str, held: bool, at: float) -> str | None:
    return iso(at) if state in ("queued", "deferred") and not held else None


def _iso(at: float | None) -> str | None:
    return iso(at) if at is not None else None
