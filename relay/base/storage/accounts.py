"""Members: who they are, their status, the hash of their password. Writes `members`, and nothing else.

Every function takes the open transaction first. Uniqueness is the database's: a handle or a DID that is taken comes
back as a value, never as an exception, so that a batch of writers isn't torn apart by it. Rows are never removed:
a deleted member keeps its handle reserved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, or_, select, update

from relay.base.storage.engine import Tx, upsert
from relay.base.storage.tables import members

ACTIVE = "active"
SUSPENDED = "suspended"
DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One row; times are Unix seconds."""

    id: int
    handle: str
    did: str
    email: str
    status: str
    reason: str
    status_at: float | None
    created_at: float
    system: bool
    password_hash: str | None
    operator: bool = False

    def __repr__(self) -> str:
        return f"MemberRow(id={self.id}, handle={self.handle!r}, status={self.status!r})"


def _rows() -> Select[Any]:
    m = members.c
    return select(
        m.id, m.handle, m.did, m.email, m.status, m.reason, m.status_at, m.created_at, m.system, m.password_hash,
        m.operator,
    )


async def _one(tx: Tx, query: Select[Any]) -> MemberRow | None:
    row = (await tx.execute(query)).first()
    return MemberRow(*row) if row is not None else None


async def add(
    tx: Tx,
    *,
    handle: str,
    did: str,
    email: str,
    password_hash: str | None,
    now: float,
    system: bool = False,
) -> int | None:
    """A new active member's id, or None when the handle or the DID is taken."""
    statement = upsert(tx, members).values(
        handle=handle, did=did, email=email, password_hash=password_hash, status=ACTIVE, created_at=now,
        system=system,
    )
    made = await tx.execute(statement.on_conflict_do_nothing().returning(members.c.id))
    found = made.scalar_one_or_none()
    return None if found is None else int(found)


async def by_id(tx: Tx, member_id: int) -> MemberRow | None:
    """The member with this id, whatever its status."""
    return await _one(tx, _rows().where(members.c.id == member_id))


async def by_handle(tx: Tx, handle: str) -> MemberRow | None:
    """The member with this handle (lower case), whatever its status."""
    return await _one(tx, _rows().where(members.c.handle == handle))


async def by_did(tx: Tx, did: str) -> MemberRow | None:
    """The member with this DID, any letter case, whatever its status."""
    return await _one(tx, _rows().where(func.lower(members.c.did) == did.lower()))


async def by_email(tx: Tx, email: str) -> MemberRow | None:
    """The one member that is not deleted and has this address, any letter case; None for nobody or several."""
    query = _rows().where(func.lower(members.c.email) == email.lower(), members.c.status != DELETED).limit(2)
    rows = (await tx.execute(query)).all()
    return MemberRow(*rows[0]) if len(rows) == 1 else None


async def search(
    tx: Tx, text: str, *, status: str | None = None, before: int | None = None, limit: int = 100
) -> list[MemberRow]:
    """The newest members first, those with ids under `before`, whose handle, e-mail address or DID contains `text` in
    any letter case; the relay's own ones are left out."""
    m = members.c
    query = _rows().where(m.system.is_(False)).order_by(m.id.desc()).limit(limit)
    if text:
        low = text.lower()
        query = query.where(or_(*(func.lower(c).contains(low, autoescape=True) for c in (m.handle, m.email, m.did))))
    if status is not None:
        query = query.where(m.status == status)
    if before is not None:
        query = query.where(m.id < before)
    return [MemberRow(*row) for row in await tx.execute(query)]


async def remarks(tx: Tx, member_id: int) -> tuple[int | None, str]:
    """What the operator has set for a member: how many domains it may enroll, and the operator's note."""
    row = (await tx.execute(select(members.c.max_domains, members.c.note).where(members.c.id == member_id))).first()
    return (row[0], row[1]) if row is not None else (None, "")


async def set_note(tx: Tx, member_id: int, note: str) -> None:
    """The operator's note about a member, which the member never sees."""
    await tx.execute(update(members).where(members.c.id == member_id).values(note=note))


async def lock(tx: Tx, member_id: int) -> str | None:
    """The member's status, its row locked until commit (where there are several writers); None for nobody."""
    row = await tx.execute(select(members.c.status).where(members.c.id == member_id).with_for_update())
    return row.scalar_one_or_none()


async def set_status(
    tx: Tx, member_id: int, status: str, *, reason: str, now: float, was: Sequence[str]
) -> bool:
    """Change the status where it is one of `was`; False when it isn't."""
    done = await tx.execute(
        update(members)
        .where(members.c.id == member_id, members.c.status.in_(was))
        .values(status=status, reason=reason, status_at=now)
    )
    return bool(done.rowcount)


async def set_operator(tx: Tx, member_id: int, operator: bool) -> None:
    """Whether a member may open the operator's pages."""
    await tx.execute(update(members).where(members.c.id == member_id).values(operator=operator))


async def set_max_domains(tx: Tx, member_id: int, limit: int | None) -> None:
    """How many domains a member may enroll; None: what the configuration says."""
    await tx.execute(update(members).where(members.c.id == member_id).values(max_domains=limit))


async def set_password(tx: Tx, member_id: int, new: str | None, *, old: str | None) -> bool:
    """Replace the password hash where it still is `old`; False when somebody was faster."""
    m = members.c
    unchanged = m.password_hash.is_(None) if old is None else m.password_hash == old
    done = await tx.execute(update(members).where(m.id == member_id, unchanged).values(password_hash=new))
    return bool(done.rowcount)


async def set_did(tx: Tx, member_id: int, did: str) -> bool:
    """Give the member this DID; False when it is another member's."""
    m = members.c
    taken = select(m.id).where(func.lower(m.did) == did.lower(), m.id != member_id)
    if (await tx.execute(taken)).first() is not None:
        return False
    await tx.execute(update(members).where(m.id == member_id).values(did=did))
    return True


async def forget(tx: Tx, member_id: int, *, did: str) -> None:
    """Forget what a deleted member's row need not hold: address, password, note; `did` frees the one it had."""
    values = {"email": "", "password_hash": None, "did": did, "note": "", "operator": False}
    await tx.execute(update(members).where(members.c.id == member_id).values(**values))
