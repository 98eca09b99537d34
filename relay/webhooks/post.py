"""One request to an address that a member named: where it may go, how long, how much.

Promises that no connection is made to an address that is not public (looked at where the socket is made, so what
DNS said a moment before doesn't matter), that redirects are not followed, that nothing is read beyond a bound, and
that every failure is a value. What an answer means is left to `dispatch`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    hdrs,
)
from aiohttp.abc import AbstractResolver, ResolveResult

from relay.base.config.model import Webhooks
from relay.base.netguard import is_public, may_post_to
from relay.base.resolver import Answer, Resolver

_SHOWN = 200
_KEPT_BYTES = 2000
_MAX_RETRY_AFTER = 86_400


@dataclass(frozen=True, slots=True)
class Posted:
    """What came back. `status` None: no answer, and `says` names the reason in our words; else its first bytes."""

    status: int | None
    says: str
    seconds: float
    retry_after: int | None = None

    @property
    def taken(self) -> bool:
        """2xx."""
        return self.status is not None and 200 <= self.status < 300


class Poster:
    """The client. `close` it at the end."""

    def __init__(
        self, config: Webhooks, resolver: Resolver, monotonic: Callable[[], float], *, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` replaces the system's trust."""
        self._config, self._monotonic = config, monotonic
        connector = TCPConnector(
            resolver=_Names(resolver), use_dns_cache=False, socket_factory=self._socket, ssl=tls or True,
            # Waiting for a free connection would count as the other side being slow.
            limit=config.parallel * config.parallel_an_endpoint,
        )
        self._session = ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False, trust_env=False,
            timeout=ClientTimeout(total=config.timeout_seconds),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], text: str) -> Posted:
        """Post JSON text; never raises but for being cancelled."""
        began = self._monotonic()
        sent = {hdrs.CONTENT_TYPE: "application/json", hdrs.USER_AGENT: "Posthouse-Webhooks", **headers}
        try:
            # RFC 9110 §15.4: following a redirect would let the other side choose where our request goes.
            async with self._session.post(url, data=text.encode(), headers=sent, allow_redirects=False) as response:
                says = await self._read(response)
                return Posted(response.status, says, self._monotonic() - began, _retry_after(response))
        except (ClientError, TimeoutError, OSError, ValueError) as e:
            return Posted(None, _reason(e), self._monotonic() - began)

    async def _read(self, response: ClientResponse) -> str:
        """The first bytes of the answer for the log; what exceeds the bound is left unread."""
        read, kept = 0, b""
        while read < self._config.max_answer_bytes:
            chunk = await response.content.readany()
            if not chunk:
                break
            read += len(chunk)
            if len(kept) < _KEPT_BYTES:
                kept += chunk[:_KEPT_BYTES]
        else:
            response.close()
        text = kept.decode("utf-8", "replace")
        return "".join(c if c.isprintable() else " " for c in text).strip()[:_SHOWN]

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The socket for one address: here it is known for certain where the connection goes."""
        family, kind, proto, _, place = info
        if not (self._config.allow_private_networks or is_public(place[0])):
            raise OSError(errno.EACCES, "not a public address")
        if not may_post_to(place[1], self._config.ports, private=self._config.allow_private_networks):
            raise OSError(errno.EPERM, "not a port for events")
        return socket.socket(family=family, type=kind, proto=proto)


class _Names(AbstractResolver):
    """Names by the relay's own resolver."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        # RFC 6761 §6.3: localhost is never asked of the DNS.
        if host.rstrip(".").lower() == "localhost":
            addresses: tuple[str, ...] = ("127.0.0.1",)
        else:
            found = await self._resolver.addresses(host)
            addresses = found.texts() if isinstance(found, Answer) else ()
        if not addresses:
            raise OSError(errno.ENOENT, "the name has no address")
        return [
            ResolveResult(
                hostname=host, host=ip, port=port, family=socket.AF_INET6 if ":" in ip else socket.AF_INET,
                proto=socket.IPPROTO_TCP, flags=socket.AI_NUMERICHOST,
            )
            for ip in addresses
        ]

    async def close(self) -> None:
        """The resolver belongs to others."""


def _retry_after(response: ClientResponse) -> int | None:
    # RFC 9110 §10.2.3: seconds; a date is left alone, the own schedule will do.
    given = response.headers.get(hdrs.RETRY_AFTER, "")
    return min(int(given), _MAX_RETRY_AFTER) if given.isascii() and given.isdecimal() and len(given) < 9 else None


def _reason(error: BaseException) -> str:
    """Our words for a failure: never those of an exception."""
    match error:
        case TimeoutError() | asyncio.CancelledError():
            return "no answer in time"
        case ClientConnectorDNSError():
            return "the name has no address, or DNS does not answer"
        case ClientConnectorCertificateError() | ClientSSLError():
            return "the certificate is not good, or TLS failed"
        case OSError(errno=errno.EACCES):
            return "the name points at an address that is not public"
        case OSError(errno=errno.EPERM):
            return "events are not posted to that port"
        case OSError():
            return "no connection"
        case ClientError():
            return "the answer can't be read, or the connection was lost"
    return "the request can't be made"
