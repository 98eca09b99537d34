"""The letter in which role mail goes on to the operator: the message as it came, enclosed. Pure; octets out."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from relay.base.clock import rfc5322
from relay.base.names import Address
from relay.base.secrets import random_id
from relay.replies import printable


def letter(
    enclosed: bytes, *, sender: str, to: Address, roles: Sequence[str], said_from: str, subject: str, now: float,
    whole: bool = True,
) -> bytes:
    """A message to the operator, CRLF lines. Nothing of what came becomes a header line but its printable subject."""
    boundary = f"=_{random_id(12)}"
    wanted = ", ".join(printable(r) for r in roles)
    text = (
        f"Mail for {wanted} came in on port 25.\r\nEnvelope sender: {printable(said_from)[:300] or '(none)'}\r\n"
        + ("" if whole else "It is large: only its beginning is enclosed.\r\n")
    )
    # RFC 3834 §5: a program wrote this; nothing answers to it automatically.
    head = (
        f"From: Posthouse <{sender}>\r\nTo: <{to.header}>\r\nSubject: {wanted[:80]}: {printable(subject)[:200]}\r\n"
        f"Date: {rfc5322(now)}\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'
    )
    # As octets in base64: what came may break every rule of a message, and must not break ours.
    encoded = base64.encodebytes(enclosed).replace(b"\n", b"\r\n")
    return (
        f"{head}--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{text}\r\n--{boundary}\r\n"
        'Content-Type: application/octet-stream; name="message.eml"\r\nContent-Transfer-Encoding: base64\r\n'
        'Content-Disposition: attachment; filename="message.eml"\r\n\r\n'
    ).encode("ascii") + encoded + f"\r\n--{boundary}--\r\n".encode("ascii")
