"""The shapes of requests, strict: no unknown field, no guessed type. The OpenAPI schema is made from them.

Values that need a look at the configuration, the directory or
the clock are judged later.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from relay.base.web.models import Strict

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
