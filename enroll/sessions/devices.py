"""The cookie by which a browser is known that has signed in before. It outlives the sign-in, and opens nothing.

Handed out at every sign-in; one of another relay, or older than `device_days`, counts as none.
"""

from __future__ import annotations

from aiohttp import web

from enroll.accounts import Device
from enroll.sessions.browser import cookie_name, set_browser_cookie
from relay.base.clock import DAY, Clock
from relay.base.config import Config
from relay.base.secrets import Vault


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
