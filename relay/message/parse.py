"""Octets to fields and body, in time linear in their number, refusing what two programs read differently."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from relay.message.mime import BadMessage, check_parts

__all__ = ["BadMessage", "Bounds", "Field", "Parsed", "check_octets", "parse"]

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\x00")
_FIELD_BREAK = re.compile(rb"\r\n(?![ \t])")
# RFC 5322 §2.2: a field name is printable ASCII without the colon.
_NAME_OCTETS = bytes(octet for octet in range(33, 127) if octet != ord(":"))
# Controls within a header say nothing that mail may say; escape (ISO-2022-JP) and tab are the exceptions.
_CONTROL_OCTETS = bytes(octet for octet in (*range(32), 127) if octet not in b"\t\r\n\x1b")
_SHOWN_NAME = 40


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one message may hold at most: octets, counts, depth. Each comes from the configuration."""

    size: int = 25 * 1024 * 1024
    header: int = 256 * 1024
    fields: int = 1000
    line: int = 998
    mime_depth: int = 50
    mime_parts: int = 1000
    received: int = 30


DEFAULT_BOUNDS = Bounds()


class Field(NamedTuple):
    """One header field: `name` in lower case, `raw` as it came, folds and final CRLF with it."""

    name: str
    raw: bytes

    @property
    def value(self) -> bytes:
        """What stands after the colon, folds with it, the final CRLF without."""
        return self.raw[len(self.name) + 1 : -2]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A checked message: its fields in order and the octets after the empty line.

    A body that isn't empty ends in CRLF.
    """

    fields: list[Field]
    body: bytes

    def all(self, name: str) -> list[Field]:
        """Every field of a name (in lower case), in order."""
        return [field for field in self.fields if field.name == name]

    def one(self, name: str) -> Field | None:
        """The field of a name that occurs exactly once; None when it is absent or repeated."""
        found = self.all(name)
        return found[0] if len(found) == 1 else None


def parse(raw: bytes, bounds: Bounds = DEFAULT_BOUNDS) -> Parsed:
    """Check and split a whole message (RFC 5322, dots already unstuffed).

    A last line without CRLF gets one, as it would on the wire; nothing else is changed. Raises BadMessage:
    `too_large` over `bounds.size`, `loop` over `bounds.received` Received fields, `malformed` for the rest.
    """
    if len(raw) > bounds.size:
        raise BadMessage("too_large", None, f"the message is larger than {bounds.size} octets")
    if not raw:
        raise BadMessage("malformed", None, "the message is empty")
    check_octets(raw)
    if not raw.endswith(b"\r\n"):
        raw += b"\r\n"
    _check_lines(raw, bounds.line)
    if raw.startswith((b"\r\n", b" ", b"\t")):
        raise BadMessage("malformed", 1, "the message does not begin with a header field")
    end = raw.find(b"\r\n\r\n", 0, bounds.header + 2)
    if end < 0 and len(raw) > bounds.header:
        raise BadMessage("malformed", None, f"the header is larger than {bounds.header} octets")
    # RFC 5322 §3.5: a message may be all header, without an empty line or a body.
    head = raw if end < 0 else raw[: end + 2]
    parsed = Parsed(_fields(head, bounds), b"" if end < 0 else raw[end + 4 :])
    # RFC 5321 §6.3: counting Received fields is the loop detection that always works.
    if len(parsed.all("received")) > bounds.received:
        raise BadMessage("loop", None, f"the message has been through more than {bounds.received} servers")
    check_parts(
        [field.value for field in parsed.all("content-type")],
        parsed.body,
        depth=bounds.mime_depth,
        parts=bounds.mime_parts,
        part_header=bounds.header,
    )
    return parsed


def check_octets(raw: bytes) -> None:
    """Raise BadMessage `malformed`, with its line, for a CR or LF that stands alone and for NUL."""
    # RFC 5321 §2.3.8: CR and LF stand only together; what one server takes for a line end and the next
    # does not is how a second message is smuggled in. RFC 5321 §4.5.2: NUL is never sent.
    ends = raw.count(b"\n")
    if raw.count(b"\r") == ends and raw.count(b"\r\n") == ends and b"\x00" not in raw:
        return
    found = _BARE.search(raw)
    assert found is not None
    at = found.start()
    fault = {b"\r": "a CR without LF", b"\n": "a LF without CR"}.get(found.group(), "a NUL octet")
    raise BadMessage("malformed", _line_of(raw, at), fault)


def _check_lines(raw: bytes, limit: int) -> None:
    """Jump from one line end to the last one within reach: about one step for each `limit` octets."""
    # RFC 5322 §2.1.1: 998 octets a line, CRLF not counted.
    at, size, reach = 0, len(raw), limit + 2
    while size - at > reach:
        end = raw.rfind(b"\n", at, at + reach)
        if end < 0:
            raise BadMessage("malformed", _line_of(raw, at), f"a line of more than {limit} octets")
        at = end + 1


def _fields(head: bytes, bounds: Bounds) -> list[Field]:
    parts = _FIELD_BREAK.split(head[:-2])
    if len(parts) > bounds.fields:
        raise BadMessage("malformed", None, f"the header has more than {bounds.fields} fields")
    if len(head.translate(None, _CONTROL_OCTETS)) != len(head):
        lines = enumerate(head.split(b"\n"), 1)
        line = next(n for n, text in lines if len(text.translate(None, _CONTROL_OCTETS)) != len(text))
        raise BadMessage("malformed", line, "a control character in the header")
    fields: list[Field] = []
    for part in parts:
        name, colon, _ = part.partition(b":")
        if not colon or not name or name.translate(None, _NAME_OCTETS):
            raise _bad_field(parts, len(fields), name if colon else None)
        fields.append(Field(name.decode("ascii").lower(), part + b"\r\n"))
    return fields


def _bad_field(parts: list[bytes], index: int, name: bytes | None) -> BadMessage:
    line = 1 + sum(part.count(b"\n") + 1 for part in parts[:index])
    if name is None:
        return BadMessage("malformed", line, "a header line without a colon")
    if not name:
        return BadMessage("malformed", line, "a header field without a name")
    shown = name[:_SHOWN_NAME].decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")
    return BadMessage("malformed", line, f"a header field name with forbidden characters: {shown}")


def _line_of(raw: bytes, at: int) -> int:
    return raw.count(b"\n", 0, at) + 1
