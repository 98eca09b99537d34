"""What can go wrong with storage, in the words that callers need: full, or not available. The cause is for the log."""

from __future__ import annotations

import sqlite3


class StorageError(Exception):
    """Storage could not do it. Nothing was acknowledged; trying again later may work."""


class StorageFull(StorageError):
    """No room left on the disk, or the database's own limit is reached."""


class StorageUnavailable(StorageError):
    """Locked, unreachable, read-only, or the disk fails."""


class StorageDamaged(StorageUnavailable):
    """What is on the disk is not what was written: trying again doesn't help, a backup does."""


class SchemaTooNew(StorageError):
    """The database was written by a newer program; this one must not touch it."""


def collided(error: BaseException) -> bool:
    """Whether the server undid this transaction because of another one (PostgreSQL: deadlock, serialisation), so
    that the same work done again will pass."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in ("40P01", "40001")


def in_doubt(error: BaseException) -> bool:
    """Whether the connection itself may be broken, so that another one had better be opened."""
    if getattr(error, "connection_invalidated", False):
        return True
    text = str(error).lower()
    sound = any(words in text for words in ("constraint", "locked", "is full", "readonly"))
    return isinstance(error, sqlite3.Error | OSError) and not sound


def classify(error: BaseException) -> StorageError:
    """The StorageError for a driver's exception, judged by its text and class; unknown is Unavailable."""
    text = str(error).lower()
    if "disk is full" in text or "no space left" in text or "diskfull" in type(error).__name__.lower():
        return StorageFull(text)
    # SQLite's SQLITE_CORRUPT and SQLITE_NOTADB; PostgreSQL's classes data_corrupted and index_corrupted.
    damaged = "disk image is malformed" in text or "file is not a database" in text or "database corruption" in text
    if damaged or getattr(getattr(error, "orig", None), "sqlstate", None) in ("XX001", "XX002"):
        return StorageDamaged(text)
    return StorageUnavailable(text)
