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
    Mailchimp audience  LEID and EUID, with UNSUB_TIME or CLEAN_TIME
    Brevo               email, emailBlacklisted; or blockedAt with a reason that is an object with a code
    any other list      an address, perhaps a reason, a date and a note

In any list these are believed: a column named reason, status, type or source where its word is known (`unsubscribed`,
`complained`); a column that asks yes or no (`unsubscribed`, `IsUnsubscribed`, `bounced`, `opt_out`); and the time of
an unsubscription, bounce or complaint. What says that the person gets mail (`enabled`, `active`, `subscribed`,
`unsubscribed: false`) makes no entry. What the file doesn't say, the caller may: the reason for addresses that come
without one; these are counted as guessed. A temporary failure is no reason to suppress an address and is refused, as
is a failure that was the fault of the host that sent.
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
_DATES = (
    "since", "unsubtime", "cleantime", "unsubscribedat", "complainedat", "bouncedat", "blockedat", "createdat",
    "created", "lastupdatetime", "suppressedat", "addedat", "date", "timestamp", "time",
)
_NOTES = ("detail", "error", "description", "note", "comment", "details")
_REASON_COLUMNS = (
    "reason", "suppressionreason", "status", "type", "subscriptionstatus", "emailstatus", "bouncetype", "event",
    "source",
)
_FLAGS: Mapping[str, str] = {
    **dict.fromkeys(("complained", "complaint", "spam", "spamcomplaint", "isspam"), "complaint"),
    **dict.fromkeys(("bounced", "hardbounced", "hardbounce", "isbounced", "cleaned"), "hard_bounce"),
    **dict.fromkeys((
        "unsubscribed", "isunsubscribed", "unsub", "unsubscribe", "unsubscribeall", "optout", "optedout", "emailoptout",
        "hasoptedoutofemail",
    ), "unsubscribe"),
    **dict.fromkeys((
        "emailblacklisted", "emailblocklisted", "blacklisted", "blocklisted", "isexcludedfromcampaigns", "suppressed",
        "donotmail", "donotcontact", "donotemail",
    ), "manual"),
}
"""Columns that ask yes or no, and the reason where the answer is yes; the gravest first."""
_MAILED_FLAGS = ("subscribed", "issubscribed", "active", "isactive", "enabled", "optin", "optedin")
"""The opposite: whoever has a yes here gets mail."""
_YES, _NO = ("true", "yes", "1", "y", "t"), ("false", "no", "0", "n", "f")
_MOMENTS: Mapping[str, str] = {
    "complainedat": "complaint", "cleantime": "hard_bounce", "cleanedat": "hard_bounce", "bouncedat": "hard_bounce",
    "unsubtime": "unsubscribe", "unsubscribedat": "unsubscribe", "unsubscribetime": "unsubscribe",
    "unsubscribeddate": "unsubscribe", "unsubscribedate": "unsubscribe", "optouttime": "unsubscribe",
    "optedoutat": "unsubscribe", "optoutdate": "unsubscribe",
}
"""Columns that hold when it happened, where it did."""

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
    "donotmail": "manual", "donotcontact": "manual", "suppressed": "manual", "usersuppressed": "manual",
    "adminblocked": "manual", "manuallydeactivated": "manual", "hardbounced": "hard_bounce",
    "unsubscribedviama": "unsubscribe", "unsubscribedviaemail": "unsubscribe", "unsubscribedviaapi": "unsubscribe",
    "contactflaggedasspam": "complaint", "flaggedasspam": "complaint",
}
_NO_REASON = frozenset({
    "softbounce", "softbounced", "soft", "transient", "temporary", "temporaryfail", "block", "blocked", "blocks",
    "deferred", "dns", "autoresponder", "challenge", "error", "dmarcpolicy", "virusnotification", "addresschange",
    "openrelaytest", "smtpapierror", "templaterenderingfailed", "inbounderror",
})
_MAILED = frozenset({
    "enabled", "active", "subscribed", "subscriber", "confirmed", "unconfirmed", "pending", "optin", "optedin",
    "delivered", "sent", "opened", "clicked", "processed", "accepted", "valid", "deliverable", "verified", "ok",
    "nonsubscribed", "neversubscribed", "queued", "firstopening", "uniqueopened", "loadedbyproxy",
})
"""What lists say of people who are mailed, or who never asked to be."""
_TEMPORARY = "a temporary failure or a block is no reason to suppress an address"


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
    at = next((moment for k in _DATES if (moment := _moment(record.get(k))) is not None), None)
    for recognise in (_of_sendgrid, _of_mailgun, _of_postmark, _of_mailchimp):
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
        temporary = "4.0.0" if code[:1] == "4" else ""
        return _bounced("mailgun", address, temporary, f"{code} {_text(record, 'error')}".strip(), at)
    if _text(record, "createdat")[3:4] != ",":
        return None
    if keys == {"address", "tags", "createdat"}:
        tags = record["tags"]
        words = " ".join(map(str, tags[:20])) if isinstance(tags, list) else _text(record, "tags")
        return Facts("mailgun", address, "unsubscribe", "" if words.strip(" *") == "" else f"tags: {words}", at)
    return Facts("mailgun", address, "complaint", "", at) if keys == {"address", "createdat"} else None


def _of_mailchimp(record: Record, address: str, at: float | None) -> _Found:
    if not {"leid", "euid"} <= record.keys():
        return None
    reason = _happened(record)
    if not reason:
        return _mailed("subscribed")
    return Facts("mailchimp", address, reason, _text(record, "unsubreasonother"), at)


def _plain(record: Record, address: str, at: float | None, otherwise: str) -> Facts | str:
    origin = _plain_origin(record)
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
    if reason is None:
        reason, without = _flagged(record)
        reason = reason or _happened(record)
        if reason is None and (mailed or without) and not own_words:
            return _mailed(mailed or without)
    if reason is None and not detail:
        detail = own_words  # a reason in words of its own is kept as the note
    return Facts(
        origin, address, reason or otherwise, detail, at, _text(record, "categories"), said=reason is not None
    )


def _plain_origin(record: Record) -> str:
    if {"address", "reason", "since"} <= record.keys():
        return "posthouse"
    if "emailaddress" in record and ("lastupdatetime" in record or record.get("reason") in ("BOUNCE", "COMPLAINT")):
        return "amazon-ses"
    if "emailblacklisted" in record or ("blockedat" in record and isinstance(record.get("reason"), dict)):
        return "brevo"
    return "list"


def _flagged(record: Record) -> tuple[str | None, str]:
    """(the reason that a yes-or-no column gives, None for none; what such a column says of somebody who gets mail)."""
    asked = {k: _answer(record[k]) for k in (*_FLAGS, *_MAILED_FLAGS) if k in record}
    reason = next((word for k, word in _FLAGS.items() if asked.get(k) is True), None)
    if reason is None and any(asked.get(k) is False for k in ("subscribed", "issubscribed", "optin", "optedin")):
        reason = "unsubscribe"
    without = next((k for k in asked if asked[k] is (k in _MAILED_FLAGS)), "")
    return reason, f"{without}: {'yes' if without in _MAILED_FLAGS else 'no'}" if without else ""


def _answer(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    return True if word in _YES else False if word in _NO else None


def _happened(record: Record) -> str | None:
    """The reason whose time the record has."""
    return next((reason for k, reason in _MOMENTS.items() if _moment(record.get(k)) is not None), None)


def _mailed(word: str) -> str:
    return f"“{word.strip()[:40]}” is no reason to suppress an address"


def _of_postmark(record: Record, address: str, at: float | None) -> _Found:
    if not {"emailaddress", "suppressionreason", "origin"} <= record.keys():
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
    if isinstance(value, dict):
        value = value.get("code")
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
