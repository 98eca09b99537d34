"""Encoded words (RFC 2047) read without the standard library's parser, in time linear in the text.

Promises text or None; what the text may then be used for is the caller's matter.
"""

import base64
import binascii
import re

# RFC 2047 §2: an encoded word has at most 75 characters; some programs write longer ones in one line.
_WORD = re.compile(r"=\?([A-Za-z0-9_-]{1,40})(?:\*[A-Za-z0-9-]{1,40})?\?([BbQq])\?([^? \t]{0,998})\?=")
_BETWEEN = re.compile(r"(\?=)[ \t]+(?==\?)")
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_BROKEN_HEX = re.compile(rb"=(?![0-9A-Fa-f]{2})")
# Charsets that every reader knows and reads alike. UTF-7 and the like would let text hide its syntax.
_CHARSET = re.compile(
    r"utf-8|us-ascii|ascii|iso-8859-(?:[1-9]|1[0-6])|windows-125[0-8]|cp125[0-8]|koi8-[ru]|gb2312|gbk|gb18030"
    r"|big5|shift_jis|iso-2022-jp|euc-jp|euc-kr|ks_c_5601-1987|tis-620|windows-874",
    re.IGNORECASE,
)


def decode_words(text: str) -> str | None:
    """Decode every encoded word in unfolded header text; blanks between two of them vanish.

    None when something that starts like an encoded word isn't one, or its charset or content can't be
    decoded: two readers may then read it differently.
    """
    if "=?" not in text:
        return text
    joined = _BETWEEN.sub(r"\1", text)
    pieces: list[str] = []
    at = 0
    for word in _WORD.finditer(joined):
        decoded = _decode(word.group(1), word.group(2), word.group(3))
        if decoded is None:
            return None
        pieces += (joined[at : word.start()], decoded)
        at = word.end()
    pieces.append(joined[at:])
    if any("=?" in piece for piece in pieces[::2]):
        return None
    return "".join(pieces)


def _decode(charset: str, encoding: str, payload: str) -> str | None:
    if not _CHARSET.fullmatch(charset) or not payload.isascii():
        return None
    octets = payload.encode("ascii")
    try:
        if encoding in "Bb":
            octets = base64.b64decode(octets, validate=True)
        elif _BROKEN_HEX.search(octets):
            return None
        else:
            octets = _HEX.sub(lambda found: bytes.fromhex(found.group(1).decode("ascii")), octets.replace(b"_", b" "))
        return octets.decode(charset)
    except (binascii.Error, UnicodeDecodeError, LookupError):
        return None
