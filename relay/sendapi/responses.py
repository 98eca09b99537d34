"""The shapes of the send API's answers. Handlers are typed with them and the OpenAPI description is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from relay.base.web.models import FormerId


class AcceptedOne(TypedDict):
    """One recipient that was taken."""

    recipient: str
    recipientId: Annotated[int, Field(description="Names this recipient in /v1/messages/{id} and in events.")]
    messageId: FormerId


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


class CheckAnswer(TypedDict):
    """One check: what it looked at; its advice, or the refusal that sending would get."""

    gate: str
    verdict: Literal["passed", "advice", "refused"]
    evidence: dict[str, Any]
    advice: NotRequired[str]
    error: NotRequired[str]
    code: NotRequired[str]
    detail: NotRequired[dict[str, Any]]
    status: NotRequired[int]


class Preflight(TypedDict):
    """Every check in the order in which a message meets them; `ok`: none refuses."""

    ok: bool
    gates: list[CheckAnswer]
