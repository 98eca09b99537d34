"""The one aiohttp application: the frame around every handler, and the errors' one shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import random_id
from relay.base.storage import Storage, StorageError, StorageFull
from relay.base.web.answers import (
    CLOCK,
    CONFIG,
    ERROR_PAGE,
    REQUEST_ID,
    STORAGE,
    ErrorPage,
    dumps,
    error_body,
    raw_answer,
    refuse,
)
from relay.base.web.client import client_address, host_fault, peer_address
from relay.base.web.crowd import CROWD, Crowd
from relay.replies import (
    DISK_FULL,
    INTERNAL,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    UNAVAILABLE,
    Refused,
)

log = structlog.get_logger("http")

Translate = Callable[[web.Request, Exception], web.Response | None]
"""Gives an upper floor's answer to an exception: its own, or any on paths whose errors have a shape of their own.

Asked before this module answers, about `web.HTTPException` (no such route, wrong method) and `Refused` too; what
nobody foresaw comes as a `Refused` with its reference. None leaves the answer to this module."""

# What a browser may do with an answer unless its route says otherwise. A Referrer-Policy of "no-referrer" would
# take the Origin from form posts too, which the pages compare.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "posthouse",
}
# What aiohttp refuses by itself; whatever else it may be is a malformed request.
_ITS_OWN = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED, 413: TOO_LARGE}


def application(
    config: Config,
    clock: Clock,
    storage: Storage,
    *,
    routes: Iterable[web.AbstractRouteDef] = (),
    middlewares: Sequence[Middleware] = (),
    translate: Sequence[Translate] = (),
    error_page: ErrorPage | None = None,
) -> web.Application:
    """The application with `routes`; `middlewares` run inside the frame, in order.

    `translate` are asked in order what to answer to an exception; `error_page` may turn an error into a page.
    """
    app = web.Application(
        middlewares=[_frame(tuple(translate)), *middlewares], client_max_size=config.http.max_body_bytes
    )
    app[CONFIG], app[CLOCK], app[STORAGE], app[CROWD] = config, clock, storage, Crowd(config)
    if error_page is not None:
        app[ERROR_PAGE] = error_page
    app.on_response_prepare.append(_headers)
    app.add_routes(routes)
    return app


def _frame(translate: tuple[Translate, ...]) -> Middleware:
    @web.middleware
    async def frame(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[REQUEST_ID] = random_id(10)
        began = request.app[CLOCK].monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request[REQUEST_ID]):
            try:
                if fault := host_fault(request):
                    raise Refused(INVALID_REQUEST, saw=fault)
                with _counted(request), _in_time(request):
                    response = await handler(request)
            except asyncio.CancelledError:
                raise
            except web.HTTPException as e:
                response = _dressed(request, _http_exception(request, e, translate))
            except Exception as e:
                response = _dressed(request, _answer_for(request, e, translate))
            _log(request, response.status, request.app[CLOCK].monotonic() - began)
            return response

    return frame


def _counted(request: web.Request) -> AbstractContextManager[None]:
    """Count a request that a proxy brings as its client's."""
    crowd = request.app[CROWD]
    if not crowd.trusts(peer_address(request)):
        return nullcontext()
    return crowd.request(client_address(request, request.app[CONFIG].server.trusted_proxies))


@contextmanager
def _in_time(request: web.Request) -> Iterator[None]:
    """The body must be here in time, whoever reads it and however."""
    if not request.can_read_body:
        yield
        return
    seconds = request.app[CONFIG].http.read_timeout_seconds
    timer = asyncio.get_running_loop().call_later(seconds, _too_late, request)
    try:
        yield
    finally:
        timer.cancel()


def _too_late(request: web.Request) -> None:
    if not request.content.is_eof():
        request.content.set_exception(Refused(INVALID_REQUEST, saw="the body did not arrive in time"))


def _log(request: web.Request, status: int, seconds: float) -> None:
    """One line a request. The route's pattern, not the path: paths hold tokens."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "(none)"
    log.info("request", method=request.method, route=route, status=status, seconds=round(seconds, 4))


def _answer_for(request: web.Request, error: Exception, translate: tuple[Translate, ...]) -> web.Response:
    public_url, clock = request.app[CONFIG].server.public_url, request.app[CLOCK]
    for attempt in translate:
        if (answer := attempt(request, error)) is not None:
            return answer
    if isinstance(error, Refused):
        return refuse(error, public_url=public_url, clock=clock)
    if isinstance(error, StorageError):
        log.warning("storage", cause=str(error))
        reply = DISK_FULL if isinstance(error, StorageFull) else UNAVAILABLE
        return refuse(reply, public_url=public_url, clock=clock)
    reference = request[REQUEST_ID]
    log.error("unforeseen", reference=reference, method=request.method, exc_info=error)
    return _answer_for(request, Refused(INTERNAL, reference=reference), translate)


def _http_exception(
    request: web.Request, error: web.HTTPException, translate: tuple[Translate, ...]
) -> web.StreamResponse:
    """aiohttp's own errors (no such route, wrong method) in our shape; its redirects as they are."""
    if error.status < 400:
        return error
    reply = _ITS_OWN.get(error.status, INVALID_REQUEST)
    text = NOT_FOUND.text if reply is NOT_FOUND else error.reason
    asked = (attempt(request, error) for attempt in translate)
    response = next((made for made in asked if made is not None), None)
    if response is None:
        response = raw_answer(dumps(error_body(reply.code, text)), error.status)
    if hdrs.ALLOW in error.headers:
        # RFC 9110 §15.5.6: a 405 lists the methods that would do.
        response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    return response


def _dressed(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """The error as a page where somebody reads in a browser and there is one for it; a shape of its own stays."""
    page = request.app.get(ERROR_PAGE)
    wants_html = "text/html" in request.headers.get(hdrs.ACCEPT, "")
    if page is None or not wants_html or not isinstance(response, web.Response) or response.text is None:
        return response
    error = _parsed(response)
    shown = page(request, response.status, error) if "error" in error else None
    if shown is None:
        return response
    for name in ("Retry-After", "WWW-Authenticate", hdrs.ALLOW):
        if name in response.headers:
            shown.headers[name] = response.headers[name]
    return shown


def _parsed(response: web.Response) -> dict[str, Any]:
    if response.content_type != "application/json":
        return error_body("", response.reason)
    found = json.loads(response.text or "{}")
    return found if isinstance(found, dict) else {}


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = _HEADERS["Server"]
    if request.app[CONFIG].server.public_url.startswith("https://"):
        # RFC 6797 §6.1
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if REQUEST_ID in request:
        response.headers["X-Request-Id"] = request[REQUEST_ID]
