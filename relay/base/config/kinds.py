"""Kinds of values in the settings that are more than a number or a text: host names, places, addresses, ports, waits.

Promises that a host name has one form, in which the relay can compare it: lower case, A-labels, no dot at its end.
Text that is no host name stays (in lower case); that it is none says `posthouse check-config`. The other kinds refuse
what can't be used.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from relay.base import names

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


def host_name(text: str) -> str:
    """The one form of a host name. RFC 5321 §2.3.5: letter case means nothing; recipients' domains arrive like this."""
    try:
        return names.domain(text)
    except names.BadName:
        return text.lower().rstrip(".")


def host_and_port(text: str) -> str:
    """HOST:PORT, the host a name or an address (IPv6 in brackets), or "" for none. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not text:
        return text
    bracketed = host.startswith("[") and host.endswith("]")
    if not (colon and _is_port(port) and (_is_address(host[1:-1]) if bracketed else ":" not in host)):
        raise ValueError(f"{text!r} is not HOST:PORT, such as mail.example.org:587")
    if not (bracketed or _is_address(host)):
        try:
            host = names.domain(host)
        except names.BadName as e:
            raise ValueError(f"{text!r}: {host!r} is not a host name ({e.reason})") from None
    return f"{host}:{int(port)}"


def name_server(text: str) -> str:
    """IP, IP:PORT or [IPv6]:PORT. Raises ValueError with what to write."""
    if _is_address(text):
        return text
    host, _, port = text.rpartition(":")
    if not (_is_port(port) and _is_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)):
        raise ValueError(f"{text!r} is not IP or IP:PORT, such as 192.0.2.53 or [2001:db8::53]:53")
    return text


def ip(text: str) -> str:
    """An IP address as it is commonly written. Raises ValueError with what to write."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address, such as 192.0.2.25") from None


def network(text: str) -> str:
    """A network in CIDR, or one address. Raises ValueError with what to write."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text!r} is not a network, such as 10.0.0.0/8 or fd00::/8") from None


def mailbox(text: str) -> str:
    """One address of somebody's mail, or "" for none. Raises ValueError with what is wrong."""
    return _read_by(names.address, text)


def sender(text: str) -> str:
    """One address that the relay writes as its own, or "" for none. Raises ValueError with what is wrong."""
    return _read_by(names.own_address, text)


def _read_by(read: Callable[[str], names.Address], text: str) -> str:
    try:
        return read(text).text if text else text
    except names.BadName as e:
        raise ValueError(f"{text!r} is not an address of mail ({e.reason})") from None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65536


HostName = Annotated[str, AfterValidator(host_name)]
HostPort = Annotated[str, AfterValidator(host_and_port)]
Ip = Annotated[str, AfterValidator(ip)]
Network = Annotated[str, AfterValidator(network)]
LocalPart = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,64}$")]
Mailbox = Annotated[str, AfterValidator(mailbox)]
Sender = Annotated[str, AfterValidator(sender)]
NameServer = Annotated[str, AfterValidator(name_server)]
Port = Annotated[int, Field(ge=1, le=65535)]
# RFC 6376 §3.1: a selector is one or more labels.
Selector = Annotated[str, Field(pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
# Waits after the 1st, 2nd, … failure; the last one repeats, so there is one.
Waits = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


Bytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def key(default: Any, says: str) -> Any:
    """A config key: its default and the sentence that explains it."""
    return Field(default=default, description=says)


class Section(BaseModel):
    """A table of the file. Unknown keys are mistakes, and so are numbers without an end."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
