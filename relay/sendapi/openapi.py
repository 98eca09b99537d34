"""This door as an OpenAPI 3.1 fragment, made from the models; whoever serves /openapi.json merges the fragments."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from relay import replies
from relay.sendapi.models import BatchRequest, SendRequest

_ID = {
    "name": "id", "in": "path", "required": True, "schema": {"type": "string"},
    "description": "A queue id, or the integer messageId of one recipient.",
}
_KEY = {
    "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "A repeat within 24 hours gets the first answer again.",
}


def openapi_paths() -> dict[str, Any]:
    """`{"paths": …, "components": {"schemas": …, "securitySchemes": …}}` of every route of this room."""
    schemas: dict[str, Any] = {}
    for model in (SendRequest, BatchRequest):
        schemas[model.__name__] = _schema(model, schemas)
    schemas |= _ANSWERS
    body = _json("SendRequest")
    paths = {
        "/v1/send": _post("Send one message", body, "Sent", (400, 401, 403, 409, 413, 422, 429, 503, 507), [_KEY]),
        "/v1/send/raw": _post(
            "Send a finished message", {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}}, "Sent",
            (400, 401, 403, 409, 413, 422, 429, 503, 507),
            [
                _KEY, _query("from", "Envelope sender, if not in X-Envelope-From."),
                _query("to", "Envelope recipient; repeated, if not in X-Envelope-To."),
                _query("category", "As in SendRequest."), _query("tag", "May be repeated."),
                _query("sendAt", "RFC 3339 or Unix seconds."),
            ],
        ),
        "/v1/send/batch": _post(
            "Send up to 100 messages, a result each", _json("BatchRequest"), "BatchSent", (400, 401, 409, 413), [_KEY]
        ),
        "/v1/preflight": _post("Ask every gate, send nothing", body, "Gates", (400, 401, 413, 422), []),
        "/v1/messages": _get(
            "List recipients, newest first", "Messages",
            [_query(n, "") for n in ("status", "recipient", "domain", "since", "cursor", "limit")],
        ),
        "/v1/messages/{id}": _get("One message with its attempts", "Message", [_ID], (404,)),
        "/v1/messages/{id}/cancel": _post("Cancel what is still waiting", None, "Message", (404, 409), [_ID]),
        "/v1/messages/{id}/retry": _post("Try again now", None, "Message", (404, 409), [_ID]),
        "/v1/events": _get("Events in order, by cursor", "Events", [_query(n, "") for n in ("after", "type", "limit")]),
        "/member/status": _get("The member, its domains and what is left of their allowances", "Member", []),
        "/member/deliverability": _get("Sums of 14 days", "Deliverability", []),
        "/v1/standing": _get("The member's stage, and the numbers it follows from", "Standing", []),
    }
    return {
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key (ph_…)."}},
        },
    }


def _schema(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {})
    return schema


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _query(name: str, says: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "string"}, "description": says}


def _responses(name: str, errors: tuple[int, ...]) -> dict[str, Any]:
    said = {str(status): {"description": _codes(status), "content": _json("Error")} for status in errors}
    return {"200": {"description": "OK", "content": _json(name)}, **said}


def _codes(status: int) -> str:
    return ", ".join(sorted({r.code for r in replies.TABLE if r.http == status and r.code})) or "Error"


def _post(
    summary: str, content: dict[str, Any] | None, name: str, errors: tuple[int, ...], parameters: list[dict[str, Any]]
) -> dict[str, Any]:
    errors = tuple(dict.fromkeys((*errors, 400, 401)))
    made: dict[str, Any] = {
        "summary": summary, "parameters": parameters, "responses": _responses(name, errors),
        "security": [{"apiKey": []}],
    }
    if content is not None:
        made["requestBody"] = {"required": True, "content": content}
    return {"post": made}


def _get(
    summary: str, name: str, parameters: list[dict[str, Any]], errors: tuple[int, ...] = ()
) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary, "parameters": parameters, "responses": _responses(name, (400, 401, 403, *errors)),
            "security": [{"apiKey": []}],
        }
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}
_MAYBE = {"type": ["string", "null"]}
_SHARE = _object(
    count=_INTEGER, of=_INTEGER, share={"type": "number"}, lowerBound={"type": "number"}, noticeAt={"type": "number"},
    slowAt={"type": "number"}, suspendAt={"type": "number"}, left={"type": ["integer", "null"]},
)
_SENT = _object(
    accepted=_list(_object(recipient=_STRING, messageId=_INTEGER)),
    rejected=_list(_object(recipient=_STRING, reason=_STRING, code=_STRING)), id=_MAYBE,
)
_ANSWERS: dict[str, Any] = {
    "Error": _object(error=_STRING, code=_STRING, detail={"type": "object"}),
    "Sent": _SENT,
    "BatchSent": _object(results=_list(_object(status=_INTEGER))),
    "Gates": _object(
        ok={"type": "boolean"}, gates=_list(_object(gate=_STRING, verdict=_STRING, evidence={"type": "object"}))
    ),
    "Messages": _object(messages=_list(_object(messageId=_INTEGER, id=_STRING, status=_STRING)), cursor=_MAYBE),
    "Message": _object(id=_STRING, recipients=_list(_object(messageId=_INTEGER, recipient=_STRING, status=_STRING))),
    "Events": _object(
        events=_list(_object(id=_INTEGER, type=_STRING, at=_STRING, data={"type": "object"})), cursor=_STRING
    ),
    "Member": _object(handle=_STRING, did=_STRING, status=_STRING, reason=_STRING, domains=_list({"type": "object"}),
                      labels=_list(_STRING)),
    "Deliverability": _object(
        did=_STRING, status=_STRING, sent_14d=_INTEGER, bounced_14d=_INTEGER, complaints_14d=_INTEGER,
        bounce_rate={"type": "number"}, daily_sends=_list(_INTEGER), hourly_limit={"type": ["integer", "null"]},
        daily_limit={"type": ["integer", "null"]}, labels=_list(_STRING),
        standing={"$ref": "#/components/schemas/Standing"},
    ),
    "Standing": _object(
        stage={"type": "string", "enum": ["good", "notice", "slowed", "suspended"]}, meaning=_STRING, reason=_STRING,
        since=_MAYBE, windowHours=_INTEGER, countedFrom=_MAYBE, finished=_INTEGER, delivered=_INTEGER,
        bounced=_INTEGER, lateBounced=_INTEGER, complained=_INTEGER, excused=_INTEGER, minVolume=_INTEGER,
        judged={"type": "boolean"}, bounces=_SHARE, complaints=_SHARE, formula=_STRING, advice=_STRING,
    ),
}
