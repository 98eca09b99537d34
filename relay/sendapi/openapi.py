"""This door as an OpenAPI 3.1 fragment, made from the models that read its requests and the shapes of its answers."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from relay.base.events import TYPES
from relay.base.storage.reports import STATES
from relay.base.web.describe import Paths, json_of, operation, refusals, schema_of
from relay.sendapi import responses
from relay.sendapi.models import BatchRequest, Category, SendRequest
from relay.standing import Shown as StandingShown

SENDING, MESSAGES, MEMBER = "Sending", "Messages and events", "Standing"
TAGS = (
    (SENDING, "Hand messages over. A 200 means: written to disk, signed, in the queue."),
    (MESSAGES, "What became of each recipient, and everything that happened, in order."),
    (MEMBER, "What the relay thinks of the member, and how much may be sent."),
)
_ID = {"id": "string"}
_SENT = {"Idempotent-Replayed": "`true`, where this is the answer of an earlier request with the same key."}
_KEY = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "A repeat within 24 hours gets the first answer again, and sends nothing again.",
}
_ENVELOPE = (
    ("X-Envelope-From", "Envelope sender, if not in `from`; `<>` for the null sender, by a key with nullSender."),
    ("X-Envelope-To", "Envelope recipients, separated by commas, if not in `to`."),
)
_PAGE: dict[str, dict[str, Any]] = {
    "cursor": {"type": "string", "pattern": "^[0-9]{1,18}$", "description": "From the answer before; none: the start."},
    "limit": {"type": "integer", "minimum": 1, "description": "At most; larger ones count as the largest there is."},
}
_LATER = (400, 401, 403, 429, 500, 503)
_SEND = (*_LATER, 409, 413, 422, 507)


def openapi_paths() -> dict[str, Any]:
    """`{"paths": …, "components": {"schemas": …, "securitySchemes": …}}` of every route of this room."""
    return {
        "paths": _sending() | _messages() | _member(),
        "components": {
            "schemas": _requests(),
            "securitySchemes": {
                "apiKey": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API key (`ph_…`) as `Authorization: Bearer …`. "
                    "It has scopes: `send`, `read`, `manage`.",
                }
            },
        },
    }


def _requests() -> dict[str, Any]:
    """The large requests, named, because several operations take them."""
    schemas: dict[str, Any] = {}
    for model in (SendRequest, BatchRequest):
        schema = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    # Each is judged by itself, so a wrong one doesn't refuse the request.
    schemas["BatchRequest"]["properties"]["messages"]["items"] = {"type": "object"}
    return schemas


def _sending() -> Paths:
    one = _op("Send one message", SENDING, "send", responses.Sent, errors=_SEND, headers=_SENT)
    many = _op("Send many messages, a result each", SENDING, "send", responses.BatchSent, errors=_SEND, headers=_SENT)
    raw = _op(
        "Send a finished message", SENDING, "send", responses.Sent, errors=_SEND, headers=_SENT,
        query={
            "from": {"type": "string", "description": "Envelope sender, if not in X-Envelope-From."},
            "to": {
                "type": "array", "items": {"type": "string"},
                "description": "Envelope recipients, one each, if not in X-Envelope-To.",
            },
            "category": {"type": "string", "enum": list(get_args(Category)), "description": "Default: the API key's."},
            "tag": {
                "type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 128}, "maxItems": 20,
                "description": "Come back in events.",
            },
            "sendAt": {"type": "string", "description": "RFC 3339 or Unix seconds; the past means now."},
        },
    )
    raw["parameters"] += [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": says}
        for name, says in _ENVELOPE
    ]
    raw["requestBody"] = {
        "required": True, "content": {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}}
    }
    for each in (one, many, raw):
        each.setdefault("parameters", []).append(_KEY)
    for each in (one, raw):
        each["responses"]["422"] = _refused_or_nothing_accepted()
    return {
        "/v1/send": {"post": _taking(one, SendRequest)},
        "/v1/send/raw": {"post": raw},
        "/v1/send/batch": {"post": _taking(many, BatchRequest)},
        "/v1/preflight": {
            "post": _taking(
                _op(
                    "Ask every gate, send nothing", SENDING, "send", responses.Preflight, errors=(*_LATER, 413, 422),
                ),
                SendRequest,
            )
        },
    }


def _refused_or_nothing_accepted() -> dict[str, Any]:
    """422: the message is refused as a whole, or each of its recipients by itself."""
    nobody = schema_of(responses.NothingAccepted, "serialization")
    return {
        "description": "Refused as a whole; or `NOTHING_ACCEPTED`: each recipient by itself, for the reason in "
        "`rejected`.",
        "content": json_of({"anyOf": [{"$ref": "#/components/schemas/Error"}, nobody]}),
    }


def _messages() -> Paths:
    filters: dict[str, dict[str, Any]] = {
        "status": {"type": "string", "enum": list(STATES)},
        "recipient": {"type": "string", "description": "An address."},
        "domain": {"type": "string", "description": "A sending domain."},
        "since": {"type": "string", "description": "RFC 3339 or Unix seconds."},
    }
    feed: dict[str, dict[str, Any]] = {
        "after": {
            "type": "string", "pattern": "^[0-9]{1,18}$",
            "description": "The cursor of the answer before; none: from the beginning.",
        },
        "type": {
            "type": "array", "items": {"type": "string", "enum": sorted(TYPES)}, "description": "Only these.",
        },
        "limit": _PAGE["limit"],
    }
    change = (*_LATER, 404, 409, 507)
    named = "`id` is a queue id, or the messageId of one recipient: then of this one alone."
    return {
        "/v1/messages": {
            "get": _op("List recipients, newest first", MESSAGES, "read", responses.Messages, query=filters | _PAGE)
        },
        "/v1/messages/{id}": {
            "get": _op(
                "One message with every attempt", MESSAGES, "read", responses.Message, path=_ID, errors=(*_LATER, 404),
                description=named,
            )
        },
        "/v1/messages/{id}/cancel": {
            "post": _op(
                "Cancel what is still waiting", MESSAGES, "send", responses.Changed, path=_ID, errors=change,
                description=named,
            )
        },
        "/v1/messages/{id}/retry": {
            "post": _op(
                "Try again now", MESSAGES, "send", responses.Changed, path=_ID, errors=change, description=named
            )
        },
        "/v1/events": {"get": _op("Events in order, by cursor", MESSAGES, "read", responses.Events, query=feed)},
    }


def _member() -> Paths:
    return {
        "/member/status": {
            "get": _op("The member, and what is left of its allowances", MEMBER, "read", responses.MemberStatus)
        },
        "/member/deliverability": {"get": _op("Sums of 14 days", MEMBER, "read", responses.Deliverability)},
        "/v1/standing": {
            "get": _op("The stage, and the numbers it follows from", MEMBER, "read", StandingShown)
        },
    }


def _op(
    summary: str, tag: str, scope: str, gives: type[Any], *, errors: tuple[int, ...] = (*_LATER, 404), **more: Any
) -> dict[str, Any]:
    made = operation(summary, security=[{"apiKey": [scope]}], gives=gives, **more)
    made["responses"] |= refusals(errors)
    return made | {"tags": [tag]}


def _taking(made: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    content = json_of({"$ref": f"#/components/schemas/{model.__name__}"})
    return made | {"requestBody": {"required": True, "content": content}}
