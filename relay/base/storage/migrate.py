"""Bringing the schema up to what this program needs, and refusing one that is newer and not made to be shared.

A run is one transaction: stopped half way, it starts again. The revisions themselves are the business of `revisions`.
A schema says in its table `beside` which older programs can work with it: those may go on, and be started again, until
the upgrade is finished (`beside`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from sqlalchemy import Connection, inspect, text

from relay.base.config import Config
from relay.base.storage.engine import Storage, Tx, serialise
from relay.base.storage.errors import SchemaTooNew, StorageError
from relay.base.storage.tables.ground import TAKEN_BACK

# The newest revision in `migrations/`, told without asking Alembic.
REVISION = "0031"
# The oldest revision whose programs can go on beside this schema (`beside`): who takes something out, or wants what
# they don't give, raises it.
SHARED_FROM = "0019"

_LOCK = 0x4D494752
# Alembic keeps the migration under way in variables of its own modules, one for the whole program, so in one process
# migrations take turns, also those of different databases and event loops.
_ALEMBIC = threading.Lock()
_TURN_SECONDS = 0.02


Look = Callable[[Tx], Awaitable[None]]


async def migrate(config: Config, look: Look | None = None) -> bool:
    """Bring the schema to this program's revision; True if anything changed.

    `look` sees a database that has a schema before that is changed, and leaves it as it is by raising.
    Raises SchemaTooNew when the database has a revision that this program neither knows nor can work beside,
    StorageError otherwise.
    """
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110 (it is held across event loops)
        await asyncio.sleep(_TURN_SECONDS)
    try:
        storage = await Storage.open(config)
        try:
            return await storage.write(lambda tx: _upgrade(tx, look))
        finally:
            await storage.close()
    finally:
        _ALEMBIC.release()


async def revision(tx: Tx) -> tuple[str | None, str]:
    """(the database's revision or None, this program's)."""
    return await tx.run_sync(_current), REVISION


async def _upgrade(tx: Tx, look: Look | None) -> bool:
    await serialise(tx, _LOCK)
    have, want = await revision(tx)
    if have is not None:
        have = await tx.run_sync(_brought_back, have)
    if look is not None and have is not None:
        await look(tx)
    if have == want:
        return False
    from relay.base.storage import revisions

    if have is not None and have not in revisions.known():
        oldest = await tx.run_sync(_oldest_beside, have)
        if oldest is not None and oldest <= int(want):
            return False
        raise SchemaTooNew(f"the database has schema {have}, this program only knows up to {want}: upgrade Posthouse")
    await tx.run_sync(revisions.upgrade)
    shared = {"have": want, "n": int(SHARED_FROM)}
    await tx.execute(text("DELETE FROM beside WHERE name = :have"), {"have": want})
    await tx.execute(text("INSERT INTO beside (name, n) VALUES (:have, :n)"), shared)
    return True


def _brought_back(connection: Connection, have: str) -> str:
    """The revision of the schema; of one that was taken back, the one that it really has, from now on again."""
    if not inspect(connection).has_table("beside"):
        return have
    found = connection.execute(text("SELECT n FROM beside WHERE name = :name"), {"name": TAKEN_BACK}).scalar()
    if found is None:
        return have
    connection.execute(text("DELETE FROM beside WHERE name = :name"), {"name": TAKEN_BACK})
    connection.execute(text("UPDATE alembic_version SET version_num = :n"), {"n": f"{int(found):04d}"})
    return f"{int(found):04d}"


def _oldest_beside(connection: Connection, have: str) -> int | None:
    """The oldest revision whose programs can work with the schema `have`, if it says so."""
    if not inspect(connection).has_table("beside"):
        return None
    found = connection.execute(text("SELECT n FROM beside WHERE name = :have"), {"have": have}).scalar()
    return None if found is None else int(found)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: list[str] = list(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
    if len(found) > 1:
        both = ", ".join(sorted(found))
        raise StorageError(f"the database has {len(found)} schemas at once ({both}): restore a backup")
    return found[0] if found else None
