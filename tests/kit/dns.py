"""A DNS world on loopback: one real server that is resolver and authority at once, and a Resolver pointed at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from enroll.zone import DnsServer, Fault, Zone, Zones
from relay.base.netguard import EVERYWHERE
from relay.base.resolver import Resolver

Table = Mapping[str, Sequence[tuple[str, str, str]]]
"""Zone origin → (name, type, value) of each record; "@" as name is the origin."""

IMPATIENT = {"timeout_seconds": 0.3, "authoritative_timeout_seconds": 0.3}
"""Bounds for tests of servers that stay silent."""


@dataclass
class Faulty:
    """The faults hook: `faulty.set("x.example", "servfail")`, for all types or for one."""

    table: dict[tuple[str, str], Fault] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def set(self, name: str, fault: Fault | None, type: str = "*") -> None:
        if fault is None:
            self.table.pop((name, type), None)
        else:
            self.table[name, type] = fault

    def __call__(self, name: str, type: str) -> Fault | None:
        self.asked.append((name, type))
        return self.table.get((name, type)) or self.table.get((name, "*")) or self.table.get(("*", "*"))


@dataclass
class DnsWorld:
    """A running server (`server.port`), its zones to change, its faults to set, and a resolver that asks it."""

    server: DnsServer
    zones: Zones
    faults: Faulty
    resolver: Resolver

    def other_resolver(self, **bounds: Any) -> Resolver:
        """Another resolver on the same world, with bounds of its own."""
        return make_resolver(self.server, **bounds)


def make_zone(origin: str, records: Sequence[tuple[str, str, str]] = (), **options: Any) -> Zone:
    """A zone served by `ns.<origin>` at 127.0.0.1 unless `ns` says otherwise."""
    zone = Zone(origin, **options)
    if "ns" not in options:
        zone.add(f"ns.{origin}", "A", "127.0.0.1")
    for name, type, value in records:
        zone.add(origin if name == "@" else name, type, value)
    return zone


def make_resolver(server: DnsServer, **bounds: Any) -> Resolver:
    """A resolver that asks only this server, also as authority.

    Its times are long enough for a busy machine: a test of silence hands in short ones (`IMPATIENT`).
    """
    options: dict[str, Any] = {
        "timeout_seconds": 5.0, "lifetime_seconds": 10.0, "authoritative_timeout_seconds": 5.0,
        "authoritative_lifetime_seconds": 15.0, "rounds": 1, "private_servers": EVERYWHERE,
        "authoritative_port": server.port,
    }  # fmt: skip
    return Resolver([f"127.0.0.1:{server.port}"], **(options | bounds))


@asynccontextmanager
async def world(
    zones: Table | Sequence[Zone] = (), *, open_world: bool = True, **bounds: Any
) -> AsyncIterator[DnsWorld]:
    """Serve these zones on a free port of 127.0.0.1 until the block ends."""
    if isinstance(zones, Mapping):
        served = Zones(*(make_zone(origin, records) for origin, records in zones.items()))
    else:
        served = Zones(*zones)
    faults = Faulty()
    server = DnsServer(served, faults=faults, open_world=open_world)
    async with server, make_resolver(server, **bounds) as resolver:
        yield DnsWorld(server, served, faults, resolver)
