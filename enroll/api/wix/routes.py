"""The way in: routes, who asks, and one envelope for every refusal.

The key comes as `Authorization: <API key>` or as a Bearer token and needs the scope `manage`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from enroll.api.wix.calls import SenderCalls
from enroll.api.wix.errors import ENVELOPE, Invalid, no_such_call, refusal
from enroll.api.wix.former import FormerCalls
from enroll.api.wix.transmissions import TransmissionCalls
from enroll.errors import EnrollError
from enroll.senders.transmissions import Transmissions
from enroll.services import SenderServices, Services
from enroll.sessions import Actor
from relay.base.storage import StorageError
from relay.base.web import CLOCK, CONFIG, answer, bearer
from relay.base.web.calls import KEY, Call, declared, operations, signature_of
from relay.base.web.models import View, body
from relay.base.web.schema import Paths
from relay.replies import Refused
from relay.sendapi import Caller, Copies

log = structlog.get_logger("http")
_PATHS = tuple(
    f"/{family}/"
    for family in ("sending-domains", "sender-emails", "sender-details", "email-marketing", "email-transmissions")
)


def routes(services: Services, senders: SenderServices, copies: Copies | None) -> list[web.RouteDef]:
    """The routes, unless the configuration leaves them out; with `copies`, those about transmissions."""
    if not services.config.senders.wix:
        return []
    api = Api(services, copies)
    pages: list[object] = [SenderCalls(senders), FormerCalls(senders)]
    if copies is not None:
        transmissions = Transmissions(
            services.storage, services.config, services.clock, senders.sending, copies
        )
        pages.append(TransmissionCalls(transmissions, copies))
    return [
        web.route(call.method, call.path, api.handler(call, made)) for page in pages for call, made in declared(page)
    ]


def openapi_paths() -> Paths:
    """Every call's description."""
    return operations([SenderCalls, FormerCalls, TransmissionCalls], refusal=ENVELOPE)


def translate(request: web.Request, error: Exception) -> web.Response | None:
    """Errors that don't come from a call (no such path, wrong method, what nobody foresaw) in this envelope, on its
    paths; else None."""
    if not request.path.startswith(_PATHS) or not request.app[CONFIG].senders.wix:
        return None
    if isinstance(error, web.HTTPException):
        return no_such_call(error.status, f"{error.reason}: {request.method} is not offered here")
    return refusal(error, request.app[CLOCK].now()) if isinstance(error, Refused) else None


class Api:
    """Finds who asks, calls, answers."""

    def __init__(self, services: Services, copies: Copies | None) -> None:
        self._authenticator, self._clock, self._copies = services.authenticator, services.clock, copies

    def handler(self, call: Call, made: Callable[..., Awaitable[View]]) -> Handler:
        """The handler of one call."""
        takes = signature_of(made, call)

        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                who = await self._who(request, call)
                handed: dict[str, Any] = {"who": who, "request": request, **request.match_info}
                if takes.body is not None:
                    handed["body"] = await body(takes.body, request)
                found = await made(**{name: handed[name] for name in takes.wants})
            except (Invalid, EnrollError, Refused, StorageError) as e:
                if isinstance(e, StorageError):
                    log.warning("storage", cause=str(e))
                return refusal(e, self._clock.now(), call.tag, call.takes or takes.body)  # type: ignore[arg-type]
            # What has no value is left out, as `cursors.next` at the end of a list.
            return answer(found.model_dump(mode="json", by_alias=True, exclude_none=True))

        return handler

    async def _who(self, request: web.Request, call: Call) -> Actor | Caller:
        token = bearer(request)
        if token == "":
            given = request.headers.getall(hdrs.AUTHORIZATION)
            # The key alone, without a scheme.
            token = given[0].strip() if len(given) == 1 and " " not in given[0].strip() else ""
        if call.access is KEY and self._copies is not None:
            return await self._copies.caller(request, call, token or None)
        return await self._authenticator.by_token(request, token or None, call.scope, reads=call.reads)
