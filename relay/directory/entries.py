"""What the directory knows of a login, a member, a key, a domain: values made from rows."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.base.clock import iso
from relay.base.domain_options import Notes, Options

_MISSING_SHOWN = 5
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
    TLS for it answers too. `awaits`: the options whose feature waits for its record."""

    id: int
    member_id: int
    name: str
    tier: str | None
    first_verified_at: float | None
    keys: tuple[KeyEntry, ...]
    return_path: str
    options: Options
    tracking_host: str = ""
    awaits: tuple[str, ...] = ()
    conduct: int | None = None
    """Recipients a day by what it did (relay.standing.conduct); None before that has been looked at."""

    def begun(self, option: str) -> bool:
        """Whether an option that asks for a record is on, and its record was seen."""
        return bool(getattr(self.options, option)) and option not in self.awaits


@dataclass(frozen=True, slots=True)
class PausedDomain:
    """A domain of a member's that may send nothing just now. `proved`: it was, once. `since` (Unix seconds): when it
    last stopped being verified; `missing`: the records that it waits for, as far as is known. `default`: the one that
    messages without a From are sent from; `replies`: its mail is to be forwarded."""

    id: int
    member_id: int
    name: str
    state: str
    reason: str
    proved: bool
    since: float
    missing: tuple[str, ...]
    default: bool
    replies: bool

    @property
    def says(self) -> str:
        """Why it may not send, in a sentence for its owner."""
        return f"{self.name} is yours, {self._why()}"

    def _why(self) -> str:
        if self.state == "disabled":
            return "paused by you"
        if self.state == "blocked":
            return "and waits for the operator's approval"
        if self.state == "suspended":
            return "suspended by the operator" + (f": {self.reason}" if self.reason else "")
        if self.state == "initializing":
            return "but its keys are still being made"
        why = f"not verified since {iso(self.since)}" if self.proved else "not verified yet"
        if not self.missing:
            return why + (f"; {self.reason}" if self.reason else "")
        more = len(self.missing) - _MISSING_SHOWN
        return f"{why}; missing: {', '.join(self.missing[:_MISSING_SHOWN])}" + (f" and {more} more" if more > 0 else "")

    @property
    def cure(self) -> str:
        """What its owner can do about it; a format string for the address of the account."""
        match self.state:
            case "disabled":
                return "Resume it at {account_url}."
            case "blocked":
                return "It may send as soon as the operator approves it."
            case "suspended":
                return "Only the operator lifts that: write to them once the cause is gone."
            case "initializing":
                return "Try again in a minute."
        return "Publish the records shown at {account_url}, then verify the domain there."


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
    smtp_user: str | None = None

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
    options, notes = Options.read(r.options), Notes.of(r)
    path = ""
    if r.return_path_ok and options.return_path:
        path = f"{notes.former_subdomain}.{r.name}" if notes.former_subdomain else options.return_path_host(r.name)
    return DomainEntry(
        r.id, r.member_id, r.name, r.tier, r.first_verified_at, tuple(pairs), return_path=path, options=options,
        tracking_host=options.tracking_host(r.name) if r.tracking_ok and options.tracking else "", awaits=notes.awaits,
        conduct=r.conduct,
    )


def paused_of(r: Any) -> PausedDomain:
    """The resting domain of a row of `directory.snapshot`, or of `domains`."""
    options, notes = Options.read(r.options), Notes.of(r)
    return PausedDomain(
        id=r.id, member_id=r.member_id, name=r.name, state=r.state, reason=r.reason,
        proved=r.first_verified_at is not None,
        since=notes.lost_at or notes.pending_since or r.first_verified_at or 0.0,
        missing=notes.missing, default=options.default_sender, replies=options.replies,
    )


def key_of(r: Any) -> Key:
    """The key of a row of `directory.snapshot`."""
    return Key(
        id=r.id, member_id=r.member_id, public_id=r.public_id, secret_hash=r.secret_hash,
        scopes=frozenset(r.scopes or ()), domains=frozenset(r.domains) if r.domains is not None else None,
        networks=tuple(ipaddress.ip_network(n, strict=False) for n in r.networks) if r.networks is not None else None,
        default_category=r.default_category, null_sender=bool(r.null_sender), expires_at=r.expires_at,
        smtp_user=r.smtp_user,
    )
