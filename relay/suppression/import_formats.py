"""A record of a suppression export, ours or another relay's → an entry's facts, or why it is none. Pure.

A record is known by its fields:

    ours                address, reason, since, detail, categories
    Amazon SES          EmailAddress, Reason (BOUNCE, COMPLAINT), LastUpdateTime; or address,BOUNCE without a head
    Mailgun bounces     address, code, error, created_at          unsubscribes   address, tags, created_at
    Mailgun complaints  address, created_at (as in mail: `Tue, 07 Jan 2025 19:25:45 UTC`)
    Postmark            EmailAddress, SuppressionReason, Origin, CreatedAt
    SendGrid bounces, blocks   email, status, reason, created      invalid emails   email, reason, created
    SendGrid spam reports      email, ip, created                  unsubscribes     email, created (and the group)
    any other list      an address, perhaps a reason, a date and a note

What the file doesn't say, the caller may: with which reason addresses come that have none. A temporary failure is
no reason to stop mailing somebody and is refused, as is a failure that was the fault of the host that sent.
"""

from __future__ import annotations

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

_WORDS: Mapping[str, str] = {
    **{name.replace("_", ""): name for name in REASONS},
    "unsubscribed": "unsubscribe", "unsub": "unsubscribe", "optout": "unsubscribe", "globalunsubscribe": "unsubscribe",
    "groupunsubscribe": "unsubscribe", "listunsubscribe": "unsubscribe", "subscriptionchange": "unsubscribe",
    "complained": "complaint", "spam": "complaint", "spamcomplaint": "complaint", "spamreport": "complaint",
    "spamreports": "complaint", "abuse": "complaint", "spamnotification": "complaint",
    "bounce": "hard_bounce", "bounced": "hard_bounce", "bounces": "hard_bounce", "invalid": "hard_bounce",
    "invalidemail": "hard_bounce", "invalidemails": "hard_bounce", "bademailaddress": "hard_bounce",
    "permanent": "hard_bounce", "permanentfail": "hard_bounce",
    "manualsuppression": "manual", "manually": "manual", "admin": "manual", "customer": "manual",
}
_NO_REASON = frozenset({
    "softbounce", "soft", "transient", "temporary", "temporaryfail", "block", "blocked", "blocks", "deferred", "dns",
    "autoresponder", "challenge",
})
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
    keys = record.keys()
    at = next((_moment(record[k]) for k in _DATES if k in keys), None)
    if "status" in keys and "email" in keys:
        return _bounced("sendgrid", address, _text(record, "status"), _text(record, "reason"), at)
    if "code" in keys or ("error" in keys and "reason" not in keys):
        return _bounced("mailgun", address, "", f"{_text(record, 'code')} {_text(record, 'error')}".strip(), at)
    if "suppressionreason" in keys:
        return _postmark(record, address, at)
    if "tags" in keys:
        tags = record["tags"]
        words = " ".join(map(str, tags[:20])) if isinstance(tags, list) else _text(record, "tags")
        return Facts("mailgun", address, "unsubscribe", "" if words.strip(" *") == "" else f"tags: {words}", at)
    if "groupid" in keys or "groupname" in keys:
        group = _text(record, "groupname") or _text(record, "groupid")
        return Facts("sendgrid", address, "unsubscribe", f"group: {group}", at)
    if "email" in keys and "ip" in keys:
        return Facts("sendgrid", address, "complaint", "spam report", at)
    if "email" in keys and "created" in keys and "reason" in keys and not _word(record["reason"]):
        return Facts("sendgrid", address, "hard_bounce", _text(record, "reason"), at)
    if keys == {"address", "createdat"} and _text(record, "createdat")[3:4] == ",":
        return Facts("mailgun", address, "complaint", "", at)
    return _plain(record, address, at, otherwise)


def _plain(record: Record, address: str, at: float | None, otherwise: str) -> Facts | str:
    origin = "list"
    if {"address", "reason", "since"} <= record.keys():
        origin = "posthouse"
    elif "emailaddress" in record and ("reason" in record or "lastupdatetime" in record):
        origin = "amazon-ses"
    given = next((_text(record, k) for k in ("reason", "type", "status") if k in record), "")
    word = _word(given)
    detail = next((_text(record, k) for k in _NOTES if k in record), "")
    if word in _NO_REASON:
        return _TEMPORARY
    reason = _WORDS.get(word)
    if reason is None and given and not detail:
        detail = given  # a reason in words of its own is kept as the note
    return Facts(
        origin, address, reason or otherwise, detail, at, _text(record, "categories"), said=reason is not None
    )


def _postmark(record: Record, address: str, at: float | None) -> Facts:
    word, who = _word(record["suppressionreason"]), _word(record.get("origin"))
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
    word = "".join(c for c in value.lower() if c.isalnum()) if isinstance(value, str) else ""
    return word if word in _WORDS or word in _NO_REASON or word == "recipient" else ""


def _text(record: Record, field: str) -> str:
    value = record.get(field)
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15 else ""


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
