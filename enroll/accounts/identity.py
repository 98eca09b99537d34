"""A member's DID: the one every member gets from this relay, and the document that it resolves to. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from relay.base import names
from relay.base.config import Config


def default_did(config: Config, handle: str) -> str:
    """`did:web:<public host>:m:<handle>`, a port of the public URL as `%3A<port>`."""
    return did_prefix(config) + handle


def did_prefix(config: Config) -> str:
    """What every DID given by this relay begins with."""
    public = urlsplit(config.server.public_url)
    host = public.hostname or config.server.hostname
    if _is_ip(host):
        # did:web method §3.1: the identifier is a domain name, never an IP address.
        host = config.server.hostname
    try:
        host = names.domain(host)
    except names.BadName:
        host = host.lower()
    port = f"%3A{public.port}" if public.port is not None else ""
    return f"did:web:{host}{port}:m:"


def document(config: Config, did: str) -> dict[str, Any]:
    """The DID document (DID Core §5) of a DID given by this relay."""
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "service": [{"id": f"{did}#relay", "type": "MailRelay", "serviceEndpoint": config.server.public_url}],
    }


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
