"""The directory's snapshot, indexed, and how it takes in rows that have changed.

A whole snapshot and a few changed rows go in by the same way, so that neither can come to another result than the
other. Whoever reads meanwhile, in a thread, finds an entry or its successor, never a gap between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from relay.base.storage.directory import Snapshot
from relay.base.storage.versions import Changed
from relay.directory.entries import (
    DomainEntry,
    Key,
    KeyEntry,
    MemberEntry,
    PausedDomain,
    domain_of,
    key_of,
    member_of,
    paused_of,
)  # fmt: skip

T = TypeVar("T")


class Places(Generic[T]):
    """Who stands at a name. Several may; the one with the highest id answers."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[tuple[int, T], ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._at

    def get(self, name: str) -> T | None:
        """The one at `name`."""
        held = self._at.get(name)
        return held[-1][1] if held else None

    def move(self, id_: int, old: str, new: str, entry: T | None) -> None:
        """`id_` stands at `new` from now on, as `entry`, and no more at `old`; "": nowhere."""
        if new and entry is not None:
            others = [held for held in self._at.get(new, ()) if held[0] != id_]
            self._at[new] = tuple(sorted([*others, (id_, entry)], key=lambda held: held[0]))
        if old and old != new:
            left = tuple(held for held in self._at.get(old, ()) if held[0] != id_)
            if left:
                self._at[old] = left
            else:
                self._at.pop(old, None)

    def all(self) -> dict[str, tuple[tuple[int, T], ...]]:
        """Everybody by name, (id, entry) each."""
        return self._at


class View:
    """Members, live keys, domains; and what follows from them, by name. Empty until `take`."""

    def __init__(self) -> None:
        self.members: dict[int, MemberEntry] = {}
        self.dids: Places[MemberEntry] = Places()
        self.system: dict[int, MemberEntry] = {}
        self.keys: dict[str, Key] = {}
        self.key_ids: dict[int, Key] = {}
        self.domains: dict[tuple[int, str], DomainEntry] = {}
        self.by_member: dict[int, dict[int, DomainEntry]] = {}
        self.names: Places[DomainEntry] = Places()
        self.forwards: Places[DomainEntry] = Places()
        self.return_paths: Places[DomainEntry] = Places()
        self.tracking_hosts: Places[DomainEntry] = Places()
        self.paused_forwards: Places[bool] = Places()
        self.waiting_forwards: Places[DomainEntry] = Places()
        """Domains whose mail is to be forwarded as soon as their MX has been seen."""
        self.stopped_domains: set[int] = set()
        self.enrolled: dict[str, bool] = {}
        self.suspended: dict[int, Key] = {}
        """Keys with networks of suspended members."""
        self.healthy: dict[int, Key] = {}
        """Keys with networks of all others."""
        self._domain_ids: dict[int, DomainEntry] = {}
        self.paused: dict[int, dict[str, PausedDomain]] = {}
        """Member → name → a domain that may send nothing just now."""
        self._paused: dict[int, PausedDomain] = {}
        self._keys_of: dict[int, set[int]] = {}

    def take(self, snap: Snapshot, only: Changed | None = None) -> None:
        """Take in the rows of `snap`. Those that `only` names and `snap` does not have are forgotten."""
        changed = only or Changed()
        found = {r.id: member_of(r) for r in snap.members}
        for id_ in _both(found, changed.members):
            self._member(id_, found.get(id_))
        keys = {r.id: key_of(r) for r in snap.keys}
        for id_ in _both(keys, changed.keys):
            self._key(id_, keys.get(id_))
        pairs: dict[int, list[KeyEntry]] = {}
        for r in snap.dkim:
            pairs.setdefault(r.domain_id, []).append(KeyEntry(r.id, r.stem, r.rsa_private, r.ed_private))
        domains = {r.id: domain_of(r, pairs.get(r.id, ())) for r in snap.domains}
        paused = {r.id: paused_of(r) for r in snap.paused}
        # In this order whoever stops sending, or begins to, is found in one of the two at any moment.
        for id_, one in paused.items():
            self._pause(id_, one)
        for id_ in _both(domains, changed.domains):
            self._domain(id_, domains.get(id_))
        for id_ in changed.domains:
            if id_ not in paused:
                self._pause(id_, None)
        self.enrolled.update(snap.enrolled)

    def _member(self, id_: int, new: MemberEntry | None) -> None:
        old = self.members.get(id_)
        _put(self.members, id_, new)
        _put(self.system, id_, new if new and new.system else None)
        self.dids.move(id_, old.did.lower() if old else "", new.did.lower() if new else "", new)
        for key_id in self._keys_of.get(id_, ()):
            self._networks(key_id, self.key_ids[key_id])

    def _key(self, id_: int, new: Key | None) -> None:
        old = self.key_ids.get(id_)
        if new is not None:
            self.keys[new.public_id] = new
            if old is not None and old.public_id != new.public_id:
                del self.keys[old.public_id]
            self._keys_of.setdefault(new.member_id, set()).add(id_)
        elif old is not None:
            del self.keys[old.public_id]
            self._keys_of[old.member_id].discard(id_)
            if not self._keys_of[old.member_id]:
                del self._keys_of[old.member_id]
        _put(self.key_ids, id_, new)
        self._networks(id_, new)

    def _networks(self, key_id: int, key: Key | None) -> None:
        limited = key if key is not None and key.networks else None
        member = self.members.get(limited.member_id) if limited else None
        stopped = member is not None and member.status == "suspended"
        _put(self.suspended, key_id, limited if stopped else None)
        _put(self.healthy, key_id, None if stopped else limited)

    def _domain(self, id_: int, new: DomainEntry | None) -> None:
        old = self._domain_ids.get(id_)
        _put(self._domain_ids, id_, new)
        if new is not None:
            self.domains[new.member_id, new.name] = new
            self.by_member.setdefault(new.member_id, {})[id_] = new
        elif old is not None:
            del self.domains[old.member_id, old.name]
            del self.by_member[old.member_id][id_]
            if not self.by_member[old.member_id]:
                del self.by_member[old.member_id]
        self.names.move(id_, _name(old), _name(new), new)
        self.forwards.move(id_, _forwarded(old), _forwarded(new), new)
        self.waiting_forwards.move(id_, _to_forward(old), _to_forward(new), new)
        self.return_paths.move(id_, old.return_path if old else "", new.return_path if new else "", new)
        self.tracking_hosts.move(id_, _tracked(old), _tracked(new), new)

    def _pause(self, id_: int, new: PausedDomain | None) -> None:
        old = self._paused.get(id_)
        _put(self._paused, id_, new)
        if new is not None:
            self.paused.setdefault(new.member_id, {})[new.name] = new
        elif old is not None:
            del self.paused[old.member_id][old.name]
            if not self.paused[old.member_id]:
                del self.paused[old.member_id]
        self.paused_forwards.move(id_, _waiting(old), _waiting(new), True)
        if new is not None and new.proved and new.state in ("suspended", "blocked"):
            self.stopped_domains.add(id_)
        else:
            self.stopped_domains.discard(id_)


def _both(found: dict[int, Any], changed: Iterable[int]) -> list[int]:
    return [*found, *(i for i in changed if i not in found)]


def _put(into: dict[int, T], id_: int, entry: T | None) -> None:
    if entry is None:
        into.pop(id_, None)
    else:
        into[id_] = entry


def _name(d: DomainEntry | None) -> str:
    return d.name if d else ""


def _forwarded(d: DomainEntry | None) -> str:
    return d.name if d and d.begun("replies") else ""


def _to_forward(d: DomainEntry | None) -> str:
    return d.name if d and d.options.replies and not d.begun("replies") else ""


def _tracked(d: DomainEntry | None) -> str:
    return d.options.tracking_host(d.name) if d and d.begun("tracking") else ""


def _waiting(d: PausedDomain | None) -> str:
    """The name of a domain that rests and had its mail forwarded."""
    return d.name if d is not None and d.proved and d.replies else ""
