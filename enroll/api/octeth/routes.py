"""The way in: routes under /api/v1 and /api.php, who asks, and how often they may.

Promises one shape of answer for every refusal, and that no credential is written anywhere: a request's log line
names its route, never its query.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from enroll.api.octeth.calls import Calls
from enroll.api.octeth.errors import Fault, fault_of
from enroll.api.octeth.requests import Parameters, read
from enroll.api.octeth.views import Answer
from enroll.errors import EnrollError
from enroll.services import DomainServices, Services
from enroll.sessions import Actor
from relay.base.clock import not_before
from relay.base.storage import StorageError
from relay.base.throttle import Throttle
from relay.base.web import CLOCK, CONFIG, bearer
from relay.base.web.body import shown
from relay.replies import Refused

log = structlog.get_logger("http")
Call = Callable[[Actor, Parameters], Awaitable[Answer]]

ROUTES = (
    (hdrs.METH_GET, "user.senderdomains", "list"),
    (hdrs.METH_GET, "user.senderdomain", "get"),
    (hdrs.METH_POST, "user.senderdomain", "create"),
    (hdrs.METH_PATCH, "user.senderdomain", "update"),
    (hdrs.METH_DELETE, "user.senderdomain", "delete"),
    (hdrs.METH_POST, "user.senderdomain.verify", "verify"),
    (hdrs.METH_GET, "user.senderdomain.dns", "dns"),
    (hdrs.METH_POST, "user.senderdomain.sendtest", "sendtest"),
    (hdrs.METH_GET, "user.senderdomain.dnshost", "dnshost"),
)
"""(method, path under /api/v1/, call)."""
_READS = frozenset(call for method, _, call in ROUTES if method == hdrs.METH_GET)
_FAMILY = "user.senderdomain."
_PATHS = ("/api.php", "/api/v1/user.senderdomain")


def routes(services: Services, of_domains: DomainServices) -> list[web.RouteDef]:
    """The routes, unless the configuration leaves them out."""
    if not services.config.octeth.enabled:
        return []
    door = Door(services, of_domains)
    return [
        *(web.route(method, f"/api/v1/{path}", door.rest(call)) for method, path, call in ROUTES),
        web.route(hdrs.METH_GET, "/api.php", door.by_command),
        web.route(hdrs.METH_POST, "/api.php", door.by_command),
    ]


def translate(request: web.Request, error: Exception) -> web.Response | None:
    """Errors that don't come from a call (no such path, wrong method, what nobody foresaw) in this shape, on its paths;
    else None."""
    if not request.path.startswith(_PATHS) or not request.app[CONFIG].octeth.enabled:
        return None
    if isinstance(error, web.HTTPException):
        return Fault(error.status, f"{error.reason}: {request.method} is not offered here", error.status).response()
    return fault_of(error, request.app[CLOCK].now()).response() if isinstance(error, Refused) else None


class Door:
    """Finds who asks, counts, calls, answers."""

    def __init__(self, services: Services, of_domains: DomainServices) -> None:
        self._gate, self._clock = services.gate, services.clock
        calls = Calls(of_domains.domains, services.config, services.clock)
        self._calls: dict[str, Call] = {call: getattr(calls, call) for _, _, call in ROUTES}
        o = services.config.octeth
        self._asked = Throttle(o.requests, o.window_seconds)
        self._tested = Throttle(o.tests, o.tests_window_seconds)

    def rest(self, call: str) -> Handler:
        """A route that makes one call, whatever `Command` says."""

        async def handler(request: web.Request) -> web.StreamResponse:
            return await self._answered(request, call)

        return handler

    async def by_command(self, request: web.Request) -> web.StreamResponse:
        """The route on which `Command` names the call."""
        return await self._answered(request, None)

    async def _answered(self, request: web.Request, call: str | None) -> web.Response:
        try:
            return (await self._called(request, call)).response()
        except (Fault, Refused, EnrollError, StorageError) as e:
            if isinstance(e, StorageError):
                log.warning("storage", cause=str(e))
            return fault_of(e, self._clock.now()).response()

    async def _called(self, request: web.Request, call: str | None) -> Answer:
        p = await read(request)
        named = call or p.text("Command").lower().removeprefix(_FAMILY)
        actor = await self._gate.named(
            request, "manage", api_key=p.text("APIKey") or bearer(request) or "", session=p.text("SessionID"),
            reads=named in _READS,
        )
        call = call or self._command(p)
        self._pace(actor, call)
        return await self._calls[call](actor, p)

    def _command(self, p: Parameters) -> str:
        command = p.text("Command")
        call = command.lower().removeprefix(_FAMILY)
        if not command:
            raise Fault(400, "Missing Command parameter")
        if call == command.lower() or call not in self._calls:
            raise Fault(400, f"Unknown Command {shown(command)}")
        return call

    def _pace(self, actor: Actor, call: str) -> None:
        throttle = self._tested if call == "sendtest" else self._asked
        by = ("key", actor.login.key_id) if actor.login else ("session", actor.session.id if actor.session else 0)
        key, now = (*by, call), self._clock.monotonic()
        if wait := throttle.wait(key, now):
            at = not_before(self._clock.now() + wait)
            raise Fault(429, f"Too many requests: try again after {at}", 429, max(1, math.ceil(wait)))
        throttle.count(key, now)
