"""Webhooks: where a member's events are posted. Make, list, test, rotate, replay, enable, remove; read the log.

Promises that a secret is shown once and kept sealed, that an endpoint is its member's alone, and that its URL could
be one of the public internet. Posting itself, and looking at where the name really leads, is the relay's.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from enroll.errors import conflict, invalid, not_found
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.events import TYPES
from relay.base.netguard import target_fault
from relay.base.secrets import WEBHOOK_SECRET, Vault, random_id
from relay.base.storage import Storage, Tx, accounts, events
from relay.base.storage import webhooks as rows
from relay.base.storage.accounts import DELETED
from relay.base.storage.webhooks import DeliveryRow, EndpointRow

log = structlog.get_logger("webhooks")

STATES = (rows.WAITING, rows.DELIVERED, rows.FAILED)
_PREFIX = WEBHOOK_SECRET  # Standard Webhooks: base64 behind it
_SECRET_BYTES = 32
_MAX_DESCRIPTION = 255


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint without its secrets. Times are Unix seconds; no `types`: all events."""

    id: str
    url: str
    types: tuple[str, ...]
    description: str
    state: str
    reason: str
    failing_since: float | None
    two_secrets_until: float | None
    created_at: float


class Webhooks:
    """The endpoints of members. One of another member is not found."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, vault: Vault) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault

    async def add(
        self, member_id: int, url: str, *, types: Sequence[str] = (), description: str = ""
    ) -> tuple[str, Endpoint]:
        """A new endpoint that gets what happens from now on: (its secret `whsec_…`, shown once; the endpoint).

        Raises EnrollError 422 with the field, 409 at `max_endpoints`, 404; StorageError.
        """
        w = self._config.webhooks
        if fault := target_fault(url, private=w.allow_private_networks, ports=w.ports):
            raise invalid("url", fault)
        if strange := sorted(set(types) - TYPES):
            known = ", ".join(sorted(TYPES))
            raise invalid("types", f"{strange[0][:40]!r} is not an event type; the types are {known}")
        if len(description) > _MAX_DESCRIPTION or not (description.isprintable() or not description):
            raise invalid("description", f"at most {_MAX_DESCRIPTION} printable characters")
        public_id, secret = random_id(10), _new_secret()
        sealed = self._vault.seal(secret.encode(), "webhook", public_id)

        async def do(tx: Tx) -> str:
            if await accounts.lock(tx, member_id) in (None, DELETED):
                return "member"
            if len(await rows.of_member(tx, member_id, limit=w.max_endpoints)) >= w.max_endpoints:
                return "many"
            await rows.add(
                tx, public_id=public_id, member_id=member_id, url=url, types=sorted(set(types)),
                description=description, secret=sealed, now=self._clock.now(), cursor=await events.settled(tx),
            )
            return ""

        fault = await self._storage.write(do)
        if fault == "member":
            raise not_found("There is no such member")
        if fault:
            raise conflict(f"A member has at most {w.max_endpoints} webhooks: delete one first")
        log.info("webhook.added", member_id=member_id, webhook=public_id)
        return secret, await self.get(member_id, public_id)

    async def list(self, member_id: int) -> list[Endpoint]:
        """A member's endpoints, oldest first."""
        async with self._storage.read() as tx:
            found = await rows.of_member(tx, member_id, limit=self._config.http.max_page_size)
        return [self._of(row) for row in found]

    async def get(self, member_id: int, public_id: str) -> Endpoint:
        """One endpoint; EnrollError 404."""
        return self._of(await self._row(member_id, public_id))

    async def rotate(self, member_id: int, public_id: str) -> tuple[str, Endpoint]:
        """A new secret (shown once); for `rotation_seconds` both it and the one before sign. EnrollError 404, 409."""
        row = await self._row(member_id, public_id)
        secret = _new_secret()
        sealed = self._vault.seal(secret.encode(), "webhook", public_id)
        until = self._clock.now() + self._config.webhooks.rotation_seconds
        if not await self._storage.write(lambda tx: rows.rotate(tx, row, sealed, until)):
            raise conflict("The secret has just been changed: reload it")
        log.info("webhook.rotated", member_id=member_id, webhook=public_id)
        return secret, await self.get(member_id, public_id)

    async def test(self, member_id: int, public_id: str) -> int:
        """Post a test there, also to a disabled one; the number of its line in the log. EnrollError 404."""
        row = await self._row(member_id, public_id)
        now = self._clock.now()
        return await self._storage.write(
            lambda tx: rows.add_test(tx, row.id, now, now + self._config.webhooks.timeout_seconds)
        )

    async def replay(
        self, member_id: int, public_id: str, *, event_id: int | None = None, since: float | None = None
    ) -> int:
        """Post again one event, or those since a time (Unix seconds); how many. EnrollError 404, 409, 422."""
        if (event_id is None) == (since is None):
            raise invalid("since", "either `event` or `since` is needed")
        row = await self._row(member_id, public_id)
        if row.state == rows.DISABLED:
            raise conflict("The webhook is disabled: enable it first")
        w, now = self._config.webhooks, self._clock.now()
        count = await self._storage.write(
            lambda tx: rows.replay(
                tx, row, event_id=event_id, since=since, now=now, expires_at=now + w.give_up_seconds,
                limit=w.max_replay,
            )
        )
        if event_id is not None and not count:
            raise not_found("There is no such event, or it has not come to this webhook's turn yet")
        log.info("webhook.replayed", member_id=member_id, webhook=public_id, events=count)
        return count

    async def enable(self, member_id: int, public_id: str) -> Endpoint:
        """Take up a disabled endpoint again; what it has missed comes by replay. EnrollError 404, 409."""
        row = await self._row(member_id, public_id)

        async def do(tx: Tx) -> bool:
            return await rows.enable(tx, row.id, await events.settled(tx))

        if not await self._storage.write(do):
            raise conflict("The webhook is not disabled")
        return await self.get(member_id, public_id)

    async def remove(self, member_id: int, public_id: str) -> None:
        """Post nothing more there. EnrollError 404."""
        row = await self._row(member_id, public_id)
        if not await self._storage.write(lambda tx: rows.remove(tx, row.id)):
            raise not_found("There is no such webhook")
        log.info("webhook.removed", member_id=member_id, webhook=public_id)

    async def posted(
        self, member_id: int, public_id: str, *, before: int | None = None, state: str | None = None, limit: int = 50
    ) -> Sequence[DeliveryRow]:
        """What was posted there, newest first. EnrollError 404."""
        row = await self._row(member_id, public_id)
        async with self._storage.read() as tx:
            return await rows.log(tx, row.id, before=before, state=state, limit=limit)

    async def _row(self, member_id: int, public_id: str) -> EndpointRow:
        async with self._storage.read() as tx:
            row = await rows.one(tx, member_id, public_id)
        if row is None:
            raise not_found("There is no such webhook")
        return row

    def _of(self, row: EndpointRow) -> Endpoint:
        two = row.old_until if row.old_secret is not None and (row.old_until or 0) > self._clock.now() else None
        return Endpoint(
            id=row.public_id, url=row.url, types=row.types, description=row.description, state=row.state,
            reason=row.reason, failing_since=row.failing_since, two_secrets_until=two, created_at=row.created_at,
        )


def _new_secret() -> str:
    return _PREFIX + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()
