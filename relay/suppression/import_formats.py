"""A record of a suppression export, ours or another relay's → an entry's facts, or why it is none. Pure.

A service's export is recognised by what only it has, never by one column that any list may have:

    ours                address, reason, since, detail, categories
    Amazon SES          EmailAddress with LastUpdateTime or with Reason BOUNCE, COMPLAINT; address,BOUNCE without a head
    Mailgun bounces     address, code (`550`), error          unsubscribes   address, tags, created_at
    Mailgun complaints  address, created_at (both dated as in mail: `Tue, 07 Jan 2025 19:25:45 UTC`)
    Postmark            EmailAddress, SuppressionReason, Origin, CreatedAt
    SendGrid bounces, blocks   email, status (`5.1.1`), reason, created    invalid emails   email, reason, created
    SendGrid spam reports      email, ip, created                          unsubscribes     email, created, the group
                               (all dated in Unix seconds, and with no other columns)
    any other list      an address, perhaps a reason, a date and a note

In any list a column named reason, status, type or source is believed where its word is known: `unsubscribed`,
`complained`. A word that says the person is mailed (`enabled`, `active`, `subscribed`) makes no entry. What the file
doesn't say, the caller may: with which reason addresses come that have none; these are counted as guessed. A temporary
failure is no reason to stop mailing somebody and is refused, as is a failure that was the fault of the host that sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from relay.bounces.classify import classify
from relay.suppression.import_file import Record, address_of
from relay.suppression.rules import REASONS

_EARLIEST = 631_152_000.0  # 1990: "no date" is written as the year 1 or as 1970
_MILLISECONDS = 1e11
_DATES = ("since", "createdat", "created", "lastupdatetime", "suppressedat", "addedat", "date", "timestamp", "time")
_NOTES = ("detail", "error", "description", "note", "comment", "details")
_REASON_COLUMNS = ("reason", "status", "type", "subscriptionstatus", "event", "source")

_WORDS: Mapping[str, str] = {
    **{name.replace("_", ""): name for name in REASONS},
    "unsubscribed": "unsubscribe", "unsub": "unsubscribe", "optout": "unsubscribe", "globalunsubscribe": "unsubscribe",
    "groupunsubscribe": "unsubscribe", "listunsubscribe": "unsubscribe", "subscriptionchange": "unsubscribe",
    "complained": "complaint", "spam": "complaint", "spamcomplaint": "complaint", "spamreport": "complaint",
    "spamreports": "complaint", "abuse": "complaint", "spamnotification": "complaint",
    "bounce": "hard_bounce", "bounced": "hard_bounce", "bounces": "hard_bounce", "invalid": "hard_bounce",
    "invalidemail": "hard_bounce", "invalidemails": "hard_bounce", "bademailaddress": "hard_bounce",
    "permanent": "hard_bounce", "permanentfail": "hard_bounce", "undeliverable": "hard_bounce",
    "permanentbounce": "hard_bounce", "bouncerule": "hard_bounce", "cleaned": "hard_bounce",
    "optedout": "unsubscribe", "unsubscribelink": "unsubscribe", "unsubscribes": "unsubscribe",
    "complaints": "complaint", "junk": "complaint", "markedasspam": "complaint", "reportedspam": "complaint",
    "manualsuppression": "manual", "manually": "manual", "admin": "manual", "customer": "manual",
    "manuallyadded": "manual", "blocklisted": "manual", "blacklisted": "manual", "blocklist": "manual",
    "donotmail": "manual", "donotcontact": "manual", "suppressed": "manual",
}
_NO_REASON = frozenset({
    "softbounce", "soft", "transient", "temporary", "temporaryfail", "block", "blocked", "blocks", "deferred", "dns",
    "autoresponder", "challenge",
})
_MAILED = frozenset({
    "enabled", "active", "subscribed", "subscriber", "confirmed", "unconfirmed", "pending", "optin", "optedin",
    "delivered", "sent", "opened", "clicked", "processed", "accepted", "valid", "deliverable", "verified", "ok",
    "nonsubscribed", "neversubscribed",
})
"""What lists say of people who are mailed, or who never asked to be."""
_TEMPORARY = "a temporary failure or a block is no reason to stop mailing somebody"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a record says. `at` is Unix seconds, None where it names no time; `said` False: the reason is a guess."""

    origin: str
    address: str
    reason: str
    detail: str = ""
    at: float | None = None
    categories: str = ""
    said: bool = True


def facts(record: Record, otherwise: str = "import") -> Facts | str:
    """What `record` says, or why it can't be taken. `otherwise`: the reason where it names none."""
    address = address_of(record)
    if not address:
        return "there is no address"
    at = next((_moment(record[k]) for k in _DATES if k in record), None)
    for recognise in (_of_sendgrid, _of_mailgun, _of_postmark):
        found = recognise(record, address, at)
        if found is not None:
            return found
    return _plain(record, address, at, otherwise)


_Found = Facts | str | None
_SENDGRID_GROUP = frozenset({"email", "groupid", "groupname", "created", "createdat"})
_STATUS = re.compile(r"[45]\.\d{1,3}\.\d{1,3}")
_REPLY_CODE = re.compile(r"[4-6]\d\d")
# SendGrid's own words for addresses that it won't even try.
_INVALID = re.compile(r"(?i)mail domain|valid address|(?:bad|invalid) (?:address|e-?mail|domain)")


def _of_sendgrid(record: Record, address: str, at: float | None) -> _Found:
    keys = record.keys()
    if "email" not in keys:
        return None
    status = _text(record, "status").strip()
    if _STATUS.fullmatch(status) or (not status and keys == {"email", "status", "reason", "created"}):
        return _bounced("sendgrid", address, status, _text(record, "reason"), at)
    if not any(_is_number(record.get(k)) for k in ("created", "createdat")):
        return None
    if {"groupid", "groupname"} & keys and keys <= _SENDGRID_GROUP:
        group = _text(record, "groupname") or _text(record, "groupid")
        return Facts("sendgrid", address, "unsubscribe", f"group: {group}", at)
    if keys == {"email", "ip", "created"}:
        return Facts("sendgrid", address, "complaint", "spam report", at)
    if keys == {"email", "reason", "created"} and _INVALID.search(_text(record, "reason")):
        return Facts("sendgrid", address, "hard_bounce", _text(record, "reason"), at)
    return None


def _of_mailgun(record: Record, address: str, at: float | None) -> _Found:
    keys = record.keys()
    if "address" not in keys:
        return None
    code = _text(record, "code").strip()
    if {"code", "error"} <= keys and (_REPLY_CODE.fullmatch(code) or (not code and _text(record, "error"))):
        return _bounced("mailgun", address, "", f"{code} {_text(record, 'error')}".strip(), at)
    if _text(record, "createdat")[3:4] != ",":
        return None
    if keys == {"address", "tags", "createdat"}:
        tags = record["tags"]
        words = " ".join(map(str, tags[:20])) if isinstance(tags, list) else _text(record, "tags")
        return Facts("mailgun", address, "unsubscribe", "" if words.strip(" *") == "" else f"tags: {words}", at)
    return Facts("mailgun", address, "complaint", "", at) if keys == {"address", "createdat"} else None


def _plain(record: Record, address: str, at: float | None, otherwise: str) -> Facts | str:
    origin = "list"
    if {"address", "reason", "since"} <= record.keys():
        origin = "posthouse"
    elif "emailaddress" in record and ("lastupdatetime" in record or record.get("reason") in ("BOUNCE", "COMPLAINT")):
        origin = "amazon-ses"
    given = [(k, _text(record, k)) for k in _REASON_COLUMNS if k in record]
    if status := next((text.strip() for _, text in given if _STATUS.fullmatch(text.strip())), ""):
        return _bounced(origin, address, status, _text(record, "reason"), at)
    words = [word for _, text in given if (word := _word(text))]
    detail = next((text for k in _NOTES if (text := _text(record, k))), "")
    reason = next((_WORDS[word] for word in words if word in _WORDS), None)
    if reason is None and any(word in _NO_REASON for word in words):
        return _TEMPORARY
    mailed = next((text for _, text in given if _plainly(text) in _MAILED), "")
    own_words = next((text for k, text in given if text and k != "source" and text != mailed), "")
    if reason is None and mailed and not own_words:
        return f"“{mailed.strip()[:40]}” is no reason to stop mailing somebody"
    if reason is None and not detail:
        detail = own_words  # a reason in words of its own is kept as the note
    return Facts(
        origin, address, reason or otherwise, detail, at, _text(record, "categories"), said=reason is not None
    )


def _of_postmark(record: Record, address: str, at: float | None) -> _Found:
    if "suppressionreason" not in record:
        return None
    word, who = _word(record["suppressionreason"]), _plainly(_text(record, "origin"))
    reason = _WORDS.get(word, "manual")
    if reason == "manual" and who == "recipient":
        reason = "unsubscribe"  # Postmark says so of people who used the unsubscribe link
    return Facts("postmark", address, reason, "", at)


def _bounced(origin: str, address: str, status: str, says: str, at: float | None) -> Facts | str:
    why = classify(status, says)
    if why.own_fault or status[:1] == "4":
        return _TEMPORARY
    return Facts(origin, address, "hard_bounce", says, at)


def _word(value: Any) -> str:
    """A reason's word if this is one, in any spelling, else ""."""
    word = _plainly(value) if isinstance(value, str) else ""
    return word if word in _WORDS or word in _NO_REASON else ""


def _plainly(text: str) -> str:
    """Without case, blanks and signs: `Hard Bounce`, `hard_bounce` and `hard-bounce` are one word."""
    return "".join(c for c in text.lower() if c.isalnum())


def _text(record: Record, field: str) -> str:
    value = record.get(field)
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15 else ""


def _is_number(value: Any) -> bool:
    """Whether this is a time in Unix seconds, as JSON or as text."""
    if isinstance(value, str):
        return value.isascii() and value.isdecimal() and len(value) > 8
    return isinstance(value, int) and not isinstance(value, bool)


def _moment(value: Any) -> float | None:
    """A time as Unix seconds, from any of the forms in use; None for none that can be meant."""
    found: float | None = None
    try:
        if isinstance(value, str):
            text = value.strip()[:64]
            if text.replace(".", "", 1).isdecimal() and text.isascii() and len(text) > 8:
                found = float(text)
            else:
                found = _written(text)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found = float(value)
        if found is not None and found > _MILLISECONDS:
            found /= 1000
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return found if found is not None and _EARLIEST < found < 1e10 else None


def _written(text: str) -> float:
    try:
        at = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        if " 0001 " in text:
            raise  # "no date"; it would be read as 2001
        at = parsedate_to_datetime(text)  # RFC 5322 §3.3
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
