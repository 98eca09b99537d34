"""All tables as plain rows, out of one snapshot and back into an empty database of either engine.

`dump` reads inside one transaction that sees one state, so it may run while mail flows. `load` makes the schema of
the revision the rows were taken at, fills it, sets the id counters, frees the leases and brings the schema up to
date: all in the caller's one transaction. The rows' form in a file is the caller's business.

`sample` copies the schema and what is new into an empty database, to try an upgrade on: members, domains and keys
whole, of the mail what is new, and no message's content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Connection, MetaData, Table, column, func, insert, select, table, text, update

from relay.base.storage import revisions
from relay.base.storage.engine import Storage, Tx
from relay.base.storage.errors import SchemaTooNew, StorageError
from relay.base.storage.migrate import revision
from relay.base.storage.tables import metadata

ROWS_AT_ONCE = 200
BYTES_AT_ONCE = 8_388_608
_AHEAD = 1_000_000
# Leases belong to processes of the old place; their rows would only be in the way.
SKIPPED = frozenset({"duties", "site_shares"})
_SAMPLED = 20_000  # rows of a table
_NEW_BY = {"messages": "received_at", "events": "at", "refusals": "at", "allowances": "at"}
_NOT_SAMPLED = SKIPPED | {
    "alembic_version", "attempts", "bodies", "heads", "idempotency", "key_use", "sender_codes", "sessions",
    "webhook_deliveries",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `dump` is reading: the schema's revision, the tables in the order in which they can be filled again,
    and the highest id each counter has given."""

    revision: str
    tables: dict[str, list[str]]
    counters: dict[str, int]


async def begin(tx: Tx) -> Snapshot:
    """Look at one state of the database through `tx` (from `Storage.read`). Raises StorageError when its schema
    isn't this program's."""
    if tx.dialect.name == "postgresql":
        # SQLite's readers see one state anyway.
        await tx.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    have, want = await revision(tx)
    if have != want:
        raise StorageError(f"the database has schema {have or 'none'}, not {want}: run posthouse migrate first")
    kept = [t for t in metadata.sorted_tables if t.name not in SKIPPED]
    return Snapshot(want, {t.name: [c.name for c in t.columns] for t in kept}, await _counters(tx, kept))


async def rows(tx: Tx, name: str) -> AsyncIterator[tuple[Any, ...]]:
    """Every row of the table `name` in the order of its primary key, as a stream."""
    t = metadata.tables[name]
    stream = await tx.stream(select(t).order_by(*t.primary_key.columns), execution_options={"yield_per": ROWS_AT_ONCE})
    async for row in stream:
        yield tuple(row)


async def is_empty(tx: Tx) -> bool:
    """True when nobody has used this database: no member, no message (or no schema at all)."""
    if (await revision(tx))[0] is None:
        return True
    members, messages = metadata.tables["members"], metadata.tables["messages"]
    used = [select(members.c.id).where(members.c.system.is_(False)).limit(1), select(messages.c.id).limit(1)]
    return all([await tx.scalar(query) is None for query in used])


async def load(
    tx: Tx, snapshot: Snapshot, content: Iterable[tuple[str, tuple[Any, ...]]], *, bring_up: bool = True
) -> dict[str, int]:
    """Fill an empty database with `content`: (table name, row in the snapshot's column order), tables in order.
    `bring_up`: to this program's schema afterwards.

    Returns how many rows each table got. Raises StorageError for a database in use, SchemaTooNew for rows of a
    newer program.
    """
    if snapshot.revision not in revisions.known():
        raise SchemaTooNew(f"the backup has schema {snapshot.revision}, unknown to this program: upgrade Posthouse")
    if not await is_empty(tx):
        raise StorageError("the database is in use: restore into an empty one")
    have = (await revision(tx))[0]
    if have is None:
        await tx.run_sync(revisions.upgrade, snapshot.revision)
    elif have != snapshot.revision:
        raise StorageError("the database has another schema than the backup: restore into one without tables")
    shape = await tx.run_sync(_reflected)
    for t in reversed(shape.sorted_tables):
        if t.name in snapshot.tables:
            await tx.execute(t.delete())
    counts = dict.fromkeys(snapshot.tables, 0)
    batch = _Batch(tx, shape, snapshot)
    for name, row in content:
        counts[name] += 1
        await batch.add(name, row)
    await batch.write()
    await _set_counters(tx, shape, snapshot.counters)
    recipients = shape.tables["recipients"]
    await tx.execute(update(recipients).values(lease_owner=None, lease_until=None))
    # Others may have seen later versions than the backup's: the hosted zone's serial must not fall behind those.
    numbers = shape.tables["versions"]
    await tx.execute(update(numbers).values(n=numbers.c.n + _AHEAD))
    if bring_up:
        await tx.run_sync(revisions.upgrade)
    return counts


@dataclass(frozen=True, slots=True)
class Sample:
    """What was copied: the schema's revision, how many rows, and how many there are of these tables in all."""

    revision: str
    copied: int
    whole: int


async def sample(source: Storage, into: Storage, since: float) -> Sample:
    """Copy what is new since `since` (Unix seconds) into an empty database, at the schema that `source` has.
    Raises StorageError."""
    content: list[tuple[str, tuple[Any, ...]]] = []
    whole = 0
    async with source.read() as tx:
        have = (await revision(tx))[0]
        if have is None:
            raise StorageError("there is no schema yet: posthouse serve makes it")
        made = await into.write(lambda tx: _at(tx, have))
        shape = await tx.run_sync(_reflected)
        # A database that was taken back has tables and columns of a later schema.
        tables = {t.name: t for t in made.sorted_tables if t.name not in _NOT_SAMPLED and t.name in shape.tables}
        for name, t in tables.items():
            there = shape.tables[name]
            rows = await tx.execute(_new(shape, there, since).with_only_columns(*(there.c[c.name] for c in t.columns)))
            content += [(name, tuple(row)) for row in rows]
            whole += int(await tx.scalar(select(func.count()).select_from(there)) or 0)
    snapshot = Snapshot(have, {name: [c.name for c in t.columns] for name, t in tables.items()}, {})
    await into.write(lambda tx: load(tx, snapshot, content, bring_up=False))
    return Sample(have, len(content), whole)


async def _at(tx: Tx, schema: str) -> MetaData:
    """The tables of an empty database, made at the schema `schema`."""
    await tx.run_sync(revisions.upgrade, schema)
    return await tx.run_sync(_reflected)


def _new(shape: MetaData, t: Table, since: float) -> Any:
    """The rows of a table that are sampled."""
    messages = shape.tables["messages"]
    query = select(t).order_by(*(c.desc() for c in t.primary_key.columns))
    if t.name == "recipients":
        newest = select(messages.c.id).where(messages.c.received_at >= since).order_by(messages.c.id.desc())
        return query.where(t.c.message_id.in_(select(newest.limit(_SAMPLED).subquery().c.id)))
    if t.name in _NEW_BY:
        query = query.where(t.c[_NEW_BY[t.name]] >= since)
    return query.limit(_SAMPLED)


class _Batch:
    """Rows of one table on their way in, bounded in number and bytes."""

    def __init__(self, tx: Tx, shape: MetaData, snapshot: Snapshot) -> None:
        self._tx, self._shape, self._snapshot = tx, shape, snapshot
        self._name, self._rows, self._bytes = "", [], 0  # type: str, list[dict[str, Any]], int

    async def add(self, name: str, row: tuple[Any, ...]) -> None:
        if name != self._name or len(self._rows) >= ROWS_AT_ONCE or self._bytes >= BYTES_AT_ONCE:
            await self.write()
        self._name = name
        columns = self._snapshot.tables[name]
        if len(columns) != len(row):
            raise StorageError(f"the backup's table {name} has a row of {len(row)} values, not {len(columns)}")
        self._rows.append(dict(zip(columns, row, strict=True)))
        self._bytes += sum(len(v) for v in row if isinstance(v, bytes | str))

    async def write(self) -> None:
        if self._rows:
            await self._tx.execute(insert(self._shape.tables[self._name]), self._rows)
        self._rows, self._bytes = [], 0


def _reflected(connection: Connection) -> MetaData:
    """The tables as they are, with this program's column types where it knows the column (JSON, bytes, booleans)."""
    shape = MetaData()
    shape.reflect(connection)
    for name, t in shape.tables.items():
        ours = metadata.tables.get(name)
        if ours is not None:
            for c in t.columns:
                if c.name in ours.c:
                    # A missing value is NULL, as it was, and not JSON's null, which is a value.
                    json = isinstance(ours.c[c.name].type, JSON) and c.nullable
                    c.type = JSON(none_as_null=True) if json else ours.c[c.name].type
    return shape


def _counted(tables: Iterable[Table]) -> list[str]:
    """Tables whose ids come from a counter."""
    return [t.name for t in tables if t.dialect_options["sqlite"].get("autoincrement")]


async def _counters(tx: Tx, tables: list[Table]) -> dict[str, int]:
    names = _counted(tables)
    if tx.dialect.name == "sqlite":
        given = table("sqlite_sequence", column("name"), column("seq"))
        query = select(given.c.name, given.c.seq).where(given.c.name.in_(names))
        return {r.name: r.seq for r in await tx.execute(query)}
    found = {}
    for name in names:
        sequence = await tx.scalar(text("SELECT pg_get_serial_sequence(:t, 'id')"), {"t": name})
        last = await tx.scalar(
            text("SELECT pg_sequence_last_value(CAST(CAST(:s AS text) AS regclass))"), {"s": sequence}
        )
        if last:
            found[name] = int(last)
    return found


async def _set_counters(tx: Tx, shape: MetaData, counters: dict[str, int]) -> None:
    """Ids are never used twice, also not those of rows that were removed before the backup."""
    for name in _counted(metadata.sorted_tables):
        if name not in shape.tables:
            continue
        highest = await tx.scalar(select(func.max(shape.tables[name].c.id)))
        last = max(counters.get(name, 0), highest or 0)
        if last == 0:
            continue
        if tx.dialect.name == "sqlite":
            await tx.execute(text("DELETE FROM sqlite_sequence WHERE name = :n"), {"n": name})
            await tx.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:n, :s)"), {"n": name, "s": last})
        else:
            sequence = await tx.scalar(text("SELECT pg_get_serial_sequence(:t, 'id')"), {"t": name})
            await tx.execute(text("SELECT setval(CAST(CAST(:s AS text) AS regclass), :v)"), {"s": sequence, "v": last})


async def check(storage: Storage) -> list[str]:
    """What the engine itself finds wrong with the database: nothing, or a line each (at most 20)."""
    async with storage.read() as tx:
        if tx.dialect.name != "sqlite":
            await tx.execute(text("SELECT 1"))
            return []
        found = [str(r[0]) for r in await tx.execute(text("PRAGMA quick_check(20)"))]
        orphans = await tx.execute(text("PRAGMA foreign_key_check"))
        broken = [f"{r[0]} row {r[1]} points at no row of {r[2]}" for r in orphans]
    return [line for line in found if line != "ok"] + broken[:20]
