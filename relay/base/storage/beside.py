"""Programs of two versions on one database: how long the older one is waited for, and the way back to it.

After the schema was brought up, processes of both versions may run; what the older one needs is kept to (see `events`).
`finish` ends that, once the last of them has ended. Until then `back` lets the older program start again.
"""

from __future__ import annotations

from sqlalchemy import delete, insert, select, text

from relay.base.storage.engine import Tx, locks_rows, upsert
from relay.base.storage.tables import beside
from relay.base.storage.tables.ground import TAKEN_BACK, UNORDERED


async def finished(tx: Tx) -> bool:
    """Whether no older program is waited for. On SQLite nobody ever has to be."""
    return not locks_rows(tx) or bool(await tx.scalar(select(beside.c.n).where(beside.c.name == UNORDERED)))


async def finish(tx: Tx) -> None:
    """Say that every process has this program's version."""
    statement = upsert(tx, beside).values(name=UNORDERED, n=1)
    await tx.execute(statement.on_conflict_do_nothing(index_elements=["name"]))


async def back(tx: Tx, revision: str) -> str | None:
    """Let programs of the schema before `revision` start again; returns their revision, None where there is no way.

    Nothing is taken out of the schema, and which it is stays known (`migrate`). No process of this version may be
    running.
    """
    oldest = await tx.scalar(select(beside.c.n).where(beside.c.name == revision))
    if oldest is None:
        return None
    await tx.execute(delete(beside).where(beside.c.name == UNORDERED))
    await tx.execute(insert(beside).values(name=TAKEN_BACK, n=int(revision)))
    found = f"{oldest:04d}"
    await tx.execute(text("UPDATE alembic_version SET version_num = :n"), {"n": found})
    return found
