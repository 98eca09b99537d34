"""An SPF record, read whole and strictly (RFC 7208 §4.6.1, §7.1, §12), with the fault named. Pure; evaluating it is
`spf`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from relay.verify.faults import BadRecord, Fault

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
        if bare.lower().startswith(("spf1 ", "spf1:", "v:spf1", "v spf1", "v=sfp1")) or (
            re.search(r"\sv=spf1\b", bare, re.IGNORECASE) and re.match(r"[+?~-]?(include|all|ip4|ip6|a|mx)\b", bare)
        ):
            return Fault("wrong_first_tag", "The record begins with {at}; v=spf1 has to stand first.", bare.split()[0])
        return None
    if bare != text.strip():
        return Fault("quoted", "The value has quotation marks of its own, which receivers read as part of it.")
    if text[:1].isspace():
        return Fault("leading_blank", "The value has a blank before v=spf1, so receivers don't take it for SPF.")
    rest = text[start.end() :]
    if not re.fullmatch(r"v=spf1", start[0], re.IGNORECASE):
        return Fault("wrong_first_tag", "The record begins with {at}; it has to begin with v=spf1.", start[0])
    for mark, name in ((";", "semicolon"), (",", "comma"), (":", "colon")):
        if rest.startswith(mark):
            says = f"A {name} follows v=spf1; in SPF a single blank separates the terms."
            return Fault("semicolon" if mark == ";" else "comma" if mark == "," else "missing_blank", says)
    if not rest.isascii() and not rest[0].isascii():
        says = "What follows v=spf1 is no plain blank but a character beyond ASCII, as word processors put there."
        return Fault("not_ascii", says)
    if rest[:1].isspace():
        return Fault("missing_blank", "A tab or line break follows v=spf1; in SPF a blank separates the terms.")
    return Fault("missing_blank", "There is no blank between v=spf1 and {at}.", rest.split(" ")[0])


def read(text: str) -> SpfRecord:
    """The record that begins with v=spf1. Raises BadRecord for any mistake anywhere in it: a permerror."""
    # RFC 7208 §3.1: a record is ASCII.
    words = text.split(" ")[1:]
    if not text.isascii():
        raise BadRecord("not_ascii", "The record has characters beyond ASCII: {at}.", _beyond(text))
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
                    raise BadRecord(f"two_{name}", f"The record has two {name}=; only one may stand there.", word)
                once[name] = _spec(value, word)
            elif not _whole(value, letters="slodiphvcrt"):
                raise BadRecord("bad_macro", "{at} has a % that begins no macro.", word)
        else:
            raise _unknown(word)
    return SpfRecord(tuple(terms), once.get("redirect"))


def _unknown(word: str) -> BadRecord:
    """What is wrong with a term that is no mechanism and no modifier."""
    name = re.split(r"[:/=]", word.lstrip("+?~-"), maxsplit=1)[0].lower()
    meant = {"ipv4": "ip4", "ipv6": "ip6", "ip": "ip4", "includes": "include", "exist": "exists"}.get(name)
    if word.rstrip(",;") != word and not set(word.rstrip(",;")) & set(",;"):
        mark = "comma" if word.endswith(",") else "semicolon"
        return BadRecord(mark, f"A {mark} stands behind {{at}}; in SPF a blank alone separates the terms.", word[:-1])
    if set(word) & set(",;"):
        mark = "comma" if "," in word else "semicolon"
        return BadRecord(mark, f"{{at}} has a {mark} in it; in SPF a blank alone separates the terms.", word)
    if '"' in word or "'" in word:
        return BadRecord("quoted", "The record has quotation marks within it: {at}.", word)
    if meant:
        return BadRecord("unknown_mechanism", f"{{at}} is no mechanism of SPF; it is called {meant}:.", word)
    if _GLUED.search(word):
        return BadRecord("missing_blank", "There is a blank missing within {at}.", word)
    says = "{at} is no mechanism of SPF; receivers count the whole record as wrong."
    return BadRecord("unknown_mechanism", says, word)


def repaired(text: str) -> str:
    """`text`, that was meant as an SPF record, with what can be put right put right; "" where something else is wrong
    with it too."""
    made = re.sub(r"^\s*v\s*=\s*spf1[\s;,:]*", "v=spf1 ", _unquoted(text), flags=re.IGNORECASE)
    made = re.sub(r"[\s,;\"\u201c\u201d]+", " ", made)
    made = re.sub(r"(?i)(?<=[ +?~-])ipv([46]):", r"ip\1:", made)
    parted = re.sub(r"(?i)(?<=[^ :=/+?~-])([+?~-](?:all(?= |$)|include:|ip[46]:|exists:))", r" \1", made)
    for one in (made.strip(), parted.strip()):
        try:
            read(one)
        except BadRecord:
            continue
        return one if records([one]) else ""
    return ""


def _term(qualifier: str, name: str, rest: str, word: str) -> Term:
    if set(word) & set(",;"):
        raise _unknown(word)
    if name == "all":
        if rest:
            raise BadRecord("bad_term", "{at} has something behind all, where nothing may stand.", word)
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
        raise BadRecord("bad_network", "{at} has a prefix length that doesn't exist.", word)
    # 0 is a length too.
    four = 0 if found["four"] == "0" else four
    six = 0 if found["six"] == "0" else six
    return Term(qualifier, name, _spec(spec[1:], word) if spec else "", bits4=four, bits6=six)


def _network(name: str, rest: str, word: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    address, slash, length = rest[1:].partition("/")
    if not rest.startswith(":") or not address:
        raise BadRecord("bad_network", "{at} names no address.", word)
    kind, most = ("IPv4", 32) if name == "ip4" else ("IPv6", 128)
    if slash and not (re.fullmatch(r"0|[1-9]\d{0,2}", length) and int(length) <= most):
        raise BadRecord(
            "bad_network", f"{{at}} has a prefix length that doesn't exist: for {kind} it is 0 to {most}.", word
        )
    try:
        if name == "ip4":
            return ipaddress.IPv4Network(f"{address}/{length or 32}", strict=False)
        if "%" in address:
            raise ValueError
        return ipaddress.IPv6Network(f"{address}/{length or 128}", strict=False)
    except ValueError:
        if _GLUED.search(word):
            raise BadRecord("missing_blank", "There is a blank missing within {at}.", word) from None
        raise BadRecord("bad_network", f"{{at}} is no {kind} address or network.", word) from None


def _spec(text: str, word: str) -> str:
    """A domain-spec: macros and plain characters, ending in a macro or in a label that can end a name."""
    if not text:
        raise BadRecord("bad_term", "{at} names no domain; no blank may stand behind its colon.", word)
    if not _whole(text, letters="slodiphv"):
        raise BadRecord("bad_macro", "{at} has a % that begins no macro.", word)
    if not re.search(r"%\{[^}]*\}\Z", text):
        before, dot, top = text.removesuffix(".").rpartition(".")
        if not dot or not before or not _TOP.fullmatch(top):
            if _GLUED.search(word):
                raise BadRecord("missing_blank", "There is a blank missing within {at}.", word)
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
