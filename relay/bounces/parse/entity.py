"""Octets of any quality → fields, parts, text. A tolerant reader for mail that other programs wrote badly.

Promises: never an exception, whatever the octets; time and memory linear in a bounded input; nothing is ever
written from what is read here. Not for a member's mail, which `relay.message` reads strictly.

`Report` and `Fate` are what is found: what a report says, as plain values.
"""

from __future__ import annotations

import base64
import binascii
import html
import quopri
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from relay.base import charsets, names
from relay.base.content_type import content_type
from relay.base.names import shown_words

Kind = Literal["bounce", "complaint", "auto_reply", "other"]
Action = Literal["failed", "delayed", "delivered", "relayed", "expanded", ""]
SUCCEEDED = ("delivered", "relayed", "expanded")


@dataclass(frozen=True, slots=True)
class Fate:
    """What a report says of one recipient (RFC 3464 §2.3). Addresses are the report's own claim, nothing more.

    `status` is "" where none could be read; `diagnostic` is one printable line; `host` is who reports; `stage` is the
    command that was refused, as the text around the reply has it (`relay.bounces.classify.frames`), ""
    where it doesn't say. `will_retry`: it names a time until which it is tried on.
    """

    action: Action
    status: str = ""
    diagnostic: str = ""
    final: str = ""
    original: str = ""
    host: str = ""
    stage: str = ""
    will_retry: bool = False

    @property
    def addresses(self) -> str:
        """The addresses that the report names for this recipient."""
        return f"{self.original} {self.final}".strip()


@dataclass(frozen=True, slots=True)
class Report:
    """One message that came back. `other` is mail that is no report.

    `shape` names the form it was recognised by. For complaints: `paths` are the envelope senders the enclosed
    message names, `marks` the values of its X-Posthouse-Message fields, `leave_by` the addresses and the
    URLs' tokens in its List-Unsubscribe: claims, to be checked. For bounces in prose, `writer` is the address in From,
    unless a mail system's.
    """

    kind: Kind
    shape: str = ""
    fates: tuple[Fate, ...] = ()
    feedback: str = ""
    paths: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    leave_by: tuple[str, ...] = ()
    agent: str = field(default="")
    writer: str = ""

    @property
    def is_report(self) -> bool:
        """True for what a mail system or a feedback loop reports, of whatever kind; False for what somebody wrote and
        for an automatic answer. Who sends a message on by hand and complains is somebody."""
        if self.kind == "auto_reply":
            return self.shape == "receipt"
        if self.kind == "bounce":
            return not self.writer
        return bool(self.shape) and self.shape != "enclosed"

    def fate_of(self, address: str) -> Fate | None:
        """The fate that concerns the recipient `address`: the one that names it, else the least grave of all.

        A host may report under another name (an alias, a forward); with several recipients in one report and none
        of them ours, only what holds for each of them holds for ours. None where the recipient itself wrote it: what
        comes from an address is an automatic answer of its owner, however it is worded, and no bounce.
        """
        wanted = address.lower()
        if not self.fates or self.writer == wanted:
            return None
        named = [f for f in self.fates if wanted in (f.final.lower(), f.original.lower())]
        if not named:
            # Another spelling: with or without quotes, a U-label, without its tag.
            key = _key(address)
            named = [f for f in self.fates if key in (_key(f.final), _key(f.original))]
        rank = {"failed": 2, "delayed": 1, "": 1, "delivered": 0, "relayed": 0, "expanded": 0}
        return min(named or self.fates, key=lambda f: (rank[f.action], f.status[:1]))


def _key(address: str) -> str:
    try:
        return names.canonical(address)
    except names.BadName:
        return address.lower()


READ_MAX = 1_048_576
_HEADER_MAX = 65_536
_FIELDS_MAX = 500
_VALUE_MAX = 8192
_PARTS_MAX = 50
_DEPTH_MAX = 6
_LOOKALIKES_MAX = 1000
_AFTER = (b"", b"\n", b"\r", b" ", b"\t")
TEXT_MAX = 65_536

_GUESS = re.compile(rb"\n--([^\s]{1,70})[ \t]*\r?\n(?:[Cc]ontent-[Tt]ype|\r?\n)")
# The subject of the member's own message, as many reports quote it: its words are no reason.
SUBJECT = re.compile(
    r"^[ \t>|]{0,20}(?:subject|betreff|objet|asunto|oggetto|assunto|onderwerp|ämne|emne|temat|тема|件名|主题|主旨)"
    r"[ \t]{0,4}[:：].*$",
    re.IGNORECASE | re.MULTILINE,
)
_RARE = bytes({*range(32), 127} - {*b"\t\n\r"})
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")


@dataclass(slots=True)
class Entity:
    """A message or a part of one: fields by lower-case name (unfolded, in order), and the octets of its body."""

    fields: dict[str, list[str]]
    body: bytes
    type: str = "text/plain"
    parameters: Mapping[str, str] = field(default_factory=dict)
    depth: int = 0
    _leaves: list[Entity] | None = field(default=None, init=False, repr=False, compare=False)

    def get(self, name: str) -> str:
        """The first field of a name, or ""."""
        found = self.fields.get(name)
        return found[0] if found else ""

    def words(self, name: str) -> str:
        """The first field of a name with its encoded words read (RFC 2047), as well as they can be."""
        return decode_words(self.get(name))

    def text(self) -> str:
        """The body as text with LF line ends, transfer encoding and charset taken off, bounded."""
        octets = decoded(self)[:TEXT_MAX]
        return charsets.look(octets, self.parameters.get("charset", "")).replace("\r\n", "\n").replace("\r", "\n")


def read(octets: bytes, depth: int = 0, default: str = "text/plain") -> Entity:
    """The first READ_MAX octets, taken apart."""
    octets = octets[:READ_MAX]
    head, body = _halves(octets)
    fields = read_fields(head)
    entity = Entity(fields, body, default, {}, depth)
    found = content_type(entity.get("content-type"))
    if found.type:
        entity.type, entity.parameters = found.type, found.parameters
    return entity


def decode_words(text: str) -> str:
    """Encoded words read where they can be, all else as it stands, on one line. For looking at only."""
    return shown_words(text[:_VALUE_MAX]).translate(_CONTROLS) if "=?" in text else text


def _halves(octets: bytes) -> tuple[bytes, bytes]:
    ends = [(at, len(mark)) for mark in (b"\r\n\r\n", b"\n\n", b"\n\r\n") if (at := octets.find(mark)) >= 0]
    if octets[:1] in (b"\r", b"\n"):
        return b"", octets.lstrip(b"\r\n")
    if not ends:
        return octets, b""
    at, size = min(ends)
    return octets[:at], octets[at + size :]


def read_fields(head: bytes) -> dict[str, list[str]]:
    """A header block as fields; what is no field is passed over."""
    fields: dict[str, list[str]] = {}
    name, value, count = "", "", 0
    head = head[:_HEADER_MAX]
    text = head.decode("utf-8", "replace").replace("\r\n", "\n")
    # Most headers hold no control but tabs: then there is nothing to look for in each line.
    odd = not head.isascii() or "\r" in text or len(head.translate(None, _RARE)) < len(head)
    for raw in text.split("\n"):
        line = (raw.translate(_CONTROLS) if odd or "\t" in raw else raw).rstrip()
        if raw[:1] in (" ", "\t"):
            if name and len(value) < _VALUE_MAX:
                value += " " + line.strip()
            continue
        if name:
            fields.setdefault(name, []).append(value[:_VALUE_MAX])
            count += 1
            if count >= _FIELDS_MAX:
                return fields
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon and len(name) < 100 else ""
        value = value.strip()
    if name:
        fields.setdefault(name, []).append(value[:_VALUE_MAX])
    return fields


def decoded(entity: Entity) -> bytes:
    """The body without its transfer encoding; as it is where the encoding is broken."""
    encoding = entity.get("content-transfer-encoding").lower().strip()
    if encoding == "base64":
        try:
            kept = re.sub(rb"[^A-Za-z0-9+/]", b"", entity.body)
            # RFC 2045 §6.8: the last octets stand in a group that padding fills up; one character alone says nothing.
            kept = kept[: len(kept) - (len(kept) % 4 == 1)]
            return base64.b64decode(kept + b"=" * (-len(kept) % 4))
        except (binascii.Error, ValueError):
            return entity.body
    if encoding == "quoted-printable":
        return quopri.decodestring(entity.body)
    return entity.body


def without_markup(text: str) -> str:
    """HTML as the text that people see, roughly."""
    text = re.sub(r"(?i)<(?:br|/p|/div|/tr|/h\d|/li)\b[^<>]{0,200}>", "\n", text)
    text = re.sub(r"<[a-zA-Z/!?][^<>@]{0,500}>", " ", text)
    return re.sub(r"[ \t\xa0]+", " ", html.unescape(text))


def parts(entity: Entity) -> list[Entity]:
    """The parts of a multipart, in order; [] where it is none, or has no readable boundary."""
    boundary = entity.parameters.get("boundary", "")
    if not entity.type.startswith("multipart/") or not boundary or entity.depth >= _DEPTH_MAX:
        return []
    body = b"\n" + entity.body
    mark = b"\n--" + boundary.encode("utf-8", "replace")
    if mark not in body:
        # A program between may have written another Content-Type than it found; the lines still tell.
        guess = _GUESS.search(body)
        if guess is None:
            return []
        mark = b"\n--" + guess[1]
    # RFC 2046 §5.1.1: a delimiter begins its line, and nothing but blanks follow it.
    found: list[Entity] = []
    default = "message/rfc822" if entity.type == "multipart/digest" else "text/plain"
    at = body.find(mark)
    while at >= 0 and len(found) < _PARTS_MAX:
        begin = body.find(b"\n", at + len(mark))
        tail = body[at + len(mark) : min(begin if begin >= 0 else len(body), at + len(mark) + 100)]
        if tail.startswith(b"--") or begin < 0:
            break
        end = _delimiter(body, mark, begin)
        # A part without fields begins with an empty line; `read` takes that for an empty header.
        content = body[begin + 1 : end if end >= 0 else len(body)]
        found.append(read(content.removesuffix(b"\r"), entity.depth + 1, default))
        at = end
    return found


def _delimiter(body: bytes, mark: bytes, at: int) -> int:
    """Where the next delimiter line begins, or -1. A longer boundary that begins alike is another's."""
    for _ in range(_LOOKALIKES_MAX):
        at = body.find(mark, at)
        behind = body[at + len(mark) : at + len(mark) + 2]
        if at < 0 or behind[:1] in _AFTER or behind == b"--":
            return at
        at += len(mark)
    return -1


def leaves(entity: Entity) -> list[Entity]:
    """Every part that is not a multipart, depth first; not into enclosed messages. Taken apart once, then kept."""
    if entity._leaves is None:
        entity._leaves = [leaf for part in parts(entity) for leaf in leaves(part)]
    # Not kept in its own list: a part that holds itself, and all its octets, would stay until the collector comes.
    return entity._leaves or [entity]
