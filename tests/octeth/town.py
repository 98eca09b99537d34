"""A served relay for the cases beside this file: members, domains under given ids, their DNS, and a mail exchanger.

Everything is real and on loopback: HTTP, DNS packets, SMTP, SQLite. Only time is in the hand, so that answers can be
written down whole.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy import delete, func, insert, select, text, update

import enroll.app as enrollment
from enroll.api.native import Mail
from enroll.services import Services
from relay.base.config import Config
from relay.base.domain_options import OPTIONS, Notes, Options, columns
from relay.base.storage import Tx, second_factors, versions
from relay.base.storage.tables import (
    api_keys,
    daily_stats,
    dkim_keys,
    domains,
    events,
    members,
    messages,
    recipients,
    suppressions,
)  # fmt: skip
from relay.base.web import Listener, application
from relay.sendapi import Copies, SendServices
from tests.kit.clock import HandClock
from tests.kit.dns import make_zone
from tests.kit.line import Line, line
from tests.kit.sink import Held
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, key_pair

NOW = datetime(2026, 5, 23, 9, 11, tzinfo=UTC)
HOST = "tracking-host.octeth.example"
PASSWORD = "correct horse battery"
_ORIGINS = ("example.com", "gone.example", "new.example", "cloudflare.com", "boutique-host.example")
_KEY = 455
"""Keys with higher ids are a case's own."""
_SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {}, "demo": {"demo_mode": True}, "paced": {"requests": 2, "tests": 1, "emails": 1},
    "impatient": {"test_seconds": 0.2}, "http": {"error_status": "http"},
}
_TRIGGERS = {
    # The database says no to this name.
    "insert": "CREATE TRIGGER broken BEFORE INSERT ON domains WHEN NEW.name = 'broken.example' "
              "BEGIN SELECT RAISE(ABORT, 'no'); END",
    # Somebody deletes the row while it is being made, or changed.
    "vanish": "CREATE TRIGGER broken AFTER UPDATE OF options ON domains "
              "BEGIN UPDATE domains SET state = 'deleted' WHERE id = NEW.id; END",
}  # fmt: skip


@dataclass
class Town:
    """The relay and who is around it. `lay_out` begins a case, `clear` ends it."""

    way: Line
    clock: HandClock
    alice: MemberAt
    bob: MemberAt
    secrets: dict[str, str]
    services: Services = field(init=False)
    ports: dict[str, int] = field(default_factory=dict)
    _until: asyncio.Event = field(default_factory=asyncio.Event)
    _zones: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Zones as they were made, by their name servers: what a case adds to is made anew for the next."""
    _logged: bool = True
    _uuids: Any = field(default_factory=lambda: itertools.count(1))

    async def lay_out(self, about: Mapping[str, Any]) -> int:
        """Make the world of a case; returns the port of the relay that it asks."""
        await self.way.world.pass_time(3700)  # every window is over
        self.clock.wall = NOW.timestamp()
        said = about.get("rcpt", "250 2.1.5 ok")
        self._until = asyncio.Event()
        self.way.sink.on("RCPT", Held(self._until, "250 2.1.5 ok") if said == "held" else said)
        for origin in _ORIGINS:
            servers = tuple(about.get("nameservers", ())) if origin == "example.com" else ()
            if self._zones.get(origin) != servers:
                self.way.dns.zones.put(self._zone(origin, servers))
                self._zones[origin] = servers
        self.way.dns.faults.table.clear()
        for name in about.get("unreachable", ()):
            self.way.dns.faults.set(name, "servfail")
        listed = about.get("domains", [{}])
        await self.way.world.storage.write(lambda tx: self._write(tx, listed, about))
        await self.way.world.directory.refresh()
        await self.way.world.suppressions.refresh()
        return self.ports[about.get("relay", "plain")]

    async def clear(self) -> None:
        """What is held goes on, and no message is left for the next case, whose domain has the same id; the database
        has no faults any more."""
        self._until.set()
        self.way.sink.on("RCPT", "250 2.1.5 ok")
        left = recipients.c.state.in_(("queued", "deferred"))

        async def do(tx: Tx) -> int:
            await tx.execute(text("DROP TRIGGER IF EXISTS broken"))
            waits = update(recipients).where(left, recipients.c.lease_owner.is_(None)).values(state="cancelled")
            await tx.execute(waits)
            return (await tx.execute(select(func.count()).select_from(recipients).where(left))).scalar_one()

        async with asyncio.timeout(10):
            while await self.way.world.storage.write(do):
                await self.way.settled.get()

    async def _write(self, tx: Tx, listed: list[dict[str, Any]], about: Mapping[str, Any]) -> None:
        for table in (dkim_keys, daily_stats, domains, suppressions):
            await tx.execute(delete(table))
        await second_factors.remove(tx, self.alice.id)
        if "second_factor" in about:
            factor = self.services.accounts.second_factor
            sealed = self.way.world.vault.seal(about["second_factor"].encode(), "second-factor", str(self.alice.id))
            hashes = [factor.hashes(self.alice.id, code)[0] for code in about["recovery_codes"]]
            await second_factors.put(tx, self.alice.id, sealed, 0, hashes, NOW.timestamp())
        await tx.execute(update(members).values(max_domains=about.get("limit")))
        for one in listed:
            await self._place(tx, **one)
        await self._log(tx, about.get("events", ()))
        await tx.execute(delete(api_keys).where(api_keys.c.id > _KEY))
        await tx.execute(text(f"UPDATE sqlite_sequence SET seq = {_KEY} WHERE name = 'api_keys'"))
        for one in about.get("keys", ()):
            await self._key(tx, **one)
        for id, (address, reason, detail) in enumerate(about.get("suppressions", ()), 1):
            await tx.execute(insert(suppressions).values(
                id=id, member_id=self.alice.id, canonical=address.lower(), original=address, reason=reason,
                detail=detail, created_at=NOW.timestamp(), categories="",
            ))
        await tx.execute(text("UPDATE sqlite_sequence SET seq = 11 WHERE name = 'domains'"))
        if "trigger" in about:
            await tx.execute(text(_TRIGGERS[about["trigger"]]))
        await versions.bump(tx, versions.DIRECTORY)
        await versions.bump(tx, versions.SUPPRESSIONS)

    async def _key(
        self, tx: Tx, owner: str = "alice", domains: Sequence[str] | None = ("example.com",), **more: Any
    ) -> None:
        """A key that is listed and opens nothing."""
        member = self.alice if owner == "alice" else self.bob
        values = {"scopes": ["send"], "description": "", "created_at": 0.0} | more
        await tx.execute(insert(api_keys).values(
            member_id=member.id, public_id=f"key{more['id']}", secret_hash="0" * 64, domains=domains, **values
        ))

    async def _log(self, tx: Tx, happened: Sequence[Mapping[str, Any]]) -> None:
        """What the log of messages says, oldest first: a message each, with one recipient and one event. Their ids are
        negative, and stand in no other's way."""
        for table in (events, recipients, messages) if happened or self._logged else ():
            of = table.c.member_id.in_((self.alice.id, self.bob.id))
            await tx.execute(delete(table).where(of if table is events else table.c.id < 0))
        self._logged = bool(happened)
        for id, one in enumerate(happened, -len(happened)):
            member = self.alice if one.get("owner", "alice") == "alice" else self.bob
            at = datetime.fromisoformat(one["at"]).replace(tzinfo=UTC).timestamp()
            of = {"id": id, "member_id": member.id, "domain_id": one.get("domain", 12)}
            await tx.execute(insert(messages).values(
                **of, queue_id=f"queue{-id}", door="http", mail_from="", header_from="anna@example.com",
                subject=one.get("subject", "Hello"), header_id=f"<{-id}@example.com>", category="bulk", size=1,
                metadata=one.get("metadata"), smtputf8=False, return_path="", received_at=at, finished_at=at,
            ))
            await tx.execute(insert(recipients).values(
                **of, message_id=id, address=one["to"], destination="", state="sent", next_at=at, expires_at=at,
                code=one.get("code", 250), says=one.get("says", "250 2.1.5 ok"), settled_at=at,
            ))
            await tx.execute(insert(events).values(
                **of, at=at, type=one["type"], message_id=id, recipient_id=id, data={"recipient": one["to"]},
            ))

    async def _place(
        self, tx: Tx, id: int = 12, name: str = "example.com", state: str = "verified", owner: str = "alice",
        published: bool = True, checked: str | None = None, flags: dict[str, bool] | None = None,
        stats: Mapping[str, list[int]] | None = None, tier: str = "unlimited", **options: Any,
    ) -> None:
        """A domain under this id. stats: day (or how many days ago) → sent, delivered, bounced, complaints."""
        owned_by = self.alice if owner == "alice" else self.bob
        wanted = Options(
            **{"return_path": True, "tracking": True, "link_tracking": True, "open_tracking": True}
            | {name: value for name, value in options.items() if name in OPTIONS}
        )
        noted = Notes(**{name: value for name, value in options.items() if name not in OPTIONS})
        rsa, rsa_txt, ed, ed_txt = key_pair()
        seal = ("dkim", str(owned_by.id), name, "ph1")
        vault = self.way.world.vault
        at = datetime.fromisoformat(checked).replace(tzinfo=UTC).timestamp() if checked else None
        await tx.execute(insert(domains).values(
            id=id, uuid=f"00000000-0000-4000-9000-{next(self._uuids):012d}", member_id=owned_by.id, name=name,
            state=state, ownership_token="t", **columns(wanted, noted), tier=tier, checked_at=at, asked_at=at,
            created_at=datetime(2026, 4, 25, 22, 54, tzinfo=UTC).timestamp(), flags=flags,
            first_verified_at=NOW.timestamp() if state in ("verified", "disabled") else None,
        ))
        await tx.execute(insert(dkim_keys).values(
            domain_id=id, stem="ph1", state="pending" if state == "pending" else "live",
            rsa_private=vault.seal(rsa, *seal, "rsa"), rsa_txt=rsa_txt, ed_private=vault.seal(ed, *seal, "ed25519"),
            ed_txt=ed_txt, created_at=0.0, state_at=0.0,
        ))
        for day, (sent, delivered, bounced, complaints) in (stats or {}).items():
            when = day if "-" in day else (NOW - timedelta(days=int(day))).strftime("%Y-%m-%d")
            await tx.execute(insert(daily_stats).values(
                domain_id=id, day=when, member_id=owned_by.id, accepted=sent, delivered=delivered, bounced=bounced,
                complaints=complaints,
            ))
        if published:
            zones = self.way.dns.zones
            for origin in _ORIGINS:
                if f".{name}".endswith(f".{origin}"):
                    self._zones.pop(origin, None)
            sub = wanted.custom_subdomain
            zones.add(f"_posthouse-challenge.{name}", "TXT", "posthouse-domain-verification=t")
            zones.add(f"ph1r._domainkey.{name}", "TXT", rsa_txt)
            zones.add(f"ph1e._domainkey.{name}", "TXT", ed_txt)
            zones.add(f"{sub}.{name}", "CNAME", f"{HOST}.")
            zones.add(f"{wanted.track_prefix}-{sub}.{name}", "CNAME", f"{HOST}.")

    def _zone(self, origin: str, nameservers: Any) -> Any:
        records = [("@", "MX", "10 mx.sink.test.")]
        if origin in ("cloudflare.com", "boutique-host.example"):
            sub = "ns." if origin == "cloudflare.com" else ""
            return make_zone(origin, [(f"ns{i}.{sub}{origin}", "A", "127.0.0.1") for i in (1, 2)], ttl=0)
        if origin == "example.com" and nameservers:
            return make_zone(origin, records, ns=tuple(nameservers), ttl=0)
        return make_zone(origin, records, ttl=0)


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[Town]:
    """The relay, served with each of `_SETTINGS`, until the block ends."""
    clock = HandClock(NOW.timestamp())
    async with AsyncExitStack() as stack:
        way = await stack.enter_async_context(line(make_config(folder), clock=clock))
        way.start()
        # The documented answers are those of the first member.
        system = await way.world.core.enroll.accounts.system_member()
        await way.world.change("members", system.id, id=1000)
        alice = await way.world.member("alice", email="alice@mail.test", id=1)
        bob = await way.world.member("bob", email="bob@mail.test", id=2)
        made = Town(way, clock, alice, bob, {"your-api-key": alice.key, "another-api-key": bob.key})
        for name, octeth in _SETTINGS.items():
            config = make_config(
                folder, octeth=octeth, dns={"bounce_host": HOST, "tracking_host": HOST},
                server={"hostname": "relay.test"},
                submission={
                    "listen": ["127.0.0.1:2525", "127.0.0.1:587"], "listen_tls": ["127.0.0.1:465", "[::1]:465"],
                },
            )
            made.ports[name] = await _serve(stack, made, config, name == "plain")
        yield made


async def _serve(stack: AsyncExitStack, made: Town, config: Config, first: bool) -> int:
    world = made.way.world
    services = Services.build(
        world.storage, config, made.clock, world.vault, directory=world.directory, resolver=made.way.dns.resolver,
        intake=world.intake, notices=world.core.notices,
    )
    stack.callback(services.close)
    if first:
        made.services = services
        reads, _ = await services.credentials.issue(made.alice.id, scopes=["read", "send"])
        await world.domain(made.alice, "new.example")
        await world.domain(made.alice, "example.com")
        hashed = await services.passwords.hash(PASSWORD)
        await world.change("members", made.alice.id, password_hash=hashed)
        limited, _ = await services.credentials.issue(made.alice.id, domains=["new.example"])
        narrow, _ = await services.credentials.issue(
            made.alice.id, domains=["example.com", "new.example"], networks=["127.0.0.0/8"]
        )
        manages, _ = await services.credentials.issue(made.alice.id, scopes=["manage", "read"])
        system = await services.accounts.system_member()
        operators, _ = await services.credentials.issue(system.id, scopes=["read"])
        token, _ = await services.sessions.open(made.alice.id, "127.0.0.1", "curl")
        made.secrets |= {"reading-api-key": reads, "limited-api-key": limited, "your-session-id": token,
                         "narrow-api-key": narrow, "managing-api-key": manages, "admin-api-key": operators}
        await world.directory.refresh()
    send = SendServices(
        config=config, clock=made.clock, storage=world.storage, directory=world.directory, policy=world.policy,
        intake=world.intake, refusals=world.refusals,
    )
    routes = enrollment.routes(services, Mail(world.queue), copies=Copies(send, world.unsubscribe))
    app: web.Application = application(
        config, made.clock, world.storage, routes=routes, translate=[enrollment.translate]
    )
    listener = Listener(app, config, ["127.0.0.1:0"])
    await listener.start()
    stack.push_async_callback(listener.stop)
    return int(listener.ports[0])
