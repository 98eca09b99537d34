"""Answers in one shape: a value as JSON, a refusal as `{"error", "code", "detail"}` with its status and headers."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import hdrs, web

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage import Storage
from relay.replies import Refused, Reply, Verdict

# Seconds named in Retry-After when the decision itself names no time.
_WAIT = {429: 60, 500: 30, 503: 30, 507: 300}
_REALM = 'Bearer realm="posthouse"'


def answer(value: Any, status: int = 200) -> web.Response:
    """`value` as JSON."""
    return raw_answer(dumps(value), status)


def dumps(value: Any) -> str:
    """JSON as this API writes it: UTF-8, no NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def raw_answer(text: str | bytes, status: int) -> web.Response:
    """JSON (bytes: in UTF-8) as a response. Answers belong to one caller, so nobody on the way keeps them (RFC 9111
    §5.2.2.5)."""
    return web.Response(
        body=text.encode() if isinstance(text, str) else text, status=status, content_type="application/json",
        charset="utf-8", headers={"Cache-Control": "no-store"},
    )


def refuse(refusal: Verdict | Refused | Reply, *, public_url: str, clock: Clock) -> web.Response:
    """The response for a refusal: its status, its words, and when to come back.

    Never raises; what the exception itself says stays in the log.
    """
    verdict = _verdict(refusal)
    status = verdict.reply.http or 500
    response = raw_answer(dumps(verdict.json(public_url)), status)
    if status == 401:
        # RFC 9110 §11.6.1: a 401 names the scheme that would do.
        response.headers["WWW-Authenticate"] = _REALM
    wait = retry_after(verdict, clock.now())
    if wait is not None:
        # RFC 9110 §10.2.3: seconds, whole, and never in the past.
        response.headers["Retry-After"] = str(wait)
    return response


def retry_after(verdict: Verdict, now: float) -> int | None:
    """Whole seconds until trying again can help; None when it can't."""
    status = verdict.reply.http
    if status not in _WAIT:
        return None
    if verdict.passes_at is not None:
        return max(1, math.ceil(verdict.passes_at - now))
    return _WAIT[status]


def error_body(code: str, text: str, **detail: Any) -> dict[str, Any]:
    """The shape of every error."""
    return {"error": text, "code": code, "detail": detail}


def _verdict(refusal: Verdict | Refused | Reply) -> Verdict:
    if isinstance(refusal, Refused):
        return refusal.verdict
    return Verdict(refusal) if isinstance(refusal, Reply) else refusal


CONFIG: web.AppKey[Config] = web.AppKey("config", Config)
CLOCK: web.AppKey[Clock] = web.AppKey("clock", Clock)
STORAGE: web.AppKey[Storage] = web.AppKey("storage", Storage)

ErrorPage = Callable[[web.Request, int, dict[str, Any]], web.Response | None]
ERROR_PAGE: web.AppKey[ErrorPage] = web.AppKey("error_page")
"""Handed (request, status, the JSON error); returns a page for a reader in a browser, or None for the JSON."""

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)


async def download(request: web.Request, parts: AsyncIterator[str], *, kind: str, name: str) -> web.StreamResponse:
    """The parts as one UTF-8 file; `kind` is its media type, `name` one of ours: plain ASCII without quotes.

    The first two parts are made before the answer begins: what fails at once still gets an answer of its own.
    """
    first = [part async for part in _some(parts, 2)]
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: f"{kind}; charset=utf-8", hdrs.CACHE_CONTROL: "no-store",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
        }
    )
    await response.prepare(request)
    for part in first:
        await response.write(part.encode())
    async for part in parts:
        await response.write(part.encode())
    await response.write_eof()
    return response


async def _some(parts: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    for _ in range(count):
        try:
            yield await anext(parts)
        except StopAsyncIteration:
            return
