"""One connection kept open for writing, and its transactions: of an inline SQLite engine, or of PostgreSQL.

On SQLite, taking a connection out of a pool, beginning, committing and giving it back by SQLAlchemy costs 0.2 ms of
CPU, more than the statements of a small transaction. Here BEGIN, COMMIT and ROLLBACK go straight to the driver;
SQLAlchemy believes that a transaction of its own goes on, which for SQLite means nothing. After a failure that may
have left the connection in doubt, `drop` makes the next caller open another one. On PostgreSQL a pool would ask the
server before each transaction whether it is still there, which costs a transaction of its own; what has been closed
is seen here without asking, and what breaks in the middle is the caller's to do again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from relay.base.storage.sqlite_driver import InlineConnection


class Kept:
    """The connection. One caller at a time, except for statements outside transactions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        # There is one connection: who opened another while it goes would wait in vain until the pool gives up.
        self._changing = asyncio.Lock()

    async def connection(self) -> AsyncConnection:
        """The open connection. Raises what opening one raises."""
        if (found := self._connection) is None:
            async with self._changing:
                if (found := self._connection) is None:
                    found = self._connection = await self._engine.connect()
        return found

    async def begin(self) -> AsyncConnection:
        """Begin a transaction, as the only writer. Raises sqlite3.OperationalError when another one has the file."""
        connection = await self.connection()
        _driver(connection).raw.execute("BEGIN IMMEDIATE")
        return connection

    @contextlib.asynccontextmanager
    async def ending(self, connection: AsyncConnection) -> AsyncIterator[None]:
        """Commit at the end of the block; undo when it fails."""
        driver = _driver(connection)
        try:
            yield
            await driver.commit()
        except BaseException:
            try:
                await driver.rollback()
            except sqlite3.Error:
                await self.drop(connection)
            raise

    @contextlib.contextmanager
    def aside(self, connection: AsyncConnection) -> Iterator[None]:
        """Until the end of the block, its statements run in a thread."""
        driver = _driver(connection)
        driver.aside = True
        try:
            yield
        finally:
            driver.aside = False

    async def drop(self, failed: AsyncConnection | None = None) -> None:
        """Close it, if it is open; and if it is still `failed`, where that is given."""
        async with self._changing:
            connection = self._connection
            if connection is None or failed not in (None, connection):
                return
            self._connection = None
            await connection.invalidate()
            await connection.close()

    async def close(self) -> None:
        """Close it, and its engine."""
        await self.drop()
        await self._engine.dispose()


class KeptServer:
    """The connection to PostgreSQL. One caller at a time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self.committing = False
        """Whether the last transaction got as far as COMMIT: if that failed, nobody can say what became of it."""

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commit at the end of the block; undo when it fails."""
        self.committing = False
        connection = self._connection
        if connection is not None and gone(connection):
            await self.drop()
            connection = None
        if connection is None:
            connection = self._connection = await self._engine.connect()
        begun = await connection.begin()
        try:
            yield connection
            self.committing = True
            await begun.commit()
            self.committing = False
        except BaseException:
            try:
                await begun.rollback()
            except Exception:
                await self.drop()
            raise

    async def drop(self) -> None:
        """Close it, if it is open; the next transaction opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()

    async def close(self) -> None:
        """Close it, and its engine."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        await self._engine.dispose()


def gone(connection: AsyncConnection) -> bool:
    """Whether a connection to PostgreSQL has been closed, as far as is known here."""
    raw = connection.sync_connection
    driver: Any = raw.connection.driver_connection if raw is not None and not raw.invalidated else None
    return driver is None or driver.is_closed()


def _driver(connection: AsyncConnection) -> InlineConnection:
    raw = connection.sync_connection
    driver = raw.connection.driver_connection if raw is not None else None
    assert isinstance(driver, InlineConnection)
    return driver
