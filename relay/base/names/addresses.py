"""Mail addresses: two readers of one grammar, and the key under which a recipient is suppressed.

`address` reads what others own: recipients, mailboxes, whatever a stored row holds. It judges little, because the host
that the address belongs to decides what it means; real mail has local parts of more than 64 octets (automatic forwards,
SRS, VERP), dots in a row or at an end (mobile providers of the nineties) and underscores in domains, all stricter than
which RFC 5321 §4.1.2 is. `own_address` reads what is ours to write: a member's sender, the relay's own. `reverse_path`
reads the argument of a stranger's MAIL, which is only ever carried. `address` takes all that `own_address` does, so
whatever was stored can be read again.

Promises that what passes is one mailbox, safe to write into a command or, as `header`, into a header. Says nothing on
whether anybody reads mail there.
"""

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from relay.base.names.domains import BadName, domain, foreign_domain

# RFC 5321 §4.5.3.1.1: of a local part that we write. §4.5.3.1.3: a path of 256 octets has its two angle brackets.
MAX_LOCAL = 64
MAX_ADDRESS = 254

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
# RFC 6531 §3.3 widens atext by all of UTF-8; `_check_unicode` then takes out what isn't a visible letter.
_WIDE_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_WIDE_DOT_ATOM = re.compile(rf"{_WIDE_ATOM}(?:\.{_WIDE_ATOM})*")
# What mail really has: dots wherever they stand.
_DOTTED = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")
_WIDE_DOTTED = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]+")
# RFC 5321 §4.1.2: QcontentSMTP = qtextSMTP / quoted-pairSMTP.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\[ -~])*)"')
_WIDE_QUOTED = re.compile(r'"((?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*)"')
_PAIR = re.compile(r"\\(.)")
# What may stand in a stranger's MAIL as the name of nobody: one word without brackets.
_WORD = re.compile(r"[^\s<>\x00-\x20\x7f-\xa0]+")
# RFC 5321 §4.1.2: A-d-l and its colon.
_SOURCE_ROUTE = re.compile(r"@[^\s:,<>@]+(?:,@[^\s:,<>@]+)*:")
_ROUTED = re.compile(r".[%!].")
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_SPECIALS = frozenset(' "(),:;<>@[\\]')


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox. `local` is as it is written in SMTP (with quotes if it needs them), `domain` A-labels."""

    local: str
    domain: str

    @property
    def text(self) -> str:
        """`local@domain`, as it goes into MAIL FROM and RCPT TO; "" for the null sender."""
        return f"{self.local}@{self.domain}" if self.domain else ""

    @property
    def header(self) -> str:
        """`local@domain` as it stands in a header field: RFC 5322 §3.4.1 wants quotes where dots stand oddly."""
        if self.local.startswith('"') or _WIDE_DOT_ATOM.fullmatch(self.local):
            return self.text
        return f"{_quoted(self.local)}@{self.domain}"

    @property
    def plain(self) -> bool:
        """True when the address is one by the letter of RFC 5321 §4.1.2, unquoted and in ASCII."""
        return (
            len(self.local) <= MAX_LOCAL and bool(_DOT_ATOM.fullmatch(self.local)) and not self.domain.startswith("[")
        )

    @property
    def smtputf8(self) -> bool:
        """True when the local part isn't ASCII, so that only an SMTPUTF8 server can take it (RFC 6531)."""
        return not self.local.isascii()


NULL = Address("", "")
"""The null sender, `<>` in MAIL FROM (RFC 5321 §4.5.5)."""


# The same few addresses are read many times: a message's own at each step of its way.
@lru_cache(4096)
def address(text: str, *, smtputf8: bool = True) -> Address:
    """Read one address that others own; more lenient than RFC 5321 §4.1.2, as the module says.

    Takes a local part of letters, digits, signs and dots in any order, or a quoted one, and a domain name that may
    hold underscores, 254 octets together; other letters where `smtputf8` (RFC 6531 §3.3). A quoted local part that
    needs no quotes loses them, all else stays as it is written. Raises BadName: address literals, source routes,
    comments, brackets, blanks, controls, a dot behind the domain, and the percent and bang forms that old relays would
    have routed on.
    """
    local, host = _halves(text, smtputf8)
    local = _local(local, *_OTHERS)
    _refuse_routes(local)
    return _short(Address(local, foreign_domain(host)))


@lru_cache(4096)
def own_address(text: str, *, smtputf8: bool = True) -> Address:
    """Read one address of ours or of a member's, by the letter of RFC 5321 §4.1.2 (RFC 6531 §3.3 when `smtputf8`).

    As `address`, but with a dot-atom or a quoted local part of at most 64 octets and a domain that could be enrolled
    by its form; one dot behind it makes no difference. Never for what others own.
    """
    local, host = _halves(text, smtputf8)
    local = _local(local, *_OURS)
    _refuse_routes(local)
    found = Address(local, domain(host))
    if len(local.encode()) > MAX_LOCAL:
        raise BadName(f"the part before the @ is longer than {MAX_LOCAL} octets")
    return _short(found)


def reverse_path(text: str, *, smtputf8: bool = True) -> Address | None:
    """Read a stranger's envelope sender, without its brackets: whoever writes to us may be called what they like.

    As `address`, and takes address literals (RFC 5321 §4.1.3; `domain` keeps the brackets), a bare IPv4 address, and
    the percent and bang forms, which nothing here routes on; a source route is left out. None for the null sender:
    nothing, a bare word such as `MAILER-DAEMON`, and an @ before no host, as in `#@[]`; nobody could be answered there.
    """
    text = without_route(text)
    _check_letters(text, smtputf8)
    local, at, host = text.rpartition("@")
    if host in ("", "[]") or not at:
        if text and not (_WORD.fullmatch(text) or _WIDE_QUOTED.fullmatch(text)):
            raise BadName("neither an address nor a word")
        return None
    if not local:
        raise BadName("the address has nothing before the @")
    local = _local(local, *_OTHERS)
    return _short(Address(local, _literal(host) or foreign_domain(host, numbers=True)))


def without_route(path: str) -> str:
    """A path from outside without the source route that may stand before its address: a server must take one, and
    should ignore it (RFC 5321 §4.1.2)."""
    found = _SOURCE_ROUTE.match(path)
    return path[found.end() :] if found is not None else path


@lru_cache(4096)
def canonical(given: Address | str) -> str:
    """Give the key under which a recipient is suppressed: spellings of one mailbox share one key.

    The domain as lower-case A-labels; the local part without quotes and `+tag`, in lower case, NFC.
    A key is for comparing, never for sending. Raises BadName when a string isn't an address.
    """
    found = given if isinstance(given, Address) else address(given)
    local = _content(found.local)
    # Some letters leave NFC when lowered, so the form is made last; and first, so that marks lower alike.
    local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())
    before, _, _ = local.partition("+")
    return f"{before or local}@{found.domain}"


def _halves(text: str, smtputf8: bool) -> tuple[str, str]:
    """What stands before and behind the last @."""
    _check_letters(text, smtputf8)
    local, at, host = text.rpartition("@")
    if not at:
        raise BadName("the address has no @")
    if not local:
        raise BadName("the address has nothing before the @")
    if host.startswith("["):
        raise BadName("address literals are not accepted: name a domain")
    return local, host


def _check_letters(text: str, smtputf8: bool) -> None:
    if not smtputf8 and not text.isascii():
        raise BadName("an address with other than ASCII characters needs SMTPUTF8")
    if len(text) > 4 * MAX_ADDRESS:
        raise BadName(f"the address is longer than {MAX_ADDRESS} octets")


def _short(found: Address) -> Address:
    if len(found.text.encode()) > MAX_ADDRESS:
        raise BadName(f"the address is longer than {MAX_ADDRESS} octets")
    return found


_OURS = _DOT_ATOM, _WIDE_DOT_ATOM, _QUOTED
_OTHERS = _DOTTED, _WIDE_DOTTED, _WIDE_QUOTED


def _local(text: str, plain: re.Pattern[str], wide: re.Pattern[str], string: re.Pattern[str]) -> str:
    """The part before the @: `plain` or, with other letters, `wide`; or a quoted `string`."""
    if plain.fullmatch(text):
        return text
    if text.startswith("@"):
        raise BadName("source routes are not accepted")
    if string.fullmatch(text):
        content = _content(text)
        _check_unicode(content)
        # RFC 5321 §4.1.2: the quoted form is not to be used where the dot-string would do.
        return content if _WIDE_DOT_ATOM.fullmatch(content) else _quoted(content)
    if not text.isascii() and wide.fullmatch(text):
        _check_unicode(text)
        return text
    if "(" in text or ")" in text:
        raise BadName("comments in an address are not accepted")
    if "<" in text or ">" in text:
        raise BadName("the address has a stray angle bracket")
    if any(char < " " or char == "\x7f" for char in text):
        raise BadName("the address holds control characters")
    raise BadName("the part before the @ is not a valid local part")


def _refuse_routes(local: str) -> None:
    content = _content(local)
    if "@" in content or _ROUTED.search(content):
        raise BadName("routed address: percent, bang and nested forms are not relayed")


def _content(local: str) -> str:
    """A local part without its quotes."""
    return _PAIR.sub(r"\1", local[1:-1]) if local.startswith('"') else local


def _quoted(content: str) -> str:
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _literal(host: str) -> str | None:
    """RFC 5321 §4.1.3: an address in brackets, as it is written; None for a host that isn't in brackets."""
    if not host.startswith("["):
        return None
    inside = host[1:-1] if host.endswith("]") else ""
    tagged = inside[:5].lower() == "ipv6:"
    try:
        found = ipaddress.ip_address(inside[5:] if tagged else inside)
    except ValueError:
        raise BadName("the address literal holds no IP address") from None
    if tagged != (found.version == 6):
        raise BadName("an IPv6 address literal is written [IPv6:...]")
    return host


def _check_unicode(text: str) -> None:
    """Refuse what can't be seen, and what another program may map to a character of the syntax."""
    for char in text:
        if char < "\x80":
            continue
        if unicodedata.category(char) in _FORBIDDEN_CATEGORIES:
            raise BadName("the address holds invisible or control characters")
        if not _SPECIALS.isdisjoint(unicodedata.normalize("NFKC", char)):
            raise BadName("the address holds a character that looks like a part of the syntax")
