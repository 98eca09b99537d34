"""A form in a request's body, read whole: urlencoded (WHATWG URL §5.1) or multipart (RFC 7578). Pure: octets in.

Promises every field in order, however its part is dressed: any part header in any letter case, names quoted, bare or
encoded, a preamble, an epilogue, no last delimiter; and time linear in the body, which the caller has bounded.
"""

from __future__ import annotations

import binascii
import quopri
import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.utils import collapse_rfc2231_value
from urllib.parse import parse_qsl

_MAX_FIELDS = 200
_MAX_HEAD = 4096  # of a part: what reads parameters takes time by the square of it
# What text comes in where a part or a body names it; whatever else is named is read as UTF-8 (RFC 7578 §5.1.2).
_CHARSETS = frozenset({"us-ascii", "iso-8859-1", "windows-1252", "utf-16", "utf-16le", "utf-16be"})
_DELIMITED = re.compile(rb"(?:\A|\r?\n)--([^\r\n]{1,70}?)[ \t]*\r?\n")


class BadForm(ValueError):
    """What can't be read as a form: too many fields, or, where that matters, octets that are no text."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field; `file` where a file name came with it."""

    name: str
    value: str
    file: bool = False


def fields(raw: bytes, content_type: str, *, strict: bool = False) -> list[Field]:
    """The fields of a body with this Content-Type ("" for none), in order.

    A type that is no form's, or none, is looked at: some clients leave it out, or call a form text. `strict`: what is
    not UTF-8 is refused instead of replaced. Raises BadForm.
    """
    head = Message()
    head["content-type"] = content_type or "application/octet-stream"
    kind = head.get_content_type()
    untold = kind == "application/octet-stream" and raw.lstrip().startswith(b"--")
    if kind == "multipart/form-data" or untold:
        boundary = _parameter(head, "boundary", "content-type") or ""
        return _multipart(raw, boundary.encode("utf-8", "replace"), strict)
    text = _text(raw, _parameter(head, "charset", "content-type") or "", strict)
    if kind == "text/plain":
        # HTML §4.10.21.6: one field a line.
        text = "&".join(text.splitlines())
    try:
        pairs = parse_qsl(
            text.strip(), keep_blank_values=True, errors="strict" if strict else "replace", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise BadForm("too many fields, or octets that are no text") from None
    return [Field(name, value) for name, value in pairs]


def _multipart(raw: bytes, boundary: bytes, strict: bool) -> list[Field]:
    if not boundary:
        # The delimiter tells its boundary, too.
        found = _DELIMITED.search(raw)
        if found is None:
            raise BadForm("no boundary")
        boundary = found[1]
    # RFC 2046 §5.1.1: a delimiter begins its line, and nothing but blanks follow it. Clients that write LF alone are
    # read, too. The line's end stays: it may begin the next delimiter.
    marks = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    begins: int | None = None
    out: list[Field] = []
    for mark in marks.finditer(raw):
        if begins is not None:
            _add(out, raw[begins : mark.start()], strict)
        begins = mark.end()
        if mark[1]:
            return out
    if begins is not None:
        _add(out, raw[begins:].removesuffix(b"\n").removesuffix(b"\r"), strict)
    return out


def _add(out: list[Field], part: bytes, strict: bool) -> None:
    """Take one part; it begins with the end of its delimiter's line."""
    if len(out) >= _MAX_FIELDS:
        raise BadForm("too many fields")
    part = part.removeprefix(b"\r").removeprefix(b"\n")
    if part.startswith((b"\r\n", b"\n")):
        return  # no header, so no name
    end = re.search(rb"\r?\n\r?\n", part)
    if (end.start() if end else len(part)) > _MAX_HEAD:
        raise BadForm("a part's header is too long")
    head = BytesParser().parsebytes(part[: end.start()] if end else part, headersonly=True)
    name = _parameter(head, "name")
    if name is None:
        return
    octets = _decoded(part[end.end() :] if end else b"", str(head.get("content-transfer-encoding", "")))
    charset = _parameter(head, "charset", "content-type") or ""
    out.append(Field(name, _text(octets, charset, strict), file=_parameter(head, "filename") is not None))


def _parameter(head: Message, name: str, field: str = "content-disposition") -> str | None:
    """RFC 7578 §4.2, RFC 2231: a parameter, quoted, bare or encoded."""
    try:
        found = head.get_param(name, header=field)
        return None if found is None else collapse_rfc2231_value(found)
    except (ValueError, LookupError, TypeError):
        return None


def _decoded(octets: bytes, encoding: str) -> bytes:
    # RFC 7578 §4.7 has done away with transfer encodings; some clients write them still.
    match encoding.strip().lower():
        case "base64":
            try:
                return binascii.a2b_base64(octets)
            except binascii.Error:
                return octets
        case "quoted-printable":
            return quopri.decodestring(octets)
    return octets


def _text(octets: bytes, charset: str, strict: bool) -> str:
    name = charset.lower() if charset.lower() in _CHARSETS else "utf-8"
    try:
        return octets.decode(name, "strict" if strict else "replace").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise BadForm("octets that are no text") from None
