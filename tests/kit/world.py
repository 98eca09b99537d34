"""A relay's core on a real database, with members and domains in it, for tests below the listeners."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import insert, update

from posthouse.wiring import Core, resolver_of
from relay.base import keys
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.names import Address, address
from relay.base.resolver import Resolver
from relay.base.secrets import Vault, new_api_key
from relay.base.storage import Storage, Tx, versions
from relay.base.storage.tables import api_keys, dkim_keys, domains, members
from relay.directory import Directory, Login
from relay.intake import Intake, Recipient, Submission
from relay.policy import Policy
from relay.queue import Handoff, Queue
from relay.refusals import Refusals
from relay.replies import Verdict
from relay.suppression import Suppressions
from relay.tracking import Tracking
from relay.unsubscribe import Unsubscribe
from tests.kit.clock import HandClock
from tests.kit.storage import made


@cache
def key_pair() -> tuple[bytes, str, bytes, str]:
    """One DKIM pair for all tests of a process (making RSA keys is slow): private, TXT, private, TXT."""
    rsa, ed = keys.generate_rsa(), keys.generate_ed25519()
    return (
        rsa.private, keys.dkim_txt(rsa.algorithm, rsa.public), ed.private, keys.dkim_txt(ed.algorithm, ed.public)
    )


@dataclass
class MemberAt:
    """A member with one API key, as tests speak of it."""

    id: int
    handle: str
    did: str
    key: str
    key_id: int


@dataclass
class World:
    """The wired core. `make` builds it, `close` ends it."""

    config: Config
    clock: Clock
    storage: Storage
    vault: Vault
    directory: Directory
    suppressions: Suppressions
    policy: Policy
    unsubscribe: Unsubscribe
    tracking: Tracking
    handoff: Handoff
    queue: Queue
    intake: Intake
    refusals: Refusals
    core: Core
    owner: str = "test"
    _numbers: Any = field(default_factory=lambda: iter(range(1, 10**6)))

    @classmethod
    async def make(
        cls, config: Config, clock: Clock | None = None, owner: str = "test", *, resolver: Resolver | None = None
    ) -> World:
        clock = clock or HandClock()
        await made(config)
        storage = await Storage.open(config)
        if not config.master_key_path.exists():
            Vault.make(config.master_key_path)
        vault = Vault.load(config.master_key_path, config.previous_key_paths)
        stack = contextlib.AsyncExitStack()
        stack.push_async_callback(storage.close)
        if resolver is None:
            resolver = resolver_of(config)
            stack.push_async_callback(resolver.close)
        async with stack:
            r = await Core.wire(config, clock, storage, vault, resolver, stack=stack, owner=owner, delivers=True)
        assert r.handoff is not None
        return cls(
            config, clock, storage, vault, r.directory, r.suppressions, r.policy, r.unsubscribe, r.tracking, r.handoff,
            r.queue, r.intake, r.refusals, r, owner,
        )

    async def close(self) -> None:
        await self.core.close()

    async def member(self, handle: str = "alice", **columns: Any) -> MemberAt:
        """A member with one API key for everything."""
        text, public, secret = new_api_key()
        did = f"did:web:127.0.0.1%3A8080:m:{handle}"

        async def do(tx: Tx) -> MemberAt:
            member_id = (
                await tx.execute(
                    insert(members).values(handle=handle, did=did, created_at=self.clock.now(), **columns)
                )
            ).inserted_primary_key[0]
            key_id = (
                await tx.execute(
                    insert(api_keys).values(
                        member_id=member_id, public_id=public, secret_hash=self.vault.api_key_hash(secret),
                        scopes=["send", "read", "manage"], created_at=self.clock.now(),
                    )
                )
            ).inserted_primary_key[0]
            await versions.bump(tx, versions.DIRECTORY, members=[member_id], keys=[key_id])
            return MemberAt(member_id, handle, did, text, key_id)

        member = await self.storage.write(do)
        await self.directory.refresh()
        return member

    async def domain(self, member: MemberAt, name: str = "example.test", tier: str | None = "unlimited") -> int:
        """A verified domain of `member` with a live DKIM pair."""
        rsa, rsa_txt, ed, ed_txt = key_pair()
        stem, now = "ph1", self.clock.now()
        seal = ("dkim", str(member.id), name, stem)

        async def do(tx: Tx) -> int:
            domain_id: int = (
                await tx.execute(
                    insert(domains).values(
                        uuid=f"00000000-0000-4000-8000-{next(self._numbers):012d}", member_id=member.id, name=name,
                        state="verified", ownership_token="t", options={}, tier=tier, created_at=now,
                        first_verified_at=now,
                    )
                )
            ).inserted_primary_key[0]
            await tx.execute(
                insert(dkim_keys).values(
                    domain_id=domain_id, stem=stem, state="live", rsa_private=self.vault.seal(rsa, *seal, "rsa"),
                    rsa_txt=rsa_txt, ed_private=self.vault.seal(ed, *seal, "ed25519"), ed_txt=ed_txt,
                    created_at=now, state_at=now,
                )
            )
            await versions.bump(tx, versions.DIRECTORY, domains=[domain_id])
            return domain_id

        got = await self.storage.write(do)
        await self.directory.refresh()
        return got

    async def change(self, table: str, row_id: int, **values: Any) -> None:
        """Change a row of members, api_keys or domains as enroll would."""
        t, kind = {"members": (members, "members"), "api_keys": (api_keys, "keys"), "domains": (domains, "domains")}[
            table
        ]

        async def do(tx: Tx) -> None:
            await tx.execute(update(t).where(t.c.id == row_id).values(**values))
            await versions.bump(tx, versions.DIRECTORY, **{kind: [row_id]})

        await self.storage.write(do)

    async def pass_time(self, seconds: float) -> None:
        """Time passes, and the snapshots keep up as they would."""
        assert isinstance(self.clock, HandClock)
        self.clock.move(seconds)
        await self.directory.refresh()

    def login(self, member: MemberAt) -> Login:
        got = self.directory.login(member.handle, member.key, "127.0.0.1")
        assert isinstance(got, Login), got
        return got

    async def submit(
        self, member: MemberAt, *to: str, sender: str = "news@example.test", raw: bytes | None = None, **more: Any
    ) -> Any:
        """One message through policy and intake, as a door would. `sender` "": the null sender."""
        login = self.login(member)
        domain = self.policy.sender(login, sender) if sender else self.policy.null_sender(login)
        if isinstance(domain, Verdict):
            return domain
        return await self.intake.accept(
            Submission(
                login, domain, more.pop("door", "smtp"), address(sender) if sender else None,
                [Recipient(t if isinstance(t, Address) else address(t)) for t in to or ("bob@sink.test",)],
                raw if raw is not None else letter(sender), **more,
            )
        )


def letter(sender: str = "news@example.test", subject: str = "Hello", body: bytes = b"Hi there.\r\n") -> bytes:
    """A small message."""
    return (
        f"From: News <{sender}>\r\nTo: bob@sink.test\r\nSubject: {subject}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    ).encode() + body
