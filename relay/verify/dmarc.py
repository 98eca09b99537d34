"""DMARC: does what was proved belong to the domain in the header From? (RFC 9989)

`walk` finds the records of a domain and of those above it (the DNS Tree Walk, §4.10); the policy that applies and the
organisational domain follow from it. At most eight questions a walk, and within one message none is asked twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from relay.base.resolver import Answer, Later, Nothing, Result
from relay.verify.dmarc_record import DmarcRecord, near_miss, read, records
from relay.verify.signatures import AsksTxt, Signature
from relay.verify.spf import Spf

DmarcVerdict = Literal["none", "pass", "fail", "temperror", "permerror"]
_MAX_WALK = 8


@dataclass(frozen=True, slots=True)
class Dmarc:
    """The result in the words of RFC 8601 §2.7.2 for the header From's `domain`; `policy`: what it asks for failures,
    `testing`: that it not be applied yet (t=y). aligned: those of the proved domains that belong to the From."""

    result: DmarcVerdict
    domain: str = ""
    policy: str = ""
    testing: bool = False
    aligned: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a walk from `domain` came to. record: the one that applies, None for none; at: the domain whose it is.
    organization: the organisational domain. unheard: the domains of whose record nothing was learned. unread: the first
    domain whose record counts for nothing, and that record or one of several."""

    domain: str
    record: DmarcRecord | None
    at: str
    organization: str
    unheard: tuple[str, ...] = ()
    unread: tuple[str, tuple[str, ...]] | None = None

    @property
    def own(self) -> bool:
        """Whether the record is the domain's own and not one that it inherits."""
        return self.at == self.domain


async def walk(domain: str, resolver: AsksTxt, *, own: bool = True) -> Discovery:
    """RFC 9989 §4.10: ask at `domain` and upwards; without `own`, as if nothing stood at the domain itself."""
    found: dict[str, DmarcRecord] = {}
    unheard = []
    unread: tuple[str, tuple[str, ...]] | None = None
    for at in steps(domain)[0 if own else 1 :]:
        answer = await resolver.txt(f"_dmarc.{at}")
        if isinstance(answer, Later):
            unheard.append(at)
            continue
        # Several records at one name are all discarded.
        there = answer.texts() if isinstance(answer, Answer) else ()
        texts = records(there)
        if len(texts) != 1:
            meant = texts or [text for text in there if near_miss([text]) is not None]
            if meant and unread is None:
                unread = at, tuple(meant)
            continue
        found[at] = read(texts[0])
        # §4.10, steps 2 and 7. That the domain itself is a public suffix ends the walk no less.
        if found[at].psd in ("n", "y"):
            break
    organization = _organization(domain, found)
    for at in (domain, organization, *(a for a, r in found.items() if r.psd == "y")):
        if at in found:
            return Discovery(domain, found[at], at, organization, tuple(unheard), unread)
    return Discovery(domain, None, "", organization, tuple(unheard), unread)


def steps(domain: str) -> list[str]:
    """The names of a walk, longest first: the domain, then from seven labels on upwards."""
    labels = domain.split(".")
    first = max(1, len(labels) - (_MAX_WALK - 1))
    return [domain, *(".".join(labels[at:]) for at in range(first, len(labels)))]


def _organization(domain: str, found: Mapping[str, DmarcRecord]) -> str:
    # RFC 9989 §4.10.2; `found` is in order, the longest name first.
    for at, record in found.items():
        if record.psd == "n":
            return at
        if record.psd == "y" and at != domain:
            below = len(at.split(".")) + 1
            return ".".join(domain.split(".")[-below:])
    return min(found, key=lambda at: at.count("."), default=domain)


class _Once:
    """Each question of a message once."""

    def __init__(self, resolver: AsksTxt) -> None:
        self._resolver = resolver
        self._heard: dict[str, Result] = {}

    async def txt(self, name: str) -> Result:
        if name not in self._heard:
            self._heard[name] = await self._resolver.txt(name)
        return self._heard[name]


async def dmarc(domain: str, spf: Spf, found: Iterable[Signature], resolver: AsksTxt) -> Dmarc:
    """Judge the header From's `domain` (A-labels; "" where there isn't exactly one) by what SPF and DKIM found."""
    # RFC 9989 §5.3.1: without exactly one From there is nothing to hold against.
    if not domain:
        return Dmarc("permerror")
    found, once = list(found), _Once(resolver)
    top = await walk(domain, once)
    if top.unheard and not (top.own and top.record):
        # Another record may stand where nobody answered.
        return Dmarc("temperror", domain)
    record = top.record
    if record is None or not record.applies:
        return Dmarc("none", domain)
    policy = record.policy(own=top.own, exists=top.own or await _exists(domain, record, once))
    proved = [(s.domain, record.strict_dkim) for s in found if s.result == "pass"]
    if spf.result == "pass" and spf.domain:
        proved.append((spf.domain, record.strict_spf))
    sure = not top.unheard
    aligned = set()
    for other, strict in proved:
        if other == domain:
            aligned.add(other)
        elif not strict and _under(other, top.organization):
            way = await walk(other, once)
            sure = sure and not way.unheard
            if way.organization == top.organization:
                aligned.add(other)
    if aligned:
        return Dmarc("pass", domain, policy, record.testing, frozenset(aligned))
    # A proof that could not be looked up just now may have been one.
    later = not sure or spf.result == "temperror" or any(s.result == "temperror" for s in found)
    return Dmarc("temperror" if later else "fail", domain, policy, record.testing)


async def _exists(domain: str, record: DmarcRecord, resolver: AsksTxt) -> bool:
    """Whether the domain exists (RFC 9989 §3.2, RFC 8020); asked only where that makes a difference."""
    if not record.np or record.np == (record.sp or record.p):
        return True
    found = await resolver.txt(domain)
    return not (isinstance(found, Nothing) and found.kind == "nxdomain")


def _under(name: str, top: str) -> bool:
    return name == top or name.endswith(f".{top}")
