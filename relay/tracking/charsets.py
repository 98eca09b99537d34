"""The charset of a part → its text as characters, so that each goes back to the octets it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.base.charsets import Charset, charset

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
