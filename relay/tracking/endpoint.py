"""What readers' browsers and mail programs ask for: /c/<token> leads on, /o/<token> is an image of one dot.

No cookie, no script, nothing kept by caches, no address of ours in a Referer. Every wrong token gets the same page.
HEAD does what GET does and records nothing. On a member's tracking host nothing else is served, whatever has become of
the domain: its CNAME and its certificate outlive that.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.web import is_forwarded, is_inside
from relay.directory import Directory
from relay.tracking import tokens
from relay.tracking.record import Recorder
from relay.tracking.tokens import Mark

WELL_KNOWN = "/.well-known/posthouse-tracking"
"""Where a tracking host says which relay it leads to (RFC 8615)."""
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_SERVED = ("/c/", "/o/", "/u/", WELL_KNOWN)
_CLIENT_HEADERS = (hdrs.USER_AGENT, "Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
_DOT = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>{title}</title><body><main><h1>{title}</h1><p>{text}</p></main></body>
</html>"""
_HEADERS = {
    hdrs.CACHE_CONTROL: "no-store, private", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Endpoint:
    """The handlers. `now` gives Unix seconds."""

    def __init__(
        self, vault: Vault, config: Config, directory: Directory, recorder: Recorder, now: Callable[[], float]
    ) -> None:
        self._vault, self._config, self._directory, self._recorder = vault, config, directory, recorder
        self._now = now
        public = urlsplit(config.server.public_url).hostname or ""
        self._own = {
            name.rstrip(".").lower() for name in (config.server.hostname, public, *config.tracking.own_names) if name
        }

    def routes(self) -> list[web.RouteDef]:
        """GET and HEAD of links and pixels, and what proxies and the relay itself ask about tracking hosts."""
        return [
            web.get("/c/{token}", self.click), web.get("/o/{token}", self.opened),
            web.get(WELL_KNOWN, self.well_known), web.get("/internal/tls-ask", self.tls_ask),
        ]

    async def click(self, request: web.Request) -> web.Response:
        """Lead on to the link's own address."""
        mark = tokens.read(self._vault, "click", request.match_info["token"])
        if mark is None:
            return _page(404, "Not found", "This link is not valid.")
        if self._stopped(mark):
            return _page(410, "Gone", "This link no longer works: what it came from has been stopped.")
        if tokens.day_of(self._now()) - mark.day > self._config.tracking.links_days:
            return _page(410, "Gone", "This link is too old. Look for what you want on the sender's own site.")
        self._note(request, "click", mark)
        # RFC 9110 §15.4.3: 302, so that nobody remembers the way without asking again.
        return web.Response(status=302, headers=_HEADERS | {hdrs.LOCATION: mark.url})

    async def opened(self, request: web.Request) -> web.Response:
        """The dot."""
        mark = tokens.read(self._vault, "open", request.match_info["token"])
        if mark is None:
            return _page(404, "Not found", "This link is not valid.")
        if tokens.day_of(self._now()) - mark.day <= self._config.tracking.links_days:
            self._note(request, "open", mark)
        # Webmail shows it from another origin.
        shown = _HEADERS | {"Cross-Origin-Resource-Policy": "cross-origin"}
        return web.Response(body=_DOT, content_type="image/gif", headers=shown)

    async def well_known(self, request: web.Request) -> web.Response:
        """Which relay this is."""
        return web.Response(text=f"{self._config.server.hostname}\n")

    async def tls_ask(self, request: web.Request) -> web.Response:
        """200 for a name that a reverse proxy on this machine may fetch a certificate for, else 404.

        The proxy asks this itself: what it forwards for somebody else is refused, though it comes from this machine.
        """
        name = request.query.get("domain", "").rstrip(".").lower()
        inside = is_inside(request, self._config.server.trusted_proxies, _LOOPBACK)
        if is_forwarded(request) or not inside or not self._directory.is_tracking_host(name):
            raise web.HTTPNotFound
        return web.Response(text="yes\n")

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keep pages and APIs off members' tracking hosts: what signs in must not be at a name of somebody else's."""
        host = (request.host or "").partition(":")[0].rstrip(".").lower()
        if not request.path.startswith(_SERVED) and self._of_member(host):
            return _page(404, "Not found", "There is nothing here.")
        return await handler(request)

    def _of_member(self, host: str) -> bool:
        """Whether `host` is, was or may become a tracking host: told by its shape, `<prefix>-<sub>.<domain>`, because
        a prefix may have been another one while a certificate was fetched."""
        label, _, domain = host.partition(".")
        proved = self._directory.enrolled(domain) if "-" in label and host not in self._own else None
        if proved is None:
            return False
        # Nobody takes the relay's other names from it by enrolling the operator's domain without a proof.
        return proved or not any(f".{own}".endswith(f".{domain}") for own in self._own)

    def _stopped(self, mark: Mark) -> bool:
        """Whether the operator stopped the member or the domain: then nobody is led to where its mail wanted them."""
        member = self._directory.member(mark.member_id)
        return member is None or member.stopped or self._directory.is_stopped_domain(mark.domain_id)

    def _note(self, request: web.Request, kind: str, mark: Mark) -> None:
        if request.method == hdrs.METH_GET:
            self._recorder.note(kind, mark, {n: request.headers[n] for n in _CLIENT_HEADERS if n in request.headers})


def _page(status: int, title: str, text: str) -> web.Response:
    page = _PAGE.format(title=html.escape(title), text=html.escape(text))
    return web.Response(status=status, text=page, content_type="text/html", headers=_HEADERS)
