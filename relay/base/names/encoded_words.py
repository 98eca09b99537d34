"""Encoded words (RFC 2047) read without the standard library's parser, in time linear in the text.

Readers differ at the edges: some decode what the grammar doesn't allow, some join the octets of neighbouring words
before they decode them. `readings` gives what each kind of reader sees, for whoever must be sure of all of them;
`decode_words` the one text where they agree; `shown_words` something to look at, whatever the octets. What the text
may then be used for is the caller's matter.
"""

import base64
import binascii
import codecs
import quopri
import re
from collections.abc import Callable, Iterator

from relay.base import charsets
from relay.base.charsets import Charset

# RFC 2047 §2: an encoded word has at most 75 characters; some programs write longer ones in one line. RFC 2231 §5:
# a language may follow the charset.
_WORD = re.compile(r"=\?([A-Za-z0-9_.:+-]{1,60})(?:\*[A-Za-z0-9-]{0,40})?\?([BbQq])\?([^? \t]{0,998})\?=")
# What many programs decode as well: blanks and question marks within, any charset.
_LOOSE = re.compile(r"=\?([^?*\s]{1,60})(?:\*[^?\s]{0,40})?\?([BbQq])\?(.{0,998}?)\?=", re.DOTALL)
_OTHER_ORDER = {"utf-16le": "utf-16-be", "utf-16be": "utf-16-le"}
_MARKED = {codecs.BOM_UTF16_LE: "utf-16le", codecs.BOM_UTF16_BE: "utf-16be"}
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
_BROKEN_HEX = re.compile(rb"=(?![0-9A-Fa-f]{2})")

Run = list[re.Match[str]]
"""Neighbouring encoded words: blanks between them don't count (RFC 2047 §6.2)."""


def decode_words(text: str) -> str | None:
    """Unfolded header text with its encoded words read; what isn't one stays as it stands.

    None where a charset or content can't be read, or where something looks like a word to some readers only.
    """
    if "=?" not in text:
        return text
    strict = _decoded(text, _WORD, _alone)
    return strict if strict == _decoded(text, _LOOSE, _alone) else None


def readings(text: str) -> tuple[str, ...] | None:
    """What readers see in unfolded header text, each once, by the grammar first; None as `decode_words` has it."""
    if "=?" not in text:
        return (text,)
    found = [
        _decoded(text, grammar, read) for grammar in (_WORD, _LOOSE) for read in (_alone, _joined, _one_by_one, _turned)
    ]
    return None if None in found else tuple(dict.fromkeys(each for each in found if each is not None))


def shown_words(text: str) -> str:
    """The text with its words read as well as they can be, by readers of any kind: for looking at only."""
    if "=?" not in text:
        return text
    out = []
    for piece in _pieces(text, _LOOSE):
        out.append(piece if isinstance(piece, str) else "".join(charsets.look(*each) for each in _somehow(piece)))
    return "".join(out)


def _pieces(text: str, grammar: re.Pattern[str]) -> Iterator[str | Run]:
    """What stands between encoded words, and the runs of them, in order."""
    run: Run = []
    at = 0
    for word in grammar.finditer(text):
        between = text[at : word.start()]
        if not run or between.strip(" \t"):
            if run:
                yield run
            yield between
            run = []
        run.append(word)
        at = word.end()
    if run:
        yield run
    yield text[at:]


def _decoded(text: str, grammar: re.Pattern[str], read: Callable[[Charset, list[bytes]], str]) -> str | None:
    out = []
    for piece in _pieces(text, grammar):
        if isinstance(piece, str):
            out.append(piece)
            continue
        for known, words in _groups(piece):
            if known is None:
                return None
            try:
                out.append(read(known, words))
            except UnicodeError:
                return None
    return "".join(out)


def _groups(run: Run) -> Iterator[tuple[Charset | None, list[bytes]]]:
    """The octets of neighbouring words, those of one charset together; None and nothing for what can't be read."""
    before: Charset | None = None
    words: list[bytes] = []
    for word in run:
        known, octets = charsets.charset(word[1]), _octets(word[2], word[3])
        if known is None or octets is None:
            yield None, []
            return
        if before is not None and known.name != before.name:
            yield before, words
            words = []
        before = known
        words.append(octets)
    yield before, words


def _alone(known: Charset, words: list[bytes]) -> str:
    """RFC 2047 §5(3): each word by itself. Where that can't be a character was split, and most readers join."""
    try:
        return "".join(known.read(octets) for octets in words)
    except UnicodeError:
        return known.read(b"".join(words))


def _joined(known: Charset, words: list[bytes]) -> str:
    """Readers that join before they decode."""
    try:
        return known.read(b"".join(words))
    except UnicodeError:
        return _alone(known, words)


def _one_by_one(known: Charset, words: list[bytes]) -> str:
    """Readers that never join."""
    return "".join(known.read(octets, "replace") for octets in words)


def _turned(known: Charset, words: list[bytes]) -> str:
    """Readers that take UTF-16 in the other order: without a mark RFC 2781 §4.3 has one, WHATWG Encoding the other."""
    if known.name not in _OTHER_ORDER:
        return _alone(known, words)
    octets = b"".join(words)
    mark = octets[:2] if octets[:2] in _MARKED else b""
    return octets[len(mark) :].decode(_OTHER_ORDER[_MARKED.get(mark, known.name)], "replace")


def _octets(encoding: str, payload: str) -> bytes | None:
    if not payload.isascii():
        return None
    octets = payload.encode("ascii")
    if encoding in "Qq":
        if _BROKEN_HEX.search(octets):
            return None
        return _HEX.sub(lambda found: bytes.fromhex(found[1].decode("ascii")), octets.replace(b"_", b" "))
    octets = octets.translate(None, b" \t")
    try:
        # Everybody reads on where the padding is missing.
        return base64.b64decode(octets + b"=" * (-len(octets) % 4), validate=True)
    except binascii.Error:
        return None


def _somehow(run: Run) -> Iterator[tuple[bytes, str]]:
    """(octets, label) of a run of words, neighbours of one label joined."""
    label, joined = "", b""
    for word in run:
        payload = word[3].encode("utf-8", "replace")
        try:
            octets = base64.b64decode(payload + b"==") if word[2] in "Bb" else quopri.decodestring(payload, header=True)
        except (binascii.Error, ValueError):
            octets = word[0].encode("utf-8", "replace")
        if word[1].lower() != label and joined:
            yield joined, label
            joined = b""
        label = word[1].lower()
        joined += octets
    yield joined, label
