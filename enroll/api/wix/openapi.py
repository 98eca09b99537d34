"""The OpenAPI fragment of these calls, made from the models that read and write them."""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs
from pydantic import BaseModel

from enroll.api.schema import Paths, Security, operation
from enroll.api.wix import requests, views
from enroll.api.wix.routes import ROUTES

_WHO: Security = [{"apiKey": ["manage"]}, {"session": []}]
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
_LIST = {
    "paging.limit": {"type": "integer", "minimum": 0, "maximum": requests.MAX_LIST},
    "paging.cursor": {"type": "string", "maxLength": requests.MAX_CURSOR},
}
# call → (what it does, what it takes, what it gives)
_CALLS: dict[str, tuple[str, type[BaseModel] | None, type[BaseModel]]] = {
    "query_domains": ("Find sending domains", requests.QueryDomains, views.DomainPage),
    "get_domain": ("Show a sending domain", None, views.OneDomain),
    "authenticate": ("Look at a sending domain's DNS", None, views.OneDomain),
    "list_emails": ("List the sender emails", None, views.EmailPage),
    "get_email": ("Show a sender email", None, views.OneEmail),
    "create_email": ("Add a sender email", requests.CreateEmail, views.OneEmail),
    "delete_email": ("Delete a sender email", None, views.Nothing),
    "get_or_create_email": ("Find or add a sender email", requests.GetOrCreateEmail, views.OneEmail),
    "send_code": ("Mail a verification code", None, views.Nothing),
    "verify_email": ("Verify a sender email", requests.VerifyEmail, views.Nothing),
    "list_details": ("List the sender details", None, views.DetailsPage),
    "default_details": ("Show the default sender", None, views.OneDetails),
    "get_details": ("Show sender details", None, views.OneDetails),
    "create_details": ("Add sender details", requests.CreateDetails, views.OneDetails),
    "update_details": ("Change sender details", requests.UpdateDetails, views.OneDetails),
    "delete_details": ("Delete sender details", None, views.Nothing),
    "mark_default": ("Make a sender the default", None, views.OneDetails),
    "actual_from": ("The address that mail really bears", requests.ActualFrom, views.ActualFromView),
}


def openapi_paths() -> Paths:
    """Every route's description."""
    found: Paths = {}
    for route in ROUTES:
        summary, takes, gives = _CALLS[route.call]
        query: dict[str, dict[str, Any]] = {}
        if route.method == hdrs.METH_GET and route.call.startswith("list"):
            field = "emailAddress" if route.call == "list_emails" else "fromEmailAddress"
            query = _LIST | {field: {"type": "string"}}
        found.setdefault(route.path, {})[route.method.lower()] = operation(
            summary, security=_WHO, takes=takes, gives=gives, query=query, refusal=ENVELOPE,
            path={"id": "string"} if "{id}" in route.path else None,
        )
    return found
