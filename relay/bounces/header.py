"""The field `X-Posthouse-Message: <queue id>.<token>`: which message this copy is, and whose.

It stands in front of each recipient's copy, outside every signature, and is what is left of us where a provider takes
return paths out of what it reports. The token names the recipient and is authenticated together with the queue id:
nobody can make one up or move one to another message. A queue id alone, which stands in every answer's References,
says nothing about who holds it. 62 octets with its name, so no host has to fold it; letter case and white space that
a host put into it don't matter.
"""

from __future__ import annotations

import base64
import re

from relay.base.secrets import Vault

NAME = "X-Posthouse-Message"
_PURPOSE = "message-header"
_ID, _MAC = 6, 9
_VALUE = re.compile(r"(?<![a-z2-7])([a-z2-7]{16})\.([a-z2-7]{24})(?![a-z2-7])")
_READ_MAX = 200  # characters of a value from outside


def field(vault: Vault, queue_id: str, recipient_id: int) -> bytes:
    """The whole field for this recipient's copy, CRLF at its end. One HMAC."""
    data = recipient_id.to_bytes(_ID, "big")
    token = base64.b32encode(data + vault.mac(_PURPOSE, queue_id.encode("ascii") + data)[:_MAC]).decode("ascii")
    return f"{NAME}: {queue_id}.{token.lower()}\r\n".encode("ascii")


def read(vault: Vault, value: str) -> tuple[str, int] | None:
    """(queue id, recipient id) of a value of ours; None for every other alike, the queue id alone among them."""
    found = _VALUE.search("".join(value[:_READ_MAX].split()).lower())
    if found is None:
        return None
    queue_id, token = found.groups()
    raw = base64.b32decode(token.upper())
    data, mac = raw[:_ID], raw[_ID:]
    if not vault.is_mac(_PURPOSE, queue_id.encode("ascii") + data, mac):
        return None
    return queue_id, int.from_bytes(data, "big")
