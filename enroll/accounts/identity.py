"""A member's DID: the one every member gets from this relay, and the document that it resolves to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from relay.base import names
from relay.base.config import Config

AT = "at://"
"""What a handle begins with in `alsoKnownAs` of a DID document (AT Protocol, DID)."""


def default_did(config: Config, handle: str) -> str:
    """`did:web:<public host>:m:<handle>`, a port of the public URL as `%3A<port>`."""
    return did_prefix(config) + handle


def did_prefix(config: Config) -> str:
    """What every DID given by this relay begins with."""
    port = urlsplit(config.server.public_url).port
    return f"did:web:{_host(config)}{f'%3A{port}' if port is not None else ''}:m:"


def hosted_handle(config: Config, handle: str) -> str:
    """The name by which other programs know a member's handle: a host name, `<handle>.<handle domain>`."""
    return f"{handle}.{handle_domain(config)}"


def handle_domain(config: Config) -> str:
    """The name that hosted handles end in."""
    return config.identity.handle_domain.lower() or _host(config)


def _host(config: Config) -> str:
    host = urlsplit(config.server.public_url).hostname or config.server.hostname
    if _is_ip(host):
        # did:web method §3.1: the identifier is a domain name, never an IP address.
        host = config.server.hostname
    try:
        return names.domain(host)
    except names.BadName:
        return host.lower()


def document(config: Config, did: str, handles: Sequence[str]) -> dict[str, Any]:
    """The DID document (DID Core §5) of a DID given by this relay, which names these handles."""
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "alsoKnownAs": [f"{AT}{handle}" for handle in handles],
        "service": [{"id": f"{did}#relay", "type": "MailRelay", "serviceEndpoint": config.server.public_url}],
    }


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
