"""The token in the URL of a click, `/u/<token>` (RFC 8058): whose list, which address, and which message it came with.

It is encrypted and authenticated: no address can be read in a URL, and none can be made up. It can be read for ever,
and the message's log only while it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.base.secrets import Vault

_PURPOSE = "unsubscribe"
_MAX_TOKEN = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """What a token says. `canonical` is the recipient's address in that form; `queue_id` "" in tokens made before it
    was among them."""

    member_id: int
    domain_id: int
    canonical: str
    category: str = "bulk"
    queue_id: str = ""


def token(vault: Vault, link: Link) -> str:
    """The unreadable token of one recipient of one message."""
    said = f"{link.member_id}\n{link.domain_id}\n{link.canonical}\n{link.category}\n{link.queue_id}"
    return vault.token(_PURPOSE, said.encode())


def read(vault: Vault, token: str) -> Link | None:
    """What a token says, or None for every wrong one alike."""
    plain = vault.read_token(_PURPOSE, token) if len(token) <= _MAX_TOKEN else None
    if plain is None:
        return None
    member, domain, *rest = plain.decode().split("\n")
    return Link(int(member), int(domain), *rest)
