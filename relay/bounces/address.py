"""Return paths: `b-<token>@<return-path domain>`, one for each recipient of each message (VERP).

The token names the recipient and is authenticated: nobody can make one up or change one. It survives hosts that
change letter case (RFC 5321 §2.4) and fits a local part of 64 octets (RFC 5321 §4.5.3.1.1).
"""

from __future__ import annotations

import base64

from relay.base.secrets import Vault

PREFIX = "b-"
_PURPOSE = "return-path"
_ID, _MAC = 6, 9


def local_part(vault: Vault, recipient_id: int) -> str:
    """The local part for mail to this recipient: 26 characters, lower case."""
    data = recipient_id.to_bytes(_ID, "big")
    return PREFIX + base64.b32encode(data + vault.mac(_PURPOSE, data)[:_MAC]).decode("ascii").lower()


def read(vault: Vault, local: str) -> int | None:
    """The recipient id of a local part of ours, in any letter case; None for every other alike."""
    text = local.lower()
    if not text.startswith(PREFIX) or len(text) != len(PREFIX) + (_ID + _MAC) * 8 // 5:
        return None
    try:
        raw = base64.b32decode(text[len(PREFIX) :].upper())
    except ValueError:
        return None
    data, mac = raw[:_ID], raw[_ID:]
    if not vault.is_mac(_PURPOSE, data, mac):
        return None
    return int.from_bytes(data, "big")
