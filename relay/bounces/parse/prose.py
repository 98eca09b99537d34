"""Bounces without a machine-readable part: the sentences with which mail systems begin them, and what follows.

A sentence must stand at the beginning of a line near the top, the sender must be a mail system, and the words must
say why; else it is no bounce. What it says is one fate: such reports name several recipients too loosely to tell.
"""

from __future__ import annotations

import re

from relay.bounces.parse.automatic import is_system
from relay.bounces.parse.entity import Entity, leaves
from relay.bounces.parse.values import Action, Fate, Report

_TOP = 6000
_REASON = 1500

_I = re.IGNORECASE | re.MULTILINE
# name, the sentence, what it says of the recipient ("": its words decide)
_SHAPES: tuple[tuple[str, re.Pattern[str], Action], ...] = (
    # Delays first: some of them quote the sentence of the failure to come.
    ("delay", re.compile(
        r"^.{0,60}(?:this is a warning message only|you do not need to resend|message (?:is )?still undelivered|"
        r"has not yet been delivered|not (?:yet )?been delivered (?:yet|to one)|will (?:be|keep) (?:re)?tr(?:ied|ying)|"
        r"delivery (?:has been |is )?(?:delayed|temporarily)|warning: could not send|(?:temporarily|will be) deferred|"
        r"^delivery to the following recipient has been delayed|will continue to (?:try|retry|attempt)|"
        r"no action is required on your part)", _I), "delayed"),
    ("qmail", re.compile(r"^\s*hi\. this is the .{0,40}qmail", _I), "failed"),
    ("exim", re.compile(
        r"^this message was created automatically by (?:the )?mail delivery software|"
        r"^a message that you (?:have )?sent could not be delivered|"
        r"^a message sent by.{0,200}$\s+.{0,100}could not be delivered", _I), "failed"),
    ("postfix", re.compile(
        r"^this is the (?:postfix program|mail system) at host|^i'm sorry to have to inform you that", _I), "failed"),
    ("sendmail", re.compile(
        r"^\s*-{3,} ?(?:the following addresses had (?:permanent fatal errors|delivery problems|permanent)|"
        r"transcript of session follows)", _I), "failed"),
    ("exchange", re.compile(
        r"^.{0,20}your message did not reach some or all of the intended recipients|"
        r"^the following recipient\(s\) (?:could not|cannot) be reached|"
        r"^delivery has failed to these recipients|^your message couldn't be delivered", _I), "failed"),
    ("gmail", re.compile(
        r"^delivery to the following recipients? failed permanently|^(?:\*\* )?address not found|"
        r"^your message wasn't delivered to", _I), "failed"),
    ("yahoo", re.compile(
        r"^\s*message from\s+\S+\s*$\s+^.{0,20}unable to deliver message to the following|"
        r"^sorry,? we were unable to deliver your message|"
        r"^unable to deliver message to the following address", _I), "failed"),
    ("lotus", re.compile(r"^your (?:message|document):?\s*$|^was not delivered to:", _I), "failed"),
    ("other", re.compile(
        r"^.{0,60}(?:the following (?:message|recipients?|address(?:es)?).{0,60}(?:could not be delivered|failed|"
        r"undeliverable|not delivered)|(?:message|mail|e-?mail) .{0,60}"
        r"(?:could not be|was not|cannot be|wasn't) delivered|"
        r"(?:could not|unable to|cannot|can't|failed to) (?:be )?deliver(?:ed)?|delivery (?:has )?failed|"
        r"undeliver(?:able|ed) (?:mail|message)|returned mail)", _I), ""),
)
# Where the quoted original begins: nothing behind it speaks of the bounce.
_COPY = re.compile(
    r"^(?:[- ]{2,}.{0,40}(?:original message|copy of (?:the|your) message|below this line is a copy|"
    r"returned (?:message|mail) follows|unsent message).{0,60}|return-path: .{0,300}|received: (?:from|by) .{0,300})$",
    re.IGNORECASE | re.MULTILINE,
)
_STATUS = re.compile(r"(?<![\d.])([45])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_CODE = re.compile(r"(?:^|[\s:;<>(\[#])([45])\d\d[ -]", re.MULTILINE)


def read(entity: Entity) -> Report | None:
    """A bounce in words, or None."""
    failed = "x-failed-recipients" in entity.fields  # Exim's field, and Gmail's
    if not failed and not is_system(entity):
        return None
    top = next((p.text() for p in leaves(entity) if p.type.startswith("text/")), "")[:_TOP]
    if "<html" in top[:500].lower():
        top = re.sub(r"<[^>]{0,500}>", "\n", top)
    copy = _COPY.search(top)
    if copy is not None and copy.start() > 40:
        top = top[: copy.start()]
    for name, pattern, action in _SHAPES:
        found = pattern.search(top)
        if found is not None:
            return Report("bounce", name, (_fate(top[found.start() :], action),))
    return Report("bounce", "failed-recipients", (_fate(top, ""),)) if failed else None


def _fate(text: str, action: Action) -> Fate:
    """The words behind the sentence; a temporary code in them makes it no failure, whatever the sentence says."""
    words = " ".join(text.split())[:_REASON]
    codes = [m[0] for m in _STATUS.finditer(words)]
    status = next((c for c in codes if c[0] == "5"), codes[0] if codes else "")
    classes = {m[1] for m in _CODE.finditer(words)} | {c[0] for c in codes}
    if action != "delayed":
        if classes == {"4"}:
            action = action or "delayed"
        elif "5" in classes:
            action = "failed"
    return Fate(action, status, words)
