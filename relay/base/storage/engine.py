"""The two engines behind one face: connections, the one writer with its group commit, reads.

Promises: `together` and `write` return only after the transaction is on disk (SQLite: WAL with synchronous=FULL;
PostgreSQL: synchronous_commit). Writers of one process take turns; on SQLite the processes take turns too, by a
lock file, because SQLite's own waiting sleeps. A batch that fails is run again one by one, so that one bad item
can't take others with it. No other module knows which engine this is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, event, make_url, text
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.schema import Table

from relay.base import metrics
from relay.base.config import Config
from relay.base.storage import sqlite_driver
from relay.base.storage.errors import StorageDamaged, StorageError, classify, collided, in_doubt
from relay.base.storage.filelock import Turns
from relay.base.storage.pinned import Kept, KeptServer

log = structlog.get_logger("storage")
T = TypeVar("T")
R = TypeVar("R")
Tx = AsyncConnection
"""An open transaction, handed to storage functions. Callers pass it on; only storage looks inside."""
_INLINE_WAIT = 0.05  # how long SQLite itself may hold up the event loop for a foreign lock
_LOCKED_PAUSE = 0.02
_COLLISIONS = 5  # so often a transaction is tried that the server undoes for another one's sake
Apply = Callable[[Tx, list[Any]], Awaitable[Sequence[Any]]]


class _Job:
    __slots__ = ("apply", "aside", "future", "item")

    def __init__(self, apply: Apply, item: Any, future: asyncio.Future[Any], aside: bool) -> None:
        self.apply, self.item, self.future, self.aside = apply, item, future, aside


class Storage:
    """The open database. Make it with `Storage.open`; close it with `close`."""

    def __init__(
        self, reader: AsyncEngine, writer: AsyncEngine, *, group_max: int, lock_file: Path | None, patience: float,
        quick: AsyncEngine | None = None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._quick = Kept(quick) if quick else None
        self._kept = Kept(writer) if lock_file else None
        self._single = reader.execution_options(isolation_level="AUTOCOMMIT") if quick is None else reader
        self._served = KeptServer(writer) if lock_file is None else None
        self._group_max, self._patience = group_max, patience
        self._jobs: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self.damage = ""
        """What showed that the database is not whole; "" while nothing did."""
        self._turns = Turns(lock_file, patience) if lock_file else None
        self.task = asyncio.create_task(self._work(), name="storage-writer")
        self.task.add_done_callback(self._ended)

    @classmethod
    async def open(cls, config: Config) -> Storage:
        """Open engines for `config.database`. Does not migrate: see `migrate`. Raises StorageError."""
        db = config.database
        url = database_url(config)
        if url.get_backend_name() == "sqlite":
            path = sqlite_path(config)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            full = url.set(drivername="sqlite+aiosqlite", database=str(path))

            async def creator() -> sqlite_driver.InlineConnection:
                return await sqlite_driver.connect(str(path), _INLINE_WAIT)

            writer = create_async_engine(full, pool_size=1, max_overflow=0, async_creator=creator)
            args = {"timeout": db.busy_timeout_seconds, "isolation_level": None}
            # The one used last is used next: its cache is warm, and those of the others need not fill.
            reader = create_async_engine(
                full, pool_size=db.readers, max_overflow=0, connect_args=args, pool_use_lifo=True
            )
            _sqlite_events(writer, write=True, begins=False)
            _sqlite_events(reader, write=False, begins=True)
            quick = create_async_engine(full, pool_size=1, max_overflow=0, async_creator=creator)
            _sqlite_events(quick, write=False, begins=False)
            lock = path.with_name(path.name + ".lock")
            return cls(
                reader, writer, group_max=db.group_max, lock_file=lock, patience=db.busy_timeout_seconds, quick=quick
            )
        full = url.set(drivername="postgresql+asyncpg")
        timeout = {"command_timeout": db.statement_timeout_seconds, "timeout": 10}
        writer = create_async_engine(full, pool_size=1, max_overflow=0, connect_args=timeout)
        event.listen(writer.sync_engine, "connect", _wait_for_the_disk)
        reader = create_async_engine(full, pool_size=db.readers, max_overflow=0, connect_args=timeout)
        event.listen(reader.sync_engine, "checkout", _not_closed)
        return cls(reader, writer, group_max=db.group_max, lock_file=None, patience=db.busy_timeout_seconds)

    # -- writing -----------------------------------------------------------------------------------------------

    async def together(self, apply: Callable[[Tx, list[T]], Awaitable[Sequence[R]]], item: T) -> R:
        """Group commit: `apply(tx, items)` runs once for everybody waiting with the same `apply`; the result of
        this item comes back after the commit is on disk. `apply` may run again with fewer items after a failure.

        Raises StorageError. A caller that is cancelled doesn't undo its item.
        """
        return await self._enqueue(apply, item, aside=False)

    async def _enqueue(self, apply: Callable[[Tx, list[T]], Awaitable[Sequence[R]]], item: T, *, aside: bool) -> R:
        if self._closing:
            raise StorageError("storage is closing")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(apply, item, future, aside))
        self._wake.set()
        with metrics.WRITE_SECONDS.time():
            return await asyncio.shield(future)

    async def write(self, do: Callable[[Tx], Awaitable[R]]) -> R:
        """`do(tx)` in a transaction (shared with others waiting); returns its value after the commit.

        An exception of `do` that is not a database error rolls its own work back and is raised here.
        """

        async def alone(tx: Tx, items: list[None]) -> list[R]:
            return [await do(tx) for _ in items]

        return await self.together(alone, None)

    async def aside(self, do: Callable[[Tx], Awaitable[R]]) -> R:
        """Like `write`, for work that is slow and that nobody waits for: it has a transaction of its own, and on SQLite
        its statements run in a thread. Who writes meanwhile waits for its end, so it is to be short all the same."""

        async def alone(tx: Tx, items: list[None]) -> list[R]:
            return [await do(tx) for _ in items]

        return await self._enqueue(alone, None, aside=True)

    async def _work(self) -> None:
        while not (self._closing and not self._jobs):
            await self._wake.wait()
            self._wake.clear()
            while self._jobs:
                batch = self._batch()
                if self._kept is not None:
                    await self._run(batch)
                    continue
                # Where processes write beside each other, a transaction does one kind of thing. Each kind takes its
                # locks in the one order (recipients, days, lists, versions, events); two kinds in a row would begin
                # again at the front, and hold what the other process waits for.
                for jobs in _kinds(batch).values():
                    await self._run(jobs)

    def _batch(self) -> list[_Job]:
        """Who shares the next transaction: those that wait, up to the first that wants one of its own."""
        batch = [self._jobs.popleft()]
        while self._jobs and len(batch) < self._group_max and not (batch[0].aside or self._jobs[0].aside):
            batch.append(self._jobs.popleft())
        return batch

    def _ended(self, _: asyncio.Task[None]) -> None:
        """Nobody waits for a writer that is no more."""
        self._closing = True
        jobs, self._jobs = list(self._jobs), deque()
        _fail(jobs, StorageError("storage was closed"))

    async def _run(self, batch: list[_Job], tries: int = _COLLISIONS) -> None:
        began = False
        try:
            async with self._turn(), self._transaction() as tx:
                began = True
                with self._manner(tx, batch):
                    results = await _apply(tx, batch)
        except BaseException as e:
            if isinstance(e, asyncio.CancelledError):
                _fail(batch, StorageError("storage was closed"))
                raise
            if in_doubt(e):
                await (self._kept.close() if self._kept else self._drop_server())
                # What broke before COMMIT was sent has left nothing: once more, on a connection of its own.
                if self._served is not None and began and not self._served.committing and tries == _COLLISIONS:
                    await self._run(batch, tries - 1)
                    return
            if tries > 1 and collided(e):
                await asyncio.sleep(_LOCKED_PAUSE * (1 + os.getpid() % 7 / 7))  # not in step with the other one
                await self._run(batch, tries - 1)
                return
            # No transaction at all is nobody's fault, and one by one they would wait for it for ever.
            if len(batch) == 1 or not began:
                _fail(batch, self._cause(e))
                return
            for job in batch:
                await self._run([job])
            return
        for job, result in results:
            if not job.future.done():
                job.future.set_result(result)

    def _manner(self, tx: Tx, batch: list[_Job]) -> contextlib.AbstractContextManager[None]:
        return self._kept.aside(tx) if self._kept is not None and batch[0].aside else contextlib.nullcontext()

    async def _drop_server(self) -> None:
        if self._served is not None:
            await self._served.drop()

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Tx]:
        """A write transaction."""
        if self._kept is None:
            assert self._served is not None
            async with self._served.transaction() as tx:
                yield tx
            return
        tx = await self._begun(self._kept)
        async with self._kept.ending(tx):
            yield tx

    async def _begun(self, kept: Kept) -> Tx:
        """A transaction on SQLite."""
        return await self._unlocked(kept.begin)

    async def _unlocked(self, ask: Callable[[], Awaitable[Tx]]) -> Tx:
        """A database that somebody else holds is asked again until patience ends: who writes; and, while a connection
        is opened, who has just opened it or closed it (SQLite then has the file's WAL for itself, and says "locked"
        at once)."""
        until = asyncio.get_running_loop().time() + self._patience
        while True:
            try:
                return await ask()
            except (DBAPIError, sqlite3.OperationalError) as e:
                if "locked" not in str(e) or asyncio.get_running_loop().time() > until:
                    raise
            await asyncio.sleep(_LOCKED_PAUSE)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """This process's turn among the processes that share one SQLite file."""
        if self._turns is None:
            yield
            return
        async with self._turns.mine():
            yield

    # -- reading -----------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A connection that sees one state of the database and can't write. Raises StorageError."""
        try:
            async with self._reader.connect() as tx:
                yield tx
        except (SQLAlchemyError, sqlite3.Error, OSError) as e:
            raise self._classified(e) from e

    @contextlib.asynccontextmanager
    async def glance(self) -> AsyncIterator[Tx]:
        """Like `read`, for prepared statements that find a row by its key: each sees a state of its own.
        On SQLite they run where they are asked, without hops between threads. Raises StorageError."""
        if self._quick is None:
            try:
                # No transaction around a single statement: one round trip instead of three.
                async with self._single.connect() as tx:
                    yield tx
            except (SQLAlchemyError, OSError) as e:
                raise self._classified(e) from e
            return
        connection = None
        try:
            connection = await self._unlocked(self._quick.connection)
            yield connection
        except (SQLAlchemyError, sqlite3.Error, OSError) as e:
            if connection is not None:
                await self._quick.drop(connection)
            raise self._classified(e) from e

    def damaged(self, cause: str) -> None:
        """What is kept is not whole: said once as an error, and by `damage` from now on."""
        if not self.damage:
            log.error("storage.damaged", cause=cause, advice="posthouse doctor; restore a backup into a new database")
        self.damage = cause

    def _classified(self, error: BaseException) -> StorageError:
        found = classify(error)
        if isinstance(found, StorageDamaged):
            self.damaged(str(found).partition("\n")[0][:200])
        return found

    def _cause(self, error: BaseException) -> BaseException:
        known = isinstance(error, SQLAlchemyError | sqlite3.Error | OSError | TimeoutError)
        return self._classified(error) if known else error

    @property
    def backlog(self) -> int:
        """Writes waiting for their transaction."""
        return len(self._jobs)

    async def close(self) -> None:
        """Finish what is waiting, then close every connection."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(self.task, return_exceptions=True)
        for kept in (self._kept, self._quick, self._served):
            if kept is not None:
                await kept.close()
        await self._writer.dispose()
        await self._reader.dispose()
        if self._turns is not None:
            self._turns.close()
            self._turns = None


def _kinds(batch: list[_Job]) -> dict[Apply, list[_Job]]:
    """The jobs that one call of `apply` does together, first come first."""
    groups: dict[Apply, list[_Job]] = {}
    for job in batch:
        groups.setdefault(job.apply, []).append(job)
    return groups


async def _apply(tx: Tx, batch: list[_Job]) -> list[tuple[_Job, Any]]:
    done: list[tuple[_Job, Any]] = []
    for apply, jobs in _kinds(batch).items():
        results = await apply(tx, [j.item for j in jobs])
        done.extend(zip(jobs, results, strict=True))
    return done


def _fail(batch: list[_Job], error: BaseException) -> None:
    for job in batch:
        if not job.future.done():
            job.future.set_exception(error)
            job.future.exception()  # retrieved: the waiter may have gone


def _sqlite_events(engine: AsyncEngine, *, write: bool, begins: bool) -> None:
    def connect(dbapi: Any, _record: Any) -> None:
        cursor = dbapi.cursor()
        for pragma in (
            "auto_vacuum=INCREMENTAL",  # of a new file only: `space` can give its free pages back
            "journal_mode=WAL",
            "synchronous=FULL",  # NORMAL loses acknowledged mail when the power goes
            "foreign_keys=ON",
            f"cache_size={-8000 if write else -2000}",  # KiB; each connection has one, and fills it
            "secure_delete=FAST",  # ON, some builds' default, writes every freed page of a body once more
            "temp_store=MEMORY",
            "wal_autocheckpoint=4000",
            "journal_size_limit=67108864",
            *([] if write else ["query_only=ON"]),
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(engine.sync_engine, "connect", connect)
    if begins:
        event.listen(engine.sync_engine, "begin", begin)


def _not_closed(_dbapi: Any, record: Any, _proxy: Any) -> None:
    """A reader's connection that the server has closed meanwhile is replaced by the pool; the server isn't asked."""
    if record.driver_connection.is_closed():
        raise DisconnectionError


def _wait_for_the_disk(dbapi: Any, _record: Any) -> None:
    """PostgreSQL: a commit returns when it is on disk, also where server, database or role say otherwise."""
    cursor = dbapi.cursor()
    cursor.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    cursor.close()
    dbapi.commit()


def sqlite_path(config: Config) -> Path:
    """The database file of an SQLite url: relative ones lie in data_dir."""
    return config.server.data_dir / (make_url(config.database.url).database or "posthouse.db")


def database_url(config: Config) -> URL:
    """`database.url` with the password that stands in a key of its own. Raises sqlalchemy's ArgumentError."""
    url = make_url(config.database.url)
    password = config.database.password.get_secret_value()
    return url.set(password=password) if password else url


def upsert(tx: Tx, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, for the engine of `tx` (both speak the same method names)."""
    return sqlite_insert(table) if tx.dialect.name == "sqlite" else pg_insert(table)


async def serialise(tx: Tx, number: int) -> None:
    """Until commit, no other transaction is past this point (a no-op where there is one writer anyway)."""
    if tx.dialect.name == "postgresql":
        await tx.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": number})


def locks_rows(tx: Tx) -> bool:
    """Whether transactions run beside each other here, so that what must hold until commit is locked."""
    return tx.dialect.name != "sqlite"
