"""The models of the send API's requests and answers. Handlers are typed with them; OpenAPI is made from them.

Requests are strict: no unknown field, no guessed type. Values that need a look at the configuration, the directory or
the clock are judged later.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from typing_extensions import TypedDict

from relay.base.web.models import FormerId, Strict

MAX_METADATA = 10

Category = Literal[
    "bulk", "broadcast", "transactional", "login-link", "password-reset", "mfa-otp", "verification"
]


def _one_or_many(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return [] if value is None else [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("a string or an array of strings is needed")


Mailboxes = Annotated[
    list[str],
    BeforeValidator(_one_or_many),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Moment = Annotated[
    str | int | float,
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]


class Attachment(Strict):
    """One file of a message."""

    filename: str = Field(min_length=1, max_length=255, description="Name shown to the reader.")
    content: str = Field(description="The file in base64 (RFC 4648 §4).")
    content_type: str | None = Field(
        None, max_length=255, description="type/subtype with parameters; default by filename.",
    )
    content_id: str | None = Field(
        None, max_length=200, description="For cid: links of the html part; makes the file inline.",
    )
    disposition: Literal["attachment", "inline"] | None = Field(
        None, description="Default: inline with a contentId, else attachment.",
    )


class SendRequest(Strict):
    """One message, as POST /v1/send takes it."""

    sender: str | None = Field(
        None, alias="from", max_length=1000, examples=["Anna <anna@example.org>"],
        description="One mailbox in an enrolled domain, with or without a display name.",
    )
    to: Mailboxes = Field(
        min_length=1, examples=["ben@example.net"],
        description="Recipients, each with or without a display name.",
    )
    cc: Mailboxes = Field(default_factory=list)
    bcc: Mailboxes = Field(default_factory=list, description="Recipients that no header names.")
    subject: str = Field(max_length=2000, examples=["Hello"])
    text: str | None = Field(None, examples=["Good morning."], description="Plain text; derived from html when absent.")
    html: str | None = None
    reply_to: Mailboxes = Field(default_factory=list)
    headers: dict[str, str] = Field(default_factory=dict, max_length=100, description="Further header fields.")
    category: Category | None = Field(None, description="Default: the API key's, which is bulk unless set.")
    attachments: list[Attachment] = Field(default_factory=list, max_length=100)
    tags: list[Annotated[str, Field(min_length=1, max_length=128)]] = Field(
        default_factory=list, max_length=20, description="Come back in events.",
    )
    metadata: dict[
        Annotated[str, Field(min_length=1, max_length=64)],
        Annotated[str, Field(max_length=1024)] | int | float | bool | None,
    ] = Field(default_factory=dict, max_length=MAX_METADATA, description="Comes back in events.")
    send_at: Moment | None = Field(None, description="RFC 3339 or Unix seconds; the past means now.")

    @model_validator(mode="after")
    def _has_content(self) -> SendRequest:
        if self.text is None and self.html is None:
            raise ValueError("text or html is needed")
        return self


class BatchRequest(Strict):
    """Several messages; each is judged by itself."""

    messages: list[dict[str, Any]] = Field(
        min_length=1, description="Each as POST /v1/send takes it.",
        examples=[[{"from": "anna@example.org", "to": "ben@example.net", "subject": "Hello", "text": "Good morning."}]],
    )


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
