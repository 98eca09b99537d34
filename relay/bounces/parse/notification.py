"""What a sending service tells in JSON, come as mail: the notifications of Amazon SES, bare or within those of SNS.

Whoever relays through such a service, or forwards to one, has its words come back in this form. A bounce, a delay, a
success or a complaint is read from it, by the names its documentation gives; all else in JSON is left to others.
"""

from __future__ import annotations

import json
import re
from typing import Any

from relay.bounces.parse.entity import Action, Entity, Fate, Report, leaves

_NAMES = ("notificationType", "eventType")
_FATES_MAX = 100
# As it came; cut; cut and indented; cut as sendmail cuts.
_FOLDS = (None, re.compile(r"!\n[ \t]?"), re.compile(r"\n[ \t]"), re.compile(r"\n"))
_TEXT_MAX = 1000
# What the service says where the other side's own number is missing.
_BY_SUBTYPE = {
    "NoEmail": "5.1.1", "Suppressed": "5.1.1", "MailboxFull": "5.2.2", "MessageTooLarge": "5.3.4",
    "ContentRejected": "5.6.0", "AttachmentRejected": "5.6.0",
}  # fmt: skip
_LISTS: dict[str, tuple[str, str, Action]] = {
    "Bounce": ("bounce", "bouncedRecipients", "failed"),
    "DeliveryDelay": ("deliveryDelay", "delayedRecipients", "delayed"),
    "Delivery": ("delivery", "recipients", "delivered"),
}


def read(entity: Entity) -> Report | None:
    """A notification as a report, or None."""
    for part in leaves(entity)[:2]:
        # Most mail is dismissed by its first octet, before anything is decoded.
        if part.type.startswith(("text/", "application/json")) and (
            part.body[:20].lstrip().startswith(b"{") or part.get("content-transfer-encoding").lower() == "base64"
        ):
            found = _object(part.text())
            message = found.get("Message")
            found = _object(message) if isinstance(message, str) else found
            if found:
                return _report(found)
    return None


def _object(text: str) -> dict[str, Any]:
    text = text.lstrip()
    if not text.startswith("{") or not any(name in text for name in _NAMES):
        return {}
    # A mail system may have folded the one long line: then a line end stands anywhere, also amid a word.
    for fold in _FOLDS:
        try:
            found, _ = json.JSONDecoder().raw_decode(text if fold is None else fold.sub("", text))
        except ValueError:
            continue
        except RecursionError:
            return {}
        return found if isinstance(found, dict) else {}
    return {}


def _report(found: dict[str, Any]) -> Report | None:
    kind = _text(found.get("notificationType") or found.get("eventType"))
    if kind == "Complaint":
        feedback = _text(_within(found, "complaint").get("complaintFeedbackType")).lower()
        return Report("complaint", "notification", feedback=feedback or "abuse")
    if kind not in _LISTS:
        return None
    name, recipients, action = _LISTS[kind]
    detail = _within(found, name)
    listed = detail.get(recipients)
    listed = listed[:_FATES_MAX] if isinstance(listed, list) else []
    fates = tuple(_fate(detail, one if isinstance(one, dict) else {"emailAddress": one}, action) for one in listed)
    return Report("bounce", "notification", fates) if fates else None


def _fate(detail: dict[str, Any], one: dict[str, Any], action: Action) -> Fate:
    status = _text(one.get("status"))
    if action == "failed" and not status:
        kind = _BY_SUBTYPE.get(_text(detail.get("bounceSubType")), "5.0.0")
        # The service gave up, but the other side did not say never.
        status = kind if detail.get("bounceType") == "Permanent" else "4" + kind[1:]
    said = _text(one.get("diagnosticCode") or detail.get("smtpResponse") or detail.get("delayType"))
    return Fate(action, status, said.removeprefix("smtp;").strip(), _text(one.get("emailAddress")))


def _within(notification: dict[str, Any], name: str) -> dict[str, Any]:
    found = notification.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return " ".join(value.split())[:_TEXT_MAX] if isinstance(value, str) else ""
