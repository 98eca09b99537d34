"""Mail addresses by the grammar of SMTP, and the key under which one is suppressed.

Promises that what passes is one mailbox at one domain, safe to write into a command or a header. Says
nothing on whether anybody reads mail there.
"""

import re
import unicodedata
from dataclasses import dataclass

from relay.base.names.domains import BadName, domain

# RFC 5321 §4.5.3.1.1, §4.5.3.1.3 (a path of 256 octets has its two angle brackets).
MAX_LOCAL = 64
MAX_ADDRESS = 254

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
# RFC 6531 §3.3 widens atext by all of UTF-8; `_check_unicode` then takes out what isn't a visible letter.
_WIDE_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_WIDE_DOT_ATOM = re.compile(rf"{_WIDE_ATOM}(?:\.{_WIDE_ATOM})*")
# RFC 5321 §4.1.2: QcontentSMTP = qtextSMTP / quoted-pairSMTP.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\[ -~])*)"')
_PAIR = re.compile(r"\\(.)")
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
        """`local@domain`, as it goes into MAIL FROM and RCPT TO."""
        return f"{self.local}@{self.domain}"

    @property
    def smtputf8(self) -> bool:
        """True when the local part isn't ASCII, so that only an SMTPUTF8 server can take it (RFC 6531)."""
        return not self.local.isascii()


def address(text: str, *, smtputf8: bool = True) -> Address:
    """Read one address by RFC 5321 §4.1.2 (RFC 6531 §3.3 when `smtputf8`).

    Takes a dot-atom or a quoted local part of at most 64 octets and a domain name, 254 octets together.
    A quoted local part that needs no quotes loses them. Raises BadName for everything else: address
    literals, source routes, comments, angle brackets, controls, and the percent and bang forms that old
    relays would have routed on.
    """
    if not smtputf8 and not text.isascii():
        raise BadName("an address with other than ASCII characters needs SMTPUTF8")
    if len(text) > 4 * MAX_ADDRESS:
        raise BadName(f"the address is longer than {MAX_ADDRESS} octets")
    local, at, host = text.rpartition("@")
    if not at:
        raise BadName("the address has no @")
    if not local:
        raise BadName("the address has nothing before the @")
    if host.startswith("["):
        raise BadName("address literals are not accepted: name a domain")
    local = _local(local)
    found = Address(local, domain(host))
    if len(local.encode()) > MAX_LOCAL:
        raise BadName(f"the part before the @ is longer than {MAX_LOCAL} octets")
    if len(found.text.encode()) > MAX_ADDRESS:
        raise BadName(f"the address is longer than {MAX_ADDRESS} octets")
    return found


def canonical(given: Address | str) -> str:
    """Give the key under which a recipient is suppressed: spellings of one mailbox share one key.

    The domain as lower-case A-labels; the local part without quotes and `+tag`, in lower case, NFC.
    A key is for comparing, never for sending. Raises BadName when a string isn't an address.
    """
    found = given if isinstance(given, Address) else address(given)
    local = found.local
    if local.startswith('"'):
        local = _PAIR.sub(r"\1", local[1:-1])
    # Some letters leave NFC when lowered, so the form is made last; and first, so that marks lower alike.
    local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())
    before, _, _ = local.partition("+")
    return f"{before or local}@{found.domain}"


def _local(text: str) -> str:
    if _DOT_ATOM.fullmatch(text):
        if _ROUTED.search(text):
            raise BadName("routed address: percent and bang forms are not relayed")
        return text
    if text.startswith("@"):
        raise BadName("source routes are not accepted")
    if quoted := _QUOTED.fullmatch(text):
        return _quoted_local(quoted.group(1))
    if not text.isascii() and _WIDE_DOT_ATOM.fullmatch(text):
        _check_unicode(text)
        if _ROUTED.search(text):
            raise BadName("routed address: percent and bang forms are not relayed")
        return text
    if "(" in text or ")" in text:
        raise BadName("comments in an address are not accepted")
    if "<" in text or ">" in text:
        raise BadName("the address has a stray angle bracket")
    if any(char < " " or char == "\x7f" for char in text):
        raise BadName("the address holds control characters")
    raise BadName("the part before the @ is not a valid local part")


def _quoted_local(inside: str) -> str:
    content = _PAIR.sub(r"\1", inside)
    if "@" in content or _ROUTED.search(content):
        raise BadName("routed address: percent, bang and nested forms are not relayed")
    # RFC 5321 §4.1.2: the quoted form is not to be used where the dot-string would do.
    if _DOT_ATOM.fullmatch(content):
        return content
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check_unicode(text: str) -> None:
    """Refuse what can't be seen, and what another program may map to a character of the syntax."""
    for char in text:
        if char < "\x80":
            continue
        if unicodedata.category(char) in _FORBIDDEN_CATEGORIES:
            raise BadName("the address holds invisible or control characters")
        if not _SPECIALS.isdisjoint(unicodedata.normalize("NFKC", char)):
            raise BadName("the address holds a character that looks like a part of the syntax")
