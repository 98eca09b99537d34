"""Which master key the database belongs to: its id, which says nothing else about it. Writes `master_key`."""

from __future__ import annotations

from sqlalchemy import insert, inspect, select, update

from relay.base.storage.engine import Tx, serialise
from relay.base.storage.tables import master_key

_ONE = 1
_LOCK = 0x4D4B4559


async def alone(tx: Tx) -> None:
    """Until commit nobody else decides whose database this is."""
    await serialise(tx, _LOCK)


async def recorded(tx: Tx) -> str | None:
    """The id; None where there is none yet, or no such table."""
    if not await tx.run_sync(lambda connection: inspect(connection).has_table(master_key.name)):
        return None
    found: str | None = await tx.scalar(select(master_key.c.key_id))
    return found


async def record(tx: Tx, key_id: str, now: float) -> None:
    """Write the id where there is none."""
    await tx.execute(insert(master_key).values(one=_ONE, key_id=key_id, since=now))


async def change(tx: Tx, was: str, key_id: str, now: float) -> bool:
    """The database belongs to another key from now on; False if it wasn't `was` that it belonged to."""
    changed = update(master_key).where(master_key.c.key_id == was).values(key_id=key_id, since=now)
    return bool((await tx.execute(changed)).rowcount)
