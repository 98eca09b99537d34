"""The way in: routes under /api/v1 and /api.php, who asks, and how often they may.

Promises one shape of answer for every refusal, and that no credential is written anywhere: a request's log line
names its route, never its query.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from enroll.api.octeth.calls import TAG, SenderDomains
from enroll.api.octeth.email import TAG as EMAIL_TAG
from enroll.api.octeth.email import Emails
from enroll.api.octeth.errors import UNKNOWN_COMMAND, Fault, fault_of, unauthorised
from enroll.api.octeth.login import TAG as SIGN_IN_TAG
from enroll.api.octeth.login import Logins
from enroll.api.octeth.requests import Parameters, read
from enroll.api.octeth.suppressions import TAG as SUPPRESSION_TAG
from enroll.api.octeth.suppressions import SuppressionCalls
from enroll.api.octeth.views import ACCESS, Answer, AnyCommand, Asking, ErrorsView
from enroll.errors import EnrollError
from enroll.services import DomainServices, Services
from enroll.sessions import Actor
from relay.base.clock import not_before
from relay.base.netguard import client_key
from relay.base.storage import StorageError
from relay.base.throttle import Throttle
from relay.base.web import CLOCK, CONFIG, bearer
from relay.base.web.body import shown
from relay.base.web.calls import OPEN, Call, Calls, declared, operations, signature_of
from relay.base.web.schema import Paths, schema_of
from relay.replies import Refused
from relay.sendapi import Copies
from relay.suppression import Lists

log = structlog.get_logger("http")
Function = Callable[..., Awaitable[Answer]]

TAGS = (TAG, SIGN_IN_TAG, SUPPRESSION_TAG, EMAIL_TAG)
_PAGES = (SenderDomains, Logins, SuppressionCalls)
_PATHS = ("/api.php", "/api/v1/email", *(f"/api/v1/{page.FAMILY}" for page in _PAGES))
_ANY_ANSWER = {"type": "object", "required": ["Success"], "properties": {"Success": {"const": True}}}
_by_command = Calls(TAG[0], ACCESS, scope="manage", gives=_ANY_ANSWER)


def routes(services: Services, of_domains: DomainServices, copies: Copies | None) -> list[web.RouteDef]:
    """The routes, unless the configuration leaves them out; with `copies`, that which sends."""
    if not services.config.octeth.enabled:
        return []
    api = Api(services, of_domains)
    emails = [] if copies is None else [
        web.route(call.method, call.path, api.sending(call, made))
        for call, made in declared(Emails(copies, services.config))
    ]
    return [
        *emails,
        *(web.route(found.call.method, found.call.path, api.rest(found)) for found in api.by_name.values()),
        *(web.route(call.method, call.path, made) for call, made in declared(api)),
    ]


def openapi_paths() -> Paths:
    """Every call at its own path, and /api.php."""
    found = operations([*_PAGES, Emails, Api], refusal=ErrorsView)
    for call in (call for of_path in found.values() for call in of_path.values()):
        # Most numbered errors come with status 200.
        good = call["responses"]["200"]["content"]["application/json"]
        good["schema"] = {"anyOf": [good["schema"], schema_of(ErrorsView, "serialization")]}
    return found


def translate(request: web.Request, error: Exception) -> web.Response | None:
    """Errors that don't come from a call (no such path, wrong method, what nobody foresaw) in this shape, on its paths;
    else None."""
    config = request.app[CONFIG]
    if not request.path.startswith(_PATHS) or not config.octeth.enabled:
        return None
    if isinstance(error, web.HTTPException):
        says = f"{error.reason}: {request.method} is not offered here"
        return Fault(error.status, says, error.status).response(config)
    return fault_of(error, request.app[CLOCK].now()).response(config) if isinstance(error, Refused) else None


@dataclass(frozen=True, slots=True)
class Command:
    """A call by its name at /api.php."""

    name: str
    call: Call
    made: Function

    def handed(self, who: Actor | str, request: web.Request, p: Parameters) -> dict[str, Any]:
        """Of these, what its handler takes."""
        wants = signature_of(self.made, self.call).wants
        return {name: value for name, value in (("who", who), ("request", request), ("p", p)) if name in wants}


class Api:
    """Finds who asks, counts, calls, answers."""

    def __init__(self, services: Services, of_domains: DomainServices) -> None:
        self._authenticator, self._clock, self._config = services.authenticator, services.clock, services.config
        lists = Lists(services.storage, services.config, services.clock)
        pages = (
            SenderDomains(of_domains.domains, services.config, services.clock), Logins(services),
            SuppressionCalls(lists, services.config),
        )
        self.by_name = {
            (name := f"{page.FAMILY}{made.__name__.rstrip('_')}"): Command(name, call, made)
            for page in pages for call, made in declared(page)
        }
        o = services.config.octeth
        self._asked = Throttle(o.requests, o.window_seconds)
        self._tested = Throttle(o.tests, o.tests_window_seconds)

    def rest(self, found: Command) -> Handler:
        """A route that makes one call, whatever `Command` says."""

        async def handler(request: web.Request) -> web.StreamResponse:
            return await self._answered(request, found)

        return handler

    def sending(self, call: Call, made: Function) -> Handler:
        """A route whose caller is found by those who send."""

        async def handler(request: web.Request) -> web.StreamResponse:
            return await self._shaped(made(request=request, call=call))

        return handler

    @_by_command.get("/api.php", "Any of these calls, by its Command", asks=AnyCommand)
    @_by_command.post("/api.php", "Any of these calls, by its Command", takes=Asking)
    async def by_command(self, request: web.Request) -> web.StreamResponse:
        """The route on which `Command` names the call."""
        return await self._answered(request, None)

    async def _answered(self, request: web.Request, found: Command | None) -> web.Response:
        return await self._shaped(self._called(request, found))

    async def _shaped(self, called: Awaitable[Answer]) -> web.Response:
        try:
            return (await called).response()
        except (Fault, Refused, EnrollError, StorageError) as e:
            if isinstance(e, StorageError):
                log.warning("storage", cause=str(e))
            return fault_of(e, self._clock.now()).response(self._config)

    async def _called(self, request: web.Request, found: Command | None) -> Answer:
        p = await read(request)
        command = p.text("Command").lower()
        found = found or self.by_name.get(command)
        if found is not None and found.call.access == OPEN:
            visitor = self._authenticator.visitor(request)
            self._pace(("visitor", client_key(visitor)), found.name)
            return await found.made(**found.handed(visitor, request, p))
        key = p.text("APIKey") or bearer(request)
        who = await self._authenticator.by_token(
            request, key or p.text("SessionID") or None, "manage", reads=found is not None and found.call.reads,
            keys=bool(key),
        )
        if found is None:
            says = f"Unknown Command {shown(p.text('Command'))}" if command else "Missing Command parameter"
            raise Fault(UNKNOWN_COMMAND, says)
        if not found.call.limited and who.domains is not None:
            raise unauthorised()
        self._pace(
            ("key", who.login.key_id) if who.login else ("session", who.session.id if who.session else 0), found.name
        )
        return await found.made(**found.handed(who, request, p))

    def _pace(self, by: tuple[str, Hashable], command: str) -> None:
        throttle = self._tested if command == "user.senderdomain.sendtest" else self._asked
        key, now = (*by, command), self._clock.monotonic()
        if wait := throttle.wait(key, now):
            at = not_before(self._clock.now() + wait)
            raise Fault(429, f"Too many requests: try again after {at}", 429, max(1, math.ceil(wait)))
        throttle.count(key, now)
