"""How deep and how wide a message's parts nest, counted without recursion and without building a tree.

Promises that no program further on has to walk more levels or parts than the bounds allow; the scan steps
from one line that begins with two hyphens to the next and reads each part's header once. What the parts
hold is left to whoever displays them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Kind = Literal["malformed", "too_large", "loop"]


class BadMessage(Exception):
    """A message that is refused for good.

    `kind` chooses the reply, `line` is the 1-based line where the fault stands (None if it has no line),
    `fault` names it in plain words. At most a shortened, escaped field name of the message is in it.
    """

    def __init__(self, kind: Kind, line: int | None, fault: str) -> None:
        super().__init__(fault if line is None else f"line {line}: {fault}")
        self.kind = kind
        self.line = line
        self.fault = fault


_CONTENT_TYPE = re.compile(rb"content-type[ \t]*:([^\r]*(?:\r\n[ \t][^\r]*)*)", re.IGNORECASE)
# Searched for, not matched at the start: a comment may stand before the type.
_NESTING = re.compile(rb"(?:multipart|message)[ \t\r\n]*/", re.IGNORECASE)
_EMBEDDED = re.compile(rb"message[ \t\r\n]*/[ \t\r\n]*(?:rfc822|global)\b", re.IGNORECASE)
# RFC 2046 §5.1.1: at most 70 characters; longer ones are read too, so that none hides a level.
_BOUNDARY = re.compile(rb"[; \t\r\n]boundary[ \t]*=[ \t\r\n]*(?:\"([^\"\r\n]*)\"|([^\s;\"]+))", re.IGNORECASE)
# RFC 2231 would let a boundary be split or encoded. Nobody does; readers differ in what they make of it.
_SPLIT_BOUNDARY = re.compile(rb"[; \t\r\n]boundary[ \t]*\*", re.IGNORECASE)


def check_parts(content_types: Sequence[bytes], body: bytes, *, depth: int, parts: int, part_header: int) -> None:
    """Raise BadMessage when `body` nests deeper than `depth` or has more than `parts` parts.

    `content_types` are the values of the message's own Content-Type fields; `part_header` bounds the
    octets of one part's header. Embedded messages (message/rfc822) count as a level. Costs next to
    nothing when the message is neither multipart nor an embedded message.
    """
    if not any(_NESTING.search(value) for value in content_types):
        return
    levels = _Levels(depth)
    embedded = False
    for value in content_types:
        embedded = levels.enter(value) or embedded
    _Scan(body, levels, parts, part_header).run(embedded)


class _Levels:
    """The boundaries that are open at one place of the body, outermost first."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._stack: list[bytes | None] = []
        self._outermost: dict[bytes, int] = {}

    def enter(self, content_type: bytes) -> bool:
        """Open the level that a Content-Type announces; True when an embedded message's header follows."""
        if _EMBEDDED.search(content_type):
            self._push(None)
            return True
        if not _NESTING.search(content_type):
            return False
        if _SPLIT_BOUNDARY.search(content_type):
            raise BadMessage("malformed", None, "a MIME boundary that is split or encoded")
        for found in _BOUNDARY.finditer(content_type):
            # RFC 2046 §5.1.1: blanks at a delimiter's end don't count, so none can end a boundary.
            self._push((found.group(1) or found.group(2) or b"").rstrip(b" \t"))
        return False

    def at(self, token: bytes) -> bool | None:
        """Go to the level of a delimiter line: True for a part's start, False for an end, None for neither."""
        level = self._outermost.get(token)
        if level is not None:
            self._cut(level + 1)
            return True
        level = self._outermost.get(token[:-2]) if token.endswith(b"--") else None
        if level is not None:
            self._cut(level)
            return False
        return None

    def _push(self, boundary: bytes | None) -> None:
        if len(self._stack) >= self._depth:
            raise BadMessage("malformed", None, f"MIME parts nested deeper than {self._depth}")
        if boundary is not None:
            self._outermost.setdefault(boundary, len(self._stack))
        self._stack.append(boundary)

    def _cut(self, size: int) -> None:
        while len(self._stack) > size:
            boundary = self._stack.pop()
            if boundary is not None and self._outermost.get(boundary) == len(self._stack):
                del self._outermost[boundary]


class _Scan:
    """One walk over a body from delimiter line to delimiter line; every octet is looked at a few times."""

    def __init__(self, body: bytes, levels: _Levels, parts: int, part_header: int) -> None:
        self._body = body
        self._levels = levels
        self._parts = parts
        self._part_header = part_header
        self._blank = -1

    def run(self, embedded: bool) -> None:
        body = self._body
        count = 0
        start = self._next_dashes(-2)
        in_header = embedded and self._header(0, start)
        while start < len(body):
            end = body.find(b"\r\n", start)
            end = len(body) if end < 0 else end
            begins = self._levels.at(body[start + 2 : end].rstrip(b" \t"))
            if begins:
                count += 1
                if count > self._parts:
                    raise BadMessage("malformed", None, f"more than {self._parts} MIME parts")
            # A line with two hyphens that is no delimiter may stand in a header: the header goes on.
            in_header = in_header if begins is None else begins
            start = self._next_dashes(end)
            if in_header:
                in_header = self._header(end, start)

    def _next_dashes(self, end: int) -> int:
        """Where the next line that begins with two hyphens starts; the body's length if there is none."""
        if end < 0 and self._body.startswith(b"--"):
            return 0
        found = self._body.find(b"\r\n--", max(end, 0))
        return len(self._body) if found < 0 else found + 2

    def _header(self, begin: int, stop: int) -> bool:
        """Read header lines from `begin` to the empty line or `stop`; True while the header is still open."""
        body = self._body
        while True:
            if self._blank < begin:
                blank = body.find(b"\r\n\r\n", begin)
                self._blank = len(body) if blank < 0 else blank
            close = min(self._blank, stop)
            embedded = self._enter(body[begin:close]) if close > begin else False
            if self._blank >= stop:
                return True
            if not embedded:
                return False
            begin = self._blank + 4

    def _enter(self, header: bytes) -> bool:
        if len(header) > self._part_header:
            raise BadMessage("malformed", None, f"a MIME part's header larger than {self._part_header} octets")
        embedded = False
        lowered = header.lower()
        at = lowered.find(b"content-type")
        while at >= 0:
            if at == 0 or header[at - 1] == 0x0A:
                found = _CONTENT_TYPE.match(header, at)
                embedded = (found is not None and self._levels.enter(found.group(1))) or embedded
            at = lowered.find(b"content-type", at + 12)
        return embedded
