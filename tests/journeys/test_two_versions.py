"""The release before this one on this one's schema: it starts there, works beside the new program, and goes on alone.

`tests/data/previous-release.tar.xz` holds the program that the version before was (CONTRIBUTING says how it is made).
"""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from relay.base.storage import Storage, beside, events, revisions, stats
from relay.base.storage.migrate import REVISION, SHARED_FROM, revision
from relay.base.storage.tables import domains
from tests.kit.served import Town
from tests.kit.storage import PostgresServer

ARCHIVE = Path(__file__).parents[1] / "data" / "previous-release.tar.xz"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Where the shared database is, on each engine."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.url()
    return "sqlite:///posthouse.db"


@pytest.fixture
def previous(tmp_path: Path) -> dict[str, str]:
    """What makes Python find the previous release's modules first."""
    folder = tmp_path / "previous"
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(folder, filter="data")
    assert not (folder / "relay/base/storage/beside.py").exists()
    return {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def names(prefix: str) -> list[str]:
    return [f"{prefix}{i:03d}" for i in range(20)]


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
async def test_the_release_before_works_on_this_schema_beside_this_program(
    url: str, previous: dict[str, str], tmp_path: Path
) -> None:
    roles = {"ROLES": "submission delivery"}
    async with Town.made(tmp_path / "town", url) as town:
        storage = await Storage.open(town.config)
        assert await storage.write(lambda tx: beside.back(tx, REVISION)) == SHARED_FROM
        try:
            async with town.serve(before=["/usr/bin/env"], preload=previous, **roles) as old:
                sent = await town.flood([old], names("alone"), connections=2)
                await town.all_arrived(names("alone"))
                async with town.serve(**roles) as new:
                    async with storage.read() as tx:
                        assert (await revision(tx))[0] == REVISION
                        assert not await beside.finished(tx) or url.startswith("sqlite")
                    sent += await town.flood([old, new], names("both"), connections=6)
                    await town.all_arrived(names("both"))
                    assert await new.stop() == 0
                sent += await town.flood([old], names("after"), connections=2)
                await town.all_arrived(names("after"))
                assert await old.stop() == 0
                assert not [e for p in (old, new) for e in p.events("error", "critical")]
            await as_expected(storage, sent)
        finally:
            await storage.close()
        assert town.arrived() == Counter(sent) == Counter(names("alone") + names("both") + names("after"))


async def as_expected(storage: Storage, sent: list[str]) -> None:
    """Figures and events, whoever wrote them."""
    await storage.write(lambda tx: stats.fold(tx, 10_000))
    async with storage.read() as tx:
        domain_id = await tx.scalar(select(domains.c.id).where(domains.c.name == "example.test"))
        counted = await stats.days(tx, "2000-01-01", domain_id=domain_id)
        found = await events.after(tx, 0, limit=1000)
    assert (sum(d.accepted for d in counted), sum(d.delivered for d in counted)) == (len(sent), len(sent))
    assert Counter(e.type for e in found)["sent"] == len(sent)


def test_the_stored_release_is_the_oldest_that_can_share_this_schema(previous: dict[str, str]) -> None:
    text = (Path(previous["PYTHONPATH"]) / "relay/base/storage/migrate.py").read_text("utf-8")
    assert f'REVISION = "{SHARED_FROM}"' in text
    assert SHARED_FROM in revisions.known()
    assert os.path.getsize(ARCHIVE) < 1_000_000
