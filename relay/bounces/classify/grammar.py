"""What a sentence says where no phrase is known: a thing, and what is said of it, in one clause.

The world's hosts word the same few reasons in ever new ways: "cannot locate user", "account is switched off". A
clause that holds a word for a mailbox and words for not being there speaks of an unknown mailbox; and so for the
other reasons. English only, and the last resort: asked when no phrase of the tables stands in the text.

Promises: linear in the text. A clause that speaks of the sender, of a host, to "you" or of what may be never gives up
an address.
"""

from __future__ import annotations

import re

_CLAUSES = re.compile(r"[.;,!?](?=\s|$)|\s-+\s|:\s|\s[45]\d\d(?=[\s-])")
_WORDS = re.compile(r"[a-z]+(?:'t)?")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MAILBOX = _set(
    "user users mailbox mailboxes address recipient recipients account addressee person subscriber customer alias "
    "inbox"
)
_NOT = _set("not no never nobody none cannot unable without")
_THERE = _set(
    "match matches matched "
    "found find exist exists existing known know locate located valid registered recognized recognised listed work "
    "works created resolve identified defined provisioned assigned hosted local present served"
)
_GONE = _set("unknown invalid nonexistent deleted removed gone")
_OTHERS = _set(
    "sender senders from your you ip host hosts server servers domain helo ehlo dns connection client network "
    "authenticated authentication authorized allowed permitted relay message messages password "
    "if whether check please may might"
)
_STORE = _MAILBOX | _set("storage store folder disk device space box")
_FULL = _set("full overfull exceeds exceeded overflow overflowing overdrawn")
_ROOM = _set("space room capacity")
_OFF = _set("off disabled suspended closed dormant terminated frozen locked inactive deactivated parked retired")
_BIG = _set("bigger larger oversized oversize size mb kb")
_MAIL = _set("message mail email attachment attachments")
_REACH = _set("reach reached contact contacted connect answer answered respond responded")
_JUNK = _set("advertisement advertising classified scanner scan filtered filter link links url urls")
_BROKEN = _set("internal software crashed malfunction overloaded spool")
_TRIED = _set("tried attempted")
_LONG = _set("days hours")
_MORE = _set("will be more again next further")


def said(text: str) -> str:
    """The class that a clause of `text` (lower case) speaks of, or ""."""
    for clause in _CLAUSES.split(text):
        words = set(_WORDS.findall(clause))
        found = _class(words)
        if found:
            return found
    return ""


def _class(words: set[str]) -> str:
    negated = bool(words & _NOT) or any(word.endswith("n't") for word in words)
    if words & _STORE and (words & _FULL or (negated and words & _ROOM) or ("over" in words and "size" in words)):
        return "mailbox_full"
    if words & _MAILBOX and not words & _OTHERS:
        if words & _GONE or (negated and words & _THERE):
            return "mailbox_unknown"
        if words & _OFF:
            return "mailbox_disabled"
    if words & _TRIED and words & _LONG and not words & _MORE:
        return "expired"
    if words & _MAIL and words & _BIG:
        return "too_large"
    if negated and words & _REACH:
        return "routing"
    if words & _JUNK:
        return "content"
    return "system" if words & _BROKEN else ""
