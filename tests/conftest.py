"""Fixtures of the kit, for every test."""

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator

import pytest

from relay.base.config import Config
from tests.kit.economy import few_keys, frozen, templates_compiled_once
from tests.kit.plain_log import plain_log
from tests.kit.storage import config, empty_config, postgres, sqlite_config, storage
from tests.kit.world import World

_MEMORY, _ROOM = "/dev/shm", 8 << 30
_OBJECTS = 20_000

# Hundreds of databases are made, each change synced. Where there is room in memory they lie there; the disk's own
# speed is the benchmark's business. TMPDIR names another place.
if "TMPDIR" not in os.environ and os.path.isdir(_MEMORY) and shutil.disk_usage(_MEMORY).free > _ROOM:
    os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY

# Every process would read the system's authorities from one long file; their folder is searched when one is wanted.
os.environ.setdefault("SSL_CERT_FILE", os.devnull)

# A collection in a process that holds thousands of tests takes long: there are fewer, and one after each module.
gc.set_threshold(_OBJECTS, 20, 50)
plain_log()

__all__ = [
    "config", "empty_config", "few_keys", "frozen", "postgres", "sqlite_config", "storage", "templates_compiled_once",
    "world",
]  # fmt: skip


@pytest.fixture
async def world(config: Config) -> AsyncIterator[World]:
    """What stands below the listeners, wired, on each engine."""
    made = await World.make(config)
    yield made
    await made.close()
