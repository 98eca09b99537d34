"""A relay with its domain services, members, and a DNS world in which their records can be published."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from enroll.domains import Domain, Domains, Forwarding, Operator
from enroll.recheck import Recheck
from enroll.services import Services
from relay.base.config import Config
from relay.base.events import Event
from relay.base.storage import Storage, events
from relay.base.storage.tables import bodies, recipients
from tests.kit.clock import HandClock
from tests.kit.dns import DnsWorld, make_zone
from tests.kit.dns import world as dns_world
from tests.kit.world import MemberAt, World

ZONES = (
    "example.test", "other.test", "bob.test", "one.test", "two.test", "xn--bcher-kva.example",
    *(f"d{i}.test" for i in range(4)),
)


@dataclass
class Enrolling:
    """The wired services, and what tests do with them."""

    world: World
    dns: DnsWorld
    services: Services
    domains: Domains
    operator: Operator
    forwarding: Forwarding
    recheck: Recheck
    clock: HandClock

    @property
    def storage(self) -> Storage:
        return self.world.storage

    async def member(self, handle: str = "alice") -> MemberAt:
        return await self.world.member(handle, email=f"{handle}@mail.test")

    def publish(self, domain: Domain, *, only: Iterable[str] = (), without: Iterable[str] = ()) -> None:
        """Put the domain's records into its zone, those of some purposes only or without some."""
        only, without = set(only), set(without)
        for record in self.domains.records(domain):
            if record.purpose in without or (only and record.purpose not in only):
                continue
            self.zone(record.name).add(record.name, record.type, record.value)

    def unpublish(self, domain: Domain, *, only: Iterable[str] = ()) -> None:
        """Take them out again."""
        only = set(only)
        for record in self.domains.records(domain):
            if not only or record.purpose in only:
                self.zone(record.name).remove(record.name, record.type, record.value)

    def zone(self, name: str) -> Any:
        """The zone of a name: its last two labels, made at first use."""
        origin = ".".join(name.split(".")[-2:])
        if origin not in self._zones:
            self._zones[origin] = make_zone(origin)
            self.dns.zones.put(self._zones[origin])
        return self._zones[origin]

    def __post_init__(self) -> None:
        self._zones: dict[str, Any] = {}
        # Registered, but empty: a name without any zone is another matter.
        for origin in ZONES:
            self.zone(origin)

    async def verified(self, member: MemberAt, name: str, **options: Any) -> Domain:
        """Enroll, publish, verify."""
        domain = await self.domains.enroll(member.id, name, options)
        self.publish(domain)
        domain = await self.domains.check(domain.id)
        assert domain.state == "verified", [f for f in domain.findings if not f["ok"]]
        return domain

    async def look(self, domain: Domain, *, after: float = 61.0) -> Domain:
        """The owner presses Verify, when the last answer is old enough to be asked again."""
        self.clock.move(after)
        return await self.domains.check(domain.id)

    async def events(self, member: MemberAt) -> list[Event]:
        async with self.storage.read() as tx:
            return await events.after(tx, 0, member_id=member.id, limit=1000)

    async def event_types(self, member: MemberAt) -> list[str]:
        """The types of a member's events about domains, in order."""
        return [e.type for e in await self.events(member) if e.type.startswith("domain.")]

    async def mail_to(self, address: str) -> list[bytes]:
        """The messages queued for an address, as they will leave."""
        async with self.storage.read() as tx:
            rows = await tx.execute(
                select(bodies.c.head, bodies.c.body)
                .join(recipients, recipients.c.message_id == bodies.c.message_id)
                .where(recipients.c.address == address).order_by(recipients.c.id)
            )
            return [bytes(row.head) + bytes(row.body) for row in rows]


@asynccontextmanager
async def enrolling(config: Config, **bounds: Any) -> AsyncIterator[Enrolling]:
    """Everything, until the block ends. `bounds`: of the resolver."""
    clock = HandClock()
    async with dns_world(**bounds) as dns:
        world = await World.make(config, clock, resolver=dns.resolver)
        try:
            services, about = world.core.enroll, world.core.enroll.for_domains
            recheck = Recheck(world.storage, config, clock, about.domains, owner="test")
            yield Enrolling(world, dns, services, about.domains, about.operator, about.forwarding, recheck, clock)
        finally:
            await world.close()
