"""Room on the disk that rows have left: used again by new ones, and beyond a share of the file given back.

On SQLite, for a database made with `auto_vacuum`; an older one gets that by `compact`. PostgreSQL sees to it itself.
"""

from __future__ import annotations

from typing import Any

from relay.base.storage.engine import Tx
from relay.base.storage.sqlite_driver import InlineConnection

_SPARE_SHARE = 0.25
"""Of the file, that may stay free: what was used once will be needed again, and moving pages costs."""
_SPARE_PAGES = 4096


async def give_back(tx: Tx, limit: int) -> int:
    """Give up to `limit` free pages back to the disk, while more than a share of the file is free; returns how many."""
    if tx.dialect.name != "sqlite":
        return 0
    ((mode,),) = await _direct(tx, "PRAGMA auto_vacuum")
    ((free,),) = await _direct(tx, "PRAGMA freelist_count")
    ((pages,),) = await _direct(tx, "PRAGMA page_count")
    spare = int(max(_SPARE_PAGES, pages * _SPARE_SHARE))
    if mode != 2 or free <= spare:
        return 0
    count = int(min(limit, free - spare))
    # One page with each step, and the driver makes one step of a statement without columns.
    await _direct(tx, "PRAGMA incremental_vacuum(1)", count)
    return count


async def _direct(tx: Tx, statement: str, times: int = 1) -> list[Any]:
    """A statement straight to the driver, so often; what the last one found."""
    raw = tx.sync_connection
    driver = raw.connection.driver_connection if raw is not None else None
    assert isinstance(driver, InlineConnection)
    connection = driver.raw

    def run() -> list[Any]:
        for _ in range(times - 1):
            connection.execute(statement)
        return connection.execute(statement).fetchall()

    found: list[Any] = await driver.in_thread(run) if driver.aside else run()
    return found
