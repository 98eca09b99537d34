"""A mail at the address for aggregate reports: which of its parts may be one, and whom it proves to come from."""

from __future__ import annotations

import asyncio

import structlog

from relay.aggregate import AggregateRecords, Reported
from relay.base import names
from relay.base.config import Config
from relay.bounces.parse.entity import Entity, decoded, leaves
from relay.inbound.vouching import Source
from relay.verify import AsksRecords, Signature, signatures, spf

log = structlog.get_logger("aggregate")
_PARTS = 5
_KINDS = ("application/", "text/xml", "text/json")


class Aggregate:
    """Hands reports on, with the domain that vouches for them."""

    def __init__(self, records: AggregateRecords, resolver: AsksRecords, config: Config) -> None:
        self._records, self._resolver, self._config = records, resolver, config

    async def take(self, entity: Entity, source: Source) -> None:
        """Read a mail and keep the reports in it. Raises StorageError."""
        parts = await asyncio.to_thread(_parts, entity)
        if not parts:
            log.info("aggregate.unreadable", client=source.client, cause="no part that could be a report")
            return
        await self._records.take(Reported(parts, await self._proved(source), source.client))

    async def _proved(self, source: Source) -> str:
        """The organisation of the header From, if SPF or a signature is of it too; else ""."""
        shown = source.fields.get("from", [])
        try:
            domain = names.single_mailbox(shown[0].encode("utf-8", "replace")).address.domain if len(shown) == 1 else ""
        except names.BadName:
            domain = ""
        if not domain:
            return ""
        seconds = self._config.inbound.vouching_seconds
        by_host, signed = await asyncio.gather(
            spf(source.client, source.helo, source.sender, self._resolver, seconds=seconds),
            self._signatures(source.raw, seconds),
        )
        proved = [one.domain for one in signed if one.result == "pass"]
        if by_host.result == "pass" and by_host.domain:
            proved.append(by_host.domain)
        aligned = any(names.same_organization(one, domain) for one in proved)
        return (names.registrable(domain) or domain) if aligned else ""

    async def _signatures(self, raw: bytes, seconds: float) -> list[Signature]:
        try:
            async with asyncio.timeout(seconds):
                return await signatures(raw, self._resolver)
        except TimeoutError:
            return []


def _parts(entity: Entity) -> list[bytes]:
    """The octets of the parts that may hold a report: files, and what says it is XML or JSON."""
    found = []
    for leaf in leaves(entity):
        named = "filename" in leaf.get("content-disposition").lower() or "name" in leaf.parameters
        if leaf.type.startswith(_KINDS) or named:
            found.append(decoded(leaf))
    return found[:_PARTS]
