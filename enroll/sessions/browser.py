"""The session cookie, whether a request comes from our own pages, and the cookie by which a browser is known again."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from enroll.accounts import Device
from enroll.sessions.service import Session
from relay.base.clock import DAY, Clock
from relay.base.config import Config
from relay.base.secrets import Vault


def cookie_name(config: Config) -> str:
    """The cookie's name. The prefix makes browsers insist on Secure, our host and the whole path."""
    return "__Host-posthouse" if _secure(config) else "posthouse"


def cookie_token(request: web.Request, config: Config) -> str:
    """The token in the request's cookie, or ""."""
    return request.cookies.get(cookie_name(config), "")


def set_cookie(response: web.StreamResponse, token: str, config: Config) -> None:
    """Hand the token to the browser. How long it is good for is decided here, not by the cookie's age."""
    set_browser_cookie(response, cookie_name(config), token, int(config.enrollment.session_max_days * DAY), config)


def set_browser_cookie(response: web.StreamResponse, name: str, value: str, seconds: int, config: Config) -> None:
    """Hand a cookie to the browser, for all of our pages and nobody else."""
    # RFC 6265 §4.1.2: scripts can't read it, other sites' forms don't send it.
    response.set_cookie(
        name, value, max_age=seconds, path="/", httponly=True, samesite="Lax", secure=_secure(config)
    )


def clear_cookie(response: web.StreamResponse, config: Config) -> None:
    """Take the cookie back."""
    response.del_cookie(cookie_name(config), path="/", httponly=True, samesite="Lax", secure=_secure(config))


def cross_site(request: web.Request, config: Config) -> bool:
    """True when a browser says that another site's page made this request. Other programs say nothing."""
    # Fetch Metadata: "none" is the person at the address bar.
    site = request.headers.get("Sec-Fetch-Site", "")
    if site and site not in ("same-origin", "none"):
        return True
    # RFC 6454 §7: "null" is a page that hides where it comes from.
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return False
    return origin.lower() not in (_origin(config.server.public_url), f"{request.scheme}://{request.host}".lower())


def proven(session: Session, given: str) -> bool:
    """True when `given` is the session's CSRF token."""
    return hmac.compare_digest(session.csrf.encode(), given.encode("utf-8", "replace"))


def _secure(config: Config) -> bool:
    return config.server.public_url.lower().startswith("https://")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


class Devices:
    """Reads the cookie, and writes it."""

    def __init__(self, config: Config, clock: Clock, vault: Vault) -> None:
        self._config, self._clock, self._vault = config, clock, vault

    def of(self, request: web.Request) -> Device | None:
        """The browser that asks, if anybody has signed in with it."""
        text = request.cookies.get(self._name, "")
        return Device.read(self._vault, text, self._clock.now(), self._config.enrollment.device_days)

    def remember(self, request: web.Request, response: web.StreamResponse, member_id: int) -> None:
        """A member has just signed in: the browser is known from now on."""
        token = Device.token(self._vault, self.of(request), member_id, self._clock.now())
        seconds = int(self._config.enrollment.device_days * DAY)
        set_browser_cookie(response, self._name, token, seconds, self._config)

    @property
    def _name(self) -> str:
        return f"{cookie_name(self._config)}-device"
