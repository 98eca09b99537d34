"""Invites: codes with which an account can be made. Writes `invites`. Only hashes of codes are kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from relay.base.storage.engine import Tx
from relay.base.storage.tables import invites, members


@dataclass(frozen=True, slots=True)
class InviteRow:
    """One invite; `used_by` is the handle of the member made with it."""

    id: int
    note: str
    created_at: float
    expires_at: float
    used_by: str | None


async def add(tx: Tx, *, code_hash: str, note: str, now: float, expires_at: float) -> int:
    """A new invite's id."""
    made = await tx.execute(
        insert(invites)
        .values(code_hash=code_hash, note=note, created_at=now, expires_at=expires_at)
        .returning(invites.c.id)
    )
    return int(made.scalar_one())


async def usable(tx: Tx, code_hashes: Collection[str], now: float) -> bool:
    """True for a code that is known by any of its hashes, unused and not expired."""
    i = invites.c
    query = select(i.id).where(i.code_hash.in_(code_hashes), i.used_by.is_(None), i.expires_at > now)
    return (await tx.execute(query)).first() is not None


async def use(tx: Tx, code_hashes: Collection[str], member_id: int, now: float) -> bool:
    """Use the invite up for a member; False when it is unknown, used or expired."""
    i = invites.c
    done = await tx.execute(
        update(invites)
        .where(i.code_hash.in_(code_hashes), i.used_by.is_(None), i.expires_at > now)
        .values(used_by=member_id)
    )
    return bool(done.rowcount)


async def listing(tx: Tx, *, before: int | None = None, limit: int = 100) -> list[InviteRow]:
    """The newest invites first, with ids under `before`."""
    i = invites.c
    query = select(i.id, i.note, i.created_at, i.expires_at, members.c.handle)
    query = query.outerjoin_from(invites, members, members.c.id == i.used_by).order_by(i.id.desc()).limit(limit)
    if before is not None:
        query = query.where(i.id < before)
    return [InviteRow(*row) for row in await tx.execute(query)]


async def revoke(tx: Tx, invite_id: int) -> bool:
    """Remove an invite that nobody has used; False when there is none."""
    i = invites.c
    return bool((await tx.execute(delete(invites).where(i.id == invite_id, i.used_by.is_(None)))).rowcount)


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` invites that expired before `before`, used or not; returns how many."""
    i = invites.c
    old = select(i.id).where(i.expires_at <= before).order_by(i.expires_at).limit(limit)
    return int((await tx.execute(delete(invites).where(i.id.in_(old)))).rowcount)
