"""A backup taken from a working relay, restored on either engine: the queue, the keys and the ids go on."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, func, select, type_coerce

from posthouse.backup import BackupError, backup, restore
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import SecretsError, Vault
from relay.base.storage import Storage, StorageError, archive, migrate
from relay.base.storage.tables import metadata
from relay.intake import Accepted
from tests.kit.storage import ENGINES, PostgresServer, make_config
from tests.kit.world import World

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
async def busy(config: Config) -> AsyncIterator[World]:
    """A relay with a member, a domain and two queued messages, one of them leased."""
    world = await World.make(config, Clock())
    member = await world.member()
    await world.domain(member)
    for to in ("one@sink.test", "two@sink.test"):
        assert isinstance(await world.submit(member, to), Accepted)
    assert len(await world.queue.claim(1, {})) == 1
    yield world
    await world.close()


def elsewhere(engine: str, folder: Path, request: pytest.FixtureRequest) -> Config:
    """The configuration of another place on `engine`, nothing in it yet."""
    if engine == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        return make_config(folder, server.url())
    return make_config(folder)


@pytest.mark.parametrize("engine", ENGINES)
async def test_what_was_queued_is_queued_again_on_the_other_side(
    busy: World, engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made = await backup(busy.config, tmp_path / "all.backup", Clock(), passphrase=PASSPHRASE)
    assert made.rows["recipients"] == 2
    assert made.path.stat().st_mode & 0o777 == 0o600

    target = elsewhere(engine, tmp_path / "new", request)
    await restore(target, made.path, passphrase=PASSPHRASE)

    assert target.master_key_path.read_bytes() == busy.config.master_key_path.read_bytes()
    there = await World.make(target, Clock(), owner="there")
    try:
        claimed = await there.queue.claim(10, {})
        assert {r.due.address for r in claimed} == {"one@sink.test", "two@sink.test"}
        first = next(r for r in claimed if r.due.address == "one@sink.test")
        assert b"DKIM-Signature" in first.head
        # The member logs in with the old key, its sealed DKIM keys open, and new ids follow the old ones.
        old = {r.due.message_id for r in claimed}
        handle = there.directory.member(2)
        assert handle is not None
        assert handle.handle == "alice"
        member = await there.member("bob")
        there._numbers = iter(range(1000, 1001))
        await there.domain(member, "other.test")
        accepted = await there.submit(member, "three@sink.test", sender="x@other.test")
        assert isinstance(accepted, Accepted)
        assert accepted.message_id > max(old)
    finally:
        await there.close()


async def test_nothing_secret_lies_in_the_file(busy: World, tmp_path: Path) -> None:
    made = await backup(busy.config, tmp_path / "all.backup", Clock(), passphrase=PASSPHRASE)
    content = gzip.decompress(made.path.read_bytes())
    assert busy.config.master_key_path.read_bytes().strip() not in content
    assert b"PRIVATE KEY" not in content
    plain = await backup(busy.config, tmp_path / "nokey.backup", Clock())
    with tarfile.open(plain.path) as tar:
        assert not [n for n in tar.getnames() if "key" in n and not n.startswith("tables/")]


async def test_a_restore_that_cannot_be_right_changes_nothing(sqlite_config: Config, tmp_path: Path) -> None:
    world = await World.make(sqlite_config, Clock())
    await world.member()
    await world.close()
    sealed = (await backup(sqlite_config, tmp_path / "sealed.backup", Clock(), passphrase=PASSPHRASE)).path
    plain = (await backup(sqlite_config, tmp_path / "plain.backup", Clock())).path
    target = make_config(tmp_path / "new")

    with pytest.raises(BackupError, match="holds none"):
        await restore(target, plain)
    with pytest.raises(BackupError, match="--passphrase-file"):
        await restore(target, sealed)
    with pytest.raises(BackupError, match="doesn't open"):
        await restore(target, sealed, passphrase="wrong")
    damaged = tmp_path / "damaged.backup"
    damaged.write_bytes(sealed.read_bytes()[:-200])
    with pytest.raises(BackupError, match="not a whole backup file"):
        await restore(target, damaged, passphrase=PASSPHRASE)
    damaged.write_bytes(b"this is no backup at all")
    with pytest.raises(BackupError, match="not a"):
        await restore(target, damaged, passphrase=PASSPHRASE)
    assert not target.master_key_path.exists()

    with pytest.raises(StorageError, match="in use"):
        await restore(sqlite_config, sealed)

    await restore(target, sealed, passphrase=PASSPHRASE)
    (tmp_path / "third").mkdir()
    third = make_config(tmp_path / "third")
    Vault.make(third.master_key_path)
    with pytest.raises(BackupError, match="not the one of this backup"):
        await restore(third, sealed, passphrase=PASSPHRASE)


async def test_a_backup_is_whole_or_not_there(sqlite_config: Config, tmp_path: Path) -> None:
    with pytest.raises(SecretsError):
        await backup(sqlite_config, tmp_path / "x.backup", Clock())
    Vault.make(sqlite_config.master_key_path)
    with pytest.raises(StorageError, match="posthouse migrate"):
        await backup(sqlite_config, tmp_path / "x.backup", Clock())
    assert not list(tmp_path.glob("x.backup*"))
    await migrate(sqlite_config)
    await backup(sqlite_config, tmp_path / "x.backup", Clock())
    with pytest.raises(BackupError, match="--force"):
        await backup(sqlite_config, tmp_path / "x.backup", Clock())
    with pytest.raises(BackupError):
        await backup(sqlite_config, tmp_path / "no" / "such" / "folder", Clock())


async def test_restoring_into_a_migrated_but_unused_database(sqlite_config: Config, tmp_path: Path) -> None:
    world = await World.make(sqlite_config, Clock())
    await world.member()
    await world.close()
    made = await backup(sqlite_config, tmp_path / "a.backup", Clock(), passphrase=PASSPHRASE)
    target = make_config(tmp_path / "new")
    await migrate(target)
    summary = await restore(target, made.path, passphrase=PASSPHRASE)
    assert summary.rows["members"] == 2  # alice, and the relay itself
    storage = await Storage.open(target)
    await storage.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_every_kind_of_value_comes_back_as_it_was_null_as_null(
    busy: World, engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async def nulls(storage: Storage) -> dict[tuple[str, str], tuple[int, int]]:
        """How many values of each column are NULL, and how many are not."""
        found = {}
        async with storage.read() as tx:
            for name, t in metadata.tables.items():
                if name in archive.SKIPPED:
                    continue
                for c in t.columns:
                    query = select(func.count(), func.count(type_coerce(c, LargeBinary)))
                    every, some = (await tx.execute(query.select_from(t))).one()
                    found[name, c.name] = (every - some, some)
        return found

    before = await nulls(busy.storage)
    assert before["api_keys", "domains"][0] > 0, "a JSON column with nothing in it"
    made = await backup(busy.config, tmp_path / "all.backup", Clock(), passphrase=PASSPHRASE)
    target = elsewhere(engine, tmp_path / "new", request)
    await restore(target, made.path, passphrase=PASSPHRASE)
    storage = await Storage.open(target)
    try:
        after = await nulls(storage)
    finally:
        await storage.close()
    leases = {("recipients", "lease_owner"), ("recipients", "lease_until")}
    assert {k: v for k, v in after.items() if k not in leases} == {k: v for k, v in before.items() if k not in leases}
