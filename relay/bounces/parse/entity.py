"""Octets of any quality → fields, parts, text. A tolerant reader for mail that other programs wrote badly.

Promises: never an exception, whatever the octets; time and memory linear in a bounded input; nothing is ever
written from what is read here. Not for a member's mail, which `relay.message` reads strictly.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

READ_MAX = 1_048_576
_HEADER_MAX = 65_536
_FIELDS_MAX = 500
_VALUE_MAX = 8192
_PARTS_MAX = 50
_DEPTH_MAX = 6
TEXT_MAX = 65_536

_TYPE = re.compile(r"\s*([!#-'*+.^-~\w-]{1,80})/([!#-'*+.^-~\w-]{1,80})")
_PARAMETER = re.compile(r';\s*([\w*.-]{1,60})\s*=\s*(?:"((?:[^"\\]|\\.){0,500})"|([^\s;"]{1,500}))')
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")


@dataclass(slots=True)
class Entity:
    """A message or a part of one: fields by lower-case name (unfolded, in order), and the octets of its body."""

    fields: dict[str, list[str]]
    body: bytes
    type: str = "text/plain"
    parameters: dict[str, str] = field(default_factory=dict)
    depth: int = 0

    def get(self, name: str) -> str:
        """The first field of a name, or ""."""
        found = self.fields.get(name)
        return found[0] if found else ""

    def text(self) -> str:
        """The body as text with LF line ends, transfer encoding taken off, bounded."""
        return decoded(self)[:TEXT_MAX].decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def read(octets: bytes, depth: int = 0, default: str = "text/plain") -> Entity:
    """The first READ_MAX octets, taken apart."""
    octets = octets[:READ_MAX]
    head, body = _halves(octets)
    fields = read_fields(head)
    entity = Entity(fields, body, default, {}, depth)
    kind = entity.get("content-type")
    found = _TYPE.match(kind)
    if found is not None:
        entity.type = f"{found[1]}/{found[2]}".lower()
        for name, quoted, bare in _PARAMETER.findall(kind):
            entity.parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted else bare)
    return entity


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
    for raw in head[:_HEADER_MAX].split(b"\n"):
        line = raw.decode("utf-8", "replace").translate(_CONTROLS).rstrip()
        if raw[:1] in (b" ", b"\t"):
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
            return base64.b64decode(kept[: len(kept) // 4 * 4] + b"=" * 0)
        except (binascii.Error, ValueError):
            return entity.body
    if encoding == "quoted-printable":
        return quopri.decodestring(entity.body)
    return entity.body


def parts(entity: Entity) -> list[Entity]:
    """The parts of a multipart, in order; [] where it is none, or has no readable boundary."""
    boundary = entity.parameters.get("boundary", "")
    if not entity.type.startswith("multipart/") or not boundary or entity.depth >= _DEPTH_MAX:
        return []
    mark = b"--" + boundary.encode("utf-8", "replace")
    # RFC 2046 §5.1.1: a delimiter begins its line.
    pieces = (b"\n" + entity.body).split(b"\n" + mark, _PARTS_MAX)[1:]
    found = []
    default = "message/rfc822" if entity.type == "multipart/digest" else "text/plain"
    for piece in pieces:
        if piece.startswith(b"--"):
            break
        _, _, content = piece.partition(b"\n")
        # A part without fields begins with an empty line; `read` takes that for an empty header.
        found.append(read(content.removesuffix(b"\r"), entity.depth + 1, default))
    return found


def leaves(entity: Entity) -> Iterator[Entity]:
    """Every part that is not a multipart, depth first; not into enclosed messages."""
    inner = parts(entity)
    if not inner:
        yield entity
        return
    for part in inner:
        yield from leaves(part)
