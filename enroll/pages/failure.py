"""What a person in a browser sees when something is refused or goes wrong: the same error as everybody, as a page."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from enroll.pages.guard import NOBODY
from enroll.pages.render import Renderer
from relay.base.web import ErrorPage

_TITLES = {
    400: "That request can't be read", 401: "Please sign in", 403: "That is not possible", 404: "Page not found",
    405: "That is not possible here", 409: "Not at the moment", 410: "This link has expired", 413: "That is too large",
    415: "That request can't be read", 422: "Please correct your entry", 429: "One moment, please",
    500: "Something went wrong on our side", 503: "One moment, please", 507: "The relay's disk is full",
}
_ADVICE = {
    401: "Sign in again, then try again.",
    404: "Check the address. Things that belong to another member, or are no longer kept, look the same.",
    410: "Ask the operator of this relay for a new link.",
    429: "Wait a little, then try again.",
    500: "Try again in a moment. If it keeps happening, tell the operator the reference below.",
    503: "Try again in a moment.",
    507: "Try again later. The operator has been notified.",
}


def error_page(renderer: Renderer) -> ErrorPage:
    """The hook of the web frame. It knows nothing of who asks, so the page offers only what anybody may do."""

    def page(request: web.Request, status: int, error: dict[str, Any]) -> web.Response | None:
        raw = error.get("detail")
        detail: dict[str, Any] = raw if isinstance(raw, dict) else {}
        return renderer.page(
            "error.html", NOBODY, status=status, title=_TITLES.get(status, "That did not work"),
            says=str(error.get("error") or ""), code=str(error.get("code") or ""),
            advice=_ADVICE.get(status) or str(detail.get("fix") or ""),
            reference=str(detail.get("reference") or "") if status >= 500 else "",
        )

    return page
