"""Octets in a named charset → text, as readers of mail read them. Only here is known what a charset's name means.

A label means what the WHATWG Encoding Standard's table says, since mail programs follow it: `iso-8859-1` is read as
windows-1252, `gb2312` as gb18030. After that come Python's own names, which mail uses too (cp437, cp950, iso-2022-kr).
UTF-7 is no charset here, for text in it can hide what the text around it means; nor is a label that neither knows.
Python's codecs do the reading, with what they lack put right. Pure.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Errors = Literal["strict", "replace"]
Reader = Callable[[bytes, Errors], str]

# WHATWG Encoding §4.2: name, then its other labels. Without `replacement`, whose labels Python reads, and
# x-user-defined, which no mail is written in.
_TABLE = """
utf-8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf8 x-unicode20utf8
ibm866 866 cp866 csibm866
iso-8859-2 csisolatin2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2
iso-8859-3 csisolatin3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3
iso-8859-4 csisolatin4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4
iso-8859-5 csisolatincyrillic cyrillic iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988
iso-8859-6 arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6-e iso-8859-6-i iso-ir-127
 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987
iso-8859-7 csisolatingreek ecma-118 elot_928 greek greek8 iso-ir-126 iso8859-7 iso88597 iso_8859-7 iso_8859-7:1987
 sun_eu_greek
iso-8859-8 csiso88598e csisolatinhebrew hebrew iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8 iso_8859-8:1988
 visual
iso-8859-8-i csiso88598i logical
iso-8859-10 csisolatin6 iso-ir-157 iso8859-10 iso885910 l6 latin6
iso-8859-13 iso8859-13 iso885913
iso-8859-14 iso8859-14 iso885914
iso-8859-15 csisolatin9 iso8859-15 iso885915 iso_8859-15 l9
iso-8859-16
koi8-r cskoi8r koi koi8 koi8_r
koi8-u koi8-ru
macintosh csmacintosh mac x-mac-roman
windows-874 dos-874 iso-8859-11 iso8859-11 iso885911 tis-620
windows-1250 cp1250 x-cp1250
windows-1251 cp1251 x-cp1251
windows-1252 ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1
 iso_8859-1:1987 l1 latin1 us-ascii x-cp1252
windows-1253 cp1253 x-cp1253
windows-1254 cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 x-cp1254
windows-1255 cp1255 x-cp1255
windows-1256 cp1256 x-cp1256
windows-1257 cp1257 x-cp1257
windows-1258 cp1258 x-cp1258
x-mac-cyrillic x-mac-ukrainian
gbk chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 iso-ir-58 x-gbk
gb18030
big5 big5-hkscs cn-big5 csbig5 x-x-big5
euc-jp cseucpkdfmtjapanese x-euc-jp
iso-2022-jp csiso2022jp
shift_jis csshiftjis ms932 ms_kanji shift-jis sjis windows-31j x-sjis
euc-kr cseuckr csksc56011987 iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949
utf-16be unicodefffe
utf-16le csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16
"""
LABELS = {label: line.split()[0] for line in _TABLE.replace("\n ", " ").split("\n") if line for label in line.split()}
"""Label in lower case → the name under which the standard reads it, in lower case."""

# Python's canonical names of what is a charset of mail; idna, unicode_escape and the like are something else.
_PYTHON = re.compile(
    r"ascii|utf-(?:8|16|32)(?:-[bl]e)?|iso8859-\d+|cp\d+|koi8-[rtu]|kz1048|mac-\w+|hp-roman8|ptcp154|tis-620"
    r"|big5(?:hkscs)?|euc_\w+|gb2312|gbk|gb18030|hz|iso2022_\w+|johab|shift_jis\w*"
)
# Where Python knows a charset of the table by a name that isn't in it.
_ALSO = {
    "big5hkscs": "big5", "cp874": "windows-874", "cp932": "shift_jis", "cp949": "euc-kr", "euc_jp": "euc-jp",
    "euc_kr": "euc-kr", "iso2022_jp": "iso-2022-jp", "mac-roman": "macintosh", "mac-cyrillic": "x-mac-cyrillic",
    "utf-16-be": "utf-16be", "utf-16-le": "utf-16le",
}
_LABEL = re.compile(r"[a-z0-9_.:+-]{1,60}")
# One octet a character: Python's codec where it has another name, and what it reads otherwise than the standard.
_CODECS = {
    "ibm866": "cp866", "iso-8859-8-i": "iso8859_8", "macintosh": "mac_roman", "windows-874": "cp874",
    "x-mac-cyrillic": "mac_cyrillic",
}
_OTHERWISE = {"koi8-u": {0xAE: "ў", 0xBE: "Ў"}, "windows-1255": {0xCA: "\u05ba"}}
_UNDEFINED = "\ufffe"
# In these, what HTML and URLs are made of (< > " ' = & / and blanks) is never part of another character.
_LIKE_ASCII = frozenset({"utf-8", "gbk", "gb18030", "big5", "euc-jp", "shift_jis", "euc-kr", "cp950"})

_ESCAPE = re.compile(rb"\x1b(\([BIJ]|\$[@B])")
_ROMAN = str.maketrans("\\~", "¥‾")
_EUC_JP = re.compile(
    rb"([\x00-\x7f]+)|((?:[\xa1-\xfe]{2})+)|((?:\x8e[\xa1-\xdf])+)|((?:\x8f[\xa1-\xfe]{2})+)|.", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Charset:
    """How one charset is read and written. `name`: the standard's or else Python's. `like_ascii`: what HTML and URLs
    are made of is never part of another character in it."""

    name: str
    like_ascii: bool
    writer: str
    _reader: Reader = field(repr=False)

    def read(self, octets: bytes, errors: Errors = "strict") -> str:
        """The text. Raises UnicodeError where it is `strict` and the octets aren't text in this charset."""
        return self._reader(octets, errors)

    def write(self, text: str) -> bytes:
        """Octets that read back as `text`. Raises UnicodeEncodeError for characters the charset hasn't."""
        octets = text.encode(self.writer)
        if self.read(octets, "replace") != text:
            raise UnicodeEncodeError(self.writer, text, 0, len(text), "it would be read as other characters")
        return octets


@lru_cache(maxsize=512)
def charset(label: str) -> Charset | None:
    """The charset of a label, any letter case; None for one that nobody knows, and for UTF-7."""
    label = label.strip("\t\n\f\r ").lower()
    name = LABELS.get(label)
    if name is None:
        name = _pythons(label)
    if name is None:
        return None
    reader = _MANY.get(name) or _one_octet(name)
    writer = _own_codec(label) or _CODECS.get(name, name)
    return Charset(name, name in _LIKE_ASCII or _keeps_ascii(reader), writer, reader)


def look(octets: bytes, label: str) -> str:
    """Octets of any quality as text, by a label of any quality: for looking at, never for writing on."""
    known = charset(label)
    if octets.isascii() and b"\x1b" not in octets and b"~{" not in octets and (known is None or known.like_ascii):
        return octets.decode("ascii")
    if known is not None and known.name != "utf-8":
        return known.read(octets, "replace")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if b"\x1b$" in octets or b"\x1b(" in octets:
        return _iso_2022_jp(octets, "replace")
    return octets.decode("utf-8", "replace")


def _pythons(label: str) -> str | None:
    """The name of a charset that Python knows by this label."""
    try:
        name = codecs.lookup(label).name if _LABEL.fullmatch(label) else ""
    except LookupError:
        return None
    return _ALSO.get(name) or LABELS.get(name) or (name if _PYTHON.fullmatch(name) else None)


def _own_codec(label: str) -> str | None:
    """Python's codec of the label itself: never wider than what whoever wrote the label had."""
    try:
        return codecs.lookup(label).name
    except LookupError:
        return None


def _keeps_ascii(reader: Reader) -> bool:
    """Whether each ASCII octet is itself and each other octet a character by itself."""
    plain = bytes(range(128))
    try:
        return reader(plain, "strict") == plain.decode("ascii") and len(reader(bytes(range(256)), "replace")) == 256
    except UnicodeError:
        return False


def _one_octet(name: str) -> Reader:
    """The reader of a charset of Python's; with the standard's additions if it is one of the table's."""
    codec = _CODECS.get(name, name)
    if name not in LABELS:
        return lambda octets, errors: octets.decode(codec, errors)
    letters = []
    for octet in range(256):
        letter = _OTHERWISE.get(name, {}).get(octet) or bytes([octet]).decode(codec, "replace")
        if letter == "\ufffd":
            # WHATWG Encoding §9: the windows tables have the C1 controls where nothing else stands.
            letter = chr(octet) if name.startswith("windows-") and octet < 0xA0 else _UNDEFINED
        letters.append(letter)
    table = "".join(letters)
    return lambda octets, errors: codecs.charmap_decode(octets, errors, table)[0]


def _by(codec: str) -> Reader:
    return lambda octets, errors: octets.decode(codec, errors)


def _gb18030(octets: bytes, errors: Errors) -> str:
    return octets.decode("gb18030", f"posthouse-gb18030-{errors}")


def _gb18030_error(errors: Errors) -> Callable[[UnicodeError], tuple[str, int]]:
    def handle(error: UnicodeError) -> tuple[str, int]:
        # WHATWG Encoding §10.2.1: 0x80 by itself is the euro sign, as Windows writes it.
        if isinstance(error, UnicodeDecodeError) and error.object[error.start] == 0x80:
            return "€", error.start + 1
        if errors == "strict" or not isinstance(error, UnicodeDecodeError):
            raise error
        return "\ufffd", error.end

    return handle


for _errors in ("strict", "replace"):
    codecs.register_error(f"posthouse-gb18030-{_errors}", _gb18030_error(_errors))


def _iso_2022_jp(octets: bytes, errors: Errors) -> str:
    """RFC 1468, with half-width katakana and the rows that Windows added, which no codec of Python's reads."""
    pieces = _ESCAPE.split(octets)
    out, mode = [], b"(B"
    for at, piece in enumerate(pieces):
        if at % 2:
            mode = piece
        elif mode in (b"$B", b"$@"):
            out.append(_jis(piece, errors))
        elif mode == b"(I":
            out.append("".join(chr(o + 0xFF40) if 0x21 <= o <= 0x5F else _odd(octets, errors) for o in piece))
        else:
            text = "".join(chr(o) if o < 0x80 and o not in b"\x0e\x0f\x1b" else _odd(octets, errors) for o in piece)
            out.append(text.translate(_ROMAN) if mode == b"(J" else text)
    return "".join(out)


def _jis(octets: bytes, errors: Errors) -> str:
    """Pairs of JIS X 0208 with Windows' additions, by way of the codec that has them."""
    good = len(octets) // 2 * 2
    pairs = bytearray()
    for first, second in zip(octets[:good:2], octets[1:good:2], strict=True):
        if not (0x21 <= first <= 0x7E and 0x21 <= second <= 0x7E):
            pairs += b"\xfc\xfc" if errors == "replace" else _odd(octets, errors).encode()
            continue
        row = (first - 0x21 >> 1) + 0x81
        cell = second + (0x7E if not first & 1 else 0x20 if second >= 0x60 else 0x1F)
        pairs += bytes((row + 0x40 if row > 0x9F else row, cell))
    return pairs.decode("cp932", errors) + (_odd(octets, errors) if good < len(octets) else "")


def _euc_jp(octets: bytes, errors: Errors) -> str:
    out = []
    for found in _EUC_JP.finditer(octets):
        plain, pairs, kana, more = found.groups()
        if plain:
            out.append(plain.decode("ascii"))
        elif pairs:
            out.append(_jis(bytes(o & 0x7F for o in pairs), errors))
        elif kana:
            out.append("".join(chr(o + 0xFEC0) for o in kana[1::2]))
        else:
            out.append(more.decode("euc_jp", errors) if more else _odd(octets, errors))
    return "".join(out)


def _odd(octets: bytes, errors: Errors) -> str:
    """What stands for an octet that isn't text; raises where nothing may."""
    if errors == "strict":
        raise UnicodeDecodeError("charset", octets, 0, len(octets), "not text in this charset")
    return "\ufffd"


def _utf_16(codec: str) -> Reader:
    def read(octets: bytes, errors: Errors) -> str:
        # WHATWG Encoding §6: the mark at the beginning is believed before the label, and is no part of the text.
        marked = {codecs.BOM_UTF16_BE: "utf-16-be", codecs.BOM_UTF16_LE: "utf-16-le"}.get(octets[:2])
        return octets[2:].decode(marked, errors) if marked else octets.decode(codec, errors)

    return read


_MANY: dict[str, Reader] = {
    "utf-8": _by("utf-8"), "utf-16be": _utf_16("utf-16-be"), "utf-16le": _utf_16("utf-16-le"), "gbk": _gb18030,
    "gb18030": _gb18030, "big5": _by("big5hkscs"), "euc-jp": _euc_jp, "iso-2022-jp": _iso_2022_jp,
    "shift_jis": _by("cp932"), "euc-kr": _by("cp949"),
}
