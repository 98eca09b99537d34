"""Statements of the hot path: built once, compiled once, and on SQLite handed straight to the driver.

SQLAlchemy's way to a cursor costs about a tenth of a millisecond a statement, SQLite itself some microseconds, and
an accepted and delivered message needs a dozen of them. Here a statement is compiled by SQLAlchemy as always, types
and all; only its execution is shorter. On PostgreSQL, and on connections that only read, it goes the usual way.
Statements with lists that are expanded when asked (`IN`) can't be prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Connection
from typing import Any

from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from relay.base.storage.sqlite_driver import InlineConnection

Row = Mapping[str, Any]
_Field = tuple[str, Any, Callable[[Any], Any] | None]
"""Name in the row, value where the row has none, and what the type makes of it for the driver."""


class Prepared:
    """One statement. Rows of parameters must all have the keys of the first one ever given."""

    def __init__(self, build: Callable[[Callable[..., Any]], Any]) -> None:
        """`build` is called once an engine, with the engine's `insert` (which knows ON CONFLICT)."""
        self._build = build
        self._built: dict[str, Any] = {}
        self._compiled: tuple[str, list[_Field]] | None = None

    def of(self, tx: AsyncConnection) -> Any:
        """The statement for the engine of `tx`."""
        name = tx.dialect.name
        statement = self._built.get(name)
        if statement is None:
            statement = self._built[name] = self._build(sqlite_insert if name == "sqlite" else pg_insert)
        return statement

    def direct(self, tx: AsyncConnection) -> bool:
        """Whether it goes straight to the database here, so that asking often costs little."""
        return _direct(tx) is not None

    async def many(self, tx: AsyncConnection, rows: Sequence[Row]) -> None:
        """Run it for each of `rows` (at least one)."""
        direct = _direct(tx)
        if direct is None:
            await tx.execute(self.of(tx), rows)
            return
        sql, fields = self._ready(tx, rows[0])
        direct.executemany(sql, [_values(fields, row) for row in rows])

    async def ids(self, tx: AsyncConnection, rows: Sequence[Row]) -> list[int]:
        """Insert `rows` (at least one) and return their ids, in order. The statement returns the id, sorted."""
        direct = _direct(tx)
        if direct is None:
            return list((await tx.execute(self.of(tx), rows)).scalars())
        sql, fields = self._ready(tx, rows[0])
        return [direct.execute(sql, _values(fields, row)).fetchone()[0] for row in rows]

    async def all(self, tx: AsyncConnection, row: Row) -> list[Any]:
        """What it finds for `row`: tuples as the columns' types are in the database."""
        direct = _direct(tx)
        if direct is None:
            return list((await tx.execute(self.of(tx), row)).all())
        sql, fields = self._ready(tx, row)
        return direct.execute(sql, _values(fields, row)).fetchall()

    def _ready(self, tx: AsyncConnection, row: Row) -> tuple[str, list[_Field]]:
        if self._compiled is None:
            compiled = self.of(tx).compile(dialect=tx.dialect, column_keys=list(row))
            fields: list[_Field] = []
            for name in compiled.positiontup or ():
                bind = compiled.binds[name]
                kind = bind.type.dialect_impl(tx.dialect)
                fields.append((bind.key, bind.effective_value, kind.bind_processor(tx.dialect)))
            self._compiled = str(compiled), fields
        return self._compiled


def _direct(tx: AsyncConnection) -> Connection | None:
    """The driver's own connection, where statements run on the event loop."""
    raw = tx.sync_connection
    driver = raw.connection.driver_connection if raw is not None else None
    return driver.raw if isinstance(driver, InlineConnection) and not driver.aside else None


def _values(fields: list[_Field], row: Row) -> list[Any]:
    get = row.get
    return [
        get(key, default) if convert is None else convert(get(key, default)) for key, default, convert in fields
    ]
