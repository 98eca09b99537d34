"""Templates into responses: everything escaped, nothing undefined, nothing inline, nothing from elsewhere.

Promises that text of strangers (subjects, remote replies, descriptions) is shown as text, and that every page
carries the same fences for the browser. What stands on a page is its handler's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from enroll.pages.guard import Visitor
from enroll.pages.static import Assets
from relay.base import names
from relay.base.clock import DAY, HOUR, MINUTE, Clock, iso
from relay.base.config import Config
from relay.replies import Refused

TEMPLATES = Path(__file__).parent / "templates"

# W3C CSP 3: no inline script or style, no frame around us, no form that leaves, no other base.
POLICY = (
    "default-src 'self'; object-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
)
DONE: Mapping[str, str] = {
    "welcome": "Welcome. Your account is ready: enroll your first domain below.",
    "signed-out": "You are signed out.",
    "password": "Your password has been set. Sign in with it.",
    "password-changed": "Your password has been changed, and all other sessions have ended.",
    "did": "Your DID has been changed.",
    "factor-removed": "Your second factor is removed. Signing in takes your password alone.",
    "session": "That session has been ended.",
    "sessions": "All other sessions have been ended.",
    "revoked": "The key has been revoked and can no longer be used.",
    "paused": "The domain is paused: nothing can be sent from it until you resume it.",
    "resumed": "The domain can send again.",
    "rotating": "A new DKIM key pair is ready. Publish its two records; mail is signed with it once they are found.",
    "options": "The options have been saved.",
    "known": "You have already enrolled this domain; it stays as it was.",
    "link": "The link is ready: give it to whoever runs the domain's DNS.",
    "link-mailed": "The link is on its way.",
    "link-revoked": "The link can no longer be used.",
    "deleted": "The domain has been deleted and its keys destroyed.",
    "checked": "DNS has been checked. The result is shown with each record.",
    "checked-before": "DNS was checked a moment ago and not again; that result is shown with each record.",
    "checked-all": "Your pending domains were checked.",
    "test": "The test message is queued.",
    "cancelled": "Cancelled: what had not been sent will not be sent.",
    "retried": "The next attempt is due now.",
    "webhook-test": "A test is on its way. The log will show the result in a moment.",
    "webhook-replayed": "The events are being sent again.",
    "webhook-enabled": "Events are posted again from now on. Use Replay for those that were missed.",
    "webhook-deleted": "The webhook has been deleted. Nothing more is posted there.",
    "sender-added": "The address has been added. It is in a verified domain of yours, so no code is needed.",
    "sender-code": "A code is on its way to the address.",
    "sender-verified": "The address is verified. Add a name to send under.",
    "sender-named": "The name has been added.",
    "sender-default": "The default sender has been changed.",
    "sender-deleted": "Deleted.",
    "suppressed": "The address has been added to your list. Mail to it is refused from now on.",
    "member-suspend": "The member is suspended: nothing can be sent with its keys.",
    "member-release": "The member may send again.",
    "member-limit": "The limit has been set.",
    "member-note": "The note has been saved.",
    "domain-tier": "The tier has been set.",
    "domain-suspend": "The domain is suspended: nothing can be sent from it.",
    "domain-release": "The domain is released and has been checked.",
    "domain-approve": "The domain is approved and has been checked.",
    "domain-check": "DNS has been asked.",
    "site-pause": "The site is paused until you resume it.",
    "site-resume": "The site is resumed: what waited for it is due now.",
    "incident-closed": "The incident is closed. If it recurs, a new one opens.",
    "invite-revoked": "The invite is revoked: its code works no longer.",
    "unsuppressed": "The address has been removed from your list. You can send to it again.",
}
"""What a page says after a change, by the word in `?done=`: the words are ours whatever the address says."""


class Renderer:
    """The templates. One for the whole application."""

    def __init__(self, config: Config, clock: Clock, assets: Assets) -> None:
        self._config, self._clock = config, clock
        env = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True, auto_reload=False,
        )
        env.filters |= {
            "ago": self.ago, "until": self.until, "when": when, "span": span, "octets": octets,
            "unicode": names.to_unicode, "code": code,
        }
        env.globals |= {
            "asset": assets.url, "host": config.server.hostname, "public_url": config.server.public_url,
            "signup": config.enrollment.signup,
        }
        self._env = env

    def page(self, name: str, visitor: Visitor, *, status: int = 200, **values: Any) -> web.Response:
        """A whole page. `values` must hold all that the template names; `error` also tells when to come back."""
        done, now = DONE.get(values.pop("done", None) or "", ""), self._clock.now()
        response = html(self._env.get_template(name).render(visitor=visitor, done=done, now=now, **values), status)
        if status == 401:
            # RFC 9110 §15.5.2: a 401 names a scheme; this one makes no browser open a window of its own.
            response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="posthouse"'
        error = values.get("error")
        if isinstance(error, Refused) and error.passes_at is not None:
            # RFC 9110 §10.2.3: whole seconds, never in the past.
            response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(error.passes_at - now)))
        return response

    def fragment(self, name: str, visitor: Visitor, **values: Any) -> web.Response:
        """A piece of a page, for the script that puts it in place."""
        return html(self._env.get_template(name).render(visitor=visitor, now=self._clock.now(), **values), 200)

    def ago(self, at: float) -> Markup:
        """How long ago `at` (Unix seconds) was, with the exact time for who asks."""
        gone = self._clock.now() - at
        words = "just now" if gone < MINUTE else f"{span(gone)} ago"
        return _time(at, words)

    def until(self, at: float) -> Markup:
        """How far ahead `at` is."""
        left = at - self._clock.now()
        return _time(at, "now" if left < 1 else f"in {span(left)}")


def html(text: str, status: int) -> web.Response:
    """HTML with the fences. No copy is kept: pages show keys, addresses and tokens (RFC 9111 §5.2.2.5)."""
    headers = {hdrs.CACHE_CONTROL: "no-store", "Content-Security-Policy": POLICY, "X-Frame-Options": "DENY"}
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)


def to(path: str) -> web.Response:
    """On to another page of ours, by GET (RFC 9110 §15.4.4)."""
    return web.Response(status=303, headers={hdrs.LOCATION: path, hdrs.CACHE_CONTROL: "no-store"})


def _time(at: float, words: str) -> Markup:
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(iso(at), escape(words))


def code(text: str) -> Markup:
    """A text in which what stands between backticks is code."""
    parts = enumerate(text.split("`"))
    return Markup("").join(Markup("<code>{0}</code>").format(part) if at % 2 else escape(part) for at, part in parts)


def when(at: float) -> Markup:
    """A moment in UTC to the second, as a time element."""
    return _time(at, datetime.fromtimestamp(at, UTC).strftime("%-d %b %Y, %H:%M:%S UTC"))


def span(seconds: float) -> str:
    """A length of time in its largest unit, rounded down: `3 minutes`."""
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds >= unit:
            n = int(seconds // unit)
            return f"{n} {name}{'s' if n != 1 else ''}"
    n = max(1, int(seconds))
    return f"{n} second{'s' if n != 1 else ''}"


def octets(size: int) -> str:
    """A size for people: `1.2 MiB`."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024 or unit == "MiB":
            return f"{int(amount)} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""
