"""Opening the HTTP ports: bounded reading of heads, no words of the parser's to the client, a stop with grace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from relay.base.accepting import Acceptor
from relay.base.config import Config
from relay.base.web.answers import dumps, error_body, raw_answer
from relay.base.web.crowd import CROWD, Crowd

log = structlog.get_logger("http")

_WAIT_SECONDS = 30
_BODY = dumps(error_body("UNAVAILABLE", "Too many connections: try again later")).encode()
# RFC 9110 §15.6.4, RFC 9112 §9.6
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: posthouse\r\nContent-Type: application/json\r\n"
    b"Retry-After: %d\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (_WAIT_SECONDS, len(_BODY), _BODY)
)


class Listener:
    """The running HTTP server. `ports` are the ports really bound, in the order of the addresses."""

    def __init__(self, app: web.Application, config: Config, addresses: Sequence[str] | None = None) -> None:
        self._addresses = list(config.http.listen if addresses is None else addresses)
        self._reuse_port = not any(a.endswith(":0") for a in self._addresses)
        self._runner = _Runner(
            app,
            access_log=None,
            auto_decompress=False,
            # Counted from connecting or from the last answer, so a head that trickles in is cut off too.
            keepalive_timeout=config.http.read_timeout_seconds,
            shutdown_timeout=config.server.shutdown_seconds,
        )
        self._sites: list[_Site] = []

    async def start(self) -> None:
        """Bind every address. Raises OSError when one is taken; nothing is left listening then."""
        await self._runner.setup()
        try:
            for address in self._addresses:
                host, _, port = address.rpartition(":")
                site = _Site(self._runner, host.strip("[]"), int(port), shared=self._reuse_port)
                await site.start()
                self._sites.append(site)
        except BaseException:
            await self._runner.cleanup()
            raise

    @property
    def ports(self) -> list[int]:
        """The bound ports."""
        return [site.port for site in self._sites]

    async def stop(self) -> None:
        """Take no new connection, let requests in work finish within the grace time, then close."""
        await self._runner.cleanup()


class _Site(web.BaseSite):
    """aiohttp's site on a port that we take connections from ourselves."""

    def __init__(self, runner: _Runner, host: str, port: int, *, shared: bool) -> None:
        super().__init__(runner)
        self._host, self._wanted, self._shared = host, port, shared
        self.port = port

    @property
    def name(self) -> str:
        """As its runner lists it."""
        return f"http://{self._host}:{self.port}"

    async def start(self) -> None:
        """Bind. Raises OSError."""
        await super().start()
        assert self._runner.server is not None
        acceptor = Acceptor(self._host, self._wanted, self._runner.server, shared=self._shared)
        self.port = acceptor.port
        # What the runner asks of a server is to be closed.
        self._server = acceptor  # type: ignore[assignment]


class _Runner(web.AppRunner):
    """aiohttp's runner, whose connections answer unreadable HTTP with our words instead of the parser's."""

    async def _make_server(self) -> web.Server:
        made: Any = await super()._make_server()
        server = _Server(
            made.request_handler, request_factory=made.request_factory, loop=asyncio.get_running_loop(), **made._kwargs
        )
        server.crowd = self.app[CROWD]
        return server


class _Server(web.Server):
    crowd: Crowd

    def __call__(self) -> RequestHandler:
        connection = _Connection(self, loop=self._loop, **self._kwargs)
        connection.crowd = self.crowd
        return connection


class _Connection(RequestHandler):
    __slots__ = ("address", "counted", "crowd")

    crowd: Crowd
    address: str
    counted: bool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it; one too many is told so and closed, without a task."""
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        bound = self.crowd.enter(self.address)
        self.counted = not bound
        if self.counted:
            super().connection_made(transport)
            return
        log.warning("connections.full", bound=bound)
        self._force_close = True  # what it sends is not looked at
        stream = cast(asyncio.Transport, transport)
        stream.write(_FULL)
        stream.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it no more."""
        if self.counted:
            self.counted = False
            self.crowd.leave(self.address)
            super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp calls for a request that it can't read. Its own text would repeat the client's bytes."""
        log.debug("unreadable", status=status, exc_info=exc)
        if status >= 500:
            body = error_body("INTERNAL_ERROR", "Local error in processing")
        else:
            body = error_body("INVALID_REQUEST", "The HTTP request can't be read")
        response = raw_answer(dumps(body), status)
        response.headers["Server"] = "posthouse"
        response.force_close()
        return response
