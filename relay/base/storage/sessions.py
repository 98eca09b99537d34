"""Sign-ins: one row each, known by the hash of its token. Writes `sessions`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, insert, select, update

from relay.base.storage.engine import Tx
from relay.base.storage.tables import sessions


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One sign-in; times are Unix seconds, `address` and `agent` are those of the sign-in."""

    id: int
    member_id: int
    csrf: str
    address: str
    agent: str
    created_at: float
    seen_at: float
    expires_at: float
    second_factor_at: float | None = None


def _rows() -> Select[Any]:
    s = sessions.c
    return select(
        s.id, s.member_id, s.csrf, s.address, s.agent, s.created_at, s.seen_at, s.expires_at, s.second_factor_at
    )


async def add(
    tx: Tx,
    *,
    token_hash: str,
    member_id: int,
    csrf: str,
    address: str,
    agent: str,
    now: float,
    expires_at: float,
    second_factor: bool = False,
) -> int:
    """A new sign-in's id."""
    made = await tx.execute(
        insert(sessions)
        .values(
            token_hash=token_hash, member_id=member_id, csrf=csrf, address=address, agent=agent, created_at=now,
            seen_at=now, expires_at=expires_at, second_factor_at=now if second_factor else None,
        )
        .returning(sessions.c.id)
    )
    return int(made.scalar_one())


async def find(tx: Tx, token_hashes: Collection[str], now: float) -> SessionRow | None:
    """The sign-in with this token, by any of its hashes, unless it has expired."""
    s = sessions.c
    row = (await tx.execute(_rows().where(s.token_hash.in_(token_hashes), s.expires_at > now))).first()
    return SessionRow(*row) if row is not None else None


async def seen(tx: Tx, session_id: int, now: float, expires_at: float) -> None:
    """The sign-in was used; it now lasts until `expires_at`."""
    await tx.execute(
        update(sessions).where(sessions.c.id == session_id).values(seen_at=now, expires_at=expires_at)
    )


async def proved(tx: Tx, session_id: int, now: float) -> None:
    """This sign-in has proved a second factor."""
    await tx.execute(update(sessions).where(sessions.c.id == session_id).values(second_factor_at=now))


async def unproved(tx: Tx, member_id: int) -> None:
    """The factor that this member's sign-ins have proved is no more."""
    await tx.execute(update(sessions).where(sessions.c.member_id == member_id).values(second_factor_at=None))


async def of_member(tx: Tx, member_id: int, now: float, *, limit: int = 100) -> list[SessionRow]:
    """A member's sign-ins that have not expired, the latest used first."""
    s = sessions.c
    query = _rows().where(s.member_id == member_id, s.expires_at > now)
    query = query.order_by(s.seen_at.desc(), s.id.desc()).limit(limit)
    return [SessionRow(*row) for row in await tx.execute(query)]


async def has_address(tx: Tx, member_id: int, address: str, now: float) -> bool:
    """True when the member is signed in from this address."""
    s = sessions.c
    query = select(s.id).where(s.member_id == member_id, s.address == address, s.expires_at > now).limit(1)
    return (await tx.execute(query)).first() is not None


async def close(tx: Tx, token_hashes: Collection[str]) -> bool:
    """End the sign-in with this token, by any of its hashes; False when there is none."""
    return bool((await tx.execute(delete(sessions).where(sessions.c.token_hash.in_(token_hashes)))).rowcount)


async def revoke(tx: Tx, member_id: int, session_id: int) -> bool:
    """End one sign-in of this member; False when it isn't there or another member's."""
    s = sessions.c
    return bool((await tx.execute(delete(sessions).where(s.id == session_id, s.member_id == member_id))).rowcount)


async def close_all(tx: Tx, member_id: int, *, keep: int | None = None) -> int:
    """End a member's sign-ins but `keep`; returns how many."""
    statement = delete(sessions).where(sessions.c.member_id == member_id)
    if keep is not None:
        statement = statement.where(sessions.c.id != keep)
    return int((await tx.execute(statement)).rowcount)


async def trim(tx: Tx, member_id: int, most: int) -> int:
    """End the longest unused sign-ins of a member beyond `most`; returns how many."""
    s = sessions.c
    kept = select(s.id).where(s.member_id == member_id).order_by(s.seen_at.desc(), s.id.desc()).limit(most)
    done = await tx.execute(delete(sessions).where(s.member_id == member_id, s.id.not_in(kept)))
    return int(done.rowcount)


async def purge(tx: Tx, before: float, limit: int) -> int:
    """Remove up to `limit` sign-ins that expired before `before`; returns how many."""
    old = select(sessions.c.id).where(sessions.c.expires_at <= before).order_by(sessions.c.expires_at).limit(limit)
    return int((await tx.execute(delete(sessions).where(sessions.c.id.in_(old)))).rowcount)
