"""Duties: named leases, for jobs that one process does at a time."""

from __future__ import annotations

from sqlalchemy import delete, select

from relay.base.storage.engine import Tx, upsert
from relay.base.storage.tables import duties

_TOO_LONG = 3  # leases; so far the clocks of several machines may differ


async def take(tx: Tx, name: str, owner: str, now: float, seconds: float) -> bool:
    """Take or keep the duty until `now + seconds`; False while somebody else has it.

    A lease that ends later than anybody's could is of a clock that has been set back since: it is free.
    """
    statement = upsert(tx, duties).values(name=name, owner=owner, until=now + seconds)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": owner, "until": now + seconds},
            where=(duties.c.owner == owner) | (duties.c.until <= now) | (duties.c.until > now + _TOO_LONG * seconds),
        )
    )
    return bool(await tx.scalar(select(duties.c.owner).where(duties.c.name == name)) == owner)


async def leave(tx: Tx, name: str, owner: str) -> None:
    """Give the duty back."""
    await tx.execute(delete(duties).where(duties.c.name == name, duties.c.owner == owner))
