"""The header From, read so strictly that every mail reader must see the same sender.

Who may send as whom hangs on this one line, and parsers differ: the standard library reads
`a@ours.example <b@theirs.example>` as the first address, mail programs show the second. So exactly one
mailbox in a plain form passes and anything that two readers might read differently is refused.
"""

import re
import unicodedata
from dataclasses import dataclass

from relay.base.names.addresses import Address, address
from relay.base.names.domains import BadName, to_unicode
from relay.base.names.words import decode_words

_MAX_VALUE = 2000

_FOLD = re.compile(rb"\r\n(?=[ \t])")
# RFC 5322 §4.2: a folded line of blanks alone is obsolete, and some programs take it for the header's end.
_BLANK_LINE = re.compile(rb"\r\n[ \t]+(?:\r\n|\Z)")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
# RFC 5322 §3.2.5, with the dot of obs-phrase that people's initials need.
_PHRASE_WORD = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]+|\"(?:[^\"\\]|\\[\"\\])*\"")
_BLANKS = re.compile(r"[ \t]+")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One sender: `display` is the decoded name ("" if there is none), `address` the mailbox."""

    display: str
    address: Address


def single_mailbox(value: bytes) -> Mailbox:
    """Read the value of a From field that holds exactly one mailbox, else raise BadName.

    Takes the octets after the colon, folded or not. Accepts `addr` and `display <addr>` (RFC 5322 §3.4
    without comments, groups, lists, routes, literals and quoted local parts). A display name with an @
    in it, plain, quoted or encoded, is refused unless it is the address itself.
    """
    text = _unfold(value)
    if text.endswith(">"):
        phrase, bracket, inner = text[:-1].rpartition("<")
        if not bracket:
            raise BadName("From has an unpaired angle bracket")
        found = _plain_address(inner)
        return Mailbox(_display(phrase.strip(" \t"), found), found)
    return Mailbox("", _plain_address(text))


def _unfold(value: bytes) -> str:
    if len(value) > _MAX_VALUE:
        raise BadName(f"From is longer than {_MAX_VALUE} octets")
    value = value.removesuffix(b"\r\n")
    if _BLANK_LINE.search(value):
        raise BadName("From holds a line of blanks only")
    try:
        text = _FOLD.sub(b"", value).decode("utf-8").strip(" \t")
    except UnicodeDecodeError:
        raise BadName("From is neither ASCII nor UTF-8") from None
    _refuse_controls(text)
    if not text:
        raise BadName("From is empty")
    return text


def _plain_address(text: str) -> Address:
    """An address with nothing optional in it: every program finds the same one, and can write it back."""
    if '"' in text:
        raise BadName("From has a quoted local part, which programs read differently")
    if "," in text or ";" in text or ":" in text:
        raise BadName("From must hold exactly one mailbox: no list and no group")
    if "(" in text or ")" in text:
        raise BadName("From must not hold comments")
    if "=?" in text:
        raise BadName("From has an encoded word within the address")
    if text.count("@") != 1:
        raise BadName("From must hold exactly one address")
    found = address(text)
    written = text.rpartition("@")[2].lower()
    # A trailing dot, a mapped letter or another full stop is the same domain only to those who map it too.
    if written not in (found.domain, to_unicode(found.domain)):
        raise BadName("From has a domain in a form that programs read differently")
    return found


def _display(phrase: str, found: Address) -> str:
    if not phrase:
        return ""
    words = _words(phrase)
    if words is None:
        raise BadName("From has a display name that must be quoted, or is more than one mailbox")
    literal = _BLANKS.sub(" ", " ".join(words))
    decoded = decode_words(literal)
    if decoded is None:
        raise BadName("From has an encoded word that can't be read")
    for shown in (literal, decoded):
        _refuse_controls(shown)
        if "\t" in shown:
            raise BadName("From holds control characters")
        looks = unicodedata.normalize("NFKC", shown)
        if "<" in looks or ">" in looks:
            raise BadName("From has an angle bracket within the display name")
        # Many programs repeat the address as its own name: all readers then agree on who sends.
        if "@" in looks and shown.lower() != found.text.lower():
            raise BadName("From has a display name that looks like an address")
    return decoded


def _words(phrase: str) -> list[str] | None:
    """Split a phrase into its words, quotes taken off; None if it isn't a phrase."""
    words: list[str] = []
    at = 0
    while at < len(phrase):
        word = _PHRASE_WORD.match(phrase, at)
        if word is None:
            return None
        text = word.group()
        words.append(_ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text)
        at = word.end()
        if at < len(phrase):
            blanks = _BLANKS.match(phrase, at)
            if blanks is None:
                return None
            at = blanks.end()
    return words


def _refuse_controls(text: str) -> None:
    if _CONTROL.search(text):
        raise BadName("From holds control characters")
