"""API keys: what each may do, and whether it is still good. Writes `api_keys`; keeps hashes of secrets only.

When a key was last used is the relay's knowledge (`key_use`) and is read along. A key is never removed, only
revoked: messages name the key they came with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, insert, null, or_, select, update

from relay.base.storage.engine import Tx
from relay.base.storage.tables import api_keys, domains, key_use


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key without its secret; `domains` and `networks` None: not limited."""

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


def _rows() -> Select[Any]:
    k = api_keys.c
    return select(
        k.id, k.member_id, k.public_id, k.description, k.scopes, k.domains, k.networks, k.default_category,
        k.null_sender, k.created_at, k.expires_at, k.revoked_at, k.smtp_user, key_use.c.used_at,
    ).outerjoin_from(api_keys, key_use, key_use.c.key_id == k.id)


def _row(row: Any) -> KeyRow:
    values = list(row)
    for n in (4, 5, 6):
        values[n] = None if values[n] is None else tuple(values[n])
    return KeyRow(*values)


async def add(
    tx: Tx,
    *,
    member_id: int,
    public_id: str,
    secret_hash: str,
    hashed_by: str,
    description: str,
    scopes: Sequence[str],
    domains: Sequence[str] | None,
    networks: Sequence[str] | None,
    default_category: str,
    now: float,
    expires_at: float | None,
    null_sender: bool = False,
    smtp_user: str | None = None,
) -> int:
    """A new key's id. `hashed_by`: the id of the master key of the hash."""
    made = await tx.execute(
        insert(api_keys)
        .values(
            member_id=member_id, public_id=public_id, secret_hash=secret_hash, hashed_by=hashed_by,
            description=description, scopes=list(scopes), domains=null() if domains is None else list(domains),
            networks=null() if networks is None else list(networks), default_category=default_category,
            null_sender=null_sender, created_at=now, expires_at=expires_at, smtp_user=smtp_user,
        )
        .returning(api_keys.c.id)
    )
    return int(made.scalar_one())


async def one(tx: Tx, member_id: int, key_id: int) -> KeyRow | None:
    """A key of this member, revoked or not."""
    row = (await tx.execute(_rows().where(api_keys.c.id == key_id, api_keys.c.member_id == member_id))).first()
    return _row(row) if row is not None else None


async def by_public_id(tx: Tx, public_id: str) -> KeyRow | None:
    """The key with this public id, whosever it is: for the operator."""
    row = (await tx.execute(_rows().where(api_keys.c.public_id == public_id))).first()
    return _row(row) if row is not None else None


async def of_member(tx: Tx, member_id: int, *, limit: int = 100) -> list[KeyRow]:
    """A member's keys: the live ones first, each group with the newest first."""
    k = api_keys.c
    query = _rows().where(k.member_id == member_id)
    query = query.order_by(k.revoked_at.is_not(None), k.id.desc()).limit(limit)
    return [_row(row) for row in await tx.execute(query)]


async def live(tx: Tx, member_id: int, now: float) -> int:
    """How many keys of the member are neither revoked nor expired."""
    k = api_keys.c
    query = select(func.count()).where(
        k.member_id == member_id, k.revoked_at.is_(None), or_(k.expires_at.is_(None), k.expires_at > now)
    )
    return int((await tx.execute(query)).scalar_one())


async def user_taken(tx: Tx, member_id: int, smtp_user: str) -> bool:
    """Whether a key of the member that is not revoked has this SMTP user name."""
    k = api_keys.c
    query = select(k.id).where(k.member_id == member_id, k.smtp_user == smtp_user, k.revoked_at.is_(None))
    return (await tx.execute(query)).first() is not None


async def renew(tx: Tx, member_id: int, key_id: int, public_id: str, secret_hash: str, hashed_by: str) -> bool:
    """Another secret and public id for a key of this member that is not revoked; False when there is none."""
    k = api_keys.c
    done = await tx.execute(
        update(api_keys).where(k.id == key_id, k.member_id == member_id, k.revoked_at.is_(None))
        .values(public_id=public_id, secret_hash=secret_hash, hashed_by=hashed_by)
    )
    return bool(done.rowcount)


async def of_domain(tx: Tx, member_id: int, domain: str) -> list[KeyRow]:
    """The keys that are limited to this domain of a member (A-labels) and to no other and are not revoked, oldest
    first."""
    k = api_keys.c
    query = _rows().where(k.member_id == member_id, k.revoked_at.is_(None)).order_by(k.id)
    return [row for row in map(_row, await tx.execute(query)) if row.domains == (domain,)]


async def rehash(tx: Tx, key_id: int, old: str, new: str, by: str) -> None:
    """Put the hash `new`, made with the master key `by`, in the place of `old`; nothing if that isn't there."""
    await tx.execute(
        update(api_keys).where(api_keys.c.id == key_id, api_keys.c.secret_hash == old)
        .values(secret_hash=new, hashed_by=by)
    )


async def hashed_otherwise(tx: Tx, by: str, now: float) -> tuple[int, int]:
    """Of the keys that are neither revoked nor expired, how many are hashed with another master key than `by`, and of
    how many nobody knows with which."""
    k = api_keys.c
    query = select(func.count(k.hashed_by), func.count()).where(
        k.revoked_at.is_(None), or_(k.expires_at.is_(None), k.expires_at > now),
        or_(k.hashed_by.is_(None), k.hashed_by != by),
    )
    known, every = (await tx.execute(query)).one()
    return int(known), int(every) - int(known)


async def hashed_with(tx: Tx) -> dict[str | None, int]:
    """How many of all keys are hashed with each master key, by its id; None: nobody knows with which."""
    query = select(api_keys.c.hashed_by, func.count()).group_by(api_keys.c.hashed_by)
    return dict((await tx.execute(query)).all())


async def revoke(tx: Tx, member_id: int, key_id: int, now: float) -> bool:
    """Revoke a live key of this member; False when there is none."""
    k = api_keys.c
    done = await tx.execute(
        update(api_keys)
        .where(k.id == key_id, k.member_id == member_id, k.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return bool(done.rowcount)


async def revoke_all(tx: Tx, member_id: int, now: float) -> list[int]:
    """Revoke every live key of a member; returns their ids."""
    k = api_keys.c
    done = await tx.execute(
        update(api_keys).where(k.member_id == member_id, k.revoked_at.is_(None)).values(revoked_at=now).returning(k.id)
    )
    return list(done.scalars())


async def enrolled(tx: Tx, member_id: int, names: Sequence[str]) -> set[str]:
    """Those of `names` (A-labels) that this member has enrolled and not deleted."""
    d = domains.c
    query = select(d.name).where(d.member_id == member_id, d.name.in_(list(names)), d.state != "deleted")
    return set((await tx.execute(query)).scalars())
