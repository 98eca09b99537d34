"""Domains and their DKIM pairs: what enroll knows of a name. Enroll writes here; the relay reads by `directory`.

Answers questions about rows; which state may follow which, and what is sealed in a key, is the caller's business.
Every change belongs into the transaction that also bumps the directory's version.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic_core import from_json
from sqlalchemy import JSON, Select, Text, case, cast, delete, func, insert, null, select, true, update

from relay.base.storage.engine import Tx, serialise
from relay.base.storage.tables import dkim_keys, domains, members

_ENROLLING = 0x454E524C << 32  # PostgreSQL: one member's enrollments take turns, so that a limit holds
HELD = ("verified", "disabled")
"""States whose owner has proved the name and holds it against others."""
Raw = tuple[Any, ...]
"""A row as it is read, JSON still text, its id first: quickly compared with what was read before."""


class Row(NamedTuple):
    """A row of `domains`."""

    id: int
    uuid: str
    member_id: int
    name: str
    state: str
    reason: str
    ownership_token: str
    options: dict[str, Any]
    tier: str | None
    created_at: float
    first_verified_at: float | None
    checked_at: float | None
    next_check_at: float | None
    failing: int
    findings: list[dict[str, Any]] | None
    return_path_ok: bool
    provider: str
    provider_at: float | None
    deleted_at: float | None
    tracking_ok: bool = False
    asked_at: float | None = None
    flags: dict[str, bool] | None = None
    notes: dict[str, Any] | None = None


class KeyRow(NamedTuple):
    """A DKIM pair without its private halves."""

    id: int
    domain_id: int
    stem: str
    state: str
    rsa_txt: str
    ed_txt: str
    created_at: float
    state_at: float


@dataclass(frozen=True, slots=True)
class NewPair:
    """A DKIM pair about to be written; the private halves are sealed already."""

    stem: str
    rsa_private: bytes = field(repr=False)
    rsa_txt: str
    ed_private: bytes = field(repr=False)
    ed_txt: str


@dataclass(frozen=True, slots=True)
class SealedPair:
    """A pair's sealed halves, and what they are sealed to."""

    id: int
    member_id: int
    name: str
    stem: str
    rsa_private: bytes = field(repr=False)
    ed_private: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Owner:
    """The member behind a domain, as a notice needs it."""

    member_id: int
    handle: str
    did: str
    email: str
    status: str
    max_domains: int | None


_KEY_COLUMNS = [dkim_keys.c[name] for name in KeyRow._fields]
_RAW_COLUMNS = [
    null().label("findings") if c.name == "findings" else cast(c, Text) if isinstance(c.type, JSON) else c
    for c in domains.c
]
_JSON_AT = [at for at, c in enumerate(domains.c) if isinstance(c.type, JSON)]


# -- domains ---------------------------------------------------------------------------------------------------


async def hold_enrolling(tx: Tx, member_id: int) -> None:
    """Until commit, no other transaction enrolls for this member."""
    await serialise(tx, _ENROLLING | member_id)


async def add(
    tx: Tx, *, uuid: str, member_id: int, name: str, token: str, options: dict[str, Any], now: float,
    next_check_at: float, notes: dict[str, Any] | None = None,
) -> int:
    """Write a domain as `initializing`; returns its id. The pair (name, member) must not exist yet."""
    return int(
        (
            await tx.execute(
                insert(domains).values(
                    uuid=uuid, member_id=member_id, name=name, state="initializing", ownership_token=token,
                    options=options, notes=notes or {}, created_at=now, next_check_at=next_check_at,
                ).returning(domains.c.id)
            )
        ).scalar_one()
    )


async def get(tx: Tx, domain_id: int, *, lock: bool = False) -> Row | None:
    """The domain with this id, deleted ones too."""
    query = select(domains).where(domains.c.id == domain_id)
    return await _one(tx, query.with_for_update() if lock else query)


async def of_member(tx: Tx, member_id: int, key: int | str, *, lock: bool = False) -> Row | None:
    """A member's domain by id (int), uuid or name (str); deleted ones too."""
    column = domains.c.id if isinstance(key, int) else domains.c.name if "." in key else domains.c.uuid
    query = select(domains).where(domains.c.member_id == member_id, column == key)
    return await _one(tx, query.with_for_update() if lock else query)


async def named(tx: Tx, name: str, *, lock: bool = False) -> list[Row]:
    """Everybody's rows of one name that are not deleted, by id. With `lock`, proofs of the name take turns."""
    query = select(domains).where(domains.c.name == name, domains.c.state != "deleted").order_by(domains.c.id)
    return await _all(tx, query.with_for_update() if lock else query)


async def page(
    tx: Tx, member_id: int | None, *, after: int = 0, limit: int = 50, states: Sequence[str] = ()
) -> list[Row]:
    """Domains that are not deleted, with ids above `after`, of one member or of all."""
    query = select(domains).where(domains.c.state != "deleted", domains.c.id > after)
    if member_id is not None:
        query = query.where(domains.c.member_id == member_id)
    if states:
        query = query.where(domains.c.state.in_(states))
    return await _all(tx, query.order_by(domains.c.id).limit(limit))


async def search(
    tx: Tx, text: str, *, state: str | None = None, before: int | None = None, limit: int = 50
) -> list[Row]:
    """The newest domains first, those with ids under `before`, whose name (A-labels) contains `text`; deleted ones are
    left out."""
    d = domains.c
    query = select(domains).where(d.state != "deleted").order_by(d.id.desc()).limit(limit)
    if text:
        query = query.where(d.name.contains(text.lower(), autoescape=True))
    if state is not None:
        query = query.where(d.state == state)
    if before is not None:
        query = query.where(d.id < before)
    return await _all(tx, query)


async def all_of_member(tx: Tx, member_id: int) -> list[Row]:
    """The domains of a member that are not deleted, by id, without their findings (`flags` tell those in short)."""
    return [row_of(raw) for raw in await raw_of_member(tx, member_id)]


async def raw_of_member(tx: Tx, member_id: int, limit: int | None = None) -> list[Raw]:
    """The same as they are read, at most `limit`; `row_of` makes rows of them."""
    query = select(*_RAW_COLUMNS).where(domains.c.member_id == member_id, domains.c.state != "deleted")
    return [tuple(row) for row in await tx.execute(query.order_by(domains.c.id).limit(limit))]


def row_of(raw: Raw) -> Row:
    """The row that was read as `raw`."""
    values = list(raw)
    for at in _JSON_AT:
        if values[at] is not None:
            values[at] = from_json(values[at], cache_strings="keys")
    return Row._make(values)


async def identities(tx: Tx) -> list[str]:
    """The uuid of every domain that is not deleted."""
    return list((await tx.execute(select(domains.c.uuid).where(domains.c.state != "deleted"))).scalars())


async def by_uuid(tx: Tx, uuid: str) -> Row | None:
    """The domain with this uuid, if it is not deleted."""
    return await _one(tx, select(domains).where(domains.c.uuid == uuid, domains.c.state != "deleted"))


async def count(tx: Tx, member_id: int) -> int:
    """How many domains a member has, deleted ones left out."""
    return int(
        await tx.scalar(
            select(func.count()).select_from(domains)
            .where(domains.c.member_id == member_id, domains.c.state != "deleted")
        )
        or 0
    )


async def holders(tx: Tx, names: Sequence[str]) -> list[Row]:
    """The rows that hold any of these names (`HELD`)."""
    if not names:
        return []
    return await _all(tx, select(domains).where(domains.c.name.in_(names), domains.c.state.in_(HELD)))


async def due(tx: Tx, now: float, limit: int) -> list[int]:
    """Ids of domains whose next look is due, the longest overdue first."""
    return list(
        (
            await tx.execute(
                select(domains.c.id)
                .where(
                    domains.c.next_check_at <= now,
                    domains.c.state.in_(("initializing", "pending", "verified")),
                )
                .order_by(domains.c.next_check_at, domains.c.id).limit(limit)
            )
        ).scalars()
    )


async def waiting(
    tx: Tx, member_id: int, limit: int, names: Collection[str] | None = None
) -> list[tuple[int, float | None]]:
    """(id, time of the last check) of a member's domains that wait for records: never checked ones first, then the
    oldest. They are pending, or verified with an option whose record has not been looked for or seen.

    With `names`, of those only.
    """
    among = domains.c.name.in_(names) if names is not None else true()
    notes = domains.c.notes
    waits = (func.json_array_length(notes["awaits"]) > 0) | notes["regenerated"].as_boolean()
    found = await tx.execute(
        select(domains.c.id, domains.c.checked_at)
        .where(
            domains.c.member_id == member_id,
            (domains.c.state == "pending") | ((domains.c.state == "verified") & waits), among,
        )
        .order_by(case((domains.c.checked_at.is_(None), 0), else_=1), domains.c.checked_at, domains.c.id)
        .limit(limit)
    )
    return [(row.id, row.checked_at) for row in found]


async def some(tx: Tx, ids: Collection[int]) -> list[Row]:
    """The domains with these ids that are not deleted, by id."""
    query = select(domains).where(domains.c.id.in_(ids), domains.c.state != "deleted").order_by(domains.c.id)
    return await _all(tx, query)


async def change(tx: Tx, domain_id: int, **values: Any) -> None:
    """Set columns of one domain; `flags` follow `findings`."""
    if "findings" in values:
        values["flags"] = flags_of(values["findings"])
    await tx.execute(update(domains).where(domains.c.id == domain_id).values(**values))


def flags_of(findings: list[dict[str, Any]] | None) -> dict[str, bool] | None:
    """What `findings` tell of each record that its owner has to publish, as far as it could ever be asked."""
    known = {f["name"]: f.get("known") for f in findings or () if f.get("needed", f.get("required"))}
    return {name: ok for name, ok in known.items() if ok is not None} or None


async def owner(tx: Tx, member_id: int) -> Owner | None:
    """Who gets mail about a member's domains."""
    m = members.c
    query = select(m.id, m.handle, m.did, m.email, m.status, m.max_domains).where(m.id == member_id)
    row = (await tx.execute(query)).first()
    return Owner(*row) if row else None


# -- DKIM pairs ------------------------------------------------------------------------------------------------


async def add_pair(tx: Tx, domain_id: int, pair: NewPair, now: float) -> int:
    """Write a pair as `pending`, in the place of a removed one with its stem; returns its id."""
    await tx.execute(
        delete(dkim_keys).where(
            dkim_keys.c.domain_id == domain_id, dkim_keys.c.stem == pair.stem, dkim_keys.c.state == "removed"
        )
    )
    return int(
        (
            await tx.execute(
                insert(dkim_keys).values(
                    domain_id=domain_id, stem=pair.stem, state="pending", rsa_private=pair.rsa_private,
                    rsa_txt=pair.rsa_txt, ed_private=pair.ed_private, ed_txt=pair.ed_txt, created_at=now,
                    state_at=now,
                ).returning(dkim_keys.c.id)
            )
        ).scalar_one()
    )


async def pairs(tx: Tx, domain_ids: Sequence[int]) -> dict[int, list[KeyRow]]:
    """The pairs of each domain, oldest first; domains without any are absent."""
    found: dict[int, list[KeyRow]] = {}
    if not domain_ids:
        return found
    query = select(*_KEY_COLUMNS).where(dkim_keys.c.domain_id.in_(domain_ids)).order_by(dkim_keys.c.id)
    for row in await tx.execute(query):
        pair = KeyRow(*row)
        found.setdefault(pair.domain_id, []).append(pair)
    return found


async def raw_pairs_of_member(tx: Tx, member_id: int) -> dict[int, list[Raw]]:
    """The pairs of each of a member's domains that are not deleted, oldest first, each the values of a `KeyRow`."""
    query = select(*_KEY_COLUMNS).join(domains, domains.c.id == dkim_keys.c.domain_id)
    found: dict[int, list[Raw]] = {}
    for row in await tx.execute(query.where(domains.c.member_id == member_id, domains.c.state != "deleted")
                                .order_by(dkim_keys.c.id)):
        found.setdefault(row[1], []).append(tuple(row))
    return found


async def set_pair_state(tx: Tx, pair_id: int, state: str, now: float) -> None:
    """Move one pair to `pending`, `live` or `retiring`."""
    await tx.execute(update(dkim_keys).where(dkim_keys.c.id == pair_id).values(state=state, state_at=now))


async def destroy_pairs(tx: Tx, pair_ids: Sequence[int], now: float) -> None:
    """Overwrite the private halves and mark the pairs `removed`; the public halves stay, to say what to unpublish."""
    if pair_ids:
        await tx.execute(
            update(dkim_keys).where(dkim_keys.c.id.in_(pair_ids))
            .values(state="removed", state_at=now, rsa_private=b"", ed_private=b"")
        )


async def sealed_pairs(tx: Tx, *, below: int | None, limit: int) -> list[SealedPair]:
    """Up to `limit` pairs that have their private halves, ids below `below`, newest first."""
    query = _sealed_pairs().order_by(dkim_keys.c.id.desc()).limit(limit)
    if below is not None:
        query = query.where(dkim_keys.c.id < below)
    return [SealedPair(*row) for row in await tx.execute(query)]


async def oldest_sealed_pair(tx: Tx) -> SealedPair | None:
    """The pair that a re-sealing comes to last."""
    row = (await tx.execute(_sealed_pairs().order_by(dkim_keys.c.id).limit(1))).first()
    return SealedPair(*row) if row else None


def _sealed_pairs() -> Select[Any]:
    k = dkim_keys.c
    return (
        select(k.id, domains.c.member_id, domains.c.name, k.stem, k.rsa_private, k.ed_private)
        .join(domains, domains.c.id == k.domain_id).where(k.state != "removed")
    )


async def reseal_pair(tx: Tx, pair: SealedPair, rsa_private: bytes, ed_private: bytes) -> bool:
    """Put the private halves of `pair`, sealed anew, in its place; False if the pair is gone."""
    done = await tx.execute(
        update(dkim_keys).where(dkim_keys.c.id == pair.id, dkim_keys.c.state != "removed")
        .values(rsa_private=rsa_private, ed_private=ed_private)
    )
    return bool(done.rowcount)


async def retired(tx: Tx, before: float, limit: int) -> list[tuple[int, int]]:
    """(domain id, pair id) of pairs that have been retiring since before `before`."""
    k = dkim_keys.c
    query = (
        select(k.domain_id, k.id).where(k.state == "retiring", k.state_at <= before)
        .order_by(k.state_at).limit(limit)
    )
    return [(row.domain_id, row.id) for row in await tx.execute(query)]


async def delete_of_member(tx: Tx, member_id: int, now: float) -> list[Row]:
    """Delete all domains of a member softly and destroy their keys; returns them as they were."""
    found = await _all(
        tx,
        select(domains).where(domains.c.member_id == member_id, domains.c.state != "deleted").order_by(domains.c.id)
        .with_for_update(),
    )
    ids = [row.id for row in found]
    held = await pairs(tx, ids)
    await destroy_pairs(tx, [pair.id for of_one in held.values() for pair in of_one], now)
    if ids:
        await tx.execute(
            update(domains).where(domains.c.id.in_(ids))
            .values(state="deleted", deleted_at=now, next_check_at=None, return_path_ok=False, tracking_ok=False)
        )
    return found


async def _one(tx: Tx, query: Select[Any]) -> Row | None:
    row = (await tx.execute(query)).first()
    return Row(*row) if row else None


async def _all(tx: Tx, query: Select[Any]) -> list[Row]:
    return [Row(*row) for row in await tx.execute(query)]
