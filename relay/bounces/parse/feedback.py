"""Complaints: abuse reports of feedback loops (RFC 5965), and what looks like them and is none.

Told apart: receipts that somebody has read a message (RFC 8098), reports of failed authentication (RFC 6591) and
aggregate ones about a domain, and the older forms in which a provider just encloses what was complained about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from relay.bounces.parse.automatic import is_forwarded
from relay.bounces.parse.entity import Entity, Fate, Report, decoded, leaves, read_fields
from relay.bounces.parse.entity import read as read_entity

_PATH = re.compile(r"(?<![^\s<>;,\"])[^\s<>;,\"]{1,254}@[^\s<>;,\"]{1,253}")
_MAILTO = re.compile(r"<\s*mailto:([^\s<>?]{1,320})", re.IGNORECASE)
# The token at the end of a path like ours, whatever host it names: the token alone proves anything.
_LINK = re.compile(r"<\s*https?://[^\s<>]{1,300}/u/([A-Za-z0-9_-]{20,1000})(?:[?#][^\s<>]{0,300})?\s*>", re.IGNORECASE)
_CLAIMS_MAX = 10
_VALUE_MAX = 300  # characters of a field that may name us
_PATHS = ("return-path", "x-envelope-from", "envelope-from", "x-original-return-path")
_WHOLE = ("message/rfc822", "message/global")
_HEADS = ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers")
# Reports about a domain or about authentication: nobody complains in them.
_NO_COMPLAINT = frozenset({"auth-failure", "dmarc", "authfailure"})
# JMRP's form before ARF, X-ARF's, and the subjects of hand-made loops; each encloses the message.
_LOOP_SUBJECT = re.compile(
    r"\s*(?:complaint about message from|(?:spam|abuse) (?:complaint|report)|feedback loop|email feedback report)",
    re.IGNORECASE,
)
_XARF = re.compile(
    rb"^[ \t\"]{0,8}report-?type\"?[ \t]{0,4}:[ \t]{0,4}\"?(spam|abuse|phishing|fraud)", re.IGNORECASE | re.MULTILINE
)
_DELETED = re.compile(r";(?:[^;]*,)?(?:deleted|denied|failed)\b")
_REJECTED = re.compile(
    r"\b(?:was|were|has been|is|be|automatically) (?:automatically )?(?:rejected|refused|returned|bounced|declined|"
    r"discarded)\b|"
    r"\b(?:rejected|refused|could not be delivered|was not delivered|not accepted)\b|(?:abgelehnt|zurückgewiesen|"
    r"nicht zugestellt|refusée?|rejetée?|rechazad[oa]|rifiutat[oa]|rejeitad[oa]|recusad[oa]|geweigerd|odrzucon\w|"
    r"отклонен\w|"
    r"拒否され|拒绝|거부)\b",
    re.IGNORECASE,
)
# A mailbox that was emptied, or a message nobody opened.
_UNREAD = re.compile(
    r"without being (?:read|opened)|was not read|not been read|ungelesen|non lu|sin leer|未読|未读", re.IGNORECASE
)
_TEXT_MAX = 4000
_SAID_MAX = 1000
_AGGREGATE = re.compile(r"\s*report domain\s*:", re.IGNORECASE)


def read(entity: Entity) -> Report | None:
    """A complaint, a receipt (as `auto_reply`), a report about a domain (as `other`), or None."""
    kind = entity.parameters.get("report-type", "").lower()
    # RFC 8098 §3: a disposition notification tells of reading, and where a program refused the message, of that.
    if kind == "disposition-notification":
        return _refusal(list(leaves(entity))) or Report("auto_reply", "receipt")
    if _AGGREGATE.match(entity.words("subject")):
        return Report("other", "aggregate")
    if not entity.type.startswith("multipart/"):
        return None
    found = list(leaves(entity))
    report = next((p for p in found if p.type == "message/feedback-report"), None)
    if report is None:
        if any(p.type == "message/disposition-notification" for p in found):
            return _refusal(found) or Report("auto_reply", "receipt")
        return _enclosed(entity, found)
    # RFC 5965 §3: fields as in a header, one group.
    fields = read_fields(decoded(report).lstrip(b"\r\n"))
    feedback = fields.get("feedback-type", [""])[0].lower().strip()[:40]
    # RFC 6591 §3.1: a message that failed authentication, most often not even ours.
    if feedback in _NO_COMPLAINT:
        return Report("other", feedback)
    claims = _claims(found)
    for value in fields.get("original-mail-from", []):
        claims.paths[:0] = _PATH.findall(value)
    return _complaint("arf", feedback or "abuse", claims, fields.get("user-agent", [""])[0][:100])


def _refusal(found: list[Entity]) -> Report | None:
    """What a program refused for its user, by rule or for want of room: a bounce in the shape of a receipt.

    RFC 5429 §2.2.1: Sieve's `reject` may answer so; Dovecot does. RFC 8098 §3.2.6: automatic, and "deleted"."""
    part = next((p for p in found if p.type == "message/disposition-notification"), None)
    if part is None:
        return None
    fields = read_fields(decoded(part).lstrip(b"\r\n"))
    disposition = "".join(fields.get("disposition", [""])[0].lower().split())
    if not disposition.startswith("automatic-action/") or not _DELETED.search(disposition):
        return None
    text = next((p.text()[:_TEXT_MAX] for p in found if p.type == "text/plain" and p is not part), "")
    rejected = _REJECTED.search(text)
    if rejected is None or _UNREAD.search(text):
        return None
    said = " ".join((text[rejected.end() :].strip(" :.\n") or text).split())[:_SAID_MAX]
    values = [fields.get(name, [""])[0] for name in ("final-recipient", "original-recipient")]
    named = [m[0] for value in values for m in _PATH.finditer(value)]
    return Report("bounce", "disposition", (Fate("failed", "", said, final=named[0] if named else ""),))


def _enclosed(entity: Entity, found: list[Entity]) -> Report | None:
    """A complaint without a feedback-report part."""
    if is_forwarded(entity) or not any(p.type in _WHOLE for p in found):
        return None
    xarf = "x-arf" in entity.fields or "x-xarf" in entity.fields
    given = next((m[1] for p in found if (m := _XARF.search(decoded(p)[:4000]))), b"") if xarf else b""
    if xarf and not given:
        return Report("other", "xarf")
    if not xarf and not _LOOP_SUBJECT.match(entity.words("subject")):
        return None
    feedback = "fraud" if given.lower() in (b"phishing", b"fraud") else "abuse"
    return _complaint("xarf" if xarf else "enclosed", feedback, _claims(found), "")


@dataclass(slots=True)
class _Claims:
    """What the enclosed messages bear that may be ours."""

    paths: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    leave_by: list[str] = field(default_factory=list)


def _claims(found: list[Entity]) -> _Claims:
    claims = _Claims()
    for part in found:
        if part.type in _WHOLE:
            original = read_entity(decoded(part).lstrip(b"\r\n"))
        elif part.type in _HEADS:
            original = read_entity(decoded(part).lstrip(b"\r\n") + b"\r\n\r\n")
        else:
            continue
        for name in _PATHS:
            for value in original.fields.get(name, []):
                claims.paths += _PATH.findall(value)
        claims.marks += [value[:_VALUE_MAX] for value in original.fields.get("x-posthouse-message", [])]
        for value in original.fields.get("list-unsubscribe", []):
            claims.leave_by += _MAILTO.findall(value) + _LINK.findall(value)
    return claims


def _complaint(shape: str, feedback: str, claims: _Claims, agent: str) -> Report:
    paths, marks, leave_by = (
        tuple(dict.fromkeys(each))[:_CLAIMS_MAX] for each in (claims.paths, claims.marks, claims.leave_by)
    )
    return Report("complaint", shape, feedback=feedback, paths=paths, marks=marks, leave_by=leave_by, agent=agent)
