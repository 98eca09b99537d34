"""A change of the master key: what was made under the old one goes on while both are configured, what is sealed anew
goes on for good, and the rest ends when the old key is taken out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from enroll.accounts import Accounts
from enroll.errors import EnrollError
from enroll.passwords import Passwords
from enroll.sessions import Sessions
from posthouse.backup import BackupError, backup, restore
from posthouse.doctor import examine
from posthouse.doctor.finding import FAIL, OK, WARN
from posthouse.resealing import Left, left, refuse_wrong_keys, reseal
from posthouse.wiring import Core
from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.secrets import SecretsError, Vault
from relay.base.storage import webhooks
from relay.bounces import address as return_paths
from relay.bounces import header
from relay.directory import Login
from relay.intake import Accepted
from relay.tracking import tokens
from relay.unsubscribe import address as unsubscribe_addresses
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, World

PASSPHRASE = "correct horse battery staple"
MARK = tokens.Mark("7f3k2m5q4r6s7t2u", b"123456", 1, 1, 20000, 1, "https://example.test/")
PASSWORD = "a long enough passphrase"


@dataclass
class Made:
    """What the world has in hands after a day under the old key."""

    alice: MemberAt
    bob: MemberAt
    unsubscribe: str
    unsubscribe_mail: str
    return_path: str
    header: str
    click: str
    session: str
    invite: str
    password_link: str


def keyed(config: Config, master: str, *previous: str) -> Config:
    files = {"master_key_file": Path(master), "previous_key_files": [Path(one) for one in previous]}
    return config.model_copy(update={"secrets": config.secrets.model_copy(update=files)})


@asynccontextmanager
async def world(config: Config, master: str, *previous: str) -> AsyncIterator[World]:
    opened = await World.make(keyed(config, master, *previous), Clock())
    try:
        yield opened
    finally:
        await opened.close()


def accounts(at: World) -> Accounts:
    passwords = Passwords(at.config, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return Accounts(at.storage, at.config, at.clock, at.vault, passwords)


async def live_a_day(at: World) -> Made:
    """Two members with a domain each, a webhook each, and everything that carries a key's work out of the house."""
    made = []
    for handle, domain in (("alice", "example.test"), ("bob", "bob.test")):
        member = await at.member(handle)
        await at.domain(member, domain)
        sealed = at.vault.seal(b"whsec_" + handle.encode(), "webhook", f"wh{handle}")
        await at.storage.write(lambda tx, m=member, h=handle, s=sealed: webhooks.add(  # type: ignore[misc]
            tx, public_id=f"wh{h}", member_id=m.id, url="https://h.test/", types=(), description="", secret=s, now=1.0,
            cursor=0,
        ))
        made.append(member)
    people = accounts(at)
    session, _ = await Sessions(at.storage, at.config, at.clock, at.vault).open(made[0].id, "192.0.2.1", "")
    return Made(
        made[0], made[1], at.unsubscribe.token(made[0].id, 1, "bob@sink.test"),
        unsubscribe_addresses.local_part(at.vault, MARK.queue_id, "bob@sink.test"),
        return_paths.local_part(at.vault, 4711), header.field(at.vault, MARK.queue_id[:16], 4711).decode(),
        tokens.write(at.vault, "click", MARK), session,
        await people.make_invite(), await people.password_link(made[0].id),
    )


async def working(at: World, made: Made) -> dict[str, bool]:
    """Which of them still do what they were made for."""

    async def link() -> bool:
        try:
            return bool(await accounts(at).read_link(made.password_link))
        except EnrollError:
            return False

    leaving = await at.unsubscribe.read(made.unsubscribe)
    mark = tokens.read(at.vault, "click", made.click)
    return {
        "unsubscribe": leaving is not None and leaving.canonical == "bob@sink.test",
        "unsubscribe mail": unsubscribe_addresses.read(at.vault, made.unsubscribe_mail) is not None,
        "return path": return_paths.read(at.vault, made.return_path) == 4711,
        "message header": header.read(at.vault, made.header.partition(":")[2]) == (MARK.queue_id, 4711),
        "click": mark == MARK,
        "session": await Sessions(at.storage, at.config, at.clock, at.vault).find(made.session) is not None,
        "password link": await link(),
    }


async def secrets(at: World) -> list[str]:
    async with at.storage.read() as tx:
        found = await webhooks.sealed(tx, below=None, limit=10)
    return [at.vault.open(one.secret, "webhook", one.public_id).decode() for one in reversed(found)]


async def logs_in(at: World, member: MemberAt) -> bool:
    return isinstance(at.directory.login(member.handle, member.key, "127.0.0.1"), Login)


async def test_from_one_master_key_to_the_next(config: Config) -> None:
    async with world(config, "old.key") as at:
        made = await live_a_day(at)
        assert all((await working(at, made)).values())
    Vault.make(config.server.data_dir / "new.key")

    # Before the change, a process that only reads with the new key; and one that has changed already.
    async with world(config, "old.key", "new.key") as before, world(config, "new.key", "old.key") as at:
        assert all((await working(at, made)).values())
        token = at.unsubscribe.token(made.alice.id, 1, "carol@sink.test")
        assert token != before.unsubscribe.token(made.alice.id, 1, "carol@sink.test")
        assert await before.unsubscribe.read(token) is not None
        assert return_paths.read(before.vault, return_paths.local_part(at.vault, 12)) == 12
        assert await left(at.storage, at.vault, 2.0) == Left(2, 2, 0, 2, [])

        # Mail is signed with the pair that is still sealed by the old key.
        assert isinstance(await at.submit(made.alice, "dave@sink.test"), Accepted)
        assert at.config.secrets.previous_key_files
        found = await accounts(at).create("carol", email="c@home.test", password=PASSWORD, invite=made.invite)
        assert found.handle == "carol"

        # Stopped half way, it goes on where it was, and what is done is not done again.
        class Stopped(Exception):
            pass

        def stop(looked: int) -> None:
            raise Stopped

        with pytest.raises(Stopped):
            await reseal(at.storage, at.vault, 2.0, batch=1, progress=stop)
        half = await left(at.storage, at.vault, 2.0)
        assert (half.pairs, half.webhooks) == (1, 2)
        await refuse_wrong_keys(at.storage, at.vault)
        assert await reseal(at.storage, at.vault, 2.0, batch=1) == (3, [])
        assert await reseal(at.storage, at.vault, 2.0) == (0, [])

        # A process that has not changed yet reads what is sealed anew; tokens go on.
        assert await secrets(before) == await secrets(at) == ["whsec_alice", "whsec_bob"]
        assert isinstance(await before.submit(made.alice, "erin@sink.test"), Accepted)
        before.directory._outdated.clear()  # only the other process notes the use
        assert all((await working(at, made)).values())

    # Without the old key: what was sealed anew, and the API key that was used meanwhile. Nothing else.
    async with world(config, "new.key") as at:
        assert set((await working(at, made)).values()) == {False}
        assert await secrets(at) == ["whsec_alice", "whsec_bob"]
        assert await logs_in(at, made.alice)
        assert isinstance(await at.submit(made.alice, "frank@sink.test"), Accepted)
        assert not await logs_in(at, made.bob)
        assert await left(at.storage, at.vault, 2.0) == Left(0, 0, 0, 1, [])


async def test_a_key_taken_out_too_early_or_a_wrong_one_is_named(sqlite_config: Config) -> None:
    async with world(sqlite_config, "old.key") as at:
        made = await live_a_day(at)
    for name in ("new.key", "wrong.key"):
        Vault.make(sqlite_config.server.data_dir / name)

    async def doctor(*keys: str) -> list[tuple[str, str]]:
        found = await examine(keyed(sqlite_config, *keys), only=["master key"])
        return [(one.status, one.saw + one.fix) for one in found]

    with pytest.raises(SecretsError, match=r"neither the master key nor .* open the DKIM pair ph1 of example\.test"):
        await Core.open(keyed(sqlite_config, "new.key", "wrong.key"), Clock())
    with pytest.raises(SecretsError, match="the same key as another one"):
        await Core.open(keyed(sqlite_config, "old.key", "old.key"), Clock())
    with pytest.raises(SecretsError, match="No such file"):
        await Core.open(keyed(sqlite_config, "new.key", "gone.key"), Clock())
    # A missing master key beside a previous one is a mistake in the configuration: none is made up.
    with pytest.raises(SecretsError, match=r"missing, beside secrets\.previous_key_files"):
        await Core.open(keyed(sqlite_config, "absent.key", "old.key"), Clock())
    assert not (sqlite_config.server.data_dir / "absent.key").exists()

    ((status, text),) = await doctor("new.key")
    assert status == FAIL
    assert "is not the one of this database: it doesn't fit the DKIM pair" in text
    rows, keys = await doctor("new.key", "old.key")
    assert rows == (WARN, "2 DKIM pairs and 2 webhooks need a previous key (4 rows)posthouse master-key reseal")
    assert keys[0] == WARN
    assert keys[1].startswith("2 API keys have not been used")
    async with world(sqlite_config, "new.key", "old.key") as at:
        assert await logs_in(at, made.alice)
        assert await logs_in(at, made.bob)
        await reseal(at.storage, at.vault, 2.0)
    ((status, text),) = await doctor("new.key", "old.key")
    assert status == OK
    assert "730 days" in text
    ((status, text),) = await doctor("new.key")
    assert status == OK


async def test_a_backup_in_between_brings_both_keys(sqlite_config: Config, tmp_path: Path) -> None:
    async with world(sqlite_config, "old.key") as at:
        made = await live_a_day(at)
    early = await backup(keyed(sqlite_config, "old.key"), tmp_path / "early.backup", Clock())
    Vault.make(sqlite_config.server.data_dir / "new.key")
    changing = keyed(sqlite_config, "new.key", "old.key")
    between = await backup(changing, tmp_path / "between.backup", Clock(), passphrase=PASSPHRASE)

    # On a new machine, with the passphrase alone.
    there = keyed(make_config(tmp_path / "there"), "new.key")
    done = await restore(there, between.path, passphrase=PASSPHRASE)
    (previous,) = done.previous_written
    assert previous.stat().st_mode & 0o777 == 0o600
    async with world(there, "new.key", previous.name) as at:
        assert all((await working(at, made)).values())
        assert await secrets(at) == ["whsec_alice", "whsec_bob"]

    # What stands in the way is not written over, and nothing of a restore that failed stays.
    taken = keyed(make_config(tmp_path / "taken"), "new.key")
    Vault.make(taken.server.data_dir / previous.name)
    with pytest.raises(BackupError, match="is another key; move it away"):
        await restore(taken, between.path, passphrase=PASSPHRASE)
    assert [one.name for one in taken.server.data_dir.iterdir()] == [previous.name]

    # Where the configuration names the file already, it is put there.
    named = keyed(make_config(tmp_path / "named"), "new.key", "old.key")
    assert (await restore(named, between.path, passphrase=PASSPHRASE)).previous_written == ()
    assert Vault.load(named.master_key_path, named.previous_key_paths).previous

    # Without the passphrase, the missing one is named.
    bare = keyed(make_config(tmp_path / "bare"), "new.key")
    bare.server.data_dir.mkdir()
    (bare.server.data_dir / "new.key").write_bytes(changing.master_key_path.read_bytes())
    (bare.server.data_dir / "new.key").chmod(0o600)
    assert (await restore(bare, between.path)).previous_missing == (Vault.load(changing.previous_key_paths[0]).key_id,)

    # A backup from before the change goes into a relay that knows its key as a previous one.
    (named.server.data_dir / "posthouse.db").unlink()
    await restore(named, early.path)
    async with world(named, "new.key", "old.key") as at:
        assert await secrets(at) == ["whsec_alice", "whsec_bob"]
