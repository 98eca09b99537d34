"""Opening the HTTP ports: bounded reading of heads, no words of the parser's to the client, a stop with grace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from relay.base.config import Config
from relay.base.web.answers import dumps, error_body, raw_answer

log = structlog.get_logger("http")


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
        self._sites: list[web.TCPSite] = []

    async def start(self) -> None:
        """Bind every address. Raises OSError when one is taken; nothing is left listening then."""
        await self._runner.setup()
        try:
            for address in self._addresses:
                host, _, port = address.rpartition(":")
                site = web.TCPSite(
                    self._runner, host.strip("[]") or None, int(port), reuse_port=self._reuse_port
                )
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


class _Runner(web.AppRunner):
    """aiohttp's runner, whose connections answer unreadable HTTP with our words instead of the parser's."""

    async def _make_server(self) -> web.Server:
        made: Any = await super()._make_server()
        return _Server(
            made.request_handler, request_factory=made.request_factory, loop=asyncio.get_running_loop(), **made._kwargs
        )


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

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
