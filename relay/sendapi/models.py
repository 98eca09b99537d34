"""The shapes of requests, strict: no unknown field, no guessed type. The OpenAPI schema is made from them.

What is wrong is said by field and reason (`read`). Values that need a look at the configuration, the directory or
the clock are judged later.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from relay.base.web.body import shown
from relay.replies import INVALID_REQUEST, Refused

MAX_METADATA = 10
_SHOWN_ERRORS = 10

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


class Strict(BaseModel):
    """No coercion, no unknown field."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Attachment(Strict):
    """One file of a message."""

    filename: str = Field(min_length=1, max_length=255, description="Name shown to the reader.")
    content: str = Field(description="The file in base64 (RFC 4648 §4).")
    content_type: str | None = Field(
        None, alias="contentType", max_length=255, description="type/subtype with parameters; default by filename.",
    )
    content_id: str | None = Field(
        None, alias="contentId", max_length=200, description="For cid: links of the html part; makes the file inline.",
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
    reply_to: Mailboxes = Field(default_factory=list, alias="replyTo")
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
    send_at: Moment | None = Field(None, alias="sendAt", description="RFC 3339 or Unix seconds; the past means now.")

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


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], value: Any) -> Model:
    """`value` (strict JSON, parsed) as a model; raises Refused (INVALID_REQUEST) naming every wrong field."""
    if not isinstance(value, dict):
        refuse_fields([("", "a JSON object is needed")])
    try:
        return model.model_validate(value)
    except ValidationError as e:
        refuse_fields(_faults(e))


def refuse_fields(faults: list[tuple[str, str]]) -> NoReturn:
    """Refuse a request for what is wrong with its fields: (field, reason) pairs, at least one."""
    listed = [{"field": field, "reason": reason} for field, reason in faults[:_SHOWN_ERRORS]]
    field, reason = faults[0]
    raise Refused(
        INVALID_REQUEST, saw=f"{field}: {reason}" if field else reason, extra={"field": field, "errors": listed}
    )


def _faults(error: ValidationError) -> list[tuple[str, str]]:
    faults = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        # Locations end in the branch of a union that was tried; people know only the field.
        where = ".".join(
            shown(str(part)) for part in one["loc"] if not (isinstance(part, str) and part in _UNION_BRANCHES)
        )
        if one["type"] == "extra_forbidden":
            faults.append((where, "unknown field"))
        elif one["type"] == "missing":
            faults.append((where, "required"))
        else:
            faults.append((where, one["msg"].removeprefix("Value error, ")))
    return list(dict.fromkeys(faults))


_UNION_BRANCHES = frozenset({"str", "int", "float", "bool", "constrained-str"})
