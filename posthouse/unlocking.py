"""The master key and the database it belongs to.

The database holds the id of its key. A key is made for an empty database and for no other: beside what another key
has sealed, a new one would look like readiness and open nothing. Whoever comes with another key, or with none, is
refused in words, and neither files nor tables are changed then. While keys change, the id moves from the previous key
to the one in use at the first start that names both.

A database from before the id was kept gets it at the first start whose key proves right: it opens something sealed,
or API keys are hashed with it.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from posthouse.resealing import none_opens, oldest
from relay.base.config import Config
from relay.base.secrets import SecretsError, Vault
from relay.base.storage import Storage, Tx, archive, credentials, master_key
from relay.base.storage.location import place
from relay.base.storage.migrate import Look

log = structlog.get_logger("master_key")
_LOST = "if it is lost for good: posthouse master-key adopt --help"


def look(config: Config) -> Look:
    """What `migrate` asks before it changes a schema: is the key at hand, and is it this database's? Raises
    SecretsError."""

    async def asked(tx: Tx) -> None:
        if _there(config.master_key_path):
            await _belongs(tx, Vault.load(config.master_key_path, config.previous_key_paths))
        else:
            await _may_be_made(tx, config)

    return asked


async def refuse_other(config: Config) -> None:
    """The same for those who only look: nothing is made, also no database. Raises SecretsError, StorageError."""
    file = place(config).file
    if file is not None and not _there(file):
        return
    storage = await Storage.open(config)
    try:
        async with storage.read() as tx:
            await look(config)(tx)
    finally:
        await storage.close()


async def unlock(storage: Storage, config: Config, now: float) -> Vault:
    """The vault of this database, whose schema is up to date. Raises SecretsError, StorageError."""
    path = config.master_key_path
    made = not _there(path) and await _made(storage, config)
    vault = Vault.load(path, config.previous_key_paths)
    try:
        async with storage.read() as tx:
            settled = await _belongs(tx, vault)
        if not settled:
            # Of two machines that start at once on an empty database the first one's key stays.
            await storage.write(lambda tx: _claim(tx, vault, now))
    except SecretsError:
        if made:
            path.unlink()
        raise
    if made:
        log.warning("master_key.made", file=str(path), key_id=vault.key_id, advice="keep a copy in another place")
    return vault


async def adopt(storage: Storage, vault: Vault, lost: str, now: float) -> str:
    """The key that the database belonged to is lost for good: it belongs to this one from now on. `lost`: its id, or
    "unknown" where none stands there. Returns the id that it had. Raises SecretsError, StorageError."""

    async def do(tx: Tx) -> str:
        was = await master_key.recorded(tx)
        if lost != (was or "unknown"):
            whose = was or "unknown"
            raise SecretsError(f"the database belongs to the key with id {whose}, not {lost}: nothing changed")
        if was is None:
            await master_key.record(tx, vault.key_id, now)
        else:
            await master_key.change(tx, was, vault.key_id, now)
        return was or "unknown"

    return await storage.write(do)


def _there(path: Path) -> bool:
    """Also a link that leads nowhere: nobody writes in its place."""
    return os.path.lexists(path)


async def _made(storage: Storage, config: Config) -> bool:
    """Make the key that is missing; False when another process of this machine was quicker."""
    async with storage.read() as tx:
        await _may_be_made(tx, config)
    try:
        Vault.make(config.master_key_path)
    except SecretsError:
        if _there(config.master_key_path):
            return False
        raise
    return True


async def _may_be_made(tx: Tx, config: Config) -> None:
    """Raises SecretsError unless nothing can be lost by a new key."""
    path = config.master_key_path
    if config.previous_key_paths:
        raise SecretsError(f"master key {path}: missing, beside secrets.previous_key_files: put the file back")
    belongs = await master_key.recorded(tx)
    if belongs is None and await archive.is_empty(tx):
        return
    whose = f"belongs to the key with id {belongs}" if belongs else "is in use"
    raise SecretsError(
        f"master key {path}: missing, and the database {whose}: put the file back, or correct "
        f"secrets.master_key_file; a new key would open nothing and match no API key ({_LOST})"
    )


async def _belongs(tx: Tx, vault: Vault) -> bool:
    """Whether the database has the id of this key; False where it may be written there. Raises SecretsError."""
    belongs = await master_key.recorded(tx)
    if belongs == vault.key_id:
        return True
    if belongs is not None and belongs not in {one.key_id for one in vault.previous}:
        raise SecretsError(
            f"the master key at hand (id {vault.key_id}) is not the one of this database (id {belongs}): put that "
            f"key's file back, or correct secrets.master_key_file or database.url ({_LOST})"
        )
    if belongs is None and not await archive.is_empty(tx):
        await _proved(tx, vault)
    return False


async def _proved(tx: Tx, vault: Vault) -> bool:
    """Whether this key made anything of what is in the tables; None of it: False. Raises SecretsError when all that
    can be tried is another key's work."""
    opened, unreadable = await oldest(tx, vault)
    hashed = await credentials.hashed_with(tx)
    known = {vault.key_id, *(one.key_id for one in vault.previous)}
    if opened or known & hashed.keys():
        return True
    others = sum(count for by, count in hashed.items() if by is not None)
    if unreadable and vault.previous:
        raise none_opens(unreadable[0])
    if unreadable or others:
        what = unreadable[0] if unreadable else f"{others} API keys"
        raise SecretsError(
            f"the master key at hand (id {vault.key_id}) is not the one of this database: it doesn't fit {what}; put "
            f"the right key's file back, or correct secrets.master_key_file or database.url ({_LOST})"
        )
    return False


async def _claim(tx: Tx, vault: Vault, now: float) -> None:
    """Write the id of this key, unless nothing says that it is the right one. Raises SecretsError."""
    await master_key.alone(tx)
    if await _belongs(tx, vault):
        return
    belongs = await master_key.recorded(tx)
    if belongs is not None:
        await master_key.change(tx, belongs, vault.key_id, now)
    elif await archive.is_empty(tx) or await _proved(tx, vault) or not await credentials.hashed_with(tx):
        await master_key.record(tx, vault.key_id, now)
