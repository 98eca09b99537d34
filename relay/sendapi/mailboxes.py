"""Mailboxes as people write them in JSON: `ann@example.com`, `Ann <ann@example.com>`, several with commas.

Promises an address that SMTP may carry and a display name without controls. The sender is read far more strictly,
by `names.single_mailbox`, since everybody must see the same one; here we write the header ourselves.
"""

from __future__ import annotations

import re

from relay.base.names import BadName, address
from relay.sendapi.headers import Named, safe

# A comma within quotes or angle brackets divides nothing. Possessive, so that no input makes it walk twice.
_ITEM = re.compile(r'(?:"(?:[^"\\]++|\\.)*+"?|<[^<>]*+>?|[^,"<])++')
_PAIR = re.compile(r"\\(.)")
_MAX_DISPLAY = 500


def split(listed: list[str]) -> list[str]:
    """Each mailbox of each string by itself; empty places between commas vanish."""
    found = []
    for text in listed:
        found += [item.group().strip() for item in _ITEM.finditer(text)] if "," in text else [text.strip()]
    return [item for item in found if item]


def quoted(text: str) -> str:
    """A sender with its display name in quotation marks: in JSON people write `ACME, Inc. (@acme) <ann@example.com>`,
    which a header must quote. What has quotation marks or brackets of its own stays as it is."""
    display, bracket, rest = text.rpartition("<")
    display = display.strip()
    if not (display and bracket and text.endswith(">")) or any(c in display for c in '"<>'):
        return text
    escaped = display.replace("\\", "\\\\")
    return f'"{escaped}" <{rest}'


def read(where: str, text: str) -> Named:
    """One mailbox. Raises BadName for a malformed one, Refused (UNSAFE_VALUE) for controls in any part of it."""
    safe(where, text)
    text = text.strip()
    if not text.endswith(">"):
        return Named("", address(text))
    display, bracket, inner = text[:-1].rpartition("<")
    if not bracket:
        raise BadName("an unpaired angle bracket")
    display = display.strip()
    if len(display) > _MAX_DISPLAY:
        raise BadName(f"a display name longer than {_MAX_DISPLAY} characters")
    if len(display) > 1 and display.startswith('"') and display.endswith('"'):
        display = _PAIR.sub(r"\1", display[1:-1])
    return Named(safe(where, display), address(inner.strip()))
