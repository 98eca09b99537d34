"""SQLite for the writer: statements run where they are asked, only COMMIT goes to a thread (and what runs aside).

A statement on a warm database takes some microseconds, a hop to another thread and back a hundred; an accepted
message needs a dozen statements. COMMIT waits for the disk, so it does go to a thread, and the event loop goes on.
The face is aiosqlite's, so that SQLAlchemy's dialect for it drives this.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class InlineCursor:
    """A cursor whose coroutines never wait, but for those of a transaction that runs aside."""

    __slots__ = ("_cursor", "_of")

    def __init__(self, cursor: sqlite3.Cursor, of: InlineConnection) -> None:
        self._cursor, self._of = cursor, of

    async def __aenter__(self) -> InlineCursor:
        return self

    @property
    def description(self) -> Any:
        """As in PEP 249."""
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        """As in PEP 249."""
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        """As in PEP 249."""
        return self._cursor.lastrowid

    async def execute(self, operation: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement."""
        if self._of.aside:
            await self._of.in_thread(self._cursor.execute, operation, parameters)
        else:
            self._cursor.execute(operation, parameters)

    async def executemany(self, operation: str, parameters: Any) -> None:
        """Run one statement for each row of parameters."""
        if self._of.aside:
            await self._of.in_thread(self._cursor.executemany, operation, parameters)
        else:
            self._cursor.executemany(operation, parameters)

    async def fetchall(self) -> list[Any]:
        """Every row left."""
        if self._of.aside:
            found: list[Any] = await self._of.in_thread(self._cursor.fetchall)
            return found
        return self._cursor.fetchall()

    async def fetchone(self) -> Any:
        """The next row or None."""
        return self._cursor.fetchone()

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows."""
        return self._cursor.fetchmany(size or self._cursor.arraysize)

    async def close(self) -> None:
        """Done with it."""
        self._cursor.close()


class InlineConnection:
    """A connection of the event loop's own thread; `commit` waits in another one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._conn = connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-commit")
        self.aside = False
        """Whether statements run in the thread too, while the event loop goes on: for work that takes long."""

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's connection, for statements that are compiled already (see `prepared`)."""
        return self._conn

    @property
    def isolation_level(self) -> str | None:
        """None: BEGIN is ours to say."""
        return self._conn.isolation_level

    def cursor(self) -> InlineCursor:
        """A new cursor."""
        return InlineCursor(self._conn.cursor(), self)

    async def create_function(self, name: str, arguments: int, function: Any, **options: Any) -> None:
        """What SQLAlchemy asks for at connect."""
        self._conn.create_function(name, arguments, function, **options)

    async def commit(self) -> None:
        """Commit; returns when the disk has it."""
        if self._conn.in_transaction:
            await self.in_thread(self._conn.commit)

    async def in_thread(self, do: Callable[..., Any], *args: Any) -> Any:
        """`do(*args)` in this connection's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, do, *args)

    async def rollback(self) -> None:
        """Undo."""
        self._conn.rollback()

    async def close(self) -> None:
        """Close, once."""
        if self._connection is not None:
            self._connection = None
            self._thread.shutdown(wait=True)
            self._conn.close()

    def stop(self) -> None:
        """Close at once (SQLAlchemy's terminate)."""
        if self._connection is not None:
            self._connection = None
            self._thread.shutdown(wait=False)
            self._conn.close()


async def connect(path: str, timeout: float) -> InlineConnection:
    """Open `path`. `timeout`: seconds SQLite itself waits for another process, blocking the loop: keep it short."""
    return InlineConnection(
        sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=512)
    )
