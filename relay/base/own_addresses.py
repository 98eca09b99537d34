"""The addresses that this relay sends from, as the world sees them: configured, else those of its name in EHLO."""

from __future__ import annotations

import ipaddress
from typing import Protocol

from relay.base.config import Config
from relay.base.resolver import Answer, Result


class AsksAddresses(Protocol):
    """Resolves a host's name."""

    async def addresses(self, name: str) -> Result:
        """A and AAAA records."""


async def source_addresses(config: Config, resolver: AsksAddresses) -> list[str]:
    """In their one form; none where the name has no address just now."""
    named = config.delivery.source_addresses
    if not named:
        result = await resolver.addresses(config.delivery.helo or config.server.hostname)
        named = [str(r) for r in result.records] if isinstance(result, Answer) else []
    return [str(ipaddress.ip_address(one)) for one in named]
