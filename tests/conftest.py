"""Fixtures of the kit, for every test."""

import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest

from relay.base.config import Config
from relay.base.keys import KeyPair, generate_rsa
from tests.kit.storage import config, empty_config, postgres, sqlite_config, storage
from tests.kit.world import World

_MEMORY, _ROOM = "/dev/shm", 8 << 30
_PAIRS = 12
_OBJECTS = 20_000

# Hundreds of databases are made, each change synced. Where there is room in memory they lie there; the disk's own
# speed is the benchmark's business. TMPDIR names another place.
if "TMPDIR" not in os.environ and os.path.isdir(_MEMORY) and shutil.disk_usage(_MEMORY).free > _ROOM:
    os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY

# A collection in a process that holds thousands of tests takes long: there are fewer, and one after each module.
gc.set_threshold(_OBJECTS, 20, 50)

__all__ = ["config", "empty_config", "postgres", "sqlite_config", "storage", "world"]


@pytest.fixture
async def world(config: Config) -> AsyncIterator[World]:
    """The rooms below the doors, wired, on each engine."""
    made = await World.make(config)
    yield made
    await made.close()


@pytest.fixture(autouse=True, scope="session")
def few_keys() -> Iterator[None]:
    """A dozen RSA pairs take turns: making one for each of hundreds of domains takes longer than most tests. That
    making them works, test_keys and every served process show."""
    made: list[KeyPair] = []
    turns = itertools.count()

    def next_one() -> KeyPair:
        at = next(turns)
        if at < _PAIRS:
            made.append(generate_rsa())
            return made[-1]
        return made[at % len(made)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enroll.domains.pairs.generate_rsa", next_one)
        yield


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """What a module leaves behind (schemas, parsed samples, browsers) is looked at once, not at every collection of
    the modules after it."""
    yield
    gc.collect()
    gc.freeze()
