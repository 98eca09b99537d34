"""Posting one event to the address that a member named, by the guarded client. What an answer means is left to
`dispatch`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.base.config.model import Webhooks
from relay.base.http_client import HttpBounds, HttpClient
from relay.base.resolver import Resolver

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
