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
from enroll.api.octeth.events import TAG as EVENTS_TAG
from enroll.api.octeth.events import Events, PublicCalls
from enroll.api.octeth.gateway import TAG as GATEWAY_TAG
from enroll.api.octeth.gateway import GatewayCredentials, GatewayDomains
from enroll.api.octeth.login import TAG as SIGN_IN_TAG
from enroll.api.octeth.login import Logins
from enroll.api.octeth.relay_check import TAG as RELAY_TAG
from enroll.api.octeth.relay_check import RelayCheck
from enroll.api.octeth.requests import Parameters, read
from enroll.api.octeth.suppressions import TAG as SUPPRESSION_TAG
from enroll.api.octeth.suppressions import SuppressionCalls
from enroll.api.octeth.views import ACCESS, DOMAIN_KEY, OPERATOR_KEY, Answer, AnyCommand, Asking, ErrorsView
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
from relay.queue import Queue
from relay.replies import AUTH_REQUIRED, Refused
from relay.sendapi import Copies
from relay.suppression import Lists

log = structlog.get_logger("http")
Function = Callable[..., Awaitable[Answer]]

TAGS = (TAG, SIGN_IN_TAG, SUPPRESSION_TAG, EMAIL_TAG, GATEWAY_TAG, EVENTS_TAG, RELAY_TAG)
_PAGES = (
    SenderDomains, Logins, SuppressionCalls, GatewayDomains, GatewayCredentials, Events, PublicCalls, RelayCheck,
)
_PATHS = ("/api.php", "/api/v1/email", "/api/v1/events", *(f"/api/v1/{page.FAMILY}" for page in _PAGES))
_ANY_ANSWER = {"type": "object", "required": ["Success"], "properties": {"Success": {"const": True}}}
_TESTS, _SENDS = "user.senderdomain.sendtest", "email"
_by_command = Calls(TAG[0], ACCESS, scope="manage", gives=_ANY_ANSWER)


@dataclass(frozen=True, slots=True)
class KeyParameter:
    """A parameter that may hold a key, where no Bearer header does; what is said of none, and of a wrong one."""

    parameter: str
    none: Callable[[], Fault]
    wrong: Callable[[], Fault]


def _no_operator() -> Fault:
    return Fault(1, "Authentication failed. Invalid admin API key.", 403, named=True)


_KEY_PARAMETERS = {
    DOMAIN_KEY: KeyParameter(
        "SenderAPIKey", lambda: Fault(1, "Missing SenderAPIKey", 401), lambda: Fault(13, "Invalid SenderAPIKey", 401)
    ),
    OPERATOR_KEY: KeyParameter("AdminAPIKey", _no_operator, _no_operator),
}


def routes(
    services: Services, of_domains: DomainServices, copies: Copies | None, queue: Queue | None
) -> list[web.RouteDef]:
    """The routes, unless the configuration leaves them out; with `copies`, that which sends."""
    if not services.config.octeth.enabled:
        return []
    api = Api(services, of_domains, queue)
    emails = [] if copies is None else [
        web.route(call.method, call.path, api.sending(call, made))
        for call, made in declared(Emails(copies, services.config, api.pace_of_key))
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

    def __init__(self, services: Services, of_domains: DomainServices, queue: Queue | None) -> None:
        self._authenticator, self._clock, self._config = services.authenticator, services.clock, services.config
        lists = Lists(services.storage, services.config, services.clock)
        domains = of_domains.domains
        calls = SenderDomains(domains, services.config, services.clock)
        pages = (
            calls, Logins(services), SuppressionCalls(lists, services.config),
            GatewayDomains(calls, domains, services.config), GatewayCredentials(calls, services, queue),
            Events(services, domains), PublicCalls(services, domains), RelayCheck(services),
        )
        self.by_name = {
            (name := f"{page.FAMILY}{made.__name__.rstrip('_')}"): Command(name, call, made)
            for page in pages for call, made in declared(page)
        }
        o = services.config.octeth
        self._asked = Throttle(o.requests, o.window_seconds)
        self._tested = Throttle(o.tests, o.tests_window_seconds)
        self._sent = Throttle(o.emails, o.window_seconds)

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
        found = found or self.by_name.get(p.text("Command").lower())
        if found is not None and found.call.access == OPEN:
            visitor = self._authenticator.visitor(request)
            self._pace(("visitor", client_key(visitor)), found.name)
            return await found.made(**found.handed(visitor, request, p))
        who = await self._who(request, found, p)
        if found is None:
            command = p.text("Command")
            says = f"Unknown Command {shown(command)}" if command else "Missing Command parameter"
            raise Fault(UNKNOWN_COMMAND, says)
        if not found.call.limited and who.domains is not None:
            raise unauthorised()
        self._pace(
            ("key", who.login.key_id) if who.login else ("session", who.session.id if who.session else 0), found.name
        )
        return await found.made(**found.handed(who, request, p))

    async def _who(self, request: web.Request, found: Command | None, p: Parameters) -> Actor:
        if found is not None and (named := _KEY_PARAMETERS.get(found.call.access)) is not None:
            return await self._by_named(request, found, p, named)
        key = p.text("APIKey") or bearer(request)
        return await self._authenticator.by_token(
            request, key or p.text("SessionID") or None, "manage", reads=found is not None and found.call.reads,
            keys=bool(key),
        )

    async def _by_named(self, request: web.Request, found: Command, p: Parameters, named: KeyParameter) -> Actor:
        key = bearer(request) or p.text(named.parameter) or None
        try:
            who = await self._authenticator.by_token(request, key, found.call.scope, reads=found.call.reads)
        except Refused as e:
            if e.reply is AUTH_REQUIRED:
                raise named.none() from e
            if e.status not in (401, 403):
                raise
            raise named.wrong() from e
        if who.login is None or (found.call.access == OPERATOR_KEY and not who.member.system):
            raise named.wrong()
        return who

    def pace_of_key(self, key_id: int) -> None:
        """Count a message that a key sends. Raises Fault 429."""
        self._pace(("key", key_id), _SENDS)

    def _pace(self, by: tuple[str, Hashable], command: str) -> None:
        throttle = {_TESTS: self._tested, _SENDS: self._sent}.get(command, self._asked)
        key, now = (*by, command), self._clock.monotonic()
        if wait := throttle.wait(key, now):
            at = not_before(self._clock.now() + wait)
            raise Fault(429, f"Too many requests: try again after {at}", 429, max(1, math.ceil(wait)))
        throttle.count(key, now)
