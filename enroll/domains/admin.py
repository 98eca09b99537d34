"""What only the operator does with a domain: pin its tier, approve, suspend, release. By name, as people type it."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from enroll.domains.lifecycle import LOCKED
from enroll.domains.model import Domain, load, load_one
from enroll.domains.service import Domains
from enroll.errors import conflict, invalid, not_found
from relay.base import events, names
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.domain_options import Notes, Options, columns
from relay.base.events import Event
from relay.base.storage import Storage, Tx, versions
from relay.base.storage import domains as rows
from relay.base.storage import events as event_log
from relay.base.storage.domains import Row
from relay.warming import UNLIMITED


class Operator:
    """The operator's hand on domains. Where several members have enrolled one name, `member_id` says whose is meant;
    without it the one who holds the name is."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, domains: Domains) -> None:
        self._storage, self._config, self._clock, self._domains = storage, config, clock, domains

    async def list(self, member_id: int | None = None, *, after: int = 0, limit: int = 200) -> builtins.list[Domain]:
        """Domains of one member or of all, with ids above `after`."""
        async with self._storage.read() as tx:
            return await load(tx, await rows.page(tx, member_id, after=after, limit=limit))

    async def search(
        self, text: str, *, state: str | None = None, before: int | None = None, limit: int = 100
    ) -> builtins.list[Domain]:
        """Everybody's domains whose name contains `text`, as it is written or as A-labels, the newest first."""
        with contextlib.suppress(names.BadName):  # a part of a name
            text = names.domain(text)
        async with self._storage.read() as tx:
            return await load(tx, await rows.search(tx, text, state=state, before=before, limit=limit))

    async def find(self, name: str, member_id: int | None = None) -> Domain:
        """The domain of this name. Raises EnrollError 404, or 409 when it isn't clear whose is meant."""
        async with self._storage.read() as tx:
            return await load_one(tx, await self._pick(tx, name, member_id))

    async def set_tier(self, name: str, tier: str | None, member_id: int | None = None) -> Domain:
        """Pin a domain to a warming tier by name, set it `unlimited`, or (None) let its age decide again."""
        known = [t.name for t in self._config.warming.tiers]
        if tier is not None and tier != UNLIMITED and tier not in known:
            raise invalid("tier", f"There is no such tier: {', '.join(known)}, {UNLIMITED}.")
        return await self._change(name, member_id, lambda row: {"tier": tier})

    async def approve(self, name: str, member_id: int | None = None) -> Domain:
        """Say yes to a domain that waits for it. Approval is no proof: DNS is asked again at once."""

        def change(row: Row) -> dict[str, Any]:
            notes = replace(Notes.of(row), approved=True)
            return self._to_pending(row, notes) if row.state == "blocked" else columns(Options.read(row.options), notes)

        domain = await self._change(name, member_id, change)
        return await self._domains.check(domain.id) if domain.state == "pending" else domain

    async def suspend(self, name: str, reason: str, member_id: int | None = None) -> Domain:
        """Stop a domain until `release`; its owner can't lift that and sees `reason`."""
        lost = {"event": events.DOMAIN_LOST, "reason": reason}
        return await self._change(
            name, member_id,
            lambda row: {"state": "suspended", "reason": reason, "next_check_at": None}, **lost,
        )

    async def release(self, name: str, member_id: int | None = None) -> Domain:
        """Lift a suspension or a block: the domain must prove itself again, which is asked at once."""

        def change(row: Row) -> dict[str, Any]:
            if row.state not in LOCKED:
                raise conflict(f"The domain is {row.state}, neither suspended nor blocked.")
            return self._to_pending(row, replace(Notes.of(row), approved=True))

        domain = await self._change(name, member_id, change)
        return await self._domains.check(domain.id)

    def _to_pending(self, row: Row, notes: Notes) -> dict[str, Any]:
        now = self._clock.now()
        notes = replace(notes, pending_since=now, lost_at=notes.lost_at or now, missing=())
        # checked_at None: what was found before the change answers no question any more.
        return {
            "state": "pending", "reason": "", "checked_at": None, "next_check_at": now,
            **columns(Options.read(row.options), notes),
        }

    async def _change(
        self, name: str, member_id: int | None, change: Callable[[Row], dict[str, Any]], *, event: str = "",
        reason: str = "",
    ) -> Domain:
        async def write(tx: Tx) -> Domain:
            row = await self._pick(tx, name, member_id, lock=True)
            now, values = self._clock.now(), change(row)
            if values.get("state") == "pending" and not await self._has_pair(tx, row):
                # Stopped before its keys were made: without any there is nothing to prove.
                values |= {"state": "initializing"}
            await rows.change(tx, row.id, **values)
            await versions.bump(tx, versions.DIRECTORY, domains=[row.id])
            if event and row.state in rows.HELD:
                data = {"domain": row.name, "reason": reason}
                await event_log.append(tx, [Event(event, row.member_id, now, row.id, data=data)])
            return await load_one(tx, await rows.get(tx, row.id))

        return await self._domains.commit(write)

    @staticmethod
    async def _has_pair(tx: Tx, row: Row) -> bool:
        pairs = (await rows.pairs(tx, [row.id])).get(row.id, [])
        return any(pair.state in ("live", "pending") for pair in pairs)

    @staticmethod
    async def _pick(tx: Tx, name: str, member_id: int | None, *, lock: bool = False) -> Row:
        try:
            name = names.domain(name)
        except names.BadName as e:
            raise invalid("name", e.reason) from None
        found = [r for r in await rows.named(tx, name, lock=lock) if member_id in (None, r.member_id)]
        held = [r for r in found if r.state in rows.HELD]
        if len(held) == 1:
            return held[0]
        if not found:
            raise not_found("No such domain")
        if len(found) > 1:
            raise conflict("Several members have enrolled this name: say which member is meant.")
        return found[0]


