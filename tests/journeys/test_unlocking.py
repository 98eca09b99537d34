"""A master key that is missing, or another one, never looks like readiness: it is refused, and nothing is made."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from posthouse.backup import backup, restore
from posthouse.cli import app
from posthouse.doctor import examine
from posthouse.doctor.finding import FAIL
from posthouse.serve import Node, StartError
from posthouse.wiring import Core
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import SecretsError, Vault
from relay.base.storage import Storage, master_key
from relay.base.storage.tables import api_keys
from relay.directory import Login
from tests.kit import warm
from tests.kit.plain_log import plain_log
from tests.kit.storage import PostgresServer, make_config
from tests.kit.world import MemberAt, World


def keyed(config: Config, master: str, *previous: str) -> Config:
    files = {"master_key_file": Path(master), "previous_key_files": [Path(one) for one in previous]}
    return config.model_copy(update={"secrets": config.secrets.model_copy(update=files)})


async def used(config: Config) -> MemberAt:
    """A database in use: a member with a key and a domain, of before the id was kept."""
    world = await World.make(config, Clock())
    try:
        member = await world.member()
        await world.domain(member)
        return member
    finally:
        await world.close()


async def starts(config: Config) -> str:
    """The id of the key that a start uses."""
    async with await Core.open(config, Clock()) as core:
        return core.vault.key_id


async def recorded(config: Config) -> str | None:
    storage = await Storage.open(config)
    try:
        async with storage.read() as tx:
            return await master_key.recorded(tx)
    finally:
        await storage.close()


async def test_an_empty_database_gets_a_key_and_one_in_use_never(empty_config: Config) -> None:
    path = empty_config.master_key_path
    first = await starts(empty_config)
    assert await recorded(empty_config) == first
    assert await starts(empty_config) == first
    async with await Core.open(empty_config, Clock()) as core:
        await core.enroll.accounts.make_invite()
    kept = path.read_bytes()

    path.unlink()
    for attempt in (starts, Node.start):
        with pytest.raises((SecretsError, StartError), match=rf"missing, and the database belongs .* {first}"):
            await attempt(empty_config)  # type: ignore[operator]
    assert not path.exists()
    Vault.make(path)
    with pytest.raises(SecretsError, match=f"not the one of this database .id {first}"):
        await starts(empty_config)
    path.write_bytes(kept)
    assert await starts(empty_config) == first


async def test_of_two_first_starts_on_two_machines_one_key_stays(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.url()
    machines = [make_config(tmp_path / name, url) for name in ("a", "b", "c")]
    ends = await asyncio.gather(*(starts(one) for one in machines), return_exceptions=True)
    (winner,) = [end for end in ends if isinstance(end, str)]
    assert all(f"id {winner}" in str(end) for end in ends if end != winner)
    assert await recorded(machines[0]) == winner
    left = [one for one in machines if one.master_key_path.exists()]
    assert [Vault.load(one.master_key_path).key_id for one in left] == [winner]

    joins = make_config(tmp_path / "d", url)
    with pytest.raises(SecretsError, match="missing, and the database belongs to"):
        await starts(joins)
    assert not joins.master_key_path.exists()


async def test_a_database_from_before_takes_the_key_that_proves_right(config: Config) -> None:
    member = await used(config)
    assert await recorded(config) is None
    Vault.make(config.server.data_dir / "other.key")
    with pytest.raises(SecretsError, match=r"doesn't fit the DKIM pair ph1 of example\.test"):
        await starts(keyed(config, "other.key"))
    with pytest.raises(SecretsError, match="missing, and the database is in use"):
        await starts(keyed(config, "absent.key"))
    assert await recorded(config) is None
    right = await starts(config)
    assert await recorded(config) == right
    async with await Core.open(config, Clock()) as core:
        assert isinstance(core.directory.login(member.handle, member.key, "127.0.0.1"), Login)


async def test_api_keys_prove_it_where_nothing_is_sealed(config: Config) -> None:
    world = await World.make(config, Clock())
    member = await world.member()
    await world.close()

    async def hashed_by(by: str | None) -> None:
        storage = await Storage.open(config)
        await storage.write(lambda tx: tx.execute(update(api_keys).values(hashed_by=by)))
        await storage.close()

    # Nobody knows: it is used as ever, and the id is written when a use of the key has told.
    await hashed_by(None)
    right = await starts(config)
    assert await recorded(config) is None
    await hashed_by("0123456789abcdef")
    with pytest.raises(SecretsError, match="doesn't fit 1 API keys"):
        await starts(config)
    await hashed_by(right)
    assert await starts(config) == await recorded(config) == right
    assert member.handle


async def test_the_id_follows_a_change_of_keys(config: Config) -> None:
    await used(config)
    old = await starts(config)
    new = Vault.make(config.server.data_dir / "new.key").key_id
    # Everybody reads with the new key first; then they change one after the other, and one of them restarts between.
    assert await starts(keyed(config, "master.key", "new.key")) == old
    assert await starts(keyed(config, "new.key", "master.key")) == new == await recorded(config)
    assert await starts(keyed(config, "master.key", "new.key")) == old
    assert await starts(keyed(config, "new.key", "master.key")) == new
    assert await starts(keyed(config, "new.key")) == new
    with pytest.raises(SecretsError, match=f"id {new}"):
        await starts(keyed(config, "master.key"))


def test_every_command_that_opens_secrets_says_it_with_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path / "data")
    member, right = asyncio.run(used(config)), asyncio.run(starts(config))
    file = tmp_path / "relay.toml"
    file.write_text(
        f'roles = ["submission"]\n[server]\ndata_dir = "{config.server.data_dir}"\n'
        '[submission]\nlisten = ["127.0.0.1:0"]\nlisten_tls = []\n'
    )
    monkeypatch.setenv("POSTHOUSE_CONFIG", str(file))
    path = config.master_key_path
    path.rename(tmp_path / "kept.key")
    commands = [
        ["check-config"], ["key", "new", member.handle], ["member", "list"], ["master-key", "show"],
        ["backup", str(tmp_path / "x.backup")],
    ]

    def run(*words: str) -> Result:
        done = CliRunner().invoke(app, list(words))
        plain_log()
        return done

    async def served() -> tuple[int, str]:
        process = await warm.start(["serve"], dict(os.environ))
        said = await process.stderr.read()
        return await process.wait(), said.decode()

    def all_refuse(word: str) -> None:
        before = sorted(one.name for one in config.server.data_dir.iterdir() if one.name != "serving.lock")
        for command in commands:
            done = run(*command)
            assert (done.exit_code, word in done.stderr) == (3, True), (command, done.output)
        code, said = asyncio.run(served())
        assert (code, word in said) == (3, True), said
        assert sorted(one.name for one in config.server.data_dir.iterdir() if one.name != "serving.lock") == before
        assert not (tmp_path / "x.backup").exists()
        assert [one.status for one in asyncio.run(examine(config, only=["master key"]))] == [FAIL]

    all_refuse("master.key: ")
    other = Vault.make(path)
    all_refuse(f"(id {right})")

    # Lost for good: only who names the lost key goes on without it.
    done = run("master-key", "adopt", other.key_id)
    assert (done.exit_code, f"id {right}, not {other.key_id}: nothing changed" in done.stderr) == (3, True)
    assert other.key_id in run("master-key", "adopt", right).stdout
    assert asyncio.run(starts(config)) == other.key_id


async def test_a_backup_brings_the_id_along(config: Config, tmp_path: Path) -> None:
    await used(config)
    right = await starts(config)
    made = await backup(config, tmp_path / "all.backup", Clock(), passphrase="correct horse battery")
    there = make_config(tmp_path / "there")
    await restore(there, made.path, passphrase="correct horse battery")
    assert await recorded(there) == right == await starts(there)
