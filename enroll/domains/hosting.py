"""Who runs a domain's DNS, told by its name servers. Never an error: what can't be asked is `unknown`."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from enroll.dns_check.provider import UNKNOWN, provider
from relay.base import names
from relay.base.clock import Clock
from relay.base.resolver import Answer, Resolver
from relay.base.storage.domains import Row

_MAX_KEPT = 10_000


class Hosting:
    """Answers are kept in memory for `cache_seconds`; the label also stands in the domain's row, for pages."""

    def __init__(self, resolver: Resolver, clock: Clock, *, cache_seconds: float = 3600.0) -> None:
        self._resolver, self._clock, self._seconds = resolver, clock, cache_seconds
        self._kept: OrderedDict[str, tuple[float, str, tuple[str, ...]]] = OrderedDict()

    async def of(self, name: str) -> tuple[str, list[str]]:
        """(provider's label, name servers) of the registrable domain above `name`; ("unknown", []) at worst."""
        zone = names.registrable(name) or name
        now = self._clock.monotonic()
        kept = self._kept.get(zone)
        if kept is not None and now - kept[0] < self._seconds:
            return kept[1], list(kept[2])
        found = await self._resolver.ns(zone)
        if not isinstance(found, Answer):
            return UNKNOWN, []
        servers = tuple(sorted(found.texts()))
        label = provider(servers)
        self._kept[zone] = (now, label, servers)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return label, list(servers)

    async def refreshed(self, row: Row) -> dict[str, Any]:
        """The columns of `row` that tell its provider, where they are older than the cache allows; else nothing."""
        now = self._clock.now()
        if row.provider_at is not None and 0 <= now - row.provider_at < self._seconds:
            return {}
        label, servers = await self.of(row.name)
        return {"provider": label, "provider_at": now} if servers else {}
