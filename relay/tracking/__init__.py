"""Opens, clicks and the visible unsubscribe line, for domains whose owner has switched them on.

    rewriting   what goes into a message, asked by intake before it is signed
    template    a message with holes · parts, charsets (which octets) · html, links (which places, which addresses)
    tokens      what stands in the addresses
    endpoint    /c/, /o/ and what is asked about tracking hosts
    record      events and counters · machines (was it a person?)

`Tracking` is the side that readers meet; `Rewriter` the one that messages meet. A token names message, recipient and
target by itself, so nothing is written when a message is accepted, and links outlive the log.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Middleware

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage
from relay.directory import Directory
from relay.tracking.endpoint import Endpoint
from relay.tracking.record import Recorder
from relay.tracking.rewriting import Rewriter

__all__ = ["Rewriter", "Tracking"]


class Tracking:
    """Serves what tracked mail asks for and records it."""

    def __init__(
        self, storage: Storage, vault: Vault, config: Config, clock: Clock, directory: Directory
    ) -> None:
        self._recorder = Recorder(storage, config, clock)
        self._endpoint = Endpoint(vault, config, directory, self._recorder, clock.now)

    def routes(self) -> list[web.RouteDef]:
        """The HTTP routes."""
        return self._endpoint.routes()

    @property
    def middleware(self) -> Middleware:
        """What keeps everything else off tracking hosts."""
        return self._endpoint.middleware

    async def close(self) -> None:
        """Wait until what was noted is written."""
        await self._recorder.close()
