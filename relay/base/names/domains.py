"""Domain names: one A-label form, what may be enrolled, what a public suffix is, what looks alike.

Promises that two spellings of one domain come out equal, and that a refusal says why in plain words.
Does not ask DNS.
"""

import ipaddress
import re
import unicodedata
from functools import cache, lru_cache

import idna
from publicsuffixlist import PublicSuffixList

# RFC 1035 §2.3.4: a label holds 63 octets; 255 octets on the wire leave 253 in text without the last dot.
MAX_DOMAIN = 253
MAX_LABEL = 63
# UTS 46 may shrink what it maps; nothing longer than this can still become a legal name.
_MAX_INPUT = 1024

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# RFC 2181 §11: DNS itself has no opinion; what others have in their names is letters, digits, "-" and "_".
_FOREIGN_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
# RFC 6761, RFC 6762, RFC 7686, RFC 9476 and ICANN's `internal`: names that never lead to a public zone.
_SPECIAL = frozenset({"alt", "arpa", "internal", "invalid", "local", "localhost", "onion"})


class BadName(ValueError):
    """A name that is refused; `reason` says why in words for people and holds none of the input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@lru_cache(maxsize=4096)
def domain(text: str) -> str:
    """Give the lower-case A-label form of a domain name, without a trailing dot.

    Letter case, U-labels (IDNA 2008 by way of UTS 46), the ideographic full stops and one trailing dot
    make no difference to the result. Single labels pass here. Raises BadName for anything else: an IP
    address, an underscore, a label over 63 or a name over 253 octets.
    """
    if not text:
        raise BadName("the domain is empty")
    if len(text) > _MAX_INPUT:
        raise BadName(f"the domain is longer than {MAX_DOMAIN} octets")
    name = _ascii(text.lower().removesuffix(".")) if text.isascii() else _encode(text).removesuffix(".")
    if len(name) > MAX_DOMAIN:
        raise BadName(f"the domain is longer than {MAX_DOMAIN} octets")
    # RFC 3696 §2: a top-level label is never all digits; this also keeps IPv4 addresses out.
    if name.rpartition(".")[2].isdigit():
        raise BadName("an IP address or a number is not a domain")
    return name


@lru_cache(maxsize=4096)
def foreign_domain(text: str, *, numbers: bool = False) -> str:
    """Give the lower-case A-label form of a domain that others own, as `domain` does, but with less to judge.

    Underscores and outer hyphens pass, and so do A-labels that IDNA 2008 doesn't know: the DNS has such names, and mail
    comes from them and goes there. No dot stands behind it. `numbers`: so may a name that is an IPv4 address. Raises
    BadName for anything else.
    """
    if not text:
        raise BadName("the domain is empty")
    if len(text) > _MAX_INPUT:
        raise BadName(f"the domain is longer than {MAX_DOMAIN} octets")
    if text.isascii():
        name = text.lower()
    else:
        try:
            # RFC 5891 §4, UTS 46: letters beyond ASCII have one form, in which alone they are looked up.
            mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
        except idna.IDNAError:
            raise _forbidden() from None
        name = ".".join(label if label.isascii() else _encode(label) for label in mapped.split("."))
    if not _PLAIN.fullmatch(name):
        _check_labels(name)
    if len(name) > MAX_DOMAIN:
        raise BadName(f"the domain is longer than {MAX_DOMAIN} octets")
    if name.rpartition(".")[2].isdigit() and not (numbers and _is_ip(name)):
        raise BadName("an IP address or a number is not a domain")
    return name


def _check_labels(name: str) -> None:
    if name.endswith("."):
        raise BadName("the domain ends in a dot: leave it out")
    for label in name.split("."):
        if not label:
            raise BadName("the domain has an empty label: two dots in a row, or one at the start")
        if len(label) > MAX_LABEL:
            raise BadName(f"a label of the domain is longer than {MAX_LABEL} octets")
        if not _FOREIGN_LABEL.fullmatch(label):
            raise BadName("the domain may hold letters, digits, hyphens and underscores only")


def to_unicode(name: str) -> str:
    """Show an A-label domain in Unicode; a label that does not decode is shown as it is."""
    if "xn--" not in name:
        return name
    labels = []
    for label in name.split("."):
        try:
            labels.append(idna.decode(label))
        except idna.IDNAError:
            labels.append(label)
    return ".".join(labels)


def enrollable(text: str, *, allow_special: bool = False) -> str:
    """Give the A-label form of a domain that a member may enroll, or raise BadName with the reason.

    Refuses public suffixes (the list's private section too), single labels, IP addresses, wildcards,
    underscores and over-long names, and names under special-use top-level domains such as `.local`
    unless `allow_special`. Names for tests and documents (`.test`, `.example`) may be enrolled.
    """
    stripped = text.strip()
    # What people paste: the address of a page, or of a person.
    if "/" in stripped:
        raise BadName("an address of a web page is not a domain: give only its name, such as example.com")
    if "@" in stripped:
        raise BadName("an address of mail is not a domain: give only what follows the @")
    if "*" in stripped:
        raise BadName("a wildcard can't be enrolled: name one domain")
    if _is_ip(stripped):
        raise BadName("an IP address can't be enrolled: name a domain")
    name = domain(stripped)
    top = name.rpartition(".")[2]
    if top == "localhost":
        raise BadName("localhost can't be enrolled")
    if "." not in name:
        raise BadName("a single label can't be enrolled: give the whole domain, such as example.com")
    if top in _SPECIAL and not allow_special:
        raise BadName(f"names under .{top} are set aside for special use and can't be enrolled")
    if _suffixes().publicsuffix(name) == name:
        raise BadName("this is a public suffix, shared by many owners: enroll a name below it")
    return name


def prepare() -> None:
    """Read the list of public suffixes now, a tenth of a second's work, rather than while somebody waits."""
    _suffixes()


@lru_cache(maxsize=8192)  # of what never changes while the program runs; a long list asks for the same names again
def registrable(name: str) -> str | None:
    """Give the registrable (organizational) domain of an A-label name; None for a public suffix."""
    found: str | None = _suffixes().privatesuffix(name)
    return found


def same_organization(one: str, other: str) -> bool:
    """Whether two A-label names are the same or have one registrable domain, by the list of public suffixes."""
    top = registrable(one)
    return one == other or (top is not None and top == registrable(other))


@lru_cache(maxsize=8192)
def parents(name: str) -> tuple[str, ...]:
    """List the parents of an A-label name, nearest first, up to and with its registrable domain."""
    top = registrable(name)
    found: list[str] = []
    while top is not None and name != top:
        name = name.partition(".")[2]
        found.append(name)
    return tuple(found)


def confusable(text: str) -> str | None:
    """Say in one sentence why a name may be taken for another one, or None.

    Takes A-labels or U-labels. Flags a label that mixes scripts (other than the mixtures that Chinese,
    Japanese and Korean use, UTS 39 "highly restrictive") and a label that is wholly made of letters
    which look Latin. A flag, not a refusal: who sees it decides.
    """
    for label in to_unicode(text.lower()).split("."):
        if label.isascii():
            continue
        scripts = {script for char in label if (script := _script(char))}
        if len(scripts) > 1 and not any(scripts <= allowed for allowed in _TOGETHER):
            listed = " and ".join(sorted(script.capitalize() for script in scripts))
            return f"The label “{label}” mixes {listed} letters and may be taken for another name."
        if scripts and all(char in _LATIN_LOOKING or not char.isalpha() for char in label):
            return f"The label “{label}” has no Latin letter but may be read as Latin."
    return None


def _ascii(name: str) -> str:
    """Check a lower-case ASCII name; only names with A-labels cost a call to idna."""
    if _PLAIN.fullmatch(name) and "xn--" not in name:
        return name
    if "_" in name:
        raise BadName("an underscore can't be part of a mail domain")
    if "*" in name:
        raise BadName("a wildcard is not a domain")
    if _is_ip(name):
        raise BadName("an IP address is not a domain")
    for label in name.split("."):
        if not label:
            raise BadName("the domain has an empty label: two dots in a row, or one at the start or end")
        if len(label) > MAX_LABEL:
            raise BadName(f"a label of the domain is longer than {MAX_LABEL} octets")
    if not _PLAIN.fullmatch(name):
        raise BadName("the domain may hold letters, digits and inner hyphens only")
    return _encode(name)


def _encode(text: str) -> str:
    # RFC 5891 §4, RFC 5892; UTS 46 maps case, width and the ideographic dots, not in transitional mode.
    try:
        encoded = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError:
        raise _forbidden() from None
    # Whatever the library lets through is held to the same rule as plain ASCII.
    if not _PLAIN.fullmatch(encoded.removesuffix(".")):
        raise BadName("the domain may hold letters, digits and inner hyphens only")
    return encoded


def _forbidden() -> BadName:
    return BadName("the domain holds characters or labels that internationalized names forbid")


def _is_ip(text: str) -> bool:
    bare = text.strip("[]")
    if bare[:5].lower() == "ipv6:":
        bare = bare[5:]
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    return True


@cache
def _suffixes() -> PublicSuffixList:
    """The list that ships with the package, read once when first asked for; never fetched."""
    return PublicSuffixList()


_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
# Cyrillic, Greek and Armenian small letters drawn like Latin ones.
_LATIN_LOOKING = frozenset("асԁеһіјӏорԛѕԝхуѵгпьαικνορτυχωγօսհո")


def _script(char: str) -> str:
    """The script of a letter, by the first word of its Unicode name; empty for digits and marks."""
    if not char.isalpha():
        return ""
    return unicodedata.name(char, "UNKNOWN").split(" ", 1)[0].split("-", 1)[0]
