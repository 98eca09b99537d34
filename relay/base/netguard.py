"""Going out to addresses that others name: which of them may be reached, and what a usable http(s) target is.

Promises that nothing private counts as public, also not wrapped into IPv6. The check belongs where the connection
is made, because a name can point elsewhere a moment later; that is left to those who connect.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from relay.base import names

MAX_URL = 2000
WEB_PORTS = (80, 443)
_UNPRIVILEGED = 1024
_KNOWN_SECONDS = 60
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# IANA gives global unicast addresses out of this block alone. What lies outside is somebody's own network, a group,
# or another dress of IPv4: compatible (::/96), translated (::ffff:0:0:0/96), or a NAT64 of one's own (RFC 8215).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# RFC 7526 §4: 6to4 relays had this address; whoever answers there today is the network's own.
_RELAYS_6TO4 = ipaddress.IPv4Network("192.88.99.0/24")


def is_public(text: str) -> bool:
    """True for an address of the global internet, also looked at through IPv6 wrappings of IPv4."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return False
    inner: ipaddress.IPv4Address | None = None
    if isinstance(ip, ipaddress.IPv6Address):
        # RFC 4291 §2.5.5.2, RFC 3056 §2, RFC 6052 §2.1: the IPv4 address inside is where packets end.
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_UNICAST:
            return False
    elif ip in _RELAYS_6TO4:
        return False
    return ip.is_global and not ip.is_multicast


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERYWHERE: tuple[Network, ...] = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))


def may_be_reached(text: str, private: Collection[Network]) -> bool:
    """True for a public address, and for one in the networks that the operator has named."""
    if is_public(text):
        return True
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in one for one in private if one.version == ip.version)


def is_of_this_machine(ip: str) -> bool:
    """Whether an IP address is one of this machine's, as it was within the last minute."""
    return _may_be_bound(ip, int(time.monotonic() / _KNOWN_SECONDS))


@functools.lru_cache(maxsize=4096)
def _may_be_bound(ip: str, minute: int) -> bool:
    """The system lets only its own addresses be bound."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((ip, 0))
    except OSError:
        return False
    return True


def is_address(text: str) -> bool:
    """Whether this is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def client_key(text: str) -> str:
    """Under what a client is counted, wherever clients are counted by address: its IPv4 address, or in IPv6 its /64,
    within which one host has as many addresses as it likes; other text as it is."""
    if ":" not in text:
        return text
    return within(text, 32, 64)


def network(text: str) -> str:
    """The network an IP address likely shares with its owner's others: its /24, or /48 in IPv6; other text as it is."""
    return within(text, 24, 48)


def within(text: str, bits: int, bits_6: int) -> str:
    """The network of `bits` (in IPv6 `bits_6`) around an address; other text as it is."""
    try:
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    prefix = bits if ip.version == 4 else bits_6
    return str(ip) if prefix == ip.max_prefixlen else str(ipaddress.ip_network((ip, prefix), strict=False))


def port_is_allowed(port: int, ports: Collection[int], *, private: bool) -> bool:
    """Whether a request may go to this port: where the web is, or one of `ports` that the operator named. `private`: or
    any that a program without rights may have taken, but never another service's own."""
    return port in WEB_PORTS or port in ports or (private and port >= _UNPRIVILEGED)


def target_fault(url: str, *, private: bool, ports: Collection[int] = ()) -> str | None:
    """What is wrong with a URL that events shall be posted to, for its owner; None when nothing is.

    `ports` beside 443 and 80 that the operator allows. `private` (tests, the demo) also allows http and addresses
    that are not public. What a name points at is looked at when connecting.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return f"a URL of at most {MAX_URL} printable ASCII characters is needed"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "the URL can't be read"
    if parts.scheme not in (("http", "https") if private else ("https",)):
        return "the URL must begin with https://"
    # RFC 3986 §3.2.1: a password in a URL ends up in logs.
    if parts.username is not None or parts.password is not None:
        return "the URL must not hold a user name or password"
    if parts.fragment:
        return "the URL must not have a fragment"
    if port is not None and not port_is_allowed(port, ports, private=private):
        named = ", ".join(str(one) for one in sorted({*WEB_PORTS, *ports}))
        return f"port {port} can't be used: events are posted to the ports {named}"
    return _host_fault(parts.hostname or "", private)


def _host_fault(host: str, private: bool) -> str | None:
    if private:
        return None if host else "the URL names no host"
    if is_address(host):
        return None if is_public(host) else "the address is not a public one"
    try:
        names.domain(host)
    except names.BadName as e:
        return f"the host can't be used ({e.reason})"
    return None if "." in host else "the host is not a public name"
