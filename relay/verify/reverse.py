"""The names of a client: what its reverse zone says, confirmed by the names themselves (RFC 8601 §3, "iprev")."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Protocol

from relay.base.resolver import Answer, Later, Result

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# RFC 7208 §4.6.4, RFC 8601 §7.3: more names are not looked at.
MAX_NAMES = 10
_NUMBER = re.compile(r"\d{1,3}")
_HEX_MIN = 8


class AsksNames(Protocol):
    """The questions asked of DNS."""

    async def ptr(self, ip: str) -> Result:
        """Names of an address."""

    async def records(self, name: str, rdtype: str) -> Result:
        """Records of the type "A" or "AAAA"."""


def address_of(text: str) -> Address | None:
    """The address that `text` writes, an IPv4 one also where it is mapped into IPv6; None for none."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


async def confirmed(ip: Address, resolver: AsksNames, wanted: Callable[[str], bool]) -> tuple[str | None, bool]:
    """(the first name of `ip`, lower case, that is `wanted` and points back at it, whether DNS could be asked)."""
    found = await resolver.ptr(str(ip))
    claimed = found.texts()[:MAX_NAMES] if isinstance(found, Answer) else ()
    asked = not isinstance(found, Later)
    for name in claimed:
        name = name.rstrip(".").lower()
        if not wanted(name):
            continue
        back = await resolver.records(name, "A" if ip.version == 4 else "AAAA")
        if isinstance(back, Answer) and any(address_of(text) == ip for text in back.texts()):
            return name, True
        asked = asked and not isinstance(back, Later)
    return None, asked


def numbered(name: str, ip: Address) -> bool:
    """True where a name is only the address written otherwise, as networks name their customers' lines: two octets
    of it or its hexadecimal form. The network vouches for such a name, and for nobody who uses it."""
    name = name.lower()
    bare = re.sub(r"[.-]", "", name)
    if ip.version == 6:
        nibbles = ip.exploded.replace(":", "")
        return nibbles[-_HEX_MIN:] in bare or nibbles[:16] in bare
    octets = str(ip).split(".")
    plain = [int(n) for n in _NUMBER.findall(name)]
    written = sum(1 for o in set(octets) if int(o) in plain)
    padded = "".join(f"{int(o):03}" for o in octets)
    return written >= min(2, len(set(octets))) or f"{int(ip):08x}" in bare or padded in bare
