"""Posting one event to the address that a member named, by the guarded client: the event as the feed shows it, with
the headers that prove who sent it. What an answer means is left to `dispatch`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from relay.base.clock import iso
from relay.base.config.model import Webhooks
from relay.base.events import shown
from relay.base.http_client import HttpBounds, HttpClient
from relay.base.resolver import Resolver
from relay.base.storage.webhooks import TEST, Due

_SHOWN = 200
_KEPT_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Posted:
    """What came back. `status` None: no answer, and `says` names the reason in our words; else its first bytes."""

    status: int | None
    says: str
    seconds: float
    retry_after: int | None = None

    @property
    def taken(self) -> bool:
        """2xx."""
        return self.status is not None and 200 <= self.status < 300


class Poster:
    """Posts events. `close` it at the end."""

    def __init__(
        self, config: Webhooks, resolver: Resolver, monotonic: Callable[[], float], *, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` replaces the system's trust."""
        bounds = HttpBounds(
            config.timeout_seconds, config.max_answer_bytes,
            # Waiting for a free connection would count as the other side being slow.
            connections=config.parallel * config.parallel_an_endpoint,
            ports=config.ports, private=config.allow_private_networks,
        )
        self._client = HttpClient(bounds, resolver, monotonic, tls=tls)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def post(self, url: str, headers: Mapping[str, str], text: str) -> Posted:
        """Post JSON text; never raises but for being cancelled."""
        sent = {"Content-Type": "application/json", "User-Agent": "Posthouse-Webhooks", **headers}
        answered = await self._client.request("POST", url, sent, text.encode())
        says = answered.says if answered.status is None else _shown(answered.body)
        return Posted(answered.status, says, answered.seconds, answered.retry_after)


def _shown(body: bytes) -> str:
    """The first bytes of an answer, for the log."""
    text = body[:_KEPT_BYTES].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()[:_SHOWN]


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
