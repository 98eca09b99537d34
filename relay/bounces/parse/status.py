"""Delivery status notifications (RFC 3464), and what is left of them where the sender's program writes them badly."""

from __future__ import annotations

import re

from relay.bounces.parse.entity import Entity, decoded, leaves, read_fields
from relay.bounces.parse.values import Action, Fate, Report

_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_GAP = re.compile(rb"\r?\n[ \t]*\r?\n")
_TYPES = ("message/delivery-status", "message/global-delivery-status")
_GROUPS_MAX = 200
_DIAGNOSTIC_MAX = 1000
# RFC 3464 §2.3.3, and the words that programs write instead.
_ACTIONS: dict[str, Action] = {
    "failed": "failed", "failure": "failed", "fail": "failed", "undeliverable": "failed", "bounced": "failed",
    "delayed": "delayed", "delay": "delayed", "deferred": "delayed", "warning": "delayed",
    "delivered": "delivered", "relayed": "delivered", "expanded": "delivered", "success": "delivered",
}


def read(entity: Entity) -> Report | None:
    """A report with at least one recipient whose fate it names, else None."""
    if not entity.type.startswith("multipart/") and entity.type not in _TYPES:
        return None
    found = list(leaves(entity))
    fates: list[Fate] = []
    for part in found:
        # Some label the machine's part text/plain; its field names give it away.
        machine = part.type in _TYPES or (
            part.type.startswith("text/") and b"Final-Recipient:" in part.body and b"Action:" in part.body
            and entity.parameters.get("report-type", "").lower() == "delivery-status"
        )
        if machine:
            fates += _fates(decoded(part))
        if len(fates) >= _GROUPS_MAX:
            break
    if not fates:
        return None
    # What a notification without Diagnostic-Code knows stands in its text for people.
    words = next((p.text()[:2000] for p in found if p.type == "text/plain"), "")
    told = [_with_words(f, words) if len(fates) == 1 else f for f in fates[:_GROUPS_MAX]]
    return Report("bounce", "dsn", tuple(told))


def _fates(octets: bytes) -> list[Fate]:
    found = []
    # RFC 3464 §2.1: groups of fields with empty lines between; the first is the message's.
    for group in _GAP.split(octets.strip(), _GROUPS_MAX):
        fields = read_fields(group)
        if not any(name in fields for name in ("final-recipient", "original-recipient", "action", "status")):
            continue
        action = _ACTIONS.get(_word(_first(fields, "action")), "")
        code = _STATUS.search(_first(fields, "status"))
        diagnostic = _first(fields, "diagnostic-code")
        status = code[0] if code else ""
        if not action and not status and not diagnostic:
            continue
        found.append(
            Fate(
                # RFC 3464 §2.3.4: without a readable Action the class of Status tells it, and 5 alone is final.
                action or {"2": "delivered", "4": "delayed", "5": "failed"}.get(status[:1], ""),  # type: ignore[arg-type]
                status, _typed(diagnostic)[:_DIAGNOSTIC_MAX], _address(_first(fields, "final-recipient")),
                _address(_first(fields, "original-recipient")),
            )
        )
    return found


def _with_words(fate: Fate, words: str) -> Fate:
    if fate.diagnostic or not words:
        return fate
    return Fate(fate.action, fate.status, " ".join(words.split())[:_DIAGNOSTIC_MAX], fate.final, fate.original)


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _word(value: str) -> str:
    found = re.match(r"\s*([A-Za-z]{1,20})", value)
    return found[1].lower() if found else ""


def _typed(value: str) -> str:
    # RFC 3464 §2.3.6: `smtp; 550 …`
    kind, semicolon, rest = value.partition(";")
    return rest.strip() if semicolon and re.fullmatch(r"[\w.-]{1,30}", kind.strip()) else value.strip()


def _address(value: str) -> str:
    return _typed(value).strip().strip("<>")[:320]
