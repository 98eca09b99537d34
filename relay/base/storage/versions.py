"""Version rows: snapshots compare one number instead of reading everything again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from relay.base.storage.engine import Storage, Tx
from relay.base.storage.prepared import Prepared
from relay.base.storage.tables import versions

DIRECTORY = "directory"
SUPPRESSIONS = "suppressions"


def _raise(insert: Callable[..., Any]) -> Any:
    return insert(versions).on_conflict_do_update(index_elements=["name"], set_={"n": versions.c.n + 1})


_BUMP = Prepared(_raise)
_CURRENT = Prepared(lambda _: select(versions.c.name, versions.c.n))


async def bump(tx: Tx, name: str) -> None:
    """Say that what `name` stands for has changed. Call it in the changing transaction."""
    await _BUMP.many(tx, [{"name": name, "n": 1}])


async def current(tx: Tx) -> dict[str, int]:
    """All versions; a name never bumped is absent."""
    return dict(await _CURRENT.all(tx, {}))


async def glimpse(storage: Storage, name: str) -> int:
    """The version of `name` just now, 0 for one never bumped: what those who follow ask many times a second.
    Raises StorageError."""
    async with storage.glance() as tx:
        return (await current(tx)).get(name, 0)
