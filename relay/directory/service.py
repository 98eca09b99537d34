"""Who is this login, which domains, which keys: answers from memory, at most a second old.

A snapshot of members, live keys and verified domains follows the version row: when that has moved, the rows that have
changed since are read (`storage.versions` knows which) and put into the indexes of `view`; all of them at the start,
and where nobody knows what has changed. So whoever changes a member, a key or a domain names it to `versions.bump`,
and what the snapshot is to know of a row goes into `storage.directory.snapshot`, `entries` and `view`. The accepting
transaction asks the tables once more. Reads only. Failed logins are counted here, for SMTP and HTTP.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import structlog

from relay import replies
from relay.base import metrics, names, secrets
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.netguard import client_key
from relay.base.runtime import stopped
from relay.base.secrets import Vault
from relay.base.storage import Storage, StorageError, Tx, credentials, key_use, versions
from relay.base.storage import directory as rows
from relay.base.throttle import Throttle
from relay.directory.entries import DomainEntry, Key, Login, MemberEntry, PausedDomain
from relay.directory.view import View
from relay.replies import Verdict

log = structlog.get_logger()
_NOTE_USE_SECONDS = 5.0


class Failures:
    """Wrong API keys, counted by the address they come from and by the key they name from there: in this process only.

    Asked about wrong logins only, so a right key is never shut out by what others do at its address or with its name.
    What a person could guess has a count of its own, which is asked first (`enroll.accounts`).
    """

    def __init__(self, config: Config) -> None:
        s = config.submission
        self._from_address = Throttle(s.auth_failures_an_address, s.auth_failure_window_seconds)
        self._at_key = Throttle(s.auth_failures_a_key, s.auth_failure_window_seconds)

    def wait(self, address: str, public_id: str, now: float) -> float:
        """Count one more from `address`, naming the key `public_id` ("": none), and return 0; or, uncounted, the
        seconds until one more is looked at. `now` is monotonic."""
        address = client_key(address)
        wait = self._from_address.wait(address, now)
        if public_id:
            wait = max(wait, self._at_key.wait((public_id, address), now))
        if wait <= 0:
            self._from_address.count(address, now)
            if public_id:
                self._at_key.count((public_id, address), now)
        return wait


_MEMBERS_EACH = 4


class UsedFrom:
    """For each of the last `most` addresses, the few members who logged in from there last."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._members: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def note(self, address: str, member_id: int) -> None:
        """A member has logged in from an address."""
        known = self._members.get(address, ())
        if member_id not in known[:1]:
            others = [m for m in known if m != member_id]
            self._members[address] = (member_id, *others[: _MEMBERS_EACH - 1])
        self._members.move_to_end(address)
        if len(self._members) > self._most:
            self._members.popitem(last=False)

    def by(self, address: str) -> Collection[int]:
        """The members who did."""
        return self._members.get(address, ())


class Directory:
    """The snapshot and the questions it answers. `start` reads it first and keeps it fresh; `stop` ends that."""

    def __init__(self, storage: Storage, config: Config, clock: Clock, vault: Vault) -> None:
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._view = View()
        self._version = -1
        self._reading = asyncio.Lock()  # one that began earlier and ends later would bring back what was before
        self._fresh_at = float("-inf")
        self._stopping = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._used: dict[int, float] = {}
        self._outdated: dict[int, tuple[str, str]] = {}
        self._failures = Failures(config)
        self._used_from = UsedFrom()

    async def start(self) -> None:
        """Read the snapshot, then look for changes until `stop`. Raises StorageError if it can't be read at all."""
        await self.refresh()
        self.task = asyncio.create_task(self._follow(), name="directory")

    async def stop(self) -> None:
        """End the looking."""
        if self.task is not None:
            # Asked, not cancelled: a read that is cut off half way would leave its connection to be cleaned up.
            self._stopping.set()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None
            try:
                await self._note_use()
            except StorageError as e:
                log.warning("directory.use_not_kept", cause=str(e))

    async def refresh(self) -> None:
        """Look now. Raises StorageError; the old snapshot then stays in use."""
        async with self._reading:
            if await versions.glimpse(self._storage, versions.DIRECTORY) != self._version:
                async with self._storage.read() as tx:
                    version = (await versions.current(tx)).get(versions.DIRECTORY, 0)
                    changed = await versions.changed(tx, self._version, version)
                    snap = await rows.snapshot(tx, changed)
                # Beside the old one, where it is a whole: what it no longer has is nowhere then.
                view = View() if changed is None else self._view
                view.take(snap, changed)
                self._view, self._version = view, version
        self._fresh_at = self._clock.monotonic()

    async def _follow(self) -> None:
        noted = self._clock.monotonic()
        while not await stopped(self._stopping, self._config.database.snapshot_seconds):
            try:
                await self.refresh()
                if self._used and self._clock.monotonic() - noted > _NOTE_USE_SECONDS:
                    noted = self._clock.monotonic()
                    await self._note_use()
            except StorageError as e:
                log.warning("directory.stale", cause=str(e))

    async def _note_use(self) -> None:
        """When keys were last used is written now and then, not with each login. A key known by its hash under a
        previous master key gets the one under the key in use: only then its secret is at hand."""
        used, self._used = self._used, {}
        outdated, self._outdated = self._outdated, {}

        async def do(tx: Tx) -> None:
            await key_use.used(tx, used)
            for key_id, (old, new) in sorted(outdated.items()):
                await credentials.rehash(tx, key_id, old, new, self._vault.key_id)

        if used:
            await self._storage.write(do)

    def exact(self, version: int) -> bool:
        """True if the snapshot is what the tables say at this version of the directory."""
        return version == self._version

    # -- logins ------------------------------------------------------------------------------------------------

    def login(
        self, username: str | None, secret: str, address: str, *, acts_as: str = "", did: str | None = None,
        scope: str = "send", reads: bool = False,
    ) -> Login | Verdict:
        """The member behind an API key, or the refusal. SMTP hands in a user name, and whom it wants to act as; HTTP
        may hand in a DID. `reads`: nothing is changed, so a suspended member may too.

        The key is looked at first: a right one never meets what is counted of wrong ones, and is never counted.
        """
        found = self._login(username, secret, address, acts_as=acts_as, did=did, scope=scope, reads=reads)
        metrics.LOGINS.labels("key", found.reply.name if isinstance(found, Verdict) else "ok").inc()
        return found

    def _login(
        self, username: str | None, secret: str, address: str, *, acts_as: str, did: str | None, scope: str,
        reads: bool,
    ) -> Login | Verdict:
        now = self._clock.monotonic()
        if now - self._fresh_at > self._config.database.snapshot_max_age_seconds:
            return Verdict(replies.AUTH_UNAVAILABLE)
        parsed = secrets.parse_api_key(secret)
        found = self._match(parsed)
        if did is not None and did.lower() not in self._view.dids:
            try:
                names.did(did)
            except names.BadName as e:
                return Verdict(replies.INVALID_DID, saw=e.reason, member_id=found[1].id if found else None)
        if found is None:
            return self._wrong(secret, parsed, address, now)
        key, member = found
        named = all(self._is_named(member, key, name) for name in (username, acts_as or None) if name is not None)
        if not (named and _fits(key, member, address, did)):
            return Verdict(replies.AUTH_FAILED, member_id=member.id)
        if member.status != "active" and not reads:
            return self._suspended(member)
        if scope not in key.scopes:
            return Verdict(replies.SCOPE_MISSING, wanted=scope, member_id=member.id)
        self._used[key.id] = self._clock.now()
        if self._vault.previous and (fresh := self._vault.api_key_hash(parsed[1] if parsed else "")) != key.secret_hash:
            self._outdated[key.id] = (key.secret_hash, fresh)
        self._used_from.note(address, member.id)
        return Login(
            member_id=member.id, handle=member.handle, did=member.did, key_id=key.id, public_id=key.public_id,
            scopes=key.scopes, domains=key.domains, default_category=key.default_category,
            null_sender=key.null_sender,
        )

    def owner(self, secret: str) -> int | None:
        """The member whose API key this is, whatever it is used for; None for nobody's. Counts nothing."""
        found = self._match(secrets.parse_api_key(secret))
        return found[1].id if found is not None else None

    def _match(self, parsed: tuple[str, str] | None) -> tuple[Key, MemberEntry] | None:
        """The key and its member; the same work whether the key is unknown, wrong or expired."""
        public_id, secret = parsed or ("", "")
        key = self._view.keys.get(public_id)
        kept = key.secret_hash if key else "0" * 64
        right = any(hmac.compare_digest(given, kept) for given in self._vault.api_key_hashes(secret))
        if key is None or not right or key.expired(self._clock.now()):
            return None
        member = self._view.members.get(key.member_id)
        return None if member is None or member.status == "deleted" else (key, member)

    def _is_named(self, member: MemberEntry, key: Key, username: str) -> bool:
        """Whether a user name is this member's handle or DID, or the key's own; or one of them, an @ and the relay's
        name or a verified domain of the member, for programs that take nothing else."""
        known = (member.handle.lower(), member.did.lower(), key.smtp_user)
        username = username.lower()
        if username in known:
            return True
        name, at, host = username.rpartition("@")
        if not at or name not in known:
            return False
        if host in self._config.own_hosts:
            return True
        try:
            return self.domain_of_member(member.id, names.domain(host)) is not None
        except names.BadName:
            return False

    def _wrong(self, secret: str, parsed: tuple[str, str] | None, address: str, now: float) -> Verdict:
        """The refusal of a key that is nobody's. Nothing, and a token for something else, is no guess at a key."""
        if not secret:
            return Verdict(replies.AUTH_FAILED)
        if secrets.other_kind(secret):
            return Verdict(replies.AUTH_FAILED, saw="a sign-in, an invite or a webhook's secret, which is no API key")
        wait = self._failures.wait(address, parsed[0] if parsed else "", now)
        if wait > 0:
            return Verdict(replies.TOO_MANY_FAILURES, passes_at=self._clock.now() + wait)
        return Verdict(replies.AUTH_FAILED, guess=True)

    def _suspended(self, member: MemberEntry) -> Verdict:
        return Verdict(replies.MEMBER_SUSPENDED, saw=member.reason or "see your account", member_id=member.id)

    def recheck(self, login: Login) -> Verdict | None:
        """What has changed since this login: a revoked or expired key, a suspension. Asked at each MAIL."""
        member = self._view.members.get(login.member_id)
        key = self._view.key_ids.get(login.key_id)
        # 0: a signed-in owner, no key. Another public id: its secret has been replaced since.
        over = login.key_id != 0 and (
            key is None or key.public_id != login.public_id or key.expired(self._clock.now())
        )
        if member is None or member.status == "deleted" or over:
            return Verdict(replies.AUTH_FAILED)
        if member.status != "active":
            return self._suspended(member)
        return None

    def greeting(self, address: str) -> Verdict | None:
        """The 521 of the greeting: only for an address inside key networks of suspended members and of no other, from
        which no active member has logged in: whoever names a network does not own it."""
        stopped = next((k for k in self._view.suspended.values() if _inside(address, k.networks)), None)
        if stopped is None:
            return None
        if any(m.status == "active" for i in self._used_from.by(address) if (m := self._view.members.get(i))):
            return None
        if any(_inside(address, k.networks) for k in self._view.healthy.values()):
            return None
        return self._suspended(self._view.members[stopped.member_id])

    # -- members and domains -----------------------------------------------------------------------------------

    def sending_domain(self, login: Login, name: str) -> DomainEntry | None:
        """The verified domain `name` (A-label) of this member, if this key may use it."""
        if login.domains is not None and name not in login.domains:
            return None
        return self._view.domains.get((login.member_id, name))

    def paused_domain(self, member_id: int, name: str) -> PausedDomain | None:
        """The domain `name` (A-label) of a member, where it may send nothing just now; whatever key."""
        return self._view.paused.get(member_id, {}).get(name)

    def paused_domains(self, login: Login) -> list[PausedDomain]:
        """Every domain of this key's that may send nothing just now."""
        of_member = list(self._view.paused.get(login.member_id, {}).values())
        return [d for d in of_member if login.domains is None or d.name in login.domains]

    def current(self, entry: DomainEntry) -> bool:
        """Whether this verified domain is still one."""
        now = self._view.domains.get((entry.member_id, entry.name))
        return now is not None and now.id == entry.id

    def domains_of(self, login: Login) -> list[DomainEntry]:
        """Every verified domain this key may send from."""
        return [d for d in self.domains_of_member(login.member_id) if login.domains is None or d.name in login.domains]

    def domains_of_member(self, member_id: int) -> list[DomainEntry]:
        """Every verified domain of a member, whatever key."""
        return list(self._view.by_member.get(member_id, {}).values())

    def domain_of_member(self, member_id: int, name: str) -> DomainEntry | None:
        """The verified domain `name` of a member, whatever key."""
        return self._view.domains.get((member_id, name))

    def is_sending_domain(self, name: str) -> bool:
        """True for a verified domain (A-label) of any member."""
        return name in self._view.names

    def forwarding(self, name: str) -> DomainEntry | None:
        """The verified domain `name` (A-label), of whichever member, whose incoming mail the relay takes: its MX was
        seen."""
        return self._view.forwards.get(name)

    def forwarding_paused(self, name: str) -> bool:
        """True for a domain (A-label) whose mail is to be forwarded, but not now: it is not verified, or paused, or its
        MX has not been seen."""
        # Not seen: it leads here already for who asks the right server, and the look that sees it comes soon.
        if name in self._view.waiting_forwards:
            return True
        # Whoever has proved the name by now decides about its mail.
        return name in self._view.paused_forwards and name not in self._view.names

    def is_return_path(self, name: str) -> bool:
        """True for a verified return-path domain of any member."""
        return name in self._view.return_paths

    def is_tracking_host(self, name: str) -> bool:
        """True for a tracking host (A-labels, lower case) whose record was seen at a verified domain."""
        return name in self._view.tracking_hosts

    def enrolled(self, name: str) -> bool | None:
        """Whether `name` (A-labels, lower case) was ever proved as a domain; None if nobody ever enrolled it."""
        return self._view.enrolled.get(name)

    def is_stopped_domain(self, domain_id: int) -> bool:
        """True for a domain that was proved once and that the operator has suspended or blocked since."""
        return domain_id in self._view.stopped_domains

    def system_member(self) -> MemberEntry | None:
        """The member in whose name the relay's own mail goes."""
        return next(iter(self._view.system.values()), None)

    def slowed(self, member_id: int) -> bool:
        """Whether the standing of a member puts its domains into the next lower tier."""
        member = self._view.members.get(member_id)
        return member is not None and member.slowed

    def member(self, member_id: int) -> MemberEntry | None:
        """The member with this id."""
        return self._view.members.get(member_id)


def _fits(key: Key, member: MemberEntry, address: str, did: str | None) -> bool:
    """Whether a right key comes from one of its networks, with a DID that is its member's."""
    if key.networks is not None and not _inside(address, key.networks):
        return False
    return did is None or did.lower() == member.did.lower()


def _inside(address: str, networks: Any) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in n for n in networks)
