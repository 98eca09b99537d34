"""The way in: routes under /api/v1 and /api.php, who asks, and how often they may.

Promises one shape of answer for every refusal, and that no credential is written anywhere: a request's log line
names its route, never its query.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from enroll.api.octeth.calls import ACCESS, TAG, SenderDomains
from enroll.api.octeth.errors import UNKNOWN_COMMAND, Fault, fault_of
from enroll.api.octeth.requests import read
from enroll.api.octeth.views import Answer, AnyCommand, Asking, ErrorsView
from enroll.errors import EnrollError
from enroll.services import DomainServices, Services
from enroll.sessions import Actor
from relay.base.clock import not_before
from relay.base.storage import StorageError
from relay.base.throttle import Throttle
from relay.base.web import CLOCK, CONFIG, bearer
from relay.base.web.body import shown
from relay.base.web.calls import Call, Calls, declared, operations
from relay.base.web.schema import Paths, schema_of
from relay.replies import Refused

log = structlog.get_logger("http")
Function = Callable[..., Awaitable[Answer]]

_FAMILY = "user.senderdomain."
_PATHS = ("/api.php", "/api/v1/user.senderdomain")
_ANY_ANSWER = {"type": "object", "required": ["Success"], "properties": {"Success": {"const": True}}}
_by_command = Calls(TAG[0], ACCESS, scope="manage", gives=_ANY_ANSWER)


def routes(services: Services, of_domains: DomainServices) -> list[web.RouteDef]:
    """The routes, unless the configuration leaves them out."""
    if not services.config.octeth.enabled:
        return []
    api = Api(services, of_domains)
    return [
        *(web.route(call.method, call.path, api.rest(call, made)) for call, made in declared(api.calls)),
        *(web.route(call.method, call.path, made) for call, made in declared(api)),
    ]


def openapi_paths() -> Paths:
    """Every call at its own path, and /api.php."""
    found = operations([SenderDomains, Api], refusal=ErrorsView)
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


class Api:
    """Finds who asks, counts, calls, answers."""

    def __init__(self, services: Services, of_domains: DomainServices) -> None:
        self._authenticator, self._clock, self._config = services.authenticator, services.clock, services.config
        self.calls = SenderDomains(of_domains.domains, services.config, services.clock)
        self._by_name = {made.__name__: (call, made) for call, made in declared(self.calls)}
        o = services.config.octeth
        self._asked = Throttle(o.requests, o.window_seconds)
        self._tested = Throttle(o.tests, o.tests_window_seconds)

    def rest(self, call: Call, made: Function) -> Handler:
        """A route that makes one call, whatever `Command` says."""

        async def handler(request: web.Request) -> web.StreamResponse:
            return await self._answered(request, (call, made))

        return handler

    @_by_command.get("/api.php", "Any of these calls, by its Command", asks=AnyCommand)
    @_by_command.post("/api.php", "Any of these calls, by its Command", takes=Asking)
    async def by_command(self, request: web.Request) -> web.StreamResponse:
        """The route on which `Command` names the call."""
        return await self._answered(request, None)

    async def _answered(self, request: web.Request, found: tuple[Call, Function] | None) -> web.Response:
        try:
            return (await self._called(request, found)).response()
        except (Fault, Refused, EnrollError, StorageError) as e:
            if isinstance(e, StorageError):
                log.warning("storage", cause=str(e))
            return fault_of(e, self._clock.now()).response(self._config)

    async def _called(self, request: web.Request, found: tuple[Call, Function] | None) -> Answer:
        p = await read(request)
        command = p.text("Command").lower()
        found = found or (self._by_name.get(command.removeprefix(_FAMILY)) if command.startswith(_FAMILY) else None)
        key = p.text("APIKey") or bearer(request)
        who = await self._authenticator.by_token(
            request, key or p.text("SessionID") or None, "manage", reads=found is not None and found[0].reads,
            keys=bool(key),
        )
        if found is None:
            says = f"Unknown Command {shown(p.text('Command'))}" if command else "Missing Command parameter"
            raise Fault(UNKNOWN_COMMAND, says)
        _, made = found
        self._pace(who, made.__name__)
        return await made(who=who, p=p)

    def _pace(self, actor: Actor, call: str) -> None:
        throttle = self._tested if call == "sendtest" else self._asked
        by = ("key", actor.login.key_id) if actor.login else ("session", actor.session.id if actor.session else 0)
        key, now = (*by, call), self._clock.monotonic()
        if wait := throttle.wait(key, now):
            at = not_before(self._clock.now() + wait)
            raise Fault(429, f"Too many requests: try again after {at}", 429, max(1, math.ceil(wait)))
        throttle.count(key, now)
