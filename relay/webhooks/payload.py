"""What is posted: the event as the feed shows it, and the headers that prove who sent it. Sends nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from relay.base.clock import iso
from relay.base.events import shown
from relay.base.storage.webhooks import TEST, Due


def body(due: Due, now: float) -> str | None:
    """The JSON text of a delivery: `{"type", "timestamp", "data"}`, data being the feed's object.

    None when the log keeps the event no longer.
    """
    value: dict[str, Any]
    if due.event is not None:
        value = {
            "type": due.event.type, "timestamp": iso(due.event.at), "data": shown(due.event, due.domain),
        }
    elif due.row.event_id is None:
        value = {"type": TEST, "timestamp": iso(due.row.created_at), "data": {"sentAt": iso(now)}}
    else:
        return None
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def delivery_name(due: Due) -> str:
    """The id a receiver knows it by: an event's is the same at every try and every replay."""
    return f"test_{due.row.id}" if due.row.event_id is None else f"evt_{due.row.event_id}"


def headers(name: str, text: str, secrets: Sequence[str], now: float) -> dict[str, str]:
    """The three headers of Standard Webhooks (id, timestamp, one signature for each secret) for `text`."""
    at = datetime.fromtimestamp(int(now), UTC)
    signatures = [Webhook(secret).sign(name, at, text) for secret in secrets]
    return {
        "webhook-id": name, "webhook-timestamp": str(int(now)), "webhook-signature": " ".join(signatures),
    }
