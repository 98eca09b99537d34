"""The demo's own end of a webhook: takes what the relay posts on loopback, as a program of a member would.

Every request is verified with the `standardwebhooks` library, which knows nothing of this relay; one that is not
genuine gets 401 and is never shown. Keeps the newest events within a bound, and lets others wait for one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from relay.base.log import one_line

_KEPT = 1000
_MAX_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Posted:
    """One verified event: its id at the webhook, its type, and the feed's object."""

    name: str
    type: str
    event: dict[str, Any]

    @property
    def recipient(self) -> str:
        """Whom it is about, or ""."""
        return str(self.event.get("data", {}).get("recipient", ""))

    def line(self) -> str:
        """One line for the terminal."""
        data = self.event.get("data", {})
        why = " ".join(str(data[k]) for k in ("status", "reply", "feedback", "by") if data.get(k))
        return one_line(f"webhook  {self.type:<12} {self.recipient}  {why[:160]}  (signature verified)")


class Receiver:
    """The listener. Set `secret` once the relay has told it; `tell` gets a line for each event."""

    def __init__(self) -> None:
        self.secret = ""
        self.refused = 0
        self.tell: Callable[[str], None] = lambda line: None
        self.url = ""
        self._came: deque[Posted] = deque(maxlen=_KEPT)
        self._arrived = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when it can't."""
        app = web.Application(client_max_size=_MAX_BYTES)
        app.router.add_post("/", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.url = f"http://{host}:{port}/"

    async def close(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def wait_for(self, wanted: Callable[[Posted], bool]) -> Posted:
        """The first verified event that is `wanted`, also one that is here already."""
        while True:
            arrived = self._arrived
            for posted in self._came:
                if wanted(posted):
                    return posted
            await arrived.wait()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            value = Webhook(self.secret).verify(body, dict(request.headers)) if self.secret else None
        except (WebhookVerificationError, ValueError):
            value = None
        if not isinstance(value, dict) or not isinstance(value.get("data"), dict):
            self.refused += 1
            return web.Response(status=401, text="not genuine")
        posted = Posted(request.headers["webhook-id"], str(value.get("type", "")), value["data"])
        self._came.append(posted)
        self._arrived.set()
        self._arrived = asyncio.Event()
        self.tell(posted.line())
        return web.Response(status=204)
