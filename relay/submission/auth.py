"""AUTH's messages: base64, PLAIN and LOGIN taken apart. Pure; nothing here is ever said back or logged.

Promises credentials as text, without blanks and line ends around them (as they come along from a file or a web page;
no name and no key has any), or `BadResponse`. Who they belong to is the directory's answer, the conversation around
them the session's.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

MECHANISMS = ("PLAIN", "LOGIN")
# RFC 4954 §4.3: a line of an AUTH exchange has at most 12288 octets.
MAX_LINE = 12288
# The words of LOGIN have no RFC; clients wait for these two.
ASK_USER = base64.b64encode(b"Username:").decode("ascii")
ASK_PASSWORD = base64.b64encode(b"Password:").decode("ascii")


class BadResponse(Exception):
    """A response that can't be decoded. Carries nothing of it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client claims. `acts_as` is PLAIN's authorization identity, "" for none: then it acts as `username`."""

    username: str
    secret: str = field(repr=False)
    acts_as: str = ""


def decode(response: str) -> str:
    """Base64 to text; `=` is the empty response (RFC 4954 §4). Raises BadResponse.

    Padding may be missing, as some devices leave it out: nothing else can be meant (RFC 4648 §3.2)."""
    if response == "=":
        return ""
    padded = response if "=" in response else response + "=" * (-len(response) % 4)
    try:
        return base64.b64decode(padded.encode("ascii"), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise BadResponse from None


def plain(message: str) -> Credentials:
    """RFC 4616 §2: `[authzid] NUL authcid NUL passwd`. Raises BadResponse."""
    parts = [part.strip() for part in message.split("\0")]
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise BadResponse
    return Credentials(parts[1], parts[2], parts[0])


def login(username: str, secret: str) -> Credentials:
    """LOGIN's two answers. Raises BadResponse when one is empty or holds NUL."""
    username, secret = username.strip(), secret.strip()
    if not username or not secret or "\0" in username or "\0" in secret:
        raise BadResponse
    return Credentials(username, secret)
