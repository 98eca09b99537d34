"""An SPF record, read whole and strictly (RFC 7208 §4.6.1, §7.1, §12), with the fault named. Pure; evaluating it is
`spf`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay.verify.record_fault import BadRecord, Fault

# RFC 7208 §7.1; c, r and t stand in explanations only.
MACRO = re.compile(
    r"%(?:\{(?P<letter>[slodiphv])(?P<count>\d{0,3})(?P<reverse>r?)(?P<marks>[-.+,/_=]*)\}|[%_-])", re.IGNORECASE
)
_TERM = re.compile(
    r"(?P<qualifier>[+?~-]?)(?P<name>all|include|a|mx|ptr|ip4|ip6|exists)(?P<rest>[:/].*)?", re.IGNORECASE
)
_MODIFIER = re.compile(r"([a-z][a-z0-9._-]*)=(.*)", re.IGNORECASE)
_LENGTHS = re.compile(r"(?P<spec>.*?)(?:/(?P<four>0|[1-9]\d?))?(?://(?P<six>0|[1-9]\d{0,2}))?")
_TOP = re.compile(r"(?!\d+$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.IGNORECASE)
_PLAIN = re.compile(r"[!-$&-~]*")
_TERMS_MAX = 500
_VERSION = re.compile(r"v=spf1(?: |\Z)", re.IGNORECASE)
_NEARLY = re.compile(r"\s*[\"'“”]*\s*v\s*=\s*spf\d*", re.IGNORECASE)
_MECHANISMS = "all|include|a|mx|ptr|ip4|ip6|exists"
# What stands for a plain hyphen, blank or nothing where a word processor or a web page has been at work.
_TYPED = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\uff0d", "-")
    | dict.fromkeys("\xa0\u2002\u2003\u2007\u2009\u202f\u3000\t\r\n", " ")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u201c\u201d\u201e\u2018\u2019", "")
)
_REPAIRS = tuple((re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in (
    (r"[\s,;\"]+", " "),
    (r"(?<=[ +?~-])(ip)v([46]):", r"\1\2:"), (r"(?<=[ +?~-])includes:", "include:"),
    (r"(?<=[ +?~-])(include|ip4|ip6|exists)=", r"\1:"), (r"(?<= )(redirect|exp):", r"\1="),
    # A blank behind a colon or a sign, where no other term follows.
    (rf"(?<=[ +?~-])(include|a|mx|ip4|ip6|exists): (?!(?:[+?~-]?(?:{_MECHANISMS})(?:[:/ ]|$)|\w+=))", r"\1:"),
    (rf"(?<= )([+?~-]) (?=(?:{_MECHANISMS})(?:[:/ ]|$))", r"\1"),
    (r"(?<=[ +?~-])ip4:(?=[0-9a-f]*:)", "ip6:"),
    (r"(?<=[ +?~-])(?:ip6|a|mx|include):(?=[\d.]+(?:/\d+)?(?: |$))", "ip4:"),
    (r"(?<=[+?~-])all[.:]+(?= |$)", "all"),
))
_GLUED = re.compile(r"(?i)[^\s:=/+?~-][+?~-](?:all|include:.*|ip[46]:.*|exists:.*)$|\w(?:include|ip4|ip6|exists):.*$")


@dataclass(frozen=True, slots=True)
class Term:
    """A mechanism. `spec` is "" where the domain itself is meant; `network` is that of ip4, ip6; bits are lengths."""

    qualifier: str
    name: str
    spec: str = ""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    bits4: int = 32
    bits6: int = 128


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """Mechanisms in order, and where to go on when none matches."""

    terms: tuple[Term, ...]
    redirect: str | None


def records(texts: Iterable[str]) -> list[str]:
    """Those TXT values that are SPF records: the version is followed by a space or by nothing (RFC 7208 §4.5)."""
    return [text for text in texts if _VERSION.match(text)]


def near_miss(texts: Iterable[str]) -> Fault | None:
    """Why the first of `texts` that was meant as an SPF record is none; None where none was. Only to be asked where no
    record stands: whatever else stands beside one is nobody's SPF record."""
    return next((fault for text in texts if (fault := _near(text)) is not None), None)


def _near(text: str) -> Fault | None:
    bare = _unquoted(text)
    start = _NEARLY.match(bare)
    if start is None:
        if _without_version(bare):
            says = "The record begins with {at}; it has to begin with v=spf1."
            return Fault("wrong_first_tag", says, bare.split()[0])
        return None
    if bare != text.strip():
        return Fault("quoted", "The value contains quotation marks, which receivers take as part of it.")
    if text[:1].isspace():
        return Fault("leading_blank", "There is a space before v=spf1, so receivers don't take the value for SPF.")
    rest = text[start.end() :]
    if not re.fullmatch(r"v=spf1", start[0], re.IGNORECASE):
        return Fault("wrong_first_tag", "The record begins with {at}; it has to begin with v=spf1.", start[0])
    for mark, name in ((";", "semicolon"), (",", "comma"), (":", "colon")):
        if rest.startswith(mark):
            says = f"There is a {name} after v=spf1; in SPF, terms are separated by single spaces."
            return Fault("semicolon" if mark == ";" else "comma" if mark == "," else "missing_blank", says)
    if not rest.isascii() and not rest[0].isascii():
        says = "v=spf1 is followed by a special character instead of a plain space, as word processors insert."
        return Fault("not_ascii", says)
    if rest[:1].isspace():
        says = "v=spf1 is followed by a tab or line break; in SPF, terms are separated by spaces."
        return Fault("missing_blank", says)
    return Fault("missing_blank", "There is no space between v=spf1 and {at}.", rest.split(" ")[0])


def _without_version(bare: str) -> bool:
    """Whether a text is the terms of an SPF record whose version is missing, misspelt or not in front."""
    if bare.lower().startswith(("spf1 ", "spf1:", "v:spf1", "v spf1", "v=sfp1")):
        return True
    words = re.sub(r"\bv=spf1\b", "", bare, flags=re.IGNORECASE).split()
    mechanism = re.compile(rf"[+?~-]?(?:{_MECHANISMS})(?:[:/].*)?", re.IGNORECASE)
    return len(words) > 1 and words[0].lower() != "a" and all(mechanism.fullmatch(word) for word in words)


def read(text: str) -> SpfRecord:
    """The record that begins with v=spf1. Raises BadRecord for any mistake anywhere in it: a permerror."""
    # RFC 7208 §3.1: a record is ASCII.
    words = text.split(" ")[1:]
    if not text.isascii():
        raise BadRecord("not_ascii", "The record contains characters that are not ASCII: {at}.", _beyond(text))
    if len(words) > _TERMS_MAX:
        raise BadRecord("too_long", f"The record has more than {_TERMS_MAX} terms.")
    terms: list[Term] = []
    once: dict[str, str] = {}
    for word in filter(None, words):
        if found := _TERM.fullmatch(word):
            terms.append(_term(found["qualifier"] or "+", found["name"].lower(), found["rest"] or "", word))
        elif found := _MODIFIER.fullmatch(word):
            name, value = found[1].lower(), found[2]
            if name in ("redirect", "exp"):
                # RFC 7208 §6: each at most once.
                if name in once:
                    raise BadRecord(f"two_{name}", f"The record has two {name}= terms; there may be only one.", word)
                once[name] = _spec(value, word)
            elif not _whole(value, letters="slodiphvcrt"):
                raise BadRecord("bad_macro", "{at} contains a % that doesn't begin a macro.", word)
        else:
            raise _unknown(word)
    return SpfRecord(tuple(terms), once.get("redirect"))


def _unknown(word: str) -> BadRecord:
    """What is wrong with a term that is no mechanism and no modifier."""
    name = re.split(r"[:/=]", word.lstrip("+?~-"), maxsplit=1)[0].lower()
    meant = {"ipv4": "ip4", "ipv6": "ip6", "ip": "ip4", "includes": "include", "exist": "exists"}.get(name)
    if word.rstrip(",;") != word and not set(word.rstrip(",;")) & set(",;"):
        mark = "comma" if word.endswith(",") else "semicolon"
        says = f"There is a {mark} after {{at}}; in SPF, terms are separated by spaces alone."
        return BadRecord(mark, says, word[:-1])
    if set(word) & set(",;"):
        mark = "comma" if "," in word else "semicolon"
        return BadRecord(mark, f"{{at}} contains a {mark}; in SPF, terms are separated by spaces alone.", word)
    if '"' in word or "'" in word:
        return BadRecord("quoted", "The record contains quotation marks: {at}.", word)
    if word in ("+", "?", "~", "-"):
        return BadRecord("stray_blank", "There is a space after {at}; a sign belongs directly before its term.", word)
    if meant:
        return BadRecord("unknown_mechanism", f"{{at}} is not an SPF mechanism; its name is {meant}.", word)
    if name.rstrip(".") == "all":
        return BadRecord("bad_term", "{at} has something after all, where nothing may follow.", word)
    if _GLUED.search(word):
        return BadRecord("missing_blank", "There is a space missing within {at}.", word)
    says = "{at} is not an SPF mechanism, so receivers reject the record as a whole."
    return BadRecord("unknown_mechanism", says, word)


def repaired(text: str) -> str:
    """`text`, that was meant as an SPF record, with what can be put right put right; "" where something else is wrong
    with it too."""
    made, left_out = salvaged(text)
    return made if made and not left_out else ""


def salvaged(text: str) -> tuple[str, list[str]]:
    """What can be saved of `text`, that was meant as an SPF record: (a record that every receiver reads, the terms that
    are not in it because none does). ("", []) where nothing tells it for SPF."""
    bare = _unquoted(text.translate(_TYPED))
    made = re.sub(r"^(?:v\s*[=: ]?\s*)?(?:spf|sfp)\s*\d?(?:\.\d)?(?![\d/])[\s;,:]*", "", bare, flags=re.IGNORECASE)
    if made == bare and not _without_version(bare):
        return "", []
    made = " " + re.sub(r"\bv=spf1\b", " ", made, flags=re.IGNORECASE)
    for pattern, instead in _REPAIRS:
        made = pattern.sub(instead, made)
    kept: list[str] = ["v=spf1"]
    left_out: list[str] = []
    for word in made.split():
        for one in [word] if _reads([*kept, word]) else _parted(word):
            (kept if _reads([*kept, one]) else left_out).append(one)
    return " ".join(kept), left_out


def _parted(word: str) -> list[str]:
    return re.sub(r"(?i)(?<=[^ :=/+?~-])([+?~-](?:all$|include:|ip[46]:|exists:))", r" \1", word).split()


def _reads(words: list[str]) -> bool:
    try:
        read(" ".join(words))
    except BadRecord:
        return False
    return True


def _term(qualifier: str, name: str, rest: str, word: str) -> Term:
    if set(word) & set(",;"):
        raise _unknown(word)
    if name == "all":
        if rest:
            raise BadRecord("bad_term", "{at} has something after all, where nothing may follow.", word)
        return Term(qualifier, name)
    if name in ("ip4", "ip6"):
        return Term(qualifier, name, network=_network(name, rest, word))
    if name in ("include", "exists"):
        return Term(qualifier, name, _spec(rest[1:] if rest.startswith(":") else "", word))
    if name == "ptr":
        return Term(qualifier, name, _spec(rest[1:], word) if rest else "")
    found = _LENGTHS.fullmatch(rest)
    assert found is not None
    spec = found["spec"]
    four, six = int(found["four"] or 32), int(found["six"] or 128)
    if four > 32 or six > 128 or (spec and not spec.startswith(":")):
        raise BadRecord("bad_network", "{at} has an impossible prefix length.", word)
    # 0 is a length too.
    four = 0 if found["four"] == "0" else four
    six = 0 if found["six"] == "0" else six
    return Term(qualifier, name, _spec(spec[1:], word) if spec else "", bits4=four, bits6=six)


def _network(name: str, rest: str, word: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    address, slash, length = rest[1:].partition("/")
    if not rest.startswith(":") or not address:
        raise BadRecord("bad_network", "{at} has no address; there must be no space after the colon.", word)
    kind, most = ("IPv4", 32) if name == "ip4" else ("IPv6", 128)
    if slash and not (re.fullmatch(r"0|[1-9]\d{0,2}", length) and int(length) <= most):
        raise BadRecord(
            "bad_network", f"{{at}} has an impossible prefix length: for {kind} it is 0 to {most}.", word
        )
    try:
        if name == "ip4":
            return ipaddress.IPv4Network(f"{address}/{length or 32}", strict=False)
        if "%" in address:
            raise ValueError
        return ipaddress.IPv6Network(f"{address}/{length or 128}", strict=False)
    except ValueError:
        if _GLUED.search(word):
            raise BadRecord("missing_blank", "There is a space missing within {at}.", word) from None
        raise BadRecord("bad_network", f"{{at}} is not an {kind} address or network.", word) from None


def _spec(text: str, word: str) -> str:
    """A domain-spec: macros and plain characters, ending in a macro or in a label that can end a name."""
    if not text:
        raise BadRecord("bad_term", "{at} names no domain; there must be no space after the colon.", word)
    if not _whole(text, letters="slodiphv"):
        raise BadRecord("bad_macro", "{at} contains a % that doesn't begin a macro.", word)
    if not re.search(r"%\{[^}]*\}\Z", text):
        before, dot, top = text.removesuffix(".").rpartition(".")
        if not dot or not before or not _TOP.fullmatch(top):
            if _GLUED.search(word):
                raise BadRecord("missing_blank", "There is a space missing within {at}.", word)
            raise BadRecord("bad_term", "{at} doesn't name a domain.", word)
    return text


def _whole(text: str, *, letters: str) -> bool:
    """True when every % begins a macro of these letters whose count is not 0, and all else is plain."""
    macro = re.compile(rf"%(?:\{{[{letters}](?:[1-9]\d{{0,2}})?r?[-.+,/_=]*\}}|[%_-])", re.IGNORECASE)
    return _PLAIN.fullmatch(macro.sub("", text)) is not None


def _unquoted(text: str) -> str:
    return re.sub(r'"\s*"', "", text.strip()).strip("\"'").strip()


def _beyond(text: str) -> str:
    return next((word for word in text.split(" ") if not word.isascii()), "")
