"""What the directory answers from: one snapshot of members, keys and domains, indexed. Reads nothing, never changes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Any

from relay.base.storage import directory as rows

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
    id: int
    member_id: int
    public_id: str
    secret_hash: str
    scopes: frozenset[str]
    domains: frozenset[str] | None
    networks: tuple[Network, ...] | None
    default_category: str
    expires_at: float | None

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


class View:
    """One snapshot, indexed."""

    def __init__(self, snap: rows.Snapshot) -> None:
        self.members = {
            r.id: MemberEntry(
                r.id, r.handle, r.did, r.status, r.reason, r.system, r.stage == "slowed",
                r.status != "active" and r.stage != "suspended",
            )
            for r in snap.members
        }
        self.dids = {m.did.lower() for m in self.members.values()}
        self.keys = {r.public_id: _key(r) for r in snap.keys}
        self.key_ids = {k.id: k for k in self.keys.values()}
        pairs: dict[int, list[KeyEntry]] = {}
        for r in snap.dkim:
            pairs.setdefault(r.domain_id, []).append(KeyEntry(r.id, r.stem, r.rsa_private, r.ed_private))
        self.domains: dict[tuple[int, str], DomainEntry] = {}
        self.by_member: dict[int, list[DomainEntry]] = {}
        for r in snap.domains:
            options = r.options or {}
            path = ""
            if r.return_path_ok and options.get("return_path"):
                path = f"{options.get('custom_subdomain') or 'sl'}.{r.name}"
            entry = DomainEntry(
                r.id, r.member_id, r.name, r.tier, r.first_verified_at, tuple(pairs.get(r.id, ())), path, options
            )
            if r.tracking_ok and options.get("tracking"):
                entry = replace(entry, tracking_host=tracking_host(entry))
            self.domains[r.member_id, r.name] = entry
            self.by_member.setdefault(r.member_id, []).append(entry)
        self.names = {name for _, name in self.domains}
        self.forwards = {d.name: d for d in self.domains.values() if d.options.get("replies")}
        # Whoever has proved the name by now decides about its mail.
        self.resting_forwards = {r.name for r in snap.resting if (r.options or {}).get("replies")} - self.names
        self.stopped_domains = {r.id for r in snap.resting if r.state in ("suspended", "blocked")}
        self.tracking_hosts = {tracking_host(d) for d in self.domains.values() if d.options.get("tracking")}
        self.enrolled = snap.enrolled
        self.return_paths = {d.return_path for d in self.domains.values() if d.return_path}
        suspended: list[Key] = []
        others: list[Key] = []
        for k in self.keys.values():
            member = self.members.get(k.member_id)
            (suspended if member and member.status == "suspended" else others).append(k)
        self.suspended_networks = [(n, k.member_id) for k in suspended for n in k.networks or ()]
        self.healthy_networks = [n for k in others for n in k.networks or ()]


def tracking_host(d: DomainEntry) -> str:
    """The name of a domain's tracking host."""
    prefix, sub = d.options.get("track_prefix") or "track", d.options.get("custom_subdomain") or "sl"
    return f"{prefix}-{sub}.{d.name}"


def _key(r: Any) -> Key:
    return Key(
        r.id, r.member_id, r.public_id, r.secret_hash, frozenset(r.scopes or ()),
        frozenset(r.domains) if r.domains is not None else None,
        tuple(ipaddress.ip_network(n, strict=False) for n in r.networks) if r.networks is not None else None,
        r.default_category, r.expires_at,
    )
