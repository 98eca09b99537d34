"""A message's octets → the text parts that a reader sees, where each stands, and how it is written.

Walks multipart/mixed, alternative and related, and nothing else: what is signed (RFC 1847), encrypted, enclosed
(message/rfc822), a report or attached is not entered. Every part keeps its place, so that one can be exchanged and
all others keep their octets. Promises bounded depth and time linear in the octets for each level; a part whose header
two programs could read differently is left out.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from relay.base.content_type import content_type as read_type

_DEPTH_MAX = 12
_HEADER_MAX = 65_536
_FIELD_BREAK = re.compile(rb"\r\n(?![ \t])")
_ENTERED = ("multipart/mixed", "multipart/alternative", "multipart/related")
_WRITTEN = ("", "7bit", "8bit", "binary", "quoted-printable", "base64")
_QUOTED = re.compile(rb"[^\t -<>-~]|[\t ]\Z")
_SOFT = 75  # RFC 2045 §6.7: 76 with the "=" at the end
_LINE_MAX = 998  # RFC 5322 §2.1.1


@dataclass(frozen=True, slots=True)
class Part:
    """One text part. `header` is None for the message's own body, whose header is elsewhere.

    header: where its fields stand, without the empty line; body: where its octets stand, without the line end that
    belongs to the delimiter; around: the delimiters of the parts that it is in.
    """

    type: str
    charset: str
    encoding: str
    header: tuple[int, int] | None
    body: tuple[int, int]
    around: tuple[bytes, ...]


def text_parts(fields: Mapping[str, Sequence[bytes]], body: bytes) -> list[Part]:
    """The text/html and text/plain parts in order, attachments left out. `fields`: lower-case name → raw values."""
    return list(_walk(fields, body, None, (0, len(body)), (), 0))


def _walk(
    fields: Mapping[str, Sequence[bytes]], body: bytes, header: tuple[int, int] | None, place: tuple[int, int],
    around: tuple[bytes, ...], depth: int,
) -> Iterator[Part]:
    if any(len(fields.get(name, ())) > 1 for name in ("content-type", "content-transfer-encoding")):
        return
    kind, parameters = content_type(_value(fields, "content-type"))
    if kind in _ENTERED and depth < _DEPTH_MAX:
        boundary = parameters.get("boundary", "").rstrip()
        if 0 < len(boundary) <= 70 and boundary.isascii():
            delimiter = b"--" + boundary.encode()
            for start, end in _split(body, delimiter, *place):
                yield from _inner(body, start, end, (*around, delimiter), depth + 1)
        return
    encoding = _value(fields, "content-transfer-encoding").strip().lower()
    disposition = _value(fields, "content-disposition").lower()
    attached = disposition.lstrip().startswith("attachment") or "filename" in disposition or "name" in parameters
    if kind in ("text/html", "text/plain") and encoding in _WRITTEN and not attached:
        yield Part(kind, parameters.get("charset", "us-ascii").lower(), encoding or "7bit", header, place, around)


def _inner(body: bytes, start: int, end: int, around: tuple[bytes, ...], depth: int) -> Iterator[Part]:
    """The text parts of what stands between two delimiters."""
    if body.startswith(b"\r\n", start):
        yield from _walk({}, body, (start, start), (start + 2, end), around, depth)
        return
    stop = body.find(b"\r\n\r\n", start, min(end, start + _HEADER_MAX))
    if stop < 0:
        return
    fields: dict[str, list[bytes]] = {}
    for line in _FIELD_BREAK.split(body[start:stop]):
        name, colon, value = line.partition(b":")
        if not colon:
            return
        fields.setdefault(name.strip().lower().decode("latin-1"), []).append(value)
    yield from _walk(fields, body, (start, stop + 2), (stop + 4, end), around, depth)


def _split(body: bytes, delimiter: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the parts stand. RFC 2046 §5.1.1: the line end before a delimiter belongs to it."""
    began = -1
    at = start if body.startswith(delimiter, start) else _next(body, delimiter, start, end)
    while at >= 0:
        line_end = body.find(b"\r\n", at, end)
        rest = body[at + len(delimiter) : end if line_end < 0 else line_end].rstrip(b" \t")
        if rest in (b"", b"--"):
            if began >= 0:
                yield began, max(began, at - 2)
            if rest or line_end < 0:
                return
            began = line_end + 2
        at = _next(body, delimiter, max(at, began - 2), end)
    # Without a last delimiter the end of the last part isn't known for certain: it is left alone.


def _next(body: bytes, delimiter: bytes, at: int, end: int) -> int:
    found = body.find(b"\r\n" + delimiter, at, end)
    return found + 2 if found >= 0 else -1


def content_type(value: str) -> tuple[str, Mapping[str, str]]:
    """(type/subtype in lower case, parameters by lower-case name); ("", {}) for what can't be read for certain."""
    if not value.strip():
        # RFC 2045 §5.2: the default.
        return "text/plain", {}
    found = read_type(value)
    return (found.type, found.parameters) if found.certain else ("", {})


def _value(fields: Mapping[str, Sequence[bytes]], name: str) -> str:
    found = fields.get(name)
    return found[0].replace(b"\r\n", b"").decode("latin-1").strip() if found else ""


def decode(octets: bytes, encoding: str) -> bytes | None:
    """The content without its transfer encoding; None where it is not written as it should be."""
    if encoding == "base64":
        try:
            return base64.b64decode(octets.translate(None, b"\r\n \t"), validate=True)
        except binascii.Error:
            return None
    return quopri.decodestring(octets) if encoding == "quoted-printable" else octets


def encode(content: bytes, encoding: str) -> tuple[bytes, str]:
    """(octets, transfer encoding): the one given, or quoted-printable where a line is too long for it or not ASCII."""
    if encoding == "base64":
        return base64.encodebytes(content).replace(b"\n", b"\r\n").removesuffix(b"\r\n"), encoding
    long = encoding != "quoted-printable" and any(len(line) > _LINE_MAX for line in content.split(b"\r\n"))
    if encoding == "quoted-printable" or long or (encoding == "7bit" and not content.isascii()):
        return quoted(content), "quoted-printable"
    return content, encoding


def quoted(content: bytes) -> bytes:
    """RFC 2045 §6.7: CRLF stays a line end; a CR or LF alone, as every other control, is written as `=XX`."""
    return b"\r\n".join(_soft(_QUOTED.sub(_octet, line)) for line in content.split(b"\r\n"))


def _octet(found: re.Match[bytes]) -> bytes:
    return b"=%02X" % found[0][0]


def _soft(line: bytes) -> bytes:
    """One line broken by `=` at the end, never within an `=XX`."""
    if len(line) <= _SOFT + 1:
        return line
    pieces, at = [], 0
    while len(line) - at > _SOFT + 1:
        cut = at + _SOFT
        found = line.rfind(b"=", cut - 2, cut)
        cut = cut if found < 0 else found
        pieces.append(line[at:cut])
        at = cut
    return b"=\r\n".join([*pieces, line[at:]])
