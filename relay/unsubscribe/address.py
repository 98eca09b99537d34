"""The address a recipient can write to instead of clicking: `u-<token>@<bounce host>` (RFC 2369 §3.2).

The token names a message and one of its recipients and is authenticated: nobody can make one up or change one. It
survives hosts that change letter case (RFC 5321 §2.4) and fits a local part of 64 octets (RFC 5321 §4.5.3.1.1), so
it holds no address, only a hash of one: it can be read as long as the message's log is kept.
"""

from __future__ import annotations

import base64
import hashlib

from relay.base.secrets import Vault

PREFIX = "u-"
_PURPOSE = "unsubscribe-mail"
_ID, _WHO, _MAC = 10, 6, 9
_LETTERS = (_ID + _WHO + _MAC) * 8 // 5


def local_part(vault: Vault, queue_id: str, canonical: str) -> str:
    """The local part for this recipient of this message: 42 characters, lower case. One HMAC."""
    data = base64.b32decode(queue_id.upper()) + who(canonical)
    return PREFIX + base64.b32encode(data + vault.mac(_PURPOSE, data)[:_MAC]).decode("ascii").lower()


def read(vault: Vault, local: str) -> tuple[str, bytes] | None:
    """(queue id, `who` of the recipient) of a local part of ours, in any letter case; None for every other alike."""
    text = local.lower()
    if not text.startswith(PREFIX) or len(text) != len(PREFIX) + _LETTERS:
        return None
    try:
        raw = base64.b32decode(text[len(PREFIX) :].upper())
    except ValueError:
        return None
    data, mac = raw[:-_MAC], raw[-_MAC:]
    if not vault.is_mac(_PURPOSE, data, mac):
        return None
    return base64.b32encode(data[:_ID]).decode("ascii").lower(), data[_ID:]


def who(canonical: str) -> bytes:
    """What tells the recipients of one message apart."""
    return hashlib.blake2b(canonical.encode(), digest_size=_WHO).digest()
