"""Is a directory that took in changes the same as one that reads everything now?"""

from __future__ import annotations

from typing import Any

from relay.base.storage import Storage
from relay.base.storage import directory as rows
from relay.directory import Directory
from relay.directory.view import Places, View


async def same_as_read_anew(directory: Directory, storage: Storage) -> None:
    """Refresh, and compare every index with one made of all rows."""
    await directory.refresh()
    async with storage.read() as tx:
        fresh = View()
        fresh.take(await rows.snapshot(tx))
    held, wanted = facts(directory._view), facts(fresh)
    for name, value in wanted.items():
        assert held[name] == value, name


def facts(view: View) -> dict[str, Any]:
    """Every index of a view, as plain values."""
    return {name: value.all() if isinstance(value, Places) else value for name, value in vars(view).items()}
