"""What a run of thousands of tests does once instead of each time. Everything here is tried for real elsewhere, and in
every process that a test starts."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator

import pytest
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket

from relay.base.keys import KeyPair, generate_rsa

_PAIRS = 12


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
        patch.setattr("enroll.domains.rotation.generate_rsa", next_one)
        yield


class _Compiled(BytecodeCache):
    def __init__(self) -> None:
        self._codes: dict[str, object] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get(bucket.key)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key] = bucket.code


@pytest.fixture(autouse=True, scope="session")
def templates_compiled_once() -> Iterator[None]:
    """Every site of a test has its own templates; what they are compiled to is the same."""
    compiled = _Compiled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enroll.pages.render.Environment", lambda **o: Environment(**o, bytecode_cache=compiled))
        yield


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """What a module leaves behind (schemas, parsed samples, browsers) is looked at once, not at every collection of
    the modules after it."""
    yield
    gc.collect()
    gc.freeze()
