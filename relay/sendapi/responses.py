"""The shapes of this door's answers. Handlers are typed with them and the OpenAPI description is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from relay.base.events import Shown as EventShown
from relay.base.storage import reports
from relay.standing import Shown as StandingShown

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
State = Annotated[str, Field(json_schema_extra={"enum": list(reports.STATES)})]


class AcceptedOne(TypedDict):
    """One recipient that was taken."""

    recipient: str
    messageId: Annotated[int, Field(description="Names this recipient in /v1/messages/{id} and in events.")]


class RejectedOne(TypedDict):
    """One recipient that was left out, as it was written, with the facts that a whole refusal carries."""

    recipient: str
    reason: str
    code: str
    detail: dict[str, Any]


class Sent(TypedDict):
    """What became of one message: each recipient stands in one of the two lists."""

    accepted: list[AcceptedOne]
    rejected: list[RejectedOne]
    id: Annotated[str | None, Field(description="The queue id.")]


class NothingAccepted(TypedDict):
    """422 `NOTHING_ACCEPTED`: every recipient was refused by itself, and `rejected` says why."""

    error: str
    code: Literal["NOTHING_ACCEPTED"]
    detail: dict[str, Any]
    accepted: Annotated[list[AcceptedOne], Field(max_length=0)]
    rejected: list[RejectedOne]
    id: None


class BatchResult(TypedDict):
    """What POST /v1/send would have answered: `accepted`, `rejected`, `id`, or `error`, `code`, `detail`, or both
    where nothing was accepted."""

    status: int
    accepted: NotRequired[list[AcceptedOne]]
    rejected: NotRequired[list[RejectedOne]]
    id: NotRequired[str | None]
    error: NotRequired[str]
    code: NotRequired[str]
    detail: NotRequired[dict[str, Any]]


class BatchSent(TypedDict):
    """A result for each message, in order."""

    results: list[BatchResult]


class GateSaid(TypedDict):
    """One gate: what it looked at; its advice, or the refusal that sending would get."""

    gate: str
    verdict: Literal["passed", "advice", "refused"]
    evidence: dict[str, Any]
    advice: NotRequired[str]
    error: NotRequired[str]
    code: NotRequired[str]
    detail: NotRequired[dict[str, Any]]
    status: NotRequired[int]


class Preflight(TypedDict):
    """Every gate in the order in which a message meets them; `ok`: none refuses."""

    ok: bool
    gates: list[GateSaid]


_From = TypedDict("_From", {"from": str})


class Row(_From):
    """One recipient in a list."""

    messageId: int
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


class Person(TypedDict):
    """One recipient of a message, with every attempt."""

    messageId: int
    recipient: str
    status: State
    held: bool
    code: int | None
    reply: str
    nextAttemptAt: Moment | None
    expiresAt: Moment
    settledAt: Moment | None
    attempts: list[Attempt]


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


class Changed(Message):
    """The message after the change, and which of its recipients changed."""

    action: str
    messageIds: list[int]


class Events(TypedDict):
    """Events after a cursor, oldest first."""

    events: list[EventShown]
    cursor: Annotated[str, Field(description="Give it back as `after`, also when there was nothing new.")]
    more: Annotated[bool, Field(description="True when there is more to fetch at once.")]


class Used(TypedDict):
    """An allowance; `limit` and `left` are null where there is none."""

    limit: int | None
    used: int
    left: int | None


class Window(TypedDict):
    """A domain's warming tier and what is left of it, over 60 minutes and 24 hours."""

    domain: str
    tier: str
    verifiedAt: Moment | None
    hour: Used
    day: Used


class MemberStatus(TypedDict):
    """The member, and the allowance of each domain that may send."""

    handle: str
    did: str
    status: str
    reason: str
    domains: list[Window]
    labels: list[str]


class Deliverability(TypedDict):
    """Sums of 14 UTC days, today the last one. `sent` counts accepted recipients; null limits: there is none."""

    did: str
    status: str
    sent_14d: int
    bounced_14d: int
    complaints_14d: int
    bounce_rate: float
    daily_sends: list[int]
    hourly_limit: int | None
    daily_limit: int | None
    labels: list[str]
    standing: StandingShown
