"""A short letter in plain text, as bytes: what the relay itself writes to people. Sending it is left to others."""

from __future__ import annotations

import binascii
from collections.abc import Mapping

from relay.base.names import Address

_WORD_OCTETS = 45
_WORDS = 9  # a line of under 700 characters


def letter(
    sender: str, to: Address, subject: str, text: str, *, headers: Mapping[str, str] | None = None,
    auto_submitted: bool = True,
) -> bytes:
    """The message with CRLF line ends, without Date and Message-ID (the intake adds them).

    sender: an address. In the subject and the values of `headers`, what isn't printable becomes `?`, so that no value
    can begin a line of its own; the subject and the text may be any Unicode, the headers ASCII.
    """
    fields = {"From": sender, "To": to.header, "Subject": subject if to.smtputf8 else _encoded(_line(subject))}
    if auto_submitted:
        # RFC 3834 §5: nobody's vacation notice answers this.
        fields["Auto-Submitted"] = "auto-generated"
    fields |= {
        **(headers or {}),
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "quoted-printable",
    }
    head = "".join(f"{name}: {_line(value)}\r\n" for name, value in fields.items())
    # RFC 2045 §6.7: also keeps lines under 76 characters.
    body = binascii.b2a_qp(_readable(text).encode(), istext=True).replace(b"\n", b"\r\n")
    return head.encode("utf-8" if to.smtputf8 else "ascii", "replace") + b"\r\n" + body


def _line(value: str) -> str:
    # RFC 5322 §2.1.1: ours are short; a name of 253 octets still fits.
    return "".join(c if c.isprintable() else "?" for c in value)[:700]


def _encoded(text: str) -> str:
    """`text` as RFC 2047 §2 has it: encoded words of at most 75 characters, as many as one line may hold."""
    if text.isascii():
        return text
    words: list[str] = []
    part = b""
    for char in text:
        if len(part) + len(char.encode()) > _WORD_OCTETS:
            words.append(_word(part))
            part = b""
        part += char.encode()
    return " ".join([*words, _word(part)][:_WORDS])


def _word(part: bytes) -> str:
    return f"=?utf-8?B?{binascii.b2a_base64(part, newline=False).decode()}?="


def _readable(text: str) -> str:
    return "".join(c if c == "\n" or c.isprintable() else "?" for c in text.rstrip()) + "\n"
