"""What a host's answer asks of pacing: who is to be charged with it.

A site asks for less by 421, or by 4.7.x, 4.3.2 or 4.4.5 before and after RCPT, or in words; at RCPT the same status
speaks of the recipient's domain (so does greylisting), X.2.x of one mailbox. Words that blame a domain of the sender
(its DKIM or SPF domain, its links, its authentication) are about that domain's mail and nobody else's, unless the
domain is the relay's own. Where nobody answered, or a host would not talk, it is the address that is charged.

Pure. Leaves to others: what follows from it (`pacing`), and what becomes of the recipient (the queue).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

from relay.bounces.classify import classify
from relay.outcome import Outcome

Charged = Literal["nobody", "site", "sender", "domain", "address"]

_OPENING = ("connect", "greeting", "ehlo")
_OF_THE_SITE = ("greeting", "ehlo", "mail", "data", "dot")
_AFTER_MAIL = ("rcpt", "data", "dot")
_ABOUT_THE_SENDER = frozenset({"sender", "authentication", "content"})
_ABOUT_THE_RELAY = frozenset({"rate", "reputation"})
_SENDERS_DOMAIN = re.compile(
    r"\b(?:dkim|spf|dmarc)\b|\burl domains?\b|\b(?:sending|sender'?s?|your) domain\b|\bunauthenticated\b", re.IGNORECASE
)
# As Gmail writes it: "your SPF domain [example.org      35]".
_NAMED = re.compile(r"\b(?:domains?|spf|dkim)\W{1,3}((?:[\w-]{1,63}\.){1,8}[a-z][\w-]{1,62})", re.IGNORECASE)
_SPF = re.compile(r"\bspf\b", re.IGNORECASE)
# "Try again in 10 minutes", "retry after 300 seconds", "wait 2 hours".
_AGAIN = re.compile(
    r"\b(?:again|retry|wait|later|come back)\b[^.;\d]{0,40}?(\d{1,5})\s{0,2}(s|sec|m|min|h|hr|hour)[a-z]{0,6}\b",
    re.IGNORECASE,
)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
# A kept connection that has had its time or its number: RFC 3463 §3.5 X.4.2, or in words.
_WORN_OUT = re.compile(
    r"\bidle\b|\btime(?:d)?[ -]?out\b|\b(?:in|on|for|per) (?:this |one |a )?(?:connection|session)\b", re.IGNORECASE
)


def charged(outcome: Outcome, *, ours: Collection[str] = (), return_path: str = "") -> Charged:
    """Who is charged with an outcome. `ours`: the relay's own domains, which stand in everybody's mail;
    `return_path`: the domain of this mail's."""
    if outcome.kind != "later" or outcome.our_tls:
        return "nobody"
    if outcome.code is None:
        # "busy" is our own bound on connections (RFC 3463 §3.5 X.4.5 is what it shows).
        return "address" if outcome.stage in _OPENING and outcome.enhanced != "4.4.5" else "nobody"
    enhanced = outcome.enhanced or ""
    if outcome.stage in _AFTER_MAIL and enhanced.startswith("4.2."):
        return "nobody"  # RFC 3463 §3.3: of one mailbox
    said = classify(enhanced, outcome.text, stage=outcome.stage).class_
    too_much = is_too_much(outcome) or (said in _ABOUT_THE_RELAY and outcome.code // 100 == 4)
    if not too_much:
        return "address" if outcome.stage in _OPENING and outcome.scope == "host" else "nobody"
    if outcome.code != 421 and (outcome.stage == "rcpt" or said == "greylisted"):
        return "domain"
    if outcome.stage != "rcpt" or outcome.code == 421:
        if said in _ABOUT_THE_SENDER or _SENDERS_DOMAIN.search(outcome.text):
            return "site" if _is_ours(outcome.text, ours, return_path) else "sender"
        if outcome.code == 421 or outcome.stage in _OF_THE_SITE:
            return "site"
    return "nobody"


def is_too_much(outcome: Outcome) -> bool:
    """Whether the host asks for less mail by its codes: 421, 4.7.x, or congestion of its own (RFC 3463 §3.4 X.3.2,
    §3.5 X.4.5)."""
    if outcome.kind != "later" or outcome.code is None or outcome.our_tls:
        return False
    enhanced = outcome.enhanced or ""
    return outcome.code == 421 or enhanced.startswith("4.7.") or enhanced in ("4.3.2", "4.4.5")


def is_worn_out(outcome: Outcome) -> bool:
    """Whether the answer to MAIL on a kept connection says no more than that this connection has ended."""
    if outcome.stage != "mail" or not outcome.try_next_host:
        return False
    if outcome.code != 421:
        return True
    return outcome.enhanced == "4.4.2" or _WORN_OUT.search(outcome.text) is not None


def asked_seconds(text: str) -> float:
    """For how long a host asks to stay away, in so many words; 0 where it does not say."""
    found = _AGAIN.search(text[:1000])
    return int(found[1]) * _UNITS[found[2][0].lower()] if found else 0.0


def _is_ours(text: str, ours: Collection[str], return_path: str) -> bool:
    """Whether the blamed domain is one of the relay's own."""
    named = [m.lower() for m in _NAMED.findall(text)]
    if not named:
        return _SPF.search(text) is not None and return_path in ours
    return any(n == o or n.endswith("." + o) for n in named for o in ours)
