"""API keys: issue, list, revoke, regenerate.

Promises that a key's text is given out once and kept as a keyed hash only, that what it is limited to is the
member's own and readable, and that a revoked key is dead for the relay as soon as its directory looks. Logging in
with a key is `relay.directory`.
"""

from __future__ import annotations

import builtins
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from enroll.errors import conflict, invalid, not_found
from relay.base import names, secrets
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage, StorageError, Tx, accounts, credentials, versions
from relay.base.storage.accounts import DELETED
from relay.base.storage.credentials import KeyRow
from relay.suppression import CATEGORIES

log = structlog.get_logger("keys")

SCOPES = ("send", "read", "manage")
MAX_DESCRIPTION = 255
_SMTP_USER = re.compile(r"[a-z0-9](?:[a-z0-9._-]{1,62})[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. Times are Unix seconds; `domains` and `networks` None: not limited."""

    id: int
    member_id: int
    public_id: str
    description: str
    scopes: tuple[str, ...]
    domains: tuple[str, ...] | None
    networks: tuple[str, ...] | None
    default_category: str
    null_sender: bool
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    smtp_user: str | None
    last_used_at: float | None

    @classmethod
    def of(cls, row: KeyRow) -> Key:
        """The key of a row."""
        return cls(
            id=row.id, member_id=row.member_id, public_id=row.public_id, description=row.description,
            scopes=row.scopes, domains=row.domains, networks=row.networks, default_category=row.default_category,
            null_sender=row.null_sender, created_at=row.created_at, expires_at=row.expires_at,
            revoked_at=row.revoked_at, smtp_user=row.smtp_user, last_used_at=row.last_used_at,
        )

    def state(self, now: float) -> str:
        """live, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "live"


class Credentials:
    """The API keys of members. A key of another member is not found."""

    def __init__(
        self,
        storage: Storage,
        config: Config,
        clock: Clock,
        vault: Vault,
        *,
        changed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`changed` is awaited after a commit that the relay of this process should see at once."""
        self._storage, self._config, self._clock, self._vault = storage, config, clock, vault
        self._changed = changed

    async def issue(
        self,
        member_id: int,
        *,
        description: str = "",
        scopes: Sequence[str] | None = None,
        domains: Sequence[str] | None = None,
        networks: Sequence[str] | None = None,
        default_category: str = "bulk",
        null_sender: bool = False,
        expires_at: float | None = None,
        smtp_user: str | None = None,
        replaces: Callable[[Key], bool] | None = None,
    ) -> tuple[str, Key]:
        """A new key: (its whole text, shown once; the key). `scopes` None: all of them.

        `domains` are names the member has enrolled, `networks` CIDR; `null_sender`: it may send the bounces and
        automatic answers of a mail server (MAIL FROM:<>); `expires_at` is Unix seconds; `smtp_user` is a user name that
        it is taken with over SMTP, beside the member's handle and DID; `replaces` says which of the keys that are
        limited to the one domain in `domains` end in the same moment.
        Raises EnrollError 422 with the field, 409 at `max_keys`, 404 for no such member; StorageError.
        """
        if expires_at is not None and expires_at <= self._clock.now():
            raise invalid("expiresAt", "the time is in the past")
        if default_category not in CATEGORIES:
            raise invalid("defaultCategory", f"one of {', '.join(sorted(CATEGORIES))}")
        row = _New(
            description=_description(description),
            scopes=_scopes(scopes),
            domains=self._domains(domains),
            networks=self._networks(networks),
            default_category=default_category,
            null_sender=null_sender,
            expires_at=expires_at,
            smtp_user=_smtp_user(smtp_user),
        )

        async def do(tx: Tx) -> tuple[str, int]:
            await self._admit(tx, member_id, row, replaces)
            return await self._add(tx, member_id, row)

        return await self._made(member_id, *await self._storage.write(do))

    async def _admit(self, tx: Tx, member_id: int, row: _New, replaces: Callable[[Key], bool] | None) -> None:
        """Raises EnrollError for a key that the member can't have; those that it replaces end."""
        now = self._clock.now()
        if await accounts.lock(tx, member_id) in (None, DELETED):
            raise not_found("There is no such member")
        if row.domains is not None:
            strange = set(row.domains) - await credentials.enrolled(tx, member_id, row.domains)
            if strange:
                raise invalid("domains", f"{min(strange)} is not a domain you have enrolled")
        if replaces is not None and row.domains is not None:
            ended = [k.id for k in await self._of_domain(tx, member_id, *row.domains) if replaces(k)]
            for key_id in ended:
                await credentials.revoke(tx, member_id, key_id, now)
            if ended:
                await versions.bump(tx, versions.DIRECTORY, keys=ended)
        if await credentials.live(tx, member_id, now) >= self._config.enrollment.max_keys:
            raise conflict(f"A member has at most {self._config.enrollment.max_keys} active keys: revoke one first")
        if row.smtp_user is not None and await credentials.user_taken(tx, member_id, row.smtp_user):
            raise invalid("smtpUser", "another of your keys has this user name: revoke it first")

    async def list(self, member_id: int, *, limit: int | None = None) -> list[Key]:
        """A member's keys, live ones first, then revoked ones, each newest first."""
        most = self._config.http.max_page_size if limit is None else limit
        async with self._storage.read() as tx:
            return [Key.of(row) for row in await credentials.of_member(tx, member_id, limit=most)]

    async def of_domain(self, member_id: int, domain: str) -> builtins.list[Key]:
        """The live keys that are limited to this domain of a member (A-labels) and to no other, oldest first."""
        async with self._storage.read() as tx:
            return await self._of_domain(tx, member_id, domain)

    async def get(self, member_id: int, key_id: int) -> Key:
        """One key, revoked or not; EnrollError 404."""
        async with self._storage.read() as tx:
            row = await credentials.one(tx, member_id, key_id)
        if row is None:
            raise not_found("There is no such key")
        return Key.of(row)

    async def find(self, public_id: str) -> Key:
        """The key with this public id (or whole text), whosever it is: for the operator. EnrollError 404."""
        parsed = secrets.parse_api_key(public_id)
        async with self._storage.read() as tx:
            row = await credentials.by_public_id(tx, parsed[0] if parsed else public_id.removeprefix("ph_").strip("_"))
        if row is None:
            raise not_found("There is no such key")
        return Key.of(row)

    async def revoke(self, member_id: int, key_id: int) -> Key:
        """End a key at once; revoking it again changes nothing. EnrollError 404."""

        async def do(tx: Tx) -> bool:
            done = await credentials.revoke(tx, member_id, key_id, self._clock.now())
            if done:
                await versions.bump(tx, versions.DIRECTORY, keys=[key_id])
            return done

        if await self._storage.write(do):
            await self._tell()
            log.info("key.revoked", member_id=member_id, key_id=key_id)
        return await self.get(member_id, key_id)

    async def regenerate(self, member_id: int, key_id: int) -> tuple[str, Key]:
        """A new key in place of a live one, with the same limits; the old one ends in the same moment.

        Raises EnrollError 404, 409 when the old one is revoked or expired.
        """
        old = await self.get(member_id, key_id)
        if (state := old.state(self._clock.now())) != "live":
            raise conflict(f"This key is {state}: issue a new one")
        row = _New(
            description=old.description, scopes=old.scopes, domains=old.domains, networks=old.networks,
            default_category=old.default_category, null_sender=old.null_sender, expires_at=old.expires_at,
            smtp_user=old.smtp_user,
        )

        async def do(tx: Tx) -> tuple[str, int] | None:
            if await accounts.lock(tx, member_id) in (None, DELETED):
                return None
            if not await credentials.revoke(tx, member_id, key_id, self._clock.now()):
                return None
            await versions.bump(tx, versions.DIRECTORY, keys=[key_id])
            return await self._add(tx, member_id, row)

        made = await self._storage.write(do)
        if made is None:
            raise conflict("This key is revoked: issue a new one")
        return await self._made(member_id, *made)

    async def renew(self, member_id: int, key_id: int) -> tuple[str, Key]:
        """Another secret for a live key, which stays the same key; the old secret ends at once. Errors as
        `regenerate`."""
        if (state := (await self.get(member_id, key_id)).state(self._clock.now())) != "live":
            raise conflict(f"This key is {state}: issue a new one")
        text, public_id, secret = secrets.new_api_key()

        async def do(tx: Tx) -> bool:
            hashed = self._vault.api_key_hash(secret)
            done = await credentials.renew(tx, member_id, key_id, public_id, hashed, self._vault.key_id)
            await versions.bump(tx, versions.DIRECTORY, keys=[key_id])
            return done

        if not await self._storage.write(do):
            raise conflict("This key is revoked: issue a new one")
        return await self._made(member_id, text, key_id)

    async def _of_domain(self, tx: Tx, member_id: int, *domains: str) -> builtins.list[Key]:
        now = self._clock.now()
        rows = await credentials.of_domain(tx, member_id, domains[0]) if len(domains) == 1 else []
        return [key for key in map(Key.of, rows) if key.state(now) == "live"]

    async def _add(self, tx: Tx, member_id: int, row: _New) -> tuple[str, int]:
        text, public_id, secret = secrets.new_api_key()
        key_id = await credentials.add(
            tx, member_id=member_id, public_id=public_id, secret_hash=self._vault.api_key_hash(secret),
            hashed_by=self._vault.key_id, description=row.description, scopes=row.scopes, domains=row.domains,
            networks=row.networks, default_category=row.default_category, null_sender=row.null_sender,
            now=self._clock.now(), expires_at=row.expires_at, smtp_user=row.smtp_user,
        )
        await versions.bump(tx, versions.DIRECTORY, keys=[key_id])
        return text, key_id

    async def _made(self, member_id: int, text: str, key_id: int) -> tuple[str, Key]:
        await self._tell()
        log.info("key.issued", member_id=member_id, key_id=key_id)
        return text, await self.get(member_id, key_id)

    def _domains(self, given: Sequence[str] | None) -> tuple[str, ...] | None:
        self._count("domains", given)
        try:
            return None if given is None else tuple(dict.fromkeys(names.domain(d) for d in given))
        except names.BadName as e:
            raise invalid("domains", e.reason) from None

    def _networks(self, given: Sequence[str] | None) -> tuple[str, ...] | None:
        self._count("networks", given)
        return None if given is None else tuple(dict.fromkeys(_network(n) for n in given))

    def _count(self, field: str, given: Sequence[str] | None) -> None:
        most = self._config.enrollment.max_key_limits
        if given is not None and not 1 <= len(given) <= most:
            raise invalid(field, f"1 to {most} of them; leave {field} out for no limit")

    async def _tell(self) -> None:
        if self._changed is None:
            return
        try:
            await self._changed()
        except StorageError as e:
            # The change is committed; the relay's own look finds it a moment later.
            log.warning("directory.refresh", cause=str(e))


@dataclass(frozen=True, slots=True)
class _New:
    description: str
    scopes: tuple[str, ...]
    domains: tuple[str, ...] | None
    networks: tuple[str, ...] | None
    default_category: str
    null_sender: bool
    expires_at: float | None
    smtp_user: str | None


def _description(text: str) -> str:
    text = text.strip()
    if len(text) > MAX_DESCRIPTION:
        raise invalid("description", f"at most {MAX_DESCRIPTION} characters")
    if not text.isprintable():
        raise invalid("description", "no line ends or other control characters")
    return text


def _smtp_user(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    if not _SMTP_USER.fullmatch(text := text.strip().lower()):
        raise invalid("smtpUser", "3 to 64 letters, digits, dots, hyphens, underscores; a letter or digit at both ends")
    return text


def _scopes(given: Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return SCOPES
    if not given or set(given) - set(SCOPES):
        raise invalid("scopes", f"one or more of {', '.join(SCOPES)}")
    return tuple(s for s in SCOPES if s in given)


def _network(text: str) -> str:
    try:
        interface = ipaddress.ip_interface(text.strip())
    except ValueError:
        raise invalid("networks", "a network is written like 192.0.2.0/24 or 2001:db8::/32") from None
    network = interface.network
    if interface.ip != network.network_address:
        raise invalid("networks", f"the address has bits beyond its prefix: did you mean {network}?")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        # Clients are known by their IPv4 address then, and no mapped network would ever match.
        raise invalid("networks", "write an IPv4 network as IPv4, not as an IPv6-mapped one")
    return str(network)
