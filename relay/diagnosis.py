"""Why mail did not arrive: an enhanced status and the words beside it → a class with a reason in plain words.

One table for what a host says in the conversation and for what a report says later. Promises: pure, never an
exception, linear in a bounded text; words that blame the sending host come before everything else, so nobody's
address is suppressed for a listing of ours; what is not known is `unknown`, and temporary unless it says class 5.

Leaves to others: whether a recipient's life ends (the queue, `relay.bounces.record`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Class = Literal[
    "mailbox_unknown", "domain_unknown", "mailbox_full", "mailbox_disabled", "moved", "too_large", "content", "policy",
    "authentication", "sender", "reputation", "rate", "greylisted", "loop", "routing", "expired", "system", "protocol",
    "tls", "unknown",
]

_TEXT_MAX = 4000
# The fault lies with this relay or with how it is seen, not with the address and not with the member's list.
_OWN = frozenset({"reputation", "rate", "greylisted", "tls"})
# Faults of the address itself: the only ones for which it is no longer mailed.
_ADDRESS = frozenset({"mailbox_unknown", "domain_unknown"})

REASONS: dict[Class, str] = {
    "mailbox_unknown": "There is no such mailbox.",
    "domain_unknown": "The recipient's domain does not exist or takes no mail.",
    "mailbox_full": "The mailbox is full.",
    "mailbox_disabled": "The mailbox exists but takes no mail at present.",
    "moved": "The recipient has moved.",
    "too_large": "The message is too large for the recipient's server.",
    "content": "The recipient's server refused the content.",
    "policy": "The recipient's server refused by a rule of its own.",
    "authentication": "The recipient's server could not verify the sender (SPF, DKIM or DMARC).",
    "sender": "The recipient's server refused the sender's address.",
    "reputation": "The recipient's server distrusts the relay's own address (a blocklist, or its DNS).",
    "rate": "The recipient's server found too much mail coming from the relay.",
    "greylisted": "The recipient's server asked to come again later.",
    "loop": "The mail went round in a loop.",
    "routing": "No way to the recipient's server could be found or used.",
    "expired": "The recipient's server could not be reached for too long.",
    "system": "The recipient's server has trouble of its own.",
    "protocol": "The two servers did not understand each other.",
    "tls": "A secured connection was not possible.",
    "unknown": "The recipient's server gave no reason that could be read.",
}


@dataclass(frozen=True, slots=True)
class Classified:
    """What is wrong. `permanent`: trying again is of no use; `own_fault`: ours, it counts against no member."""

    permanent: bool
    class_: Class
    reason: str
    own_fault: bool

    @property
    def address_fault(self) -> bool:
        """True when the address itself is at fault for good: reason to stop mailing it."""
        return self.permanent and self.class_ in _ADDRESS


_STATUS = re.compile(r"(?<![\d.])#?([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_CODE = re.compile(r"(?:^|[\s;:#<(\[])([45])\d\d(?=[ \-#]|$)")


def _any(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


# In this order; the first that fits decides. Bounded quantifiers only: no text makes one of them slow.
_WORDS: tuple[tuple[Class, re.Pattern[str]], ...] = (
    ("greylisted", _any(r"gr[ea]y-?list")),
    ("reputation", _any(
        r"\brbl\b", r"dnsbl", r"block ?list", r"black ?list", r"spamhaus", r"spamcop", r"barracudacentral",
        r"sorbs", r"senderbase", r"uceprotect", r"\bip\b.{0,40}(?:reputation|blocked|listed|banned|not allowed)",
        r"(?:blocked|banned|listed|rejected|refused).{0,40}\b(?:your|sending|client|sender|source)?\s?ip\b",
        r"poor reputation", r"low reputation", r"bad reputation", r"\breverse dns\b", r"\brdns\b", r"\bptr\b",
        r"reverse (?:hostname|lookup)", r"client host .{0,80}(?:blocked|rejected)",
        r"cannot find your (?:reverse )?hostname",
        r"messages from .{0,60} (?:temporarily deferred|weren't sent|were not sent)", r"\bdynamic ip\b",
        r"access denied, banned sending ip", r"\btss\d\d\b",
    )),
    ("rate", _any(
        r"too many (?:connections|messages|emails|concurrent|recipients|errors)", r"rate[ -]?limit", r"throttl",
        r"(?:sending|sent|receiving|mail) (?:too|at a rate)", r"unusual rate", r"exceeded .{0,30}(?:rate|connection)",
    )),
    ("authentication", _any(
        r"\bdmarc\b", r"\bspf\b", r"\bdkim\b", r"unauthenticated (?:e-?)?mail", r"sender id \(pra\)",
    )),
    ("sender", _any(
        r"sender (?:address |domain |verify |verification )?(?:rejected|refused|denied|failed|not found|unknown)",
        r"(?:bad|invalid|unknown|unverified) sender", r"sender callout",
        r"domain of sender", r"sender address", r"return path",
    )),
    ("mailbox_full", _any(
        r"mailbox (?:is |was )?(?:over)?full", r"over ?quota", r"quota (?:is )?exceeded", r"exceed\w* .{0,40}quota",
        r"out of storage", r"insufficient (?:disk|storage)", r"storage (?:space|limit|allocation)",
        r"mailbox (?:size )?(?:limit )?exceeded", r"\bquota\b", r"disk full", r"inbox (?:is )?full",
    )),
    ("content", _any(
        r"\bspam\b", r"\bvirus", r"malware", r"phish", r"unsolicited", r"\bbulk mail\b", r"message content",
        r"content (?:rejected|filter|is)", r"attachment .{0,30}(?:not allowed|blocked|type)",
        r"banned (?:content|file)", r"suspicious",
    )),
    ("loop", _any(r"mail(?:er)? loop", r"too many hops", r"hop count", r"loops? back to", r"routing loop")),
    ("too_large", _any(
        r"message (?:size|is too|too|file too) ?(?:exceeds|large|big)", r"size (?:limit|exceed)", r"too large",
    )),
    ("mailbox_disabled", _any(
        r"(?:account|mailbox|user|recipient).{0,40}(?:disabled|inactive|suspended|deactivated|locked|expired)",
        r"(?:disabled|inactive|suspended|deactivated) (?:account|mailbox|user|recipient)", r"not active",
        r"account .{0,30}closed",
    )),
    ("policy", _any(
        r"relay(?:ing)? (?:access )?(?:denied|not permitted|not allowed|prohibited)", r"unable to relay",
        r"not permitted to relay", r"restricted", r"not authori[sz]ed", r"authentication required",
        r"must authenticate", r"sender.{0,20}not allowed",
    )),
    ("domain_unknown", _any(
        r"(?:host|domain)(?: name)? (?:not found|unknown|does(?: not|n't) exist)", r"unknown (?:host|domain)",
        r"no such (?:host|domain)", r"nxdomain", r"unrouteable (?:mail )?domain", r"couldn't find any host named",
        r"bad destination (?:system|host)", r"null mx", r"domain .{0,60}does(?: not|n't) exist",
        r"dns error.{0,60}(?:not found|nxdomain)", r"name (?:or )?service (?:not known|error)",
    )),
    ("mailbox_unknown", _any(
        r"(?:user|mailbox|recipient|account|address|addressee|alias|inbox)\b.{0,60}?"
        r"(?:unknown|not found|does(?: not|n't) exist|doesn't have|not exist|invalid|"
        r"not (?:be )?(?:recogni[sz]ed|known))",
        r"(?:unknown|no such|invalid|non-?existent|nonexistent|undeliverable|incorrect|wrong|bad)"
        r" (?:\w{1,20} )?(?:user|mailbox|recipient|address(?:ee)?|account|local[ -]part|person|name|alias)",
        r"no (?:such )?(?:mailbox|recipient|user|account|person)(?: (?:here|by that name|with))?\b",
        r"this user does(?: not|n't) have", r"not a valid (?:user|mailbox|recipient|address)",
        r"unrouteable address", r"recipient address rejected", r"recipient rejected", r"\bnot our customer\b",
        r"not listed in (?:the )?(?:public )?(?:name|address|domino)", r"recipientnotfound",
        r"user .{0,60} is not known",
        r"(?:e-?mail )?account that you tried to reach does not exist", r"doesn't have a[n]? .{0,40} account",
        r"address rejected", r"user (?:is )?unknown", r"mailbox unavailable", r"recipient not (?:ok|here|local)",
        r"not (?:a )?(?:known|existing) (?:user|mailbox|recipient)", r"unknown (?:or illegal )?alias",
    )),
    ("expired", _any(
        r"timed? ?out", r"retry time(?:out)? (?:not reached|exceeded)", r"could not be delivered for",
        r"message expired",
        r"(?:been )?in the queue too long", r"too long in (?:the )?queue", r"delivery time expired",
    )),
    ("routing", _any(r"no route", r"connection (?:refused|lost|reset)", r"unreachable")),
    ("tls", _any(r"\bstarttls\b", r"\btls\b", r"certificate")),
)

# RFC 3463 §3, RFC 7372, RFC 7504, RFC 7505: subject and detail → class.
_BY_STATUS: dict[str, Class] = {
    "1.0": "unknown", "1.1": "mailbox_unknown", "1.2": "domain_unknown", "1.3": "mailbox_unknown",
    "1.4": "mailbox_unknown", "1.6": "moved", "1.7": "sender", "1.8": "sender", "1.9": "routing",
    "1.10": "domain_unknown", "2.0": "unknown", "2.1": "mailbox_disabled", "2.2": "mailbox_full", "2.3": "too_large",
    "2.4": "mailbox_disabled", "3.4": "too_large", "4.4": "routing", "4.6": "loop", "4.7": "expired",
    "7.0": "policy", "7.1": "policy", "7.5": "tls", "7.10": "tls", "7.20": "authentication",
    "7.21": "authentication", "7.22": "authentication", "7.23": "authentication", "7.24": "authentication",
    "7.25": "reputation", "7.26": "authentication", "7.27": "sender",
}
_BY_SUBJECT: dict[str, Class] = {
    "1": "unknown", "2": "mailbox_disabled", "3": "system", "4": "routing", "5": "protocol", "6": "content",
    "7": "policy",
}
# Statuses that say all there is to say about an address; words can only take from them, never add.
_PLAIN_ADDRESS = frozenset({"1.1", "1.2", "1.3", "1.4", "1.10"})
# Words that outweigh any status: they speak of the host or the message, whatever the number says.
_OUTWEIGH = frozenset({"greylisted", "reputation", "rate", "authentication", "sender", "mailbox_full"})


def classify(status: str, text: str, *, permanent: bool | None = None) -> Classified:
    """The class of an enhanced status ("" for none) and a diagnostic or reply beside it.

    `permanent` overrides what status and text say of it (a report's own Action). Source: RFC 3463 §3.
    """
    text = text[:_TEXT_MAX]
    found = _STATUS.fullmatch(status.strip()) if len(status) < 20 else None
    inner = _STATUS.search(text)
    # RFC 3464 §2.3.4: many gateways write x.0.0 in Status and the remote's true code in Diagnostic-Code only.
    if inner is not None and (found is None or (found[2] == "0" and found[3] == "0")) and inner[1] != "2":
        found = inner
    if permanent is None:
        told = found if found is not None and found[1] != "2" else _CODE.search(text)
        permanent = told is not None and told[1] == "5"
    class_ = _class(f"{int(found[2])}.{int(found[3])}" if found is not None else "", text)
    return Classified(permanent, class_, REASONS[class_], class_ in _OWN)


def _class(status: str, text: str) -> Class:
    said = next((name for name, pattern in _WORDS if pattern.search(text)), None)
    by_status = _BY_STATUS.get(status) or _BY_SUBJECT.get(status.partition(".")[0])
    if status in _PLAIN_ADDRESS and by_status is not None:
        # Exchange writes 5.1.10, null MX by RFC 7505, for a mailbox it doesn't have.
        told = _OUTWEIGH | {"mailbox_unknown"} if status == "1.10" else _OUTWEIGH
        return said if said in told and said is not None else by_status
    # A status that speaks of neither address nor mailbox is taken at its word unless the text is plainer.
    if by_status is None or by_status in ("unknown", "policy", "routing", "system", "protocol", "mailbox_disabled"):
        return said or by_status or "unknown"
    return said if said in _OUTWEIGH and said is not None else by_status
