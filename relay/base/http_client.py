"""One request to an address that somebody else named: where it may go, how long, how much.

Promises that no connection is made to an address that is not public (looked at where the socket is made, so what DNS
said a moment before doesn't matter) nor to a port that is not allowed, that redirects are answers like any other, that
nothing is read beyond a bound, and that every failure is a value. What an answer means is left to who asks.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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

from relay.base.netguard import EVERYWHERE, Network, may_be_reached, port_is_allowed
from relay.base.resolver import Answer, Resolver

_MAX_RETRY_AFTER = 86_400
_ADDRESSES = 8  # of one name, tried


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """`seconds` for all of a request, `answer_bytes` read of an answer's body, `connections` at once. `ports` beside
    443 and 80; `private`: any address, and other ports that need no rights, are allowed too; `networks`: addresses in
    these, though they are not public."""

    seconds: float
    answer_bytes: int
    connections: int = 100
    ports: Collection[int] = ()
    private: bool = False
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back. `status` None: no answer, and `says` names the reason in our words. `body` is what was read of
    it, cut at the bound. `retry_after` in seconds, where the answer has it; `content_type` without its parameters, in
    lower case. `untrusted`: there is none because the host's certificate is not good, or TLS failed."""

    status: int | None
    seconds: float
    body: bytes = field(default=b"", repr=False)
    says: str = ""
    retry_after: int | None = None
    content_type: str = ""
    untrusted: bool = False


class HttpClient:
    """The client, to be closed at the end; also `async with`. Make it where a loop runs."""

    def __init__(
        self, bounds: HttpBounds, resolver: Resolver, monotonic: Callable[[], float], *,
        tls: ssl.SSLContext | None = None, fresh: bool = False,
    ) -> None:
        """`tls` replaces the system's trust. `fresh`: names are asked of the DNS anew."""
        self._bounds, self._monotonic = bounds, monotonic
        connector = TCPConnector(
            resolver=_Names(resolver, fresh), use_dns_cache=False, socket_factory=self._socket, ssl=tls or True,
            limit=bounds.connections,
        )
        self._session = ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False, trust_env=False,
            timeout=ClientTimeout(total=bounds.seconds),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self, method: Literal["GET", "POST"], url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answered:
        """Make the request; never raises but for being cancelled."""
        began = self._monotonic()
        try:
            # RFC 9110 §15.4: following a redirect would let the other side choose where our request goes.
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                read = await self._read(response)
                return Answered(
                    response.status, self._monotonic() - began, read, retry_after=_retry_after(response),
                    content_type=response.content_type.lower() if hdrs.CONTENT_TYPE in response.headers else "",
                )
        except (ClientError, TimeoutError, OSError, ValueError) as e:
            untrusted = isinstance(e, ClientConnectorCertificateError | ClientSSLError)
            return Answered(None, self._monotonic() - began, says=_reason(e), untrusted=untrusted)

    async def _read(self, response: ClientResponse) -> bytes:
        """The answer's body; what exceeds the bound is left unread."""
        read, most = b"", self._bounds.answer_bytes
        while len(read) < most:
            chunk = await response.content.readany()
            if not chunk:
                return read
            read += chunk
        response.close()
        return read[:most]

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The socket for one address: here it is known for certain where the connection goes."""
        family, kind, proto, _, place = info
        bounds = self._bounds
        if not may_be_reached(place[0], EVERYWHERE if bounds.private else bounds.networks):
            raise OSError(errno.EACCES, "not a public address")
        if not port_is_allowed(place[1], bounds.ports, private=bounds.private):
            raise OSError(errno.EPERM, "not a port that is allowed")
        return socket.socket(family=family, type=kind, proto=proto)


class _Names(AbstractResolver):
    """Names by the relay's own resolver."""

    def __init__(self, resolver: Resolver, fresh: bool) -> None:
        self._resolver, self._fresh = resolver, fresh

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        # RFC 6761 §6.3: localhost is never asked of the DNS.
        if host.rstrip(".").lower() == "localhost":
            addresses: tuple[str, ...] = ("127.0.0.1",)
        else:
            found = await self._resolver.addresses(host, fresh=self._fresh)
            addresses = found.texts()[:_ADDRESSES] if isinstance(found, Answer) else ()
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
            return "requests are not made to that port"
        case OSError():
            return "no connection"
        case ClientError():
            return "the answer can't be read, or the connection was lost"
    return "the request can't be made"
