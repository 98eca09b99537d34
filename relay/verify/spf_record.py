"""An SPF record, read whole and strictly (RFC 7208 §4.6.1, §7.1, §12). Pure; evaluating it is `spf`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

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


class BadRecord(ValueError):
    """The record breaks the grammar: a permerror."""


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


def read(text: str) -> SpfRecord:
    """The record that begins with v=spf1. Raises BadRecord for any mistake anywhere in it."""
    # RFC 7208 §3.1: a record is ASCII.
    words = text.split(" ")[1:]
    if not text.isascii() or len(words) > _TERMS_MAX:
        raise BadRecord
    terms: list[Term] = []
    once: dict[str, str] = {}
    for word in filter(None, words):
        if found := _TERM.fullmatch(word):
            terms.append(_term(found["qualifier"] or "+", found["name"].lower(), found["rest"] or ""))
        elif found := _MODIFIER.fullmatch(word):
            name, value = found[1].lower(), found[2]
            if name in ("redirect", "exp"):
                # RFC 7208 §6: each at most once.
                if name in once:
                    raise BadRecord
                once[name] = _spec(value)
            elif not _whole(value, letters="slodiphvcrt"):
                raise BadRecord
        else:
            raise BadRecord
    return SpfRecord(tuple(terms), once.get("redirect"))


def _term(qualifier: str, name: str, rest: str) -> Term:
    if name == "all":
        if rest:
            raise BadRecord
        return Term(qualifier, name)
    if name in ("ip4", "ip6"):
        return Term(qualifier, name, network=_network(name, rest))
    if name in ("include", "exists"):
        return Term(qualifier, name, _spec(rest[1:] if rest.startswith(":") else ""))
    if name == "ptr":
        return Term(qualifier, name, _spec(rest[1:]) if rest else "")
    found = _LENGTHS.fullmatch(rest)
    assert found is not None
    spec = found["spec"]
    four, six = int(found["four"] or 32), int(found["six"] or 128)
    if four > 32 or six > 128 or (spec and not spec.startswith(":")):
        raise BadRecord
    # 0 is a length too.
    four = 0 if found["four"] == "0" else four
    six = 0 if found["six"] == "0" else six
    return Term(qualifier, name, _spec(spec[1:]) if spec else "", bits4=four, bits6=six)


def _network(name: str, rest: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    address, slash, length = rest[1:].partition("/")
    if not rest.startswith(":") or (slash and not re.fullmatch(r"0|[1-9]\d{0,2}", length)):
        raise BadRecord
    try:
        if name == "ip4":
            return ipaddress.IPv4Network(f"{address}/{length or 32}", strict=False)
        if "%" in address:
            raise BadRecord
        return ipaddress.IPv6Network(f"{address}/{length or 128}", strict=False)
    except ValueError:
        raise BadRecord from None


def _spec(text: str) -> str:
    """A domain-spec: macros and plain characters, ending in a macro or in a label that can end a name."""
    if not text or not _whole(text, letters="slodiphv"):
        raise BadRecord
    if not re.search(r"%\{[^}]*\}\Z", text):
        before, dot, top = text.removesuffix(".").rpartition(".")
        if not dot or not before or not _TOP.fullmatch(top):
            raise BadRecord
    return text


def _whole(text: str, *, letters: str) -> bool:
    """True when every % begins a macro of these letters whose count is not 0, and all else is plain."""
    macro = re.compile(rf"%(?:\{{[{letters}](?:[1-9]\d{{0,2}})?r?[-.+,/_=]*\}}|[%_-])", re.IGNORECASE)
    return _PLAIN.fullmatch(macro.sub("", text)) is not None
