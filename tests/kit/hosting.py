"""A relay that keeps its members' records in a zone of its own, served in the DNS world of `enrolling`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import dns.asyncquery
import dns.message

from enroll.domains import Domain, HostedZone
from relay.base.config import Config
from tests.kit.enrolling import Enrolling, enrolling

ZONE = "hosted.relay.test"


def hosting_config(config: Config, **dns_keys: Any) -> Config:
    """The configuration with a hosted zone, whose server `ns.relay.test` is the DNS world's."""
    shown = {"hosted_zone": ZONE, "hosted_servers": ["ns.relay.test"]} | dns_keys
    return config.model_copy(update={"dns": config.dns.model_copy(update=shown)})


@dataclass
class Hosting:
    """The relay, and the zone that it hosts."""

    relay: Enrolling
    hosted: HostedZone
    config: Config

    async def ask(self, name: str, type: str = "TXT") -> dns.message.Message:
        """The server's answer over UDP, once the zone has seen the last commit."""
        await self.hosted.refresh()
        query = dns.message.make_query(name, type, use_edns=0, payload=1232)
        return await dns.asyncquery.udp(query, "127.0.0.1", port=self.relay.dns.server.port, timeout=5)

    async def texts(self, name: str) -> list[str]:
        """The TXT values at a name."""
        found = await self.ask(name)
        return [b"".join(r.strings).decode() for rrset in found.answer for r in rrset if hasattr(r, "strings")]

    async def look(self, domain: Domain, after: float = 61.0) -> Domain:
        """The owner presses Verify."""
        await self.hosted.refresh()
        return await self.relay.look(domain, after=after)


@asynccontextmanager
async def hosting(config: Config, **dns_keys: Any) -> AsyncIterator[Hosting]:
    """Everything, until the block ends."""
    config = hosting_config(config, **dns_keys)
    async with enrolling(config) as relay:
        hosted = HostedZone(config)
        relay.zone("ns.relay.test")
        relay.dns.zones.put(hosted.zone)
        await hosted.open(relay.storage)
        yield Hosting(relay, hosted, config)
