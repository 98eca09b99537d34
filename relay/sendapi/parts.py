"""MIME parts: text, attachments and what holds them together. Bytes come out as 7-bit lines of 76, whatever goes in.

Promises that a part decodes to exactly what was given (text: with CRLF line ends). Which parts a message has is
left to `compose`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from relay.sendapi.headers import structured

_ENDS = re.compile(r"\r\n?|\n")
_7BIT = bytes([9, 10, *range(32, 127)])
# Some programs still put a ">" before such a line, which would break the signature.
_FROM_LINE = re.compile(rb"^From ", re.MULTILINE)
_LINE = 76
_LONGEST = 998


@dataclass(frozen=True, slots=True)
class Part:
    """One body part: its MIME fields (CRLF at the end of each) and its encoded octets."""

    fields: bytes
    body: bytes

    def message(self, fields: bytes) -> bytes:
        """A whole message of which this is the body; `fields` come before the MIME ones."""
        end = b"" if self.body.endswith(b"\r\n") else b"\r\n"
        return b"".join([fields, b"MIME-Version: 1.0\r\n", self.fields, b"\r\n", self.body, end])


def text(subtype: str, content: str) -> Part:
    """text/plain or text/html in the encoding that fits: as it is, quoted-printable, or base64."""
    octets = _ENDS.sub("\n", content).encode()
    odd = len(octets.translate(None, _7BIT))
    if not odd and not _FROM_LINE.search(octets) and max(map(len, octets.split(b"\n"))) <= _LONGEST:
        encoding, body = "7bit", octets.replace(b"\n", b"\r\n")
    elif odd * 6 <= len(octets):
        encoding, body = "quoted-printable", _quoted_printable(octets)
    else:
        encoding, body = "base64", _base64(octets.replace(b"\n", b"\r\n"))
    kind = structured("Content-Type", f"text/{subtype}", [("charset", "utf-8")])
    return Part(kind + f"Content-Transfer-Encoding: {encoding}\r\n".encode("ascii"), body)


def attachment(
    content: bytes,
    *,
    kind: str,
    parameters: Sequence[tuple[str, str]],
    filename: str,
    disposition: str,
    content_id: str | None,
) -> Part:
    """A file, in base64. `kind` is type/subtype; all values have been checked for controls."""
    fields = [
        structured("Content-Type", kind, parameters),
        # RFC 2183 §2; RFC 2231 where the name is long or not ASCII.
        structured("Content-Disposition", disposition, [("filename", filename)]),
        b"Content-Transfer-Encoding: base64\r\n",
    ]
    if content_id is not None:
        # RFC 2045 §7; html parts point at it by cid: (RFC 2392 §2).
        fields.append(f"Content-ID: <{content_id}>\r\n".encode("ascii"))
    return Part(b"".join(fields), _base64(content))


def multipart(subtype: str, parts: Sequence[Part], boundary: str, parameters: Sequence[tuple[str, str]] = ()) -> Part:
    """multipart/`subtype` (RFC 2046 §5.1). `boundary` begins with "=_", which no encoded part can contain."""
    fields = structured("Content-Type", f"multipart/{subtype}", [*parameters, ("boundary", boundary)])
    mark = b"--" + boundary.encode("ascii")
    pieces: list[bytes] = []
    for part in parts:
        pieces += (mark, b"\r\n", part.fields, b"\r\n", part.body, b"\r\n")
    pieces += (mark, b"--")
    return Part(fields, b"".join(pieces))


def _quoted_printable(octets: bytes) -> bytes:
    # RFC 2045 §6.7. Given bare LF only, the encoder writes bare LF only: one replacement makes them all CRLF.
    encoded = binascii.b2a_qp(octets, quotetabs=False, istext=True, header=False)
    # The soft break after it keeps the line, now two longer, within 76.
    return _FROM_LINE.sub(b"=46rom =\n", encoded).replace(b"\n", b"\r\n")


def _base64(octets: bytes) -> bytes:
    # RFC 2045 §6.8: lines of at most 76.
    encoded = binascii.b2a_base64(octets, newline=False)
    return b"\r\n".join([encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE)])
