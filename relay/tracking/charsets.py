"""The charset of a part → its text as characters, so that each goes back to the octets it came from."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

# In these, what HTML and URLs are made of (< > " ' = & / and blanks) is never part of another character.
_LIKE_ASCII = re.compile(
    r"(?:us-)?ascii|utf-?8|iso[-_]?8859[-_]\d{1,2}|latin-?\d|(?:windows|cp)-?125\d|(?:windows|cp)-?(?:874|932|936|949|950)|"
    r"koi8-[ru]|big5(?:-?hkscs)?|shift[-_]jis|sjis|euc-(?:jp|kr)|gb2312|gbk|gb18030|ks_c_5601-1987|tis-620|mac-?roman"
)
# These are read as a whole, and only if writing them anew gives the same octets.
_READ = re.compile(r"iso-2022-(?:jp(?:-\w{1,4})?|kr)|hz-gb-2312|utf-?16(?:le|be)?|utf-7")


@dataclass(frozen=True, slots=True)
class View:
    """A part's content as text. `text.encode(codec)` are its octets; `charset` is what its characters really are."""

    text: str
    codec: str
    charset: str | None

    def read(self, piece: str) -> str | None:
        """A piece of the text as its reader sees it, or None where that can't be known."""
        if self.codec != "latin-1" or piece.isascii():
            return piece
        try:
            return piece.encode("latin-1").decode(self.charset) if self.charset else None
        except (UnicodeDecodeError, LookupError):
            return None

    def write(self, words: str, instead: str) -> str:
        """`words` as they stand in the text, or `instead` (ASCII) where the charset has no letters for them."""
        try:
            octets = words.encode(self.charset or "ascii")
        except (UnicodeEncodeError, LookupError):
            return instead
        return octets.decode("latin-1") if self.codec == "latin-1" else words


def view(content: bytes, charset: str) -> View | None:
    """The content as text, or None for a charset that isn't known to be safe to write in."""
    if _LIKE_ASCII.fullmatch(charset):
        # One character an octet: whatever stands there goes back as it came.
        return View(content.decode("latin-1"), "latin-1", charset if _known(charset) else None)
    if not _READ.fullmatch(charset) or not _known(charset):
        return None
    try:
        text = content.decode(charset)
        return View(text, charset, charset) if text.encode(charset) == content else None
    except UnicodeError:
        return None


def _known(charset: str) -> bool:
    try:
        codecs.lookup(charset)
    except LookupError:
        return False
    return True
