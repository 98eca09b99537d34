"""Bringing the schema up to what this program needs, and refusing one that is newer.

Alembic's revisions lie in `migrations/`. A run is one transaction: stopped half way, it starts again.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from relay.base.config import Config
from relay.base.storage.engine import Storage, Tx, serialise
from relay.base.storage.errors import SchemaTooNew

_LOCK = 0x4D494752
# Alembic keeps the migration under way in variables of its own modules, one for the whole program, so in one process
# migrations take turns, also those of different databases and event loops.
_ALEMBIC = threading.Lock()
_TURN_SECONDS = 0.02


async def migrate(config: Config) -> bool:
    """Bring the schema to this program's revision; True if anything changed.

    Raises SchemaTooNew when the database knows a revision that this program doesn't, StorageError otherwise.
    """
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110 (it is held across event loops)
        await asyncio.sleep(_TURN_SECONDS)
    try:
        storage = await Storage.open(config)
        try:
            return await storage.write(_upgrade)
        finally:
            await storage.close()
    finally:
        _ALEMBIC.release()


async def revision(tx: Tx) -> tuple[str | None, str]:
    """(the database's revision or None, this program's)."""
    return await tx.run_sync(_current), _scripts().get_current_head() or ""


async def _upgrade(tx: Tx) -> bool:
    await serialise(tx, _LOCK)
    have, want = await revision(tx)
    if have == want:
        return False
    scripts = _scripts()
    if have is not None and have not in {r.revision for r in scripts.walk_revisions()}:
        raise SchemaTooNew(f"the database has schema {have}, this program only knows up to {want}: upgrade Posthouse")
    await tx.run_sync(_run)
    return True


def _alembic() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_alembic())


def _current(connection: Connection) -> Any:
    return MigrationContext.configure(connection).get_current_revision()


def _run(connection: Connection) -> None:
    config = _alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
