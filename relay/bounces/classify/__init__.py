"""Why mail did not arrive: an enhanced status and the words beside it → a class with a reason in plain words.

One table for what a host says in the conversation and for what a report says later. Promises: pure, never an
exception, linear in a bounded text; words that blame the sending host come before everything else, so nobody's
address is suppressed for a listing of ours; what is not known is `unknown`, and temporary unless it says class 5.

`frames` finds the innermost reply, which decides, and the command that it answered; `words` what it says, by the
phrases in `phrases` and `languages`; `named` whose domain is meant; `doubts` what takes the blame from an address.
Leaves to others: whether a recipient's life ends (the queue, `relay.bounces.record`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from relay.bounces.classify import doubts, frames, host, matcher, named
from relay.bounces.classify.frames import staged

__all__ = ["REASONS", "Class", "Classified", "classify", "own_fault", "staged"]

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
# Such faults only with these statuses: without one, or with 5.2.1, it may be true of an address that comes back.
_ADDRESS_IF: dict[str, frozenset[str]] = {
    "moved": frozenset({"1.6"}), "mailbox_disabled": frozenset({"1.0", "1.1", "1.2", "1.3", "1.6"}),
}
# Faults that an address could have; who refused before RCPT did not speak of one (RFC 5321 §4.1.1).
_OF_A_RECIPIENT = _ADDRESS | {"mailbox_full", "mailbox_disabled", "moved", "policy"}
_OF_THE_HOST = frozenset({"connect", "greeting", "helo", "ehlo", "starttls", "auth"})
_OF_THE_RECIPIENT = frozenset({"", "rcpt", "data", "dot"})
# What words around a reply that was passed on may say of it: somebody else is to blame.
_BLAME = frozenset({"reputation", "rate", "greylisted", "authentication", "sender"})
# What a host said at last, before the one that kept the message gave up.
_PASSED_OVER = frozenset({None, "routing", "system"})
# "Invalid domain name": of the form of a name, most often that in EHLO.
_SYNTAX = re.compile(r" (?:invalid|bad|malformed) (?:domain|host)(?:name| name)? ")
# What is said in such loose words that any number is better.
_LOOSE = frozenset({"policy", "system", "moved", "protocol"})

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
    """What is wrong. `permanent`: trying again is of no use; `own_fault`: ours, it counts against no member.

    `address_fault`: the address itself is at fault for good, reason to stop mailing it (RFC 3463 §3.2, X.1.x).
    """

    permanent: bool
    class_: Class
    reason: str
    own_fault: bool
    address_fault: bool


_STATUS = re.compile(r"(?<![\d.])#?([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_CODE = re.compile(r"(?:^|[\s;:#<(\['\"])([45])\d\d(?=[\s\-#:;,)\]'\"]|\.(?!\d)|$)")


# RFC 3463 §3, RFC 7372, RFC 7504, RFC 7505: subject and detail → class.
_BY_STATUS: dict[str, Class] = {
    "1.0": "unknown", "1.1": "mailbox_unknown", "1.2": "domain_unknown", "1.3": "mailbox_unknown",
    "1.4": "mailbox_unknown", "1.6": "moved", "1.7": "sender", "1.8": "sender", "1.9": "routing",
    "1.10": "domain_unknown", "2.0": "unknown", "2.1": "mailbox_disabled", "2.2": "mailbox_full", "2.3": "too_large",
    "2.4": "mailbox_disabled", "3.4": "too_large", "4.4": "routing", "4.6": "loop", "4.7": "expired",
    "6.7": "protocol", "6.8": "protocol", "6.9": "protocol",
    "7.0": "policy", "7.1": "policy", "7.5": "tls", "7.10": "tls", "7.20": "authentication",
    "7.21": "authentication", "7.22": "authentication", "7.23": "authentication", "7.24": "authentication",
    "7.25": "reputation", "7.26": "authentication", "7.27": "sender", "7.30": "tls",
}
_BY_SUBJECT: dict[str, Class] = {
    "1": "unknown", "2": "mailbox_disabled", "3": "system", "4": "routing", "5": "protocol", "6": "content",
    "7": "policy",
}
# Statuses that say all there is to say about an address; words can only take from them, never add.
_PLAIN_ADDRESS = frozenset({"1.1", "1.2", "1.3", "1.4", "1.6", "1.10"})
# Words that outweigh any status: they speak of the host or the message, whatever the number says.
_OUTWEIGH = frozenset({"greylisted", "reputation", "rate", "authentication", "sender", "mailbox_full"})
# Words that outweigh the status of an address fault: many hosts answer 5.1.1 to all they don't want.
_NOT_THE_ADDRESS = _OUTWEIGH | {"content", "loop", "too_large", "mailbox_disabled"}
# Words that are believed where the status is the reporter's own.
_NOT_GUESSED = frozenset({"policy", "system", "routing", "protocol", "tls", "expired"})
# By_status classes that say so little that words are believed first.
_VAGUE = frozenset({"unknown", "policy", "routing", "system", "protocol", "mailbox_disabled", "content"})
# What a sentence may seem to say that in truth speaks of the sending host, by its address; with the second, strictly.
_MAY_BE_THE_HOST = frozenset({None, "unknown", "policy", "system", "protocol"})
_MAY_ALSO_BE = frozenset({"content", "sender"})


def classify(
    status: str, text: str, *, permanent: bool | None = None, stage: str = "", recipient: str = ""
) -> Classified:
    """The class of an enhanced status ("" for none) and a diagnostic or reply beside it.

    `permanent` overrides what status and text say of it (a report's own Action). `stage` is the command that was
    answered, in `relay.outcome`'s words; "": as the text tells. `recipient`: the addresses it is about, if known.
    Source: RFC 3463 §3.
    """
    text = text[:_TEXT_MAX]
    heard = frames.innermost(text)
    stage = stage or heard.stage
    given = _STATUS.fullmatch(status.strip()) if len(status) < 20 else None
    own = _STATUS.search(heard.text)
    found = _of_two(given, own, heard.passed_on or heard.framed)
    if permanent is None:
        permanent = _permanent(_of_two(given, _STATUS.search(text), passed_on=False), text)
    number = f"{int(found[2])}.{int(found[3])}" if found is not None else ""
    if number == "7.30" and "authentication" in text.lower():
        # RFC 8689 §8 gave it to REQUIRETLS; Microsoft says it of basic authentication that it refuses: x.7.8.
        number = "7.8"
    # A reply with no status of its own: the one beside it is its reporter's guess.
    guessed = heard.coded and (own is None or own[1] == "2")
    class_ = _at(stage, _class(number, text, heard, guessed=guessed))
    address = class_ in _ADDRESS or number in _ADDRESS_IF.get(class_, ())
    if address or class_ in _ADDRESS_IF:
        # A frame that was taken out ("recipient refused:") is no choice of the recipient's.
        plain = doubts.plain(matcher.normal((heard.text if heard.framed else text).lower()))
        class_, certain = _doubted(class_, number, plain, heard, recipient)
        address = address and permanent and certain and stage in _OF_THE_RECIPIENT
        address = address and not (doubts.passes(plain) or doubts.of_the_sender(plain))
        address = address and not host.blamed(text, strictly=False)
    # RFC 8689: that a host hasn't got what the sender requires is nobody's fault.
    return Classified(permanent, class_, REASONS[class_], class_ in _OWN and number != "7.30", address)


def _of_two(
    given: re.Match[str] | None, own: re.Match[str] | None, passed_on: bool
) -> re.Match[str] | None:
    """The status that counts: the one beside the text or the one in it."""
    if own is None or own[1] == "2":
        return given
    # RFC 3464 §2.3.4: many gateways write x.0.0 in Status and the remote's true code in Diagnostic-Code only.
    return own if passed_on or given is None or (given[2] == "0" and given[3] == "0") else given


def _permanent(found: re.Match[str] | None, text: str) -> bool:
    code = found if found is not None and found[1] != "2" else _CODE.search(text)
    # A status of class 5 beside a reply of class 4 alone: the reporter gave up, the remote did not say never.
    only_later = code is found and {m[1] for m in _CODE.finditer(text)} == {"4"}
    return code is not None and code[1] == "5" and not only_later


def _at(stage: str, class_: Class) -> Class:
    """What a class means at a stage: who refuses at EHLO knows the host only, at MAIL the sender besides."""
    if class_ not in _OF_A_RECIPIENT:
        return class_
    if stage in _OF_THE_HOST:
        return "reputation"
    return "sender" if stage == "mail" and class_ != "policy" else class_


def _doubted(
    class_: Class, number: str, plain: doubts.Plain, heard: frames.Heard, recipient: str
) -> tuple[Class, bool]:
    """A class that speaks of the address, and whether that is certain: not where somebody else may be at fault."""
    if doubts.either(plain) or doubts.chosen(plain):
        return ("policy", False) if class_ in _ADDRESS else (class_, False)
    if number not in _PLAIN_ADDRESS and doubts.either_off(plain):
        return class_, False
    if doubts.unasked(plain):
        return ("routing" if class_ == "domain_unknown" else class_), False
    if class_ in _ADDRESS and number not in _PLAIN_ADDRESS - {"1.2"}:
        whose = named.whose(heard.text, recipient, mailbox=class_ == "mailbox_unknown")
        if whose == "other":
            return ("sender" if "@" in recipient else "unknown"), False
        if whose != "recipient" and number != "1.2" and _SYNTAX.search(plain.text):
            return "unknown", False
    return class_, True


def own_fault(class_: Class) -> Classified:
    """What is known to be our own doing, whatever words were said about it. It may pass."""
    return Classified(False, class_, REASONS[class_], True, False)


def _class(status: str, text: str, heard: frames.Heard, *, guessed: bool) -> Class:
    # RFC 3463 §3.8: x.7.x is a rule that spoke; then "recipient address rejected" says nothing of the address.
    said: Class | None = _said(status, text, heard)
    by_status = _BY_STATUS.get(status) or _BY_SUBJECT.get(status.partition(".")[0])
    if _blames_the_host(status, said, by_status, text):
        return "reputation"
    if status == "4.1" and said == "policy" and "recipient address rejected" in text.lower():
        return "mailbox_unknown"  # Exchange Online writes so for addresses its directory doesn't have
    if status in _PLAIN_ADDRESS and by_status is not None:
        # Exchange writes 5.1.10, null MX by RFC 7505, for a mailbox it doesn't have.
        allowed = _NOT_THE_ADDRESS | {"mailbox_unknown"} if status == "1.10" else _NOT_THE_ADDRESS
        allowed = allowed | _NOT_GUESSED if guessed or heard.framed else allowed
        if guessed and heard.framed and said is None:
            return "unknown"
        return said if said in allowed and said is not None else by_status
    # A status that speaks of neither address nor mailbox is taken at its word unless the text is plainer.
    if by_status is None or by_status in _VAGUE:
        if said in _LOOSE and by_status not in (None, "unknown"):
            return by_status or said
        return said or by_status or "unknown"
    return said if said in _OUTWEIGH and said is not None else by_status


def _said(status: str, text: str, heard: frames.Heard) -> Class | None:
    """What the words say: the innermost reply's; those around it only take blame from the recipient."""
    weak = not status.startswith("7.")
    said: Class | None = matcher.said(heard.text, weak=weak) or None  # type: ignore[assignment]
    if (heard.passed_on or heard.framed) and (said in _PASSED_OVER or said in _OF_A_RECIPIENT):
        around: Class | None = matcher.said(text, weak=False) or None  # type: ignore[assignment]
        if around in _BLAME or (said in _PASSED_OVER and around == "expired"):
            return around
        if said is None and around not in _OF_A_RECIPIENT:
            return around
    return said


def _blames_the_host(status: str, said: Class | None, by_status: Class | None, text: str) -> bool:
    """Whether, where no phrase says so, the sending host's own address does."""
    # A status that is plain about something else is believed; x.7.x, x.5.x and x.3.x are used for refused hosts.
    if by_status not in (None, "policy", "protocol", "system") or status.startswith("4."):
        return False
    if said in _MAY_BE_THE_HOST or (said == "routing" and status.startswith("7.")):
        return host.blamed(text, strictly=False)
    return said in _MAY_ALSO_BE and host.blamed(text, strictly=True)
