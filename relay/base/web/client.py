"""Who is calling: the client's address behind trusted proxies, its scheme, its credentials. Decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote_plus

from aiohttp import hdrs, web

from relay.replies import INVALID_DID, Refused

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_MAX_HOPS = 20
_DID_HEADERS = ("X-Posthouse-DID", "X-Atmos-DID")
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")


def client_address(request: web.Request, trusted_proxies: Iterable[str]) -> str:
    """The caller's IP address: the peer's, or what the nearest trusted proxies say of it.

    X-Forwarded-For is read from the right, past addresses in `trusted_proxies` (networks); the first one that is not
    a trusted proxy is the client. Anything unreadable there, and the nearest good address counts. "" without a peer.
    """
    return _walk(request, trusted_proxies)[0]


def is_inside(request: web.Request, trusted_proxies: Iterable[str], networks: Iterable[str]) -> bool:
    """True for a caller in `networks`. What somebody has forwarded who is no trusted proxy, or who doesn't say for
    whom, comes from outside: a proxy on this machine must not make everybody a neighbour."""
    address, known = _walk(request, trusted_proxies)
    return known and in_networks(address, networks)


def is_forwarded(request: web.Request) -> bool:
    """True where a proxy has left its mark."""
    return any(field in request.headers for field in _FORWARDED)


def _walk(request: web.Request, trusted_proxies: Iterable[str]) -> tuple[str, bool]:
    """The address, and whether nothing on the way to it was hidden."""
    here = peer_address(request)
    networks = list(trusted_proxies)
    if not in_networks(here, networks):
        return _plain(here), not is_forwarded(request)
    given = request.headers.getall("X-Forwarded-For", [])
    if not given:
        return _plain(here), not is_forwarded(request)
    for hop in reversed(",".join(given).split(",")[-_MAX_HOPS:]):
        named = _hop(hop.strip())
        if not named:
            return _plain(here), False
        here = named
        if not in_networks(here, networks):
            break
    return _plain(here), True


def peer_address(request: web.Request) -> str:
    """Who is at the other end of the connection; "" when nobody is any more."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


def is_https(request: web.Request, trusted_proxies: Iterable[str]) -> bool:
    """True when the client's side of the connection is encrypted, by our socket or by a trusted proxy's word."""
    if request.scheme == "https":
        return True
    if not in_networks(peer_address(request), trusted_proxies):
        return False
    # The nearest proxy's word is the last one; what comes before it may be the client's own.
    said = ",".join(request.headers.getall("X-Forwarded-Proto", []))
    return said.rpartition(",")[2].strip().lower() == "https"


def in_networks(address: str, networks: Iterable[str]) -> bool:
    """True when an IP address lies in one of the networks (CIDR or single addresses)."""
    found = _parse(address)
    if found is None:
        return False
    return any(found in ip_network(n, strict=False) for n in networks)


def bearer(request: web.Request) -> str | None:
    """The token of `Authorization: Bearer …` (RFC 6750 §2.1); None when there is none, "" when it is unreadable."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not given:
        return None
    scheme, _, token = given[0].partition(" ")
    return token.strip() if len(given) == 1 and scheme.lower() == "bearer" else ""


def claimed_did(request: web.Request) -> str | None:
    """The DID that came with a key, from wherever it may stand; None for none. Raises Refused INVALID_DID for several.

    In the query a DID has a percent escape of its own (`did:web:host%3A8080`), which clients that write it down as it
    stands would lose: such a value is taken as it stands.
    """
    claimed = {value.strip() for name in _DID_HEADERS for value in request.headers.getall(name, [])}
    for pair in request.rel_url.raw_query_string.split("&"):
        name, _, value = pair.partition("=")
        if name == "did":
            as_it_stands = value.lower().startswith("did:") and "%25" not in value
            claimed.add((value if as_it_stands else unquote_plus(value)).strip())
    if len({did.lower() for did in claimed}) > 1:
        raise Refused(INVALID_DID, saw="several DIDs")
    return next(iter(claimed), None)


def host_fault(request: web.BaseRequest) -> str | None:
    """What is wrong with the Host header, or None."""
    # RFC 9112 §3.2: a request without exactly one readable Host is answered 400.
    hosts = request.headers.getall(hdrs.HOST, [])
    if not hosts and request.version < (1, 1):
        return None
    if len(hosts) != 1:
        return "exactly one Host header is needed"
    return None if _HOST.fullmatch(hosts[0]) else "the Host header can't be read"


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _hop(text: str) -> str:
    """An address as proxies write it: some add the port, and brackets around IPv6."""
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and (host.startswith("[") or ":" not in host):
        text = host
    return _plain(text.removeprefix("[").removesuffix("]"))


def _plain(text: str) -> str:
    found = _parse(text)
    return "" if found is None else str(found)
