"""DMARC: does what was proved belong to the domain in the header From? (RFC 7489)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from relay.base import names
from relay.base.resolver import Answer, Later
from relay.verify.signatures import AsksTxt, Signature
from relay.verify.spf import Spf

DmarcVerdict = Literal["none", "pass", "fail", "temperror", "permerror"]


@dataclass(frozen=True, slots=True)
class Dmarc:
    """The result in the words of RFC 7489 §11.2 for the header From's `domain`; `policy`: what it asks for failures."""

    result: DmarcVerdict
    domain: str = ""
    policy: str = ""


async def dmarc(domain: str, spf: Spf, found: Iterable[Signature], resolver: AsksTxt) -> Dmarc:
    """Judge the header From's `domain` (A-labels; "" where there isn't exactly one) by what SPF and DKIM found."""
    # RFC 7489 §6.6.1: without exactly one From there is nothing to hold against.
    if not domain:
        return Dmarc("permerror")
    top = names.registrable(domain) or domain
    tags: dict[str, str] | None = None
    name = domain
    # RFC 7489 §6.6.3: the domain's own record, else that of its organisation.
    for name in dict.fromkeys((domain, top)):
        answer = await resolver.txt(f"_dmarc.{name}")
        if isinstance(answer, Later):
            return Dmarc("temperror", domain)
        texts = answer.texts() if isinstance(answer, Answer) else ()
        own = [t for t in texts if t.replace(" ", "").lower().startswith("v=dmarc1")]
        if len(own) > 1:
            return Dmarc("none", domain)
        if own:
            tags = _tags(own[0])
            break
    if tags is None:
        return Dmarc("none", domain)
    policy = tags.get("p", "none").lower()
    if name != domain:
        policy = tags.get("sp", policy).lower()
    policy = policy if policy in ("none", "quarantine", "reject") else "none"
    proved = [(s.domain, tags.get("adkim")) for s in found if s.result == "pass"]
    if spf.result == "pass" and spf.domain:
        proved.append((spf.domain, tags.get("aspf")))
    passed = any(aligned(domain, other, strict=(mode or "").lower() == "s") for other, mode in proved)
    if passed:
        return Dmarc("pass", domain, policy)
    # A proof that could not be looked up just now may have been one.
    later = spf.result == "temperror" or any(s.result == "temperror" for s in found)
    return Dmarc("temperror" if later else "fail", domain, policy)


def aligned(domain: str, other: str, *, strict: bool = False) -> bool:
    """RFC 7489 §3.1: the same name, or, unless `strict`, of the same organisation."""
    if domain == other:
        return True
    top = names.registrable(domain)
    return not strict and top is not None and top == names.registrable(other)


def _tags(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
