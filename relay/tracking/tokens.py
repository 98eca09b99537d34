"""What stands in a tracked link and in the pixel: tokens that nobody can read, make up or change (RFC 5297).

A token holds the message's queue id, a hash of the recipient, whose domain it is, the day it was made, and a click's
target: so nothing is kept in a table for a link, a link outlives the log, and no token leads anywhere that a member's
message did not.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

from relay.base.clock import DAY
from relay.base.secrets import Vault

_FORM = struct.Struct(">10s6sQQHH")
_MAX_TOKEN = 6000


@dataclass(frozen=True, slots=True)
class Mark:
    """What a token says. `n` and `url` of a click; `day` counts from 1970."""

    queue_id: str
    who: bytes
    member_id: int
    domain_id: int
    day: int
    n: int = 0
    url: str = ""


def who(address: str) -> bytes:
    """What tells the recipients of one message apart."""
    return hashlib.blake2b(address.encode(), digest_size=6).digest()


def day_of(now: float) -> int:
    """Days since 1970."""
    return int(now // DAY)


def write(vault: Vault, kind: str, mark: Mark) -> str:
    """The token, letters that any quoting of an attribute takes. `kind`: click or open."""
    fixed = _FORM.pack(
        base64.b32decode(mark.queue_id.upper()), mark.who, mark.member_id, mark.domain_id, mark.day, mark.n
    )
    return vault.token(f"tracking-{kind}", fixed + mark.url.encode("ascii"))


def read(vault: Vault, kind: str, token: str) -> Mark | None:
    """What a token of this kind says; None for every wrong one alike."""
    plain = vault.read_token(f"tracking-{kind}", token) if len(token) <= _MAX_TOKEN else None
    if plain is None or len(plain) < _FORM.size:
        return None
    queue, recipient, member_id, domain_id, day, n = _FORM.unpack_from(plain)
    queue_id = base64.b32encode(queue).decode("ascii").lower()
    return Mark(queue_id, recipient, member_id, domain_id, day, n, plain[_FORM.size :].decode("ascii"))
