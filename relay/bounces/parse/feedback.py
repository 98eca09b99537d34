"""Complaints: abuse reports of feedback loops (RFC 5965), and receipts told apart from them."""

from __future__ import annotations

import re

from relay.bounces.parse.entity import Entity, decoded, leaves, read_fields
from relay.bounces.parse.entity import read as read_entity
from relay.bounces.parse.values import Report

_PATH = re.compile(r"[^\s<>;,\"]{1,64}@[^\s<>;,\"]{1,253}")
_QUEUE_ID = re.compile(r"[a-z2-7]{16}")
_CLAIMS_MAX = 10


def read(entity: Entity) -> Report | None:
    """A complaint, a receipt (as `auto_reply`), or None."""
    kind = entity.parameters.get("report-type", "").lower()
    # RFC 8098 §3: a disposition notification tells of reading, never of delivery.
    if kind == "disposition-notification":
        return Report("auto_reply", "receipt")
    found = list(leaves(entity)) if entity.type.startswith("multipart/") else []
    report = next((p for p in found if p.type == "message/feedback-report"), None)
    if report is None:
        return None
    # RFC 5965 §3: fields as in a header, one group.
    fields = read_fields(decoded(report).lstrip(b"\r\n"))
    feedback = fields.get("feedback-type", [""])[0].lower()[:40]
    paths: list[str] = []
    ids: list[str] = []
    for value in fields.get("original-mail-from", []):
        paths += _PATH.findall(value)
    for part in found:
        if part.type in ("message/rfc822", "message/global"):
            original = read_entity(decoded(part).lstrip(b"\r\n"))
        elif part.type in ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers"):
            original = read_entity(decoded(part).lstrip(b"\r\n") + b"\r\n\r\n")
        else:
            continue
        for name in ("return-path", "x-envelope-from", "envelope-from", "x-original-return-path"):
            for value in original.fields.get(name, []):
                paths += _PATH.findall(value)
        for value in original.fields.get("x-posthouse-message", []):
            ids += _QUEUE_ID.findall(value.strip()[:16])
        for value in original.fields.get("feedback-id", []):
            ids += _QUEUE_ID.findall(value.strip()[:16])
    return Report(
        "complaint", "arf", feedback=feedback or "abuse", paths=tuple(dict.fromkeys(paths))[:_CLAIMS_MAX],
        queue_ids=tuple(dict.fromkeys(ids))[:_CLAIMS_MAX], agent=fields.get("user-agent", [""])[0][:100],
    )
