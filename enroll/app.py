"""Enrollment's part of the one HTTP application: its routes, and its refusals as answers.

`routes(services)` go into `relay.base.web.application` together with the relay's; `translate` turns an EnrollError
into the same JSON shape that every other refusal has, and on the paths of Octeth's and Wix's shape every error into
theirs.
"""

from __future__ import annotations

import math

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from enroll.api import native, octeth, wix
from enroll.errors import EnrollError
from enroll.services import Services
from relay.base.clock import not_before
from relay.base.web import CLOCK, answer
from relay.sendapi import Copies

__all__ = ["Services", "routes", "translate"]

_WAIT_SECONDS = {429: 60, 503: 30}


def routes(
    services: Services, mail: native.Mail | None = None, *, copies: Copies | None = None,
    enroll_form: Handler | None = None,
) -> list[web.RouteDef]:
    """Every route of enrollment; with `mail`, those about messages, with `copies`, those that send. `enroll_form` takes
    what a browser's form posts to /enroll; JSON goes to the API."""
    found = native.routes(services, mail)
    found += octeth.routes(services, services.for_domains, copies, mail.queue if mail is not None else None)
    found += wix.routes(services, services.for_senders, copies)
    if enroll_form is None:
        return found
    return [_or_form(route, enroll_form) if route.path == "/enroll" else route for route in found]


def _or_form(route: web.RouteDef, form: Handler) -> web.RouteDef:
    """The route, with forms handed to `form`."""

    async def either(request: web.Request) -> web.StreamResponse:
        if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
            return await form(request)
        return await by_json(request)

    by_json: Handler = route.handler
    return web.route(route.method, route.path, either)


def translate(request: web.Request, error: Exception) -> web.Response | None:
    """The answer for an EnrollError, and for any error under a path with a shape of its own; else None."""
    if (shaped := octeth.translate(request, error) or wix.translate(request, error)) is not None:
        return shaped
    if not isinstance(error, EnrollError):
        return None
    detail = error.detail
    if error.passes_at is not None:
        detail["passesAt"] = not_before(error.passes_at)
    response = answer({"error": error.text, "code": error.code, "detail": detail}, error.status)
    if error.status == 401:
        # RFC 9110 §11.6.1: a 401 names the scheme that would do.
        response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="posthouse"'
    if error.status in _WAIT_SECONDS:
        # RFC 9110 §10.2.3: whole seconds, never in the past.
        wait = _WAIT_SECONDS[error.status]
        if error.passes_at is not None:
            wait = max(1, math.ceil(error.passes_at - request.app[CLOCK].now()))
        response.headers[hdrs.RETRY_AFTER] = str(wait)
    return response
