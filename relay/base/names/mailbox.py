"""The header From (or Sender), read so strictly that every mail reader must see the same sender.

Who may send as whom hangs on this one line, and parsers differ: the standard library reads
`a@ours.example <b@theirs.example>` as the first address, mail programs show the second. So exactly one
mailbox in a plain form passes and anything that two readers might read differently is refused.
"""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from relay.base.names.addresses import Address, address, own_address
from relay.base.names.domains import BadName, to_unicode
from relay.base.names.encoded_words import readings

_MAX_VALUE = 2000

_FOLD = re.compile(rb"\r\n(?=[ \t])")
# RFC 5322 §4.2: a folded line of blanks alone is obsolete, and some programs take it for the header's end.
_BLANK_LINE = re.compile(rb"\r\n[ \t]+(?:\r\n|\Z)")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
# RFC 5322 §3.2.5, with the dot of obs-phrase that people's initials need.
_PHRASE_WORD = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]+|\"(?:[^\"\\]|\\[\"\\])*\"")
_BLANKS = re.compile(r"[ \t]+")
_ESCAPED = re.compile(r"\\(.)")
# What parts an address from the text around it, and what may stand beside one in a sentence.
_AROUND = re.compile(r"[\s\"(),/:;<>\\|]")
_BESIDE = "'`.!?*_[]{}‘’“”„«»…"
_HOST = re.compile(r"[^.]\.+[^.]")
_SHOWN_ADDRESS = 80


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One sender: `display` is the decoded name ("" if there is none), `address` the mailbox."""

    display: str
    address: Address


def single_mailbox(value: bytes, field: str = "From", *, foreign: bool = False) -> Mailbox:
    """Read the value of a field that holds exactly one mailbox, else raise BadName, which names the `field`.

    Takes the octets after the colon, folded or not. Accepts `addr` and `display <addr>` (RFC 5322 §3.4 without groups,
    lists, routes, literals and quoted local parts), each with one comment behind it. A display name or comment that
    holds an address, plain, quoted or encoded, is refused unless it is the mailbox's own. `foreign`: a stranger's field
    of any address that `address` takes, quoted too; what two readers may read differently stays refused.
    """
    try:
        return _mailbox(value, foreign)
    except _Fault as e:
        raise BadName(f"{field} {e}") from None
    except BadName as e:
        raise BadName(f"{field}: {e.reason}") from None


class _Fault(Exception):
    """What is wrong, to stand behind the field's name."""


def _mailbox(value: bytes, foreign: bool) -> Mailbox:
    text, comment = _uncommented(_unfold(value))
    phrase = ""
    if text.endswith(">"):
        phrase, bracket, text = text[:-1].rpartition("<")
        if not bracket:
            raise _Fault("has an unpaired angle bracket")
    found = _plain_address(text, foreign)
    # RFC 5322 §3.4: old programs show the comment as the name where there is no other.
    aside = _display([comment], found, "comment") if comment else ""
    phrase = phrase.strip(" \t")
    if not phrase:
        return Mailbox(aside, found)
    words = _words(phrase)
    if words is None:
        raise _Fault("has a display name that must be quoted, or is more than one mailbox")
    return Mailbox(_display(words, found, "display name"), found)


def _unfold(value: bytes) -> str:
    if len(value) > _MAX_VALUE:
        raise _Fault(f"is longer than {_MAX_VALUE} octets")
    value = value.removesuffix(b"\r\n")
    if _BLANK_LINE.search(value):
        raise _Fault("holds a line of blanks only")
    try:
        text = _FOLD.sub(b"", value).decode("utf-8").strip(" \t")
    except UnicodeDecodeError:
        raise _Fault("is neither ASCII nor UTF-8") from None
    _refuse_controls(text)
    if not text:
        raise _Fault("is empty")
    return text


def _uncommented(text: str) -> tuple[str, str]:
    """The text without the comment at its end (RFC 5322 §3.2.2), and what the comment says."""
    if not text.endswith(")"):
        return text, ""
    depth, at = 0, len(text)
    while at and (depth or at == len(text)):
        at -= 1
        depth += (text[at] == ")") - (text[at] == "(")
    comment = text[at + 1 : -1]
    if depth or "\\" in comment or text[at - 1 : at] not in (" ", "\t"):
        raise _Fault("has a comment that programs read differently")
    return text[:at].rstrip(" \t"), comment.strip(" \t")


def _plain_address(text: str, foreign: bool) -> Address:
    """An address with nothing optional in it: every program finds the same one, and can write it back."""
    if '"' in text and not foreign:
        raise _Fault("has a quoted local part, which programs read differently")
    if "," in text or ";" in text or ":" in text:
        raise _Fault("must hold exactly one mailbox: no list and no group")
    if "(" in text or ")" in text:
        raise _Fault("may hold one comment, behind the address, and no other")
    if "=?" in text:
        raise _Fault("has an encoded word within the address")
    if text.count("@") != 1:
        raise _Fault("must hold exactly one address")
    found = address(text) if foreign else own_address(text)
    written = text.rpartition("@")[2].lower()
    # A trailing dot, a mapped letter or another full stop is the same domain only to those who map it too.
    if written not in (found.domain, to_unicode(found.domain)):
        raise _Fault("has a domain in a form that programs read differently")
    return found


def _display(words: list[str], found: Address, what: str) -> str:
    """A display name or comment as it is shown; refused where any reader would see more in it than a name."""
    literal = _BLANKS.sub(" ", " ".join(words))
    read = readings(literal)
    if read is None:
        raise _Fault("has an encoded word that can't be read")
    for shown in (literal, *read):
        _refuse_controls(shown)
        if "\t" in shown:
            raise _Fault("holds control characters")
        looks = unicodedata.normalize("NFKC", shown)
        if "<" in looks or ">" in looks:
            raise _Fault(f"has an angle bracket within the {what}")
        if what == "comment" and "@" in looks:
            raise _Fault("has an @ within the comment")
        # Many programs repeat the address in its own name: all readers then agree on who sends.
        other = _address_in(looks, found) if "@" in looks else None
        if other is not None:
            raise _Fault(f"has a {what} that holds another address, {other[:_SHOWN_ADDRESS]}: take it out")
    return read[0]


def _address_in(text: str, own: Address) -> str | None:
    """What looks like an address (something@something.something) and is not `own`; None if nothing does."""
    # What can't be seen parts nothing for who reads it; other full stops do for programs as well as the one.
    seen = "".join(c for c in text if unicodedata.category(c) != "Cf").replace("。", ".")
    mine = (own.text.lower(), f"{own.local}@{to_unicode(own.domain)}".lower())
    for before, after in pairwise(seen.split("@")):
        local, host = _AROUND.split(before)[-1], _AROUND.split(after, maxsplit=1)[0]
        if not local or not _HOST.search(host):
            continue
        whole = f"{local}@{host}".lower()
        # An apostrophe may belong to the address or stand around it.
        if whole not in mine and whole.strip(_BESIDE) not in mine and whole.rstrip(_BESIDE) not in mine:
            return f"{local}@{host}"
    return None


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
        raise _Fault("holds control characters")
