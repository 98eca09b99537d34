"""`POST /api/v1/email`: one message, in the shape of the Email Gateway, sent by the rules of `/v1/send`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field
from pydantic_core import to_json

from enroll.api.octeth.errors import UNREADABLE, Fault
from enroll.api.octeth.views import Answer
from relay.base.config import Config
from relay.base.names import BadName, address
from relay.base.web import bearer, json_body, raw_answer
from relay.base.web.calls import KEY, Call, Calls
from relay.replies import (
    AUTH_FAILED,
    AUTH_REQUIRED,
    DOMAIN_MISMATCH,
    DOMAIN_RESTS,
    INVALID_REQUEST,
    MEMBER_SUSPENDED,
    RATE_LIMITED,
    SCOPE_MISSING,
    SUPPRESSED,
    TIER_TOO_SMALL,
    TOO_MANY_RECIPIENTS,
    Refused,
)
from relay.sendapi import Caller, Copies

TAG = ("Email", "One message at a time. The key's scope is `send`.")
_calls = Calls(TAG[0], KEY, scope="send", hands=("call",))
# Without a Bearer header the key stands in the body, and a stranger's is read no further than this.
_MAX_WITH_KEY = 65_536
_OTHERS = {"TemplateID": 15, "TargetListID": 16, "ListID": 35, "SubscriberID": 36, "JourneyID": 37, "ActionID": 38}
_REFUSED = {
    AUTH_REQUIRED: (1, 401), AUTH_FAILED: (13, 401), SCOPE_MISSING: (13, 403), MEMBER_SUSPENDED: (12, 403),
    DOMAIN_MISMATCH: (2, 403), DOMAIN_RESTS: (32, 403), TOO_MANY_RECIPIENTS: (20, 422), RATE_LIMITED: (17, 429),
    TIER_TOO_SMALL: (17, 422),
}
_GROUPS = {"To": (20, 18, 19, 20), "CC": (21, 21, 22, 22), "BCC": (24, 25, 26, 27), "ReplyTo": (28, 29, 30, 31)}
"""The codes of a group of addresses: no list, one without an address, one that is none, too many."""


class Person(BaseModel):
    """An address, and whose it is."""

    name: str = ""
    email: str = Field(examples=["ben@example.net"])


class File(BaseModel):
    """An attachment; `content` is base64."""

    filename: str
    content: str
    type: str = ""
    disposition: Literal["attachment", "inline"] = "attachment"
    contentid: str = ""


class Email(BaseModel):
    """What the call takes."""

    SenderAPIKey: str = Field("", description="Where there is no Bearer header; the body has 64 KiB at most then.")
    Subject: str = Field(examples=["Hello"])
    ContentType: Literal["html", "plain"]
    HTMLContent: str = ""
    PlainContent: str = ""
    From: Person
    To: list[Person]
    CC: list[Person] = Field(default_factory=list)
    BCC: list[Person] = Field(default_factory=list)
    ReplyTo: list[Person] = Field(default_factory=list)
    Tags: list[str] = Field(default_factory=list)
    Headers: dict[str, str] = Field(default_factory=dict)
    SendAt: int | None = Field(None, description="Unix seconds.")
    Attachments: list[File] = Field(default_factory=list)


class EmailAnswer(Answer):
    """The message's id, which is `metadata.MessageID` in its events."""

    MessageID: str

    def response(self) -> web.Response:
        """This as JSON; clients of this call know no `Success`."""
        return raw_answer(to_json({"MessageID": self.MessageID}), 200)


class Emails:
    """The call. Raises Fault, and what sending raises."""

    def __init__(self, copies: Copies, config: Config, pace: Callable[[int], None]) -> None:
        """`pace` counts a message of a key, by its id, and raises Fault where it is one too many."""
        self._copies, self._config, self._pace = copies, config, pace

    @_calls.post("/api/v1/email", "Send a message", takes=Email)
    async def send(self, request: web.Request, call: Call) -> EmailAnswer:
        """The one call of this family."""
        try:
            caller, said = await self._read(request, call)
            self._pace(caller.login.key_id)
            value, message_id = self._value(said), str(uuid.uuid4())
            draft = await self._copies.sender.draft(caller, value | {"metadata": {"MessageID": message_id}})
            for text, why in draft.rejected:
                raise Fault(14 if why.reply is SUPPRESSED else 19, f"{text}: {why.text()}", 422)
            answer = await self._copies.sender.submit(caller, draft)
        except Refused as e:
            code, status = _REFUSED.get(e.reply, (0, 0))
            if not code:
                raise
            raise Fault(code, e.verdict.text(), status) from e
        if answer.status != 200:
            raise Fault(14, "Every recipient is suppressed", 422)
        return EmailAnswer(MessageID=message_id)

    async def _read(self, request: web.Request, call: Call) -> tuple[Caller, Mapping[str, Any]]:
        """Who asks, and what the body says."""
        key = bearer(request)
        caller = await self._copies.caller(request, call, None) if key else None
        try:
            said = await (self._copies.body(request) if key else json_body(request, _MAX_WITH_KEY))
        except Refused as e:
            if e.reply is not INVALID_REQUEST:
                raise
            raise Fault(UNREADABLE, e.verdict.text()) from e
        if not isinstance(said, dict):
            raise Fault(UNREADABLE, "The JSON body must be an object")
        if caller is None:
            key = said.get("SenderAPIKey")
            if not key or not isinstance(key, str):
                raise Fault(1, "Missing SenderAPIKey", 401)
            caller = await self._copies.caller(request, call, key)
        return caller, said

    def _value(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The body in the form of `/v1/send`."""
        for name, code in _OTHERS.items():
            if said.get(name):
                raise Fault(code, f"{name} is not served here")
        if not said.get("From"):
            raise Fault(3, "Missing From")
        if not said.get("Subject") or not said.get("To"):
            raise Fault(8, "Missing Subject or To")
        kind = said.get("ContentType")
        if kind not in ("html", "plain"):
            raise Fault(9, "ContentType is either html or plain")
        html, plain = said.get("HTMLContent"), said.get("PlainContent")
        if kind == "html" and not html:
            raise Fault(10, "Missing HTMLContent")
        if kind == "plain" and not plain:
            raise Fault(11, "Missing PlainContent")
        made: dict[str, Any] = {
            "from": _person("From", said["From"], 23, 23), "subject": said["Subject"], "tags": said.get("Tags") or [],
            "headers": said.get("Headers") or {},
            "attachments": [_attachment(one) for one in _list(said.get("Attachments"))],
        }
        made |= {name: self._people(given, said) for given, name in _NAMES.items()}
        made |= {"html": html} if kind == "html" else {}
        made |= {"text": plain} if plain else {}
        return made | ({"sendAt": said["SendAt"]} if said.get("SendAt") is not None else {})

    def _people(self, name: str, said: Mapping[str, Any]) -> list[str]:
        none, missing, wrong, many = _GROUPS[name]
        given = said.get(name) or []
        if not isinstance(given, list):
            raise Fault(none, f"{name} must be a list")
        if len(given) > self._config.submission.max_recipients:
            raise Fault(many, f"Too many in {name}")
        return [_person(name, one, missing, wrong) for one in given]


_NAMES = {"To": "to", "CC": "cc", "BCC": "bcc", "ReplyTo": "replyTo"}


def _person(where: str, given: Any, missing: int, wrong: int) -> str:
    """A mailbox as text. Raises Fault with one of the codes."""
    email = given.get("email") if isinstance(given, dict) else None
    if not email:
        raise Fault(missing, f"An email address is missing in {where}")
    name = given.get("name") or ""
    try:
        if not isinstance(email, str) or not isinstance(name, str):
            raise BadName("no text")
        found = address(email.strip()).text
    except BadName as e:
        raise Fault(wrong, f"{where}: {e.reason}") from None
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{found}>' if name else found


def _list(given: Any) -> list[Any]:
    if given is not None and not isinstance(given, list):
        raise Fault(400, "Attachments must be a list")
    return given or []


def _attachment(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Fault(400, "An attachment must be an object")
    found = {
        "filename": given.get("filename"), "content": given.get("content"), "contentType": given.get("type"),
        "disposition": given.get("disposition"), "contentId": given.get("contentid"),
    }
    return {name: value for name, value in found.items() if value}
