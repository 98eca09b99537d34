"""A message → a template with holes for what differs between recipients: links, the pixel, the unsubscribe line.

Only the text parts that get something are written anew, in their charset and transfer encoding (quoted-printable
where a line grows too long); everything else keeps its octets. Left whole: a message that somebody has signed already
(DKIM, PGP), and a part that can't be read for certain. Pure; which addresses stand in the holes is `rewriting`'s.

`view` reads a part's text as characters, so that each goes back to the octets it came from.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from relay.base.charsets import Charset, charset
from relay.message import Field
from relay.tracking import parts
from relay.tracking.html import read, references
from relay.tracking.links import target
from relay.tracking.parts import Part

# These are read as a whole, and only if writing them anew gives the same octets.
_WHOLE = re.compile(r"iso-?2022.*|hz|utf-(?:16|32).*")


@dataclass(frozen=True, slots=True)
class View:
    """A part's content as text. `text.encode(codec)` are its octets; `charset` is what its characters really are."""

    text: str
    codec: str
    charset: Charset

    def read(self, piece: str) -> str | None:
        """A piece of the text as its reader sees it, or None where that can't be known."""
        if self.codec != "latin-1" or piece.isascii():
            return piece
        try:
            return self.charset.read(piece.encode("latin-1"))
        except UnicodeError:
            return None

    def write(self, words: str, instead: str) -> str:
        """`words` as they stand in the text, or `instead` (ASCII) where the charset has no letters for them."""
        try:
            octets = self.charset.write(words)
        except UnicodeError:
            return instead
        return octets.decode("latin-1") if self.codec == "latin-1" else words


def view(content: bytes, label: str) -> View | None:
    """The content as text, or None for a charset that isn't known to be safe to write in."""
    known = charset(label)
    if known is None:
        return None
    if known.like_ascii:
        # One character an octet: whatever stands there goes back as it came.
        return View(content.decode("latin-1"), "latin-1", known)
    if not _WHOLE.fullmatch(known.name):
        return None
    try:
        text = content.decode(known.writer)
        return View(text, known.writer, known) if text.encode(known.writer) == content else None
    except UnicodeError:
        return None


_PGP = b"-----BEGIN PGP "
_PIXEL_STYLE = "position:absolute;width:1px;height:1px;border:0;opacity:0"
_LINE_STYLE = "margin:1em 0;font-size:small;text-align:center"
_PLAIN_WORDS = "Unsubscribe"
UNTOUCHED = ("signed", "pgp", "plain")
"""Why a message has no template: it came with a DKIM signature, holds PGP, or has no place for anything wanted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be put into a message, and its bounds. `unsubscribe`: the words of the line, "" for none."""

    links: bool
    opens: bool
    unsubscribe: str
    max_links: int
    max_url_bytes: int
    max_part_bytes: int
    own: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Hole:
    """A place that differs: `kind` click (number `n`, to `url`), open, or unsubscribe."""

    kind: str
    n: int = 0
    url: str = ""


Piece = str | Hole


@dataclass(frozen=True, slots=True)
class _Change:
    part: Part
    codec: str
    pieces: tuple[Piece, ...]

    def written(self, fill: Callable[[Hole], str]) -> tuple[bytes, str]:
        """(octets, transfer encoding) with the holes filled."""
        text = "".join(p if isinstance(p, str) else fill(p) for p in self.pieces)
        return parts.encode(text.encode(self.codec), self.part.encoding)


@dataclass(frozen=True, slots=True)
class Template:
    """A message ready to be filled in. `has`: the kinds of holes in it."""

    fields: Sequence[Field]
    body: bytes
    changes: tuple[_Change, ...]
    has: frozenset[str]

    def fill(self, hole: Callable[[Hole], str]) -> tuple[list[Field], bytes]:
        """The message's fields and body with every hole filled by printable ASCII."""
        fields, out, at = list(self.fields), [], 0
        for change in self.changes:
            octets, encoding = change.written(hole)
            start, end = change.part.body
            if any(octets.startswith(d) or b"\r\n" + d in octets for d in change.part.around):
                continue  # it would end the part too early: this one stays as it is
            if encoding != change.part.encoding:
                if change.part.header is None:
                    fields = _with_encoding(fields, encoding)
                else:
                    first, last = change.part.header
                    out.append(self.body[at:first] + _encoded(self.body[first:last], encoding))
                    at = last
            out += (self.body[at:start], octets)
            at = end
        return fields, b"".join((*out, self.body[at:]))


def template(fields: Sequence[Field], body: bytes, wanted: Wanted) -> Template | str:
    """The template of a message, or why there is none (one of `UNTOUCHED`)."""
    values: dict[str, list[bytes]] = {}
    for field in fields:
        values.setdefault(field.name, []).append(field.value)
    # RFC 6376 §6.1: a changed body makes a signature fail, and whoever signs vouches for these octets.
    if "dkim-signature" in values or "arc-seal" in values:
        return "signed"
    found = []
    for part in parts.text_parts(values, body):
        if part.body[1] - part.body[0] > wanted.max_part_bytes:
            continue
        octets = body[slice(*part.body)]
        content = parts.decode(octets, part.encoding)
        if content is None:
            continue
        if _PGP in content:
            return "pgp"
        seen = view(content, part.charset)
        if seen is not None:
            found.append((part, seen))
    changes = tuple(_changes(found, wanted))
    has = frozenset(p.kind for c in changes for p in c.pieces if isinstance(p, Hole))
    return Template(fields, body, changes, has) if changes else "plain"


def _changes(found: Sequence[tuple[Part, View]], wanted: Wanted) -> Iterator[_Change]:
    """Links in every HTML part; pixel and unsubscribe line in the first of its kind."""
    left, first = wanted.max_links, {"text/html", "text/plain"}
    for part, seen in found:
        ends = part.type in first
        first.discard(part.type)
        if part.type == "text/html":
            pieces = _html(seen, wanted, wanted.max_links - left, left if wanted.links else 0, ends)
            left -= sum(isinstance(p, Hole) and p.kind == "click" for p in pieces)
        else:
            pieces = _plain(seen, wanted) if ends and wanted.unsubscribe else []
        if any(isinstance(p, Hole) for p in pieces):
            yield _Change(part, seen.codec, tuple(pieces))


def _html(seen: View, wanted: Wanted, n: int, left: int, ends: bool) -> list[Piece]:
    text, at = seen.text, 0
    markup = read(text)
    base = references(seen.read(markup.base) or "")
    pieces: list[Piece] = []
    added = _added(seen, wanted) if ends else []
    for link in markup.links:
        if not left:
            break
        value = seen.read(link.raw)
        url = None if value is None else target(references(value), base, seen.charset, wanted.max_url_bytes)
        if url is None or wanted.own(url):
            continue
        if added and link.start > markup.end:
            pieces += (text[at : markup.end], *added)
            at, added = markup.end, []
        pieces += (text[at : link.start], Hole("click", n, url))
        at, n, left = link.end, n + 1, left - 1
    if added:
        pieces += (text[at : markup.end], *added)
        at = markup.end
    return [*pieces, text[at:]]


def _added(seen: View, wanted: Wanted) -> list[Piece]:
    """What goes before the end of the body."""
    added: list[Piece] = []
    if wanted.unsubscribe:
        # Beyond ASCII as references, which are right in every charset.
        words = html.escape(wanted.unsubscribe).encode("ascii", "xmlcharrefreplace").decode()
        added += (f'<p style="{_LINE_STYLE}"><a href="', Hole("unsubscribe"), f'">{words}</a></p>\r\n')
    if wanted.opens:
        added += ('<img src="', Hole("open"), f'" width="1" height="1" alt="" style="{_PIXEL_STYLE}">\r\n')
    return added


def _plain(seen: View, wanted: Wanted) -> list[Piece]:
    """RFC 3676 §4.1: in flowed text, too, a line without a blank at its end stands alone."""
    end = "\r\n" if seen.text.endswith("\n") else ""
    break_ = "\r\n" if end or not seen.text else "\r\n\r\n"
    words = seen.write(wanted.unsubscribe, _PLAIN_WORDS)
    return [seen.text, f"{break_}{words}: ", Hole("unsubscribe"), end]


def _encoded(header: bytes, encoding: str) -> bytes:
    """A part's header with another Content-Transfer-Encoding."""
    lines = [f for f in _fields(header) if not f.lower().startswith(b"content-transfer-encoding")]
    return b"".join([*lines, b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n"])


def _fields(header: bytes) -> Iterator[bytes]:
    line = b""
    for piece in header.splitlines(keepends=True):
        if line and not piece.startswith((b" ", b"\t")):
            yield line
            line = b""
        line += piece
    if line:
        yield line


def _with_encoding(fields: list[Field], encoding: str) -> list[Field]:
    name = "content-transfer-encoding"
    field = Field(name, b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n")
    if any(f.name == name for f in fields):
        return [field if f.name == name else f for f in fields]
    # RFC 2045 §4: without MIME-Version the field would say nothing.
    more = [] if any(f.name == "mime-version" for f in fields) else [Field("mime-version", b"MIME-Version: 1.0\r\n")]
    return [*fields, *more, field]
