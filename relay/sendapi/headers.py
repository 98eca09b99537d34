"""Writing header fields: every value becomes ASCII lines that fold, and can't become a second field.

Promises that what is written reads back as exactly the text given: text that isn't ASCII, or that a reader could
take for an encoded word, is encoded (RFC 2047); parameters by RFC 2231. Text with controls is refused by `safe`
before any of these see it, and they assert it once more. Which fields a message has is left to `compose`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from relay.base.names import Address, decode_words, readings
from relay.message import header_safe
from relay.replies import UNSAFE_VALUE, Refused

WIDTH = 78
# RFC 2047 §2: an encoded word has at most 75 characters, a line that holds one at most 76.
_WORD = 75
_WORD_LINE = 76
_FRAME = len("=?utf-8?q??=")
_LONGEST = 900  # octets without a blank that a line may carry; RFC 5322 §2.1.1 allows 998
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_BREAKS = re.compile(r"(?<! ) (?! )")
# RFC 2047 §5(3): what may stand for itself within a phrase.
_PLAIN_IN_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")


class Named(NamedTuple):
    """A mailbox to be written: a display name ("" for none) and its address."""

    display: str
    address: Address


def safe(where: str, text: str) -> str:
    """`text` if it may become a header value, else Refused (UNSAFE_VALUE) naming the field `where`.

    Refuses line ends, NUL and all other controls, and encoded words that decode to them.
    """
    if not header_safe(text):
        raise Refused(UNSAFE_VALUE, saw=f"{where}: a line end or control character is not allowed",
                      extra={"field": where})
    if not all(map(header_safe, readings(text) or ())):
        raise Refused(UNSAFE_VALUE, saw=f"{where}: an encoded word decodes to a line end or control character",
                      extra={"field": where})
    return text


def unstructured(name: str, text: str) -> bytes:
    """A field of running text, such as Subject. CRLF at its end."""
    text = text.strip(" ")
    words = _BREAKS.split(text)
    if text.isascii() and "=?" not in text and max(map(len, words)) <= WIDTH - 8:
        return _lines(name, words)
    return _word_lines(name, text)


def custom(name: str, text: str) -> bytes:
    """A client's own field: ASCII stays as it is (it may have a grammar), encoded words that can be read too.

    Raises Refused for a run without a blank that no line could hold.
    """
    text = text.strip(" ")
    if not text.isascii() or ("=?" in text and decode_words(text) is None):
        return _word_lines(name, text)
    words = _BREAKS.split(text)
    if max(map(len, words)) > _LONGEST:
        where = f"headers.{name}"
        raise Refused(UNSAFE_VALUE, saw=f"{where}: more than {_LONGEST} characters without a single blank",
                      extra={"field": where})
    return _lines(name, words)


def mailboxes(name: str, listed: Sequence[Named]) -> bytes:
    """An address list (RFC 5322 §3.4), folded between and within its mailboxes."""
    pieces: list[str] = []
    for at, one in enumerate(listed):
        words = _mailbox(one)
        if at < len(listed) - 1:
            words[-1] += ","
        pieces.extend(words)
    return _lines(name, pieces)


def structured(name: str, value: str, parameters: Iterable[tuple[str, str]]) -> bytes:
    """A MIME field with parameters, each on a line of its own where they don't fit on one."""
    pieces = [value]
    for key, text in parameters:
        for piece in _parameter(key, text):
            pieces[-1] += ";"
            pieces.append(piece)
    return _lines(name, pieces)


def _mailbox(one: Named) -> list[str]:
    if not one.display:
        return [one.address.header]
    display = one.display
    if not display.isascii() or "=?" in display or len(display) > 60:
        shown = _encoded(display, _WORD)
    elif _ATOMS.fullmatch(display):
        shown = display.split(" ")
    else:
        # RFC 5322 §3.2.4: a quoted string, whole on one line.
        escaped = display.replace("\\", "\\\\").replace('"', '\\"')
        shown = [f'"{escaped}"']
    return [*shown, f"<{one.address.header}>"]


def _parameter(key: str, text: str) -> list[str]:
    if text.isascii() and len(text) <= 60:
        if _TOKEN.fullmatch(text):
            return [f"{key}={text}"]
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return [f'{key}="{escaped}"']
    # RFC 2231 §3, §4: charset, then percent-encoded octets, in numbered pieces where one line is too short.
    encoded = "utf-8''" + quote(text, safe="!#$&+-.^_`{}~")
    room = 60
    if len(encoded) <= room:
        return [f"{key}*={encoded}"]
    return [f"{key}*{n}*={piece}" for n, piece in enumerate(_percent_pieces(encoded, room))]


def _percent_pieces(encoded: str, room: int) -> list[str]:
    pieces = []
    while encoded:
        cut = min(room, len(encoded))
        # A percent triple is never torn.
        while cut < len(encoded) and "%" in encoded[cut - 2 : cut]:
            cut -= 1
        pieces.append(encoded[:cut])
        encoded = encoded[cut:]
    return pieces


def _lines(name: str, pieces: Sequence[str]) -> bytes:
    """The field with a blank between pieces, folded before those that would pass the width."""
    lines = [f"{name}:"]
    for piece in pieces:
        first = len(lines) == 1 and len(lines[0]) == len(name) + 1
        if first or len(lines[-1].encode()) + 1 + len(piece.encode()) <= WIDTH:
            lines[-1] += f" {piece}" if piece else ""
        else:
            lines.append(f" {piece}")
    assert all(map(header_safe, lines))
    return ("\r\n".join(lines) + "\r\n").encode()


def _word_lines(name: str, text: str) -> bytes:
    words = _encoded(text, min(_WORD, max(30, _WORD_LINE - len(name) - 2)))
    assert header_safe(name)
    return (f"{name}: " + "\r\n ".join(words) + "\r\n").encode("ascii")


def _encoded(text: str, first: int) -> list[str]:
    """`text` as encoded words, the first at most `first` characters long; no character is torn (RFC 2047 §5)."""
    octets = text.encode()
    quoted = sum(1 if o in _PLAIN_IN_WORD or o == 32 else 3 for o in octets)
    if quoted <= len(octets) * 4 // 3:
        return [f"=?utf-8?q?{w}?=" for w in _chunks(map(_quoted, text), first)]
    words = []
    start = size = 0
    room = (first - _FRAME) // 4 * 3
    for at, char in enumerate(text):
        more = len(char.encode())
        if size + more > room:
            words.append(text[start:at])
            start, size, room = at, 0, (_WORD - _FRAME) // 4 * 3
        size += more
    words.append(text[start:])
    return [f"=?utf-8?b?{b64encode(w.encode()).decode('ascii')}?=" for w in words]


def _quoted(char: str) -> str:
    if char == " ":
        return "_"
    return "".join(chr(o) if o in _PLAIN_IN_WORD else f"={o:02X}" for o in char.encode())


def _chunks(pieces: Iterable[str], first: int) -> list[str]:
    chunks = [""]
    room = first - _FRAME
    for piece in pieces:
        if len(chunks[-1]) + len(piece) > room:
            chunks.append("")
            room = _WORD - _FRAME
        chunks[-1] += piece
    return chunks
