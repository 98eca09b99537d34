"""The mail log's small vocabulary: one name for one thing that happens. Webhooks and the feed speak it too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from relay.base.clock import iso

ACCEPTED = "accepted"
REJECTED = "rejected"
DEFERRED = "deferred"
SENT = "sent"
BOUNCED = "bounced"
COMPLAINED = "complained"
UNSUBSCRIBED = "unsubscribed"
SUPPRESSED = "suppressed"
OPENED = "opened"
CLICKED = "clicked"
CANCELLED = "cancelled"
REPEATED = "repeated"
DOMAIN_CREATED = "domain.created"
DOMAIN_VERIFIED = "domain.verified"
DOMAIN_FAILING = "domain.failing"
DOMAIN_LOST = "domain.lost"
DOMAIN_DISABLED = "domain.disabled"
DOMAIN_ENABLED = "domain.enabled"
DOMAIN_DELETED = "domain.deleted"
SENDER_CREATED = "sender.created"
SENDER_UPDATED = "sender.updated"
SENDER_VERIFIED = "sender.verified"
SENDER_DELETED = "sender.deleted"
MEMBER_NOTICED = "member.noticed"
MEMBER_SLOWED = "member.slowed"
MEMBER_SUSPENDED = "member.suspended"
MEMBER_RELEASED = "member.released"

TYPES: frozenset[str] = frozenset(v for k, v in list(globals().items()) if k.isupper() and isinstance(v, str))

AFTERWARDS = (COMPLAINED, UNSUBSCRIBED, OPENED, CLICKED)
"""What recipients do with a message that they have; lists of messages are narrowed by these."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `at` is Unix seconds; `id` is given by storage and rises."""

    type: str
    member_id: int
    at: float
    domain_id: int | None = None
    message_id: int | None = None
    recipient_id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    id: int = 0


class Shown(TypedDict):
    """An event as members see it: `recipientId` is the recipient's, as sending answered it."""

    id: int
    type: Annotated[str, Field(json_schema_extra={"enum": sorted(TYPES)})]
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    recipientId: int | None
    messageId: Annotated[int | None, Field(description="The former name of `recipientId`, until 1.0.", deprecated=True)]
    domain: str | None
    data: dict[str, Any]


def shown(event: Event, domain: str | None) -> Shown:
    """An event as members see it, in the feed and at a webhook; `domain` is the name behind its `domain_id`."""
    return {
        "id": event.id, "type": event.type, "at": iso(event.at), "recipientId": event.recipient_id,
        "messageId": event.recipient_id, "domain": domain, "data": event.data,
    }
