"""Storage: the only place where SQL is written.

`engine` opens the database and takes turns writing; `tables` says what there is; `migrate` brings it up to date.
Every other module answers questions about its own tables: it takes an open transaction first and returns plain
values. Modules don't know each other; their callers compose them in one transaction.
"""

from relay.base.storage.engine import Storage, Tx
from relay.base.storage.errors import (
    SchemaTooNew,
    StorageDamaged,
    StorageError,
    StorageFull,
    StorageUnavailable,
)  # fmt: skip
from relay.base.storage.migrate import migrate

__all__ = [
    "SchemaTooNew", "Storage", "StorageDamaged", "StorageError", "StorageFull", "StorageUnavailable", "Tx", "migrate",
]
