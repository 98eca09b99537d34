"""What the directory knows of a login, a member, a key, a domain: values made from rows."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Login:
    """An authenticated member with the key it used."""

    member_id: int
    handle: str
    did: str
    key_id: int
    public_id: str
    scopes: frozenset[str]
    domains: frozenset[str] | None
    default_category: str
    null_sender: bool = False


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A live DKIM pair, private halves still sealed."""

    id: int
    stem: str
    rsa_private: bytes = field(repr=False)
    ed_private: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DomainEntry:
    """A verified sending domain. `return_path` is "" until its own record is verified, and so is `tracking_host`, until
    TLS for it answers too."""

    id: int
    member_id: int
    name: str
    tier: str | None
    first_verified_at: float | None
    keys: tuple[KeyEntry, ...]
    return_path: str
    options: dict[str, Any]
    tracking_host: str = ""

    def begun(self, option: str) -> bool:
        """Whether an option is on, and its record was seen."""
        return bool(self.options.get(option)) and option not in (self.options.get("awaits") or ())


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """A member as the relay knows it. `stopped`: suspended, and not by its standing, or deleted."""

    id: int
    handle: str
    did: str
    status: str
    reason: str
    system: bool
    slowed: bool = False
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """A live API key."""

    id: int
    member_id: int
    public_id: str
    secret_hash: str
    scopes: frozenset[str]
    domains: frozenset[str] | None
    networks: tuple[Network, ...] | None
    default_category: str
    null_sender: bool
    expires_at: float | None

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


def member_of(r: Any) -> MemberEntry:
    """The member of a row of `directory.snapshot`."""
    return MemberEntry(
        r.id, r.handle, r.did, r.status, r.reason, r.system, r.stage == "slowed",
        r.status != "active" and r.stage != "suspended",
    )


def domain_of(r: Any, pairs: Sequence[KeyEntry]) -> DomainEntry:
    """The verified domain of a row of `directory.snapshot` with its live pairs."""
    options = r.options or {}
    path = ""
    if r.return_path_ok and options.get("return_path"):
        path = f"{options.get('former_subdomain') or options.get('custom_subdomain') or 'sl'}.{r.name}"
    entry = DomainEntry(r.id, r.member_id, r.name, r.tier, r.first_verified_at, tuple(pairs), path, options)
    if r.tracking_ok and options.get("tracking"):
        entry = replace(entry, tracking_host=tracking_host(entry))
    return entry


def tracking_host(d: DomainEntry) -> str:
    """The name of a domain's tracking host."""
    prefix, sub = d.options.get("track_prefix") or "track", d.options.get("custom_subdomain") or "sl"
    return f"{prefix}-{sub}.{d.name}"


def key_of(r: Any) -> Key:
    """The key of a row of `directory.snapshot`."""
    return Key(
        r.id, r.member_id, r.public_id, r.secret_hash, frozenset(r.scopes or ()),
        frozenset(r.domains) if r.domains is not None else None,
        tuple(ipaddress.ip_network(n, strict=False) for n in r.networks) if r.networks is not None else None,
        r.default_category, bool(r.null_sender), r.expires_at,
    )
