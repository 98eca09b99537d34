"""The OpenAPI description of the calls, from the models that make the answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from enroll.api.octeth.views import (
    Asking,
    Create,
    CreateAnswer,
    DeleteAnswer,
    DnsAnswer,
    DnsHostAnswer,
    ErrorsView,
    GetAnswer,
    ListAnswer,
    SendTest,
    SendTestAnswer,
    Update,
    UpdateAnswer,
    Verify,
    VerifyAllAnswer,
    VerifyAnswer,
)
from enroll.api.schema import Paths, Security, inlined, operation

SECURITY_SCHEMES: dict[str, Any] = {
    "octethKey": {"type": "apiKey", "in": "query", "name": "APIKey", "description": "An API key; also in the body."},
    "octethSession": {
        "type": "apiKey", "in": "query", "name": "SessionID",
        "description": "The token of a sign-in (POST /v1/sessions); also in the body.",
    },
}
_BY_HEADER: Security = [{"apiKey": ["manage"]}]
_BY_PARAMETER: Security = [{"octethKey": ["manage"]}, {"octethSession": []}, *_BY_HEADER]
_ID = {"DomainID": {"type": "integer", "examples": [1]}}
_DAYS = {"days": {"type": "integer", "description": "With it come the figures of so many days, at most 365."}}


def openapi_paths() -> Paths:
    """Every call at its own path, and /api.php."""

    def op(
        summary: str, gives: Any, takes: type[BaseModel] | None = None, query: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return operation(summary, security=_BY_PARAMETER, takes=takes, gives=gives, query=query, refusal=ErrorsView)

    one_or_all = {
        "anyOf": [inlined(VerifyAnswer, "serialization"), inlined(VerifyAllAnswer, "serialization")]
    }
    of_one = {
        "get": op("Show a sender domain", GetAnswer, query=_ID | _DAYS),
        "post": op("Enroll a sender domain", CreateAnswer, Create),
        "patch": op("Change a sender domain", UpdateAnswer, Update),
        "delete": op("Delete a sender domain", DeleteAnswer, query=_ID),
    }
    # PATCH reads no query: credentials stand in its body or in the header.
    of_one["patch"]["security"] = _BY_HEADER
    sending = op("Send a test message", SendTestAnswer, SendTest)
    sending["responses"]["502"] = sending["responses"]["default"] | {"description": "It could not be delivered."}
    command = {"Command": {"type": "string", "examples": ["user.senderdomain.get"]}}
    any_answer = {"type": "object", "required": ["Success"], "properties": {"Success": {"const": True}}}
    return {
        "/api/v1/user.senderdomains": {"get": op("List the sender domains", ListAnswer)},
        "/api/v1/user.senderdomain": of_one,
        "/api/v1/user.senderdomain.verify": {"post": op("Look at DNS now, of one or of 25", one_or_all, Verify)},
        "/api/v1/user.senderdomain.dns": {"get": op("The records of a sender domain", DnsAnswer, query=_ID)},
        "/api/v1/user.senderdomain.sendtest": {"post": sending},
        "/api/v1/user.senderdomain.dnshost": {
            "get": op("Who runs a sender domain's DNS", DnsHostAnswer, query=_ID)
        },
        "/api.php": {
            "get": op("Any of these calls, by its Command", any_answer, query=command | _ID | _DAYS),
            "post": op("Any of these calls, by its Command", any_answer, Asking),
        },
    }
