"""Fixtures of the kit, for every test."""

import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from relay.base.config import Config
from tests.kit.storage import config, empty_config, postgres, sqlite_config, storage
from tests.kit.world import World

__all__ = ["config", "empty_config", "postgres", "sqlite_config", "storage", "world"]


@pytest.fixture
async def world(config: Config) -> AsyncIterator[World]:
    """The rooms below the doors, wired, on each engine."""
    made = await World.make(config)
    yield made
    await made.close()


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """What a module leaves behind (schemas, parsed samples, browsers) is looked at once, not at every collection of
    the modules after it."""
    yield
    gc.collect()
    gc.freeze()
