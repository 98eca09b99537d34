"""The way in: routes, who asks, and one envelope for every refusal.

The key comes as `Authorization: <API key>` or as a Bearer token and needs the scope `manage`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from enroll.api.wix.calls import Calls
from enroll.api.wix.errors import Invalid, no_such_call, refusal
from enroll.errors import EnrollError
from enroll.services import SenderServices, Services
from enroll.sessions import PREFIX, Actor
from relay.base.storage import StorageError
from relay.base.web import CLOCK, CONFIG, answer, bearer
from relay.base.web.models import View
from relay.replies import Refused

log = structlog.get_logger("http")
Call = Callable[[Actor, web.Request], Awaitable[View]]


class Route(NamedTuple):
    """A method, a path and the call behind them. `reads`: it changes nothing, whatever its method."""

    method: str
    path: str
    call: str
    reads: bool = False


_DOMAINS, _EMAILS = "/sending-domains/v1/sending-domains", "/sender-emails/v1/sender-emails"
_DETAILS = "/sender-details/v1/sender-details"
_PATHS = ("/sending-domains/v1/", "/sender-emails/v1/", "/sender-details/v1/", "/email-marketing/v1/")
ROUTES = (
    Route(hdrs.METH_POST, f"{_DOMAINS}/query", "query_domains", reads=True),
    Route(hdrs.METH_GET, f"{_DOMAINS}/{{id}}", "get_domain"),
    Route(hdrs.METH_POST, f"{_DOMAINS}/{{id}}/authenticate", "authenticate"),
    Route(hdrs.METH_GET, _EMAILS, "list_emails"),
    Route(hdrs.METH_GET, f"{_EMAILS}/{{id}}", "get_email"),
    Route(hdrs.METH_POST, _EMAILS, "create_email"),
    Route(hdrs.METH_DELETE, f"{_EMAILS}/{{id}}", "delete_email"),
    Route(hdrs.METH_POST, f"{_EMAILS}/get-or-create", "get_or_create_email"),
    Route(hdrs.METH_POST, f"{_EMAILS}/{{id}}/send-verification-code", "send_code"),
    Route(hdrs.METH_POST, f"{_EMAILS}/{{id}}/verify", "verify_email"),
    Route(hdrs.METH_GET, _DETAILS, "list_details"),
    Route(hdrs.METH_GET, f"{_DETAILS}/default", "default_details"),
    Route(hdrs.METH_GET, f"{_DETAILS}/{{id}}", "get_details"),
    Route(hdrs.METH_POST, _DETAILS, "create_details"),
    Route(hdrs.METH_PATCH, f"{_DETAILS}/{{id}}", "update_details"),
    Route(hdrs.METH_DELETE, f"{_DETAILS}/{{id}}", "delete_details"),
    Route(hdrs.METH_POST, f"{_DETAILS}/{{id}}/mark-as-default", "mark_default"),
    Route(hdrs.METH_POST, "/email-marketing/v1/sender-details/actual-from-address", "actual_from", reads=True),
)


def routes(services: Services, senders: SenderServices) -> list[web.RouteDef]:
    """The routes, unless the configuration leaves them out."""
    if not services.config.senders.wix:
        return []
    door = Door(services, senders)
    return [web.route(r.method, r.path, door.handler(r)) for r in ROUTES]


def translate(request: web.Request, error: Exception) -> web.Response | None:
    """Errors that don't come from a call (no such path, wrong method, what nobody foresaw) in this envelope, on its
    paths; else None."""
    if not request.path.startswith(_PATHS) or not request.app[CONFIG].senders.wix:
        return None
    if isinstance(error, web.HTTPException):
        return no_such_call(error.status, f"{error.reason}: {request.method} is not offered here")
    return refusal(error, request.app[CLOCK].now()) if isinstance(error, Refused) else None


class Door:
    """Finds who asks, calls, answers."""

    def __init__(self, services: Services, senders: SenderServices) -> None:
        self._gate, self._clock, self._calls = services.gate, services.clock, Calls(senders)

    def handler(self, route: Route) -> Handler:
        """The handler of one call."""
        call: Call = getattr(self._calls, route.call)
        reads = route.reads or route.method == hdrs.METH_GET

        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                made = await call(await self._actor(request, reads=reads), request)
            except (Invalid, EnrollError, Refused, StorageError) as e:
                if isinstance(e, StorageError):
                    log.warning("storage", cause=str(e))
                return refusal(e, self._clock.now())
            # What has no value is left out, as `cursors.next` at the end of a list.
            return answer(made.model_dump(mode="json", by_alias=True, exclude_none=True))

        return handler

    async def _actor(self, request: web.Request, *, reads: bool) -> Actor:
        token = bearer(request)
        if token == "":
            given = request.headers.getall(hdrs.AUTHORIZATION)
            # The key alone, without a scheme.
            token = given[0].strip() if len(given) == 1 and " " not in given[0].strip() else ""
        named = {"api_key": "", "session": ""}
        named["session" if (token or "").startswith(PREFIX) else "api_key"] = token or ""
        return await self._gate.named(request, "manage", reads=reads, **named)
