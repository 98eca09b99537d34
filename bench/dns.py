"""The DNS of the benchmark: the project's own authoritative server on loopback, zones in memory.

It is resolver and authority at once, so the proof of a domain takes its real way: name servers asked, records read
from them. The sink's domain has an MX that is this machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from enroll.zone import DnsServer, Zone, Zones

# Recipients at these are put off; see sink.c.
LATER_DOMAINS = tuple(f"later.d{n}.test" for n in range(10))
SINK_DOMAINS = ("sink.test", *LATER_DOMAINS)


@dataclass(frozen=True, slots=True)
class Names:
    """The running server's port, and its zones to add to."""

    port: int
    zones: Zones

    def publish(self, origin: str, records: Iterable[tuple[str, str, str]]) -> None:
        """Serve a zone with these (name, type, value)."""
        zone = _zone(origin)
        for name, kind, value in records:
            zone.add(name, kind, value)
        self.zones.put(zone)


@asynccontextmanager
async def names() -> AsyncIterator[Names]:
    """Serve until the block ends."""
    served = Zones()
    for domain in SINK_DOMAINS:
        zone = _zone(domain)
        zone.add(domain, "MX", f"10 mx.{domain}", 3600)
        zone.add(f"mx.{domain}", "A", "127.0.0.1", 3600)
        served.put(zone)
    async with DnsServer(served, open_world=True) as server:
        yield Names(server.port, served)


def _zone(origin: str) -> Zone:
    zone = Zone(origin, ttl=3600)
    zone.add(f"ns.{origin}", "A", "127.0.0.1", 3600)
    return zone
