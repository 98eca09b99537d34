"""Refusals in this API's envelope: `message`, and `details` with an application error or with field violations.

Promises that nothing of an exception's own words stands in it, and one code for one cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from aiohttp import hdrs, web
from pydantic import BaseModel

from enroll.errors import EnrollError
from relay import replies
from relay.base.clock import not_before
from relay.base.storage import StorageFull
from relay.base.web import answer, retry_after
from relay.replies import DISK_FULL, UNAVAILABLE, Refused, Reply, Verdict

ENVELOPE: dict[str, Any] = {
    "type": "object",
    "required": ["message", "details"],
    "properties": {
        "message": {"type": "string"},
        "details": {
            "type": "object",
            "properties": {
                "applicationError": {
                    "type": "object",
                    "required": ["code", "description", "data"],
                    "properties": {
                        "code": {"type": "string"}, "description": {"type": "string"}, "data": {"type": "object"},
                    },
                },
                "validationError": {
                    "type": "object",
                    "properties": {"fieldViolations": {"type": "array", "items": {"type": "object"}}},
                },
            },
        },
    },
}
"""The shape of every refusal."""
EMAILS, DETAILS, DOMAINS = "Sender emails", "Sender details", "Sending domains"
TRANSMISSIONS, FORMER = "Email transmissions", "Sender details (deprecated)"
"""The kinds of calls."""
_STANDARD = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "UNIMPLEMENTED", 409: "ABORTED", 413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 501: "UNIMPLEMENTED",
    503: "UNAVAILABLE", 507: "RESOURCE_EXHAUSTED",
}
# What our services say, in this API's words: status and code.
_NAMES = {
    replies.LIMIT_REACHED: (403, "RESOURCE_EXHAUSTED"),
    replies.HOSTED_ZONE_MISSING: (501, "UNIMPLEMENTED"),
    replies.NO_SENDER: (428, "SENDER_DETAILS_DO_NOT_EXIST"),
    replies.RECORDS_MISSING: (428, "DNS_RECORDS_NOT_VERIFIED"),
    replies.DOMAIN_NOT_READY: (428, "SENDING_DOMAIN_NOT_READY"),
    replies.ADDRESS_EXISTS: (409, "SENDER_EMAIL_ALREADY_EXISTS"),
    replies.ALREADY_VERIFIED: (409, "SENDER_EMAIL_ALREADY_VERIFIED"),
    replies.ADDRESS_NOT_VERIFIED: (428, "SENDER_EMAIL_NOT_VERIFIED"),
    replies.CODE_INVALID: (400, "VERIFICATION_CODE_INVALID"),
    replies.CODE_EXPIRED: (409, "VERIFICATION_CODE_EXPIRED"),
    replies.TOO_MANY_TRIES: (428, "TOO_MANY_VERIFICATION_ATTEMPTS"),
    replies.DETAILS_EXIST: (409, "SENDER_DETAILS_ALREADY_EXIST"),
    replies.DEFAULT_SENDER: (428, "DEFAULT_SENDER_CANNOT_BE_DELETED"),
    replies.TRANSMISSION_WAITS: (428, "EMAIL_TRANSMISSION_NOT_PROCESSED"),
    replies.IDEMPOTENCY_CONFLICT: (409, "ALREADY_EXISTS"),
    replies.MEMBER_SUSPENDED: (403, "ACCOUNT_SUSPENDED"),
    replies.RATE_LIMITED: (429, "OUT_OF_QUOTA"),
}
# Their names for fields, by the kind of call, and for what a refusal tells besides.
_FIELDS: Mapping[str, Mapping[str, str]] = {
    EMAILS: {"address": "emailAddress", "code": "verificationCode", "data": "extendedFields"},
    DETAILS: {"address": "fromEmailAddress", "name": "fromName", "data": "extendedFields", "from": "fromAddress"},
    FORMER: {"address": "fromEmail", "name": "fromName", "code": "verificationCode"},
    TRANSMISSIONS: {
        "subject": "emailSubject", "sender": "senderEmailAddress", "sender_name": "senderName", "to": "toRecipients",
        "from": "senderEmailAddress", "address": "senderEmailAddress", "key": "idempotencyKey",
    },
}
# What refuses a message for one of its parts, in the words of the services below.
_PARTS: Mapping[Reply, str] = {
    replies.TOO_MANY_RECIPIENTS: "to", replies.TIER_TOO_SMALL: "to", replies.FROM_MISMATCH: "sender_name",
}
_RENAMED: Mapping[Reply, Mapping[str, str]] = {
    replies.ADDRESS_EXISTS: {"id": "senderEmailId"}, replies.DETAILS_EXIST: {"id": "senderDetailsId"},
    replies.CODE_INVALID: {"left": "triesLeft"}, replies.RECORDS_MISSING: {"host": "hostName"},
}
_WAIT = {429: 60, 503: 30}


class Invalid(Exception):
    """Fields that can't be used: (field, rule, reason) each; the rule is a standard one."""

    def __init__(self, *violations: tuple[str, str, str]) -> None:
        super().__init__(violations[0])
        self.violations = violations


def refusal(
    error: Exception, now: float, kind: str = "", takes: type[BaseModel] | None = None
) -> web.Response:
    """Any refusal of the services below as an answer, to a call of this kind (its tag) with this body. `now` in Unix
    seconds."""
    if isinstance(error, Invalid):
        return _violated(error.violations)
    if isinstance(error, EnrollError):
        if error.status == 422 and error.reply not in _NAMES:
            return _violated([(_place(error.field or "", kind, takes), "INVALID_ARGUMENT", error.text)])
        status, code = _NAMES.get(error.reply) or (error.status, _standard(error.status))
        data = _renamed(error.verdict.extra, _RENAMED.get(error.reply, {}))
        if error.passes_at is not None:
            data["passesAt"] = not_before(error.passes_at)
        wait = max(1, math.ceil(error.passes_at - now)) if error.passes_at is not None else None
        before = ""
        if error.reply is replies.NO_SENDER and kind != TRANSMISSIONS:
            before = "cannot access requested sending domain: "
        return _refused(status, code, before + error.text, data, wait)
    if isinstance(error, Refused):
        return _of_verdict(error.verdict, now, kind, takes)
    return _of_verdict(Verdict(DISK_FULL if isinstance(error, StorageFull) else UNAVAILABLE), now)


def _place(field: str, kind: str, takes: type[BaseModel] | None) -> str:
    """Where a field of the services stands in the body of a call, as it is named where the body's own shape is at
    fault: the whole path. As it is, where the body has no such field."""
    name = _FIELDS.get(kind, {}).get(field, field)
    return _path(takes, name) or name


def _path(model: type[BaseModel] | None, name: str) -> str:
    for own, field in (model.model_fields if model is not None else {}).items():
        spelled = field.alias or own
        if spelled == name:
            return name
        inner = next((
            part for part in (field.annotation, *get_args(field.annotation))
            if isinstance(part, type) and issubclass(part, BaseModel)
        ), None)
        if found := _path(inner, name):
            return f"{spelled}.{found}"
    return ""


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same facts under this API's names, in lists too."""
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    return {names.get(name, name): _renamed(one, names) for name, one in value.items()}


def no_such_call(status: int, text: str) -> web.Response:
    """An error of HTTP itself: no such path, a method that a path hasn't."""
    return _refused(status, _standard(status), text, {}, None)


def _of_verdict(
    verdict: Verdict, now: float, kind: str = "", takes: type[BaseModel] | None = None
) -> web.Response:
    if errors := verdict.extra.get("errors"):
        return _violated([(e["field"], "INVALID_ARGUMENT", e["reason"]) for e in errors])
    # Without credentials our own API answers 400, this one 401.
    status = 401 if verdict.reply is replies.AUTH_REQUIRED else verdict.reply.http or 500
    part = _PARTS.get(verdict.reply) or verdict.extra.get("field")
    if kind == TRANSMISSIONS and (status == 422 or part is not None):
        return _violated([(_place(part or "", kind, takes), "INVALID_ARGUMENT", verdict.text())])
    status, code = _NAMES.get(verdict.reply) or (status, _standard(status))
    data: dict[str, Any] = {}
    if verdict.passes_at is not None:
        data["passesAt"] = not_before(verdict.passes_at)
    if code != _standard(status) and status == 429:
        data["status"] = _standard(status)
    return _refused(status, code, verdict.text(), data, retry_after(verdict, now))


def _standard(status: int) -> str:
    return _STANDARD.get(status, "INTERNAL" if status >= 500 else "ABORTED")


def _refused(status: int, code: str, text: str, data: dict[str, Any], wait: int | None) -> web.Response:
    wrong = {"code": code, "description": text, "data": data}
    made = answer({"message": text, "details": {"applicationError": wrong}}, status)
    if status == 401:
        # RFC 9110 §11.6.1: a 401 names a scheme that would do.
        made.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="posthouse"'
    wait = wait or _WAIT.get(status)
    if wait is not None:
        made.headers[hdrs.RETRY_AFTER] = str(wait)
    return made


def _violated(violations: Any) -> web.Response:
    fields = [
        {"field": field, "description": reason, "violatedRule": "OTHER", "ruleName": rule, "data": {}}
        for field, rule, reason in violations
    ]
    says = "; ".join(f"{v['field']}: {v['description']}" if v["field"] else v["description"] for v in fields)
    return answer({"message": says, "details": {"validationError": {"fieldViolations": fields}}}, 400)

