"""The life of an account as its owner and the operator see it: passwords, links, invites, sign-ins, keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import insert, select

from enroll.accounts import Accounts, Device, Member
from enroll.accounts.identity import default_did
from enroll.api_keys import Credentials
from enroll.errors import EnrollError
from enroll.passwords import Passwords
from enroll.sessions import Sessions
from relay.base.clock import DAY, HOUR
from relay.base.config import Config
from relay.base.secrets import Vault
from relay.base.storage import Storage, Tx, versions
from relay.base.storage import accounts as account_rows
from relay.base.storage import events as log_rows
from relay.base.storage import sessions as sign_ins
from relay.base.storage.tables import dkim_keys, domains, invites, members, sessions
from tests.kit.clock import HandClock
from tests.kit.storage import made, make_config

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery"
HERE, THERE, ELSEWHERE = "192.0.2.1", "192.0.2.2", "203.0.113.1"
LOGINS = (
    "alice", "nobody", "nobody@example.org", "nopass", "not a handle", "\0@example.org", "\ud800", "x" * 9999
)


class Env:
    """The services over one open database."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage, self.config, self.clock = storage, config, HandClock()
        self.vault = Vault(b"k" * 32)
        self.passwords = Passwords(config, CHEAP)
        self.shown = 0
        self.accounts = self.of(self.passwords)
        self.sessions = Sessions(storage, config, self.clock, self.vault)
        self.credentials = Credentials(storage, config, self.clock, self.vault, changed=self.changed)

    def of(self, passwords: Passwords) -> Accounts:
        return Accounts(
            self.storage, self.config, self.clock, self.vault, passwords, changed=self.changed
        )

    async def changed(self) -> None:
        self.shown += 1

    async def member(self, handle: str = "alice", **over: Any) -> Member:
        given = {"email": f"{handle}@example.org", "password": PASSWORD} | over
        return await self.accounts.create(handle, by_operator=True, **given)

    async def version(self) -> int:
        async with self.storage.read() as tx:
            return (await versions.current(tx)).get(versions.DIRECTORY, 0)

    async def events(self, member_id: int) -> list[str]:
        async with self.storage.read() as tx:
            return [e.type for e in await log_rows.after(tx, 0, member_id=member_id)]


@pytest.fixture
async def env(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Env]:
    config = make_config(tmp_path, enrollment=dict(getattr(request, "param", {})))
    await made(config)
    storage = await Storage.open(config)
    env = Env(storage, config)
    yield env
    env.passwords.close()
    await storage.close()


async def refused(asked: Any) -> EnrollError:
    with pytest.raises(EnrollError) as caught:
        await asked
    return caught.value


# -- passwords -----------------------------------------------------------------------------------------------------


async def test_the_password_is_kept_as_argon2id_only(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    passwords = Passwords(config)
    async with passwords.turn():
        stored = await passwords.hash(PASSWORD)
        assert stored.startswith("$argon2id$v=19$m=65536,")
        assert await passwords.verify(stored, PASSWORD)
        assert not await passwords.verify(stored, PASSWORD + "x")
    passwords.close()


async def test_an_accent_typed_on_another_keyboard_is_the_same(env: Env) -> None:
    await env.member(password="caf\u00e9 caf\u00e9 caf\u00e9")
    await env.accounts.verify_password("alice", "cafe\u0301 cafe\u0301 cafe\u0301", HERE)


async def test_an_unknown_account_is_hashed_for_too(env: Env) -> None:
    class Counting(PasswordHasher):
        checked = 0

        def verify(self, hash: Any, password: Any) -> Any:
            Counting.checked += 1
            return super().verify(hash, password)

    passwords = Passwords(env.config, Counting(time_cost=1, memory_cost=8, parallelism=1))
    accounts = env.of(passwords)
    await env.member()
    await env.member("nopass", password=None)
    for n, login in enumerate(LOGINS, 1):
        error = await refused(accounts.verify_password(login, "wrong password", HERE))
        assert (error.status, error.text) == (401, "Sign-in failed: wrong handle or password")
        assert Counting.checked == n
    passwords.close()


QUICK = {"login_check_seconds": 0.01}


@pytest.mark.parametrize("env", [QUICK], indirect=True)
async def test_guesses_at_an_account_are_cut_off_where_they_come_from(env: Env) -> None:
    await env.member()
    await env.member("bob")
    for n in range(10):
        assert (await refused(env.accounts.verify_password("alice", "wrong password", f"192.0.2.{n}"))).status == 401
    for login in ("alice", "ALICE", "alice@example.org"):
        error = await refused(env.accounts.verify_password(login, PASSWORD, HERE))
        assert (error.status, error.code, error.passes_at) == (429, "TOO_MANY_FAILURES", env.clock.now() + 600)
    # Neither from another network, nor to another account.
    assert (await env.accounts.verify_password("alice", PASSWORD, ELSEWHERE)).handle == "alice"
    assert (await env.accounts.verify_password("bob", PASSWORD, HERE)).handle == "bob"
    env.clock.move(600)
    assert (await env.accounts.verify_password("alice", PASSWORD, HERE)).handle == "alice"


def rush(env: Env, login: str, networks: int, password: str = "wrong password") -> list[asyncio.Task[Member]]:
    """Sign-ins at the same time, one from each network."""
    return [
        asyncio.create_task(env.accounts.verify_password(login, password, f"198.51.{n}.7")) for n in range(networks)
    ]


async def statuses(tried: list[asyncio.Task[Member]]) -> list[int]:
    got = await asyncio.gather(*tried, return_exceptions=True)
    assert all(isinstance(e, EnrollError | Member) for e in got), got
    return sorted(e.status if isinstance(e, EnrollError) else 200 for e in got)


@pytest.mark.parametrize("env", [{"login_check_seconds": 0.05}], indirect=True)
@pytest.mark.parametrize("login", ["alice", "nobody"])
async def test_across_networks_guesses_go_one_after_another(env: Env, login: str) -> None:
    await env.member()
    began = asyncio.get_running_loop().time()
    assert await statuses(rush(env, login, 8)) == [401] * 8
    assert asyncio.get_running_loop().time() - began >= 7 * 0.05


# One wrong password, and the next one of the account is looked at in an hour.
STANDING = {"login_check_seconds": 3600, "login_wait_seconds": 0.2}


@pytest.mark.parametrize("env", [STANDING | {"login_waiting": 5, "login_wait_seconds": 3600}], indirect=True)
@pytest.mark.parametrize("login", ["alice", "nobody"])
async def test_few_may_wait_and_the_others_are_told_to_come_back(env: Env, login: str) -> None:
    await env.member()
    tried = rush(env, login, 20)
    done: set[asyncio.Task[Member]] = set()
    async with asyncio.timeout(20):
        while len(done) < 15:
            done |= (await asyncio.wait(set(tried) - done, return_when=asyncio.FIRST_COMPLETED))[0]
    assert await statuses(list(done)) == [401] + [429] * 14
    waiting = set(tried) - done
    assert not any(one.done() for one in waiting)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("env", [STANDING], indirect=True)
async def test_nobody_waits_for_a_turn_longer_than_it_may(env: Env) -> None:
    await env.member()
    assert await statuses(rush(env, "alice", 12)) == [401] + [429] * 11


@pytest.mark.parametrize("env", [STANDING | {"login_wait_seconds": 60}], indirect=True)
async def test_right_passwords_need_not_keep_apart(env: Env) -> None:
    await env.member()
    assert await statuses(rush(env, "alice", 10, PASSWORD)) == [200] * 10
    for _ in range(12):
        await env.accounts.verify_password("alice", PASSWORD, HERE)


@pytest.mark.parametrize("env", [STANDING], indirect=True)
async def test_whoever_is_known_gets_in_while_strangers_guess(env: Env) -> None:
    alice, now = await env.member(), env.clock.now()
    device = Device.read(env.vault, Device.token(env.vault, None, alice.id, now), now, 365)
    session = await env.sessions.open(alice.id, HERE, "")
    verify = env.accounts.verify_password
    assert (await refused(verify("alice", "wrong password", THERE))).status == 401
    assert (await refused(verify("alice", PASSWORD, ELSEWHERE))).status == 429
    assert (await verify("alice", PASSWORD, ELSEWHERE, device=device)).id == alice.id
    assert (await verify("alice@example.org", PASSWORD, HERE)).id == alice.id  # there it is signed in
    await env.accounts.change_password(alice.id, PASSWORD, "another long one", ELSEWHERE, keep=session[1].id)
    # Knowing one account opens no other's lane.
    await env.member("bob")
    assert (await refused(verify("bob", "wrong password", THERE))).status == 401
    assert (await refused(verify("bob", PASSWORD, ELSEWHERE, device=device))).status == 429


@pytest.mark.parametrize("env", [QUICK], indirect=True)
async def test_a_known_browser_has_a_count_of_its_own(env: Env) -> None:
    alice, now = await env.member(), env.clock.now()
    one, other = (
        Device.read(env.vault, Device.token(env.vault, None, alice.id, now), now, 365) for _ in range(2)
    )
    verify = env.accounts.verify_password
    said = [(await refused(verify("alice", "wrong password", HERE, device=one))).status for _ in range(12)]
    assert said == [401] * 10 + [429] * 2
    assert (await refused(verify("alice", PASSWORD, HERE, device=one))).status == 429
    assert (await verify("alice", PASSWORD, HERE, device=other)).id == alice.id
    assert (await verify("alice", PASSWORD, HERE)).id == alice.id


async def test_fifty_guesses_at_once_from_a_known_browser_are_no_more_than_ten(env: Env) -> None:
    alice, now = await env.member(), env.clock.now()
    device = Device.read(env.vault, Device.token(env.vault, None, alice.id, now), now, 365)
    got = await asyncio.gather(
        *(env.accounts.verify_password("alice", "wrong password", HERE, device=device) for _ in range(50)),
        return_exceptions=True,
    )
    said = [e.status for e in got if isinstance(e, EnrollError)]
    assert (said.count(401), said.count(429)) == (10, 40)


@pytest.mark.parametrize("env", [STANDING | {"login_failures_a_network": 3}], indirect=True)
async def test_a_network_that_tries_many_accounts_is_made_to_wait(env: Env) -> None:
    alice, now = await env.member(), env.clock.now()

    async def wrong(number: int, address: str) -> int:
        return (await refused(env.accounts.verify_password(f"nobody{number}", "wrong password", address))).status

    assert [await wrong(n, HERE) for n in range(6)] == [401] * 4 + [429] * 2
    assert await wrong(6, ELSEWHERE) == 401
    assert (await env.accounts.verify_password("alice", PASSWORD, ELSEWHERE)).id == alice.id
    device = Device.read(env.vault, Device.token(env.vault, None, alice.id, now), now, 365)
    assert (await refused(env.accounts.verify_password("alice", PASSWORD, HERE))).status == 429
    assert (await env.accounts.verify_password("alice", PASSWORD, HERE, device=device)).id == alice.id


async def test_what_a_browser_is_known_by_is_read_under_earlier_keys_and_says_nothing(env: Env) -> None:
    now = env.clock.now()
    older = Vault(b"o" * 32)
    token = Device.token(older, None, 7, now)
    device = Device.read(Vault(b"n" * 32, [older]), token, now, 365)
    assert device is not None
    again = Device.token(env.vault, device, 8, now)
    assert Device.read(env.vault, again, now, 365) == Device(device.id, (8, 7))
    assert Device.read(env.vault, again, now + 364 * DAY, 365) is not None
    assert Device.read(env.vault, again, now + 367 * DAY, 365) is None
    for n in range(20):
        again = Device.token(env.vault, Device.read(env.vault, again, now, 365), n, now)
    assert Device.read(env.vault, again, now, 365) == Device(device.id, (19, 18, 17, 16, 15))
    for wrong in ("", "x", token, again[:-2], env.vault.token("device", b"short"), env.vault.token("link", b"x")):
        assert Device.read(env.vault, wrong, now, 365) is None, wrong


@pytest.mark.parametrize("env", [{"password_threads": 1, "password_waiting": 1}], indirect=True)
async def test_more_sign_ins_than_may_wait_are_told_to_come_back(env: Env) -> None:
    async with env.passwords.turn():
        # Which of the two comes to wait is the database's threads' matter; the other is told at once.
        both = [asyncio.create_task(refused(env.accounts.verify_password("alice", PASSWORD, HERE))) for _ in range(2)]
        async with asyncio.timeout(20):
            [busy], waiting = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        assert busy.result().status == 503
    assert (await waiting.pop()).status == 401


async def test_an_old_hash_is_renewed_at_sign_in(env: Env) -> None:
    await env.member()
    stronger = Passwords(env.config, PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    await env.of(stronger).verify_password("alice", PASSWORD, HERE)
    async with env.storage.read() as tx:
        stored = (await tx.execute(select(members.c.password_hash))).scalar_one()
    assert "t=2" in stored
    await env.of(stronger).verify_password("alice", PASSWORD, HERE)
    stronger.close()


# -- links ---------------------------------------------------------------------------------------------------------


async def test_a_link_sets_the_password_once_and_ends_sign_ins(env: Env) -> None:
    alice = await env.member(password=None)
    token, _ = await env.sessions.open(alice.id, HERE, "")
    link = await env.accounts.password_link(alice.id)
    other = await env.accounts.password_link(alice.id)
    assert (await env.accounts.read_link(link)).id == alice.id
    assert (await refused(env.accounts.set_password(link, "short"))).field == "password"
    await env.accounts.set_password(link, PASSWORD)
    assert (await env.accounts.verify_password("alice", PASSWORD, HERE)).has_password
    assert await env.sessions.find(token) is None
    for used in (link, other):
        assert (await refused(env.accounts.set_password(used, "another long one"))).status == 410


async def test_a_link_that_is_old_or_not_ours_says_nothing(env: Env) -> None:
    alice = await env.member()
    link = await env.accounts.password_link(alice.id)
    foreign = Env(env.storage, env.config)
    foreign.vault = Vault(b"x" * 32)
    foreign.accounts = foreign.of(env.passwords)
    for bad in (link[:-1], "", "a.b.c", await foreign.accounts.password_link(alice.id)):
        assert (await refused(env.accounts.read_link(bad))).status == 410
    foreign.passwords.close()
    env.clock.move(48 * HOUR)
    assert (await refused(env.accounts.read_link(link))).status == 410


async def test_the_new_password_spares_the_sign_in_that_changed_it(env: Env) -> None:
    alice = await env.member()
    here, kept = await env.sessions.open(alice.id, HERE, "")
    there, _ = await env.sessions.open(alice.id, THERE, "")
    await env.accounts.change_password(alice.id, PASSWORD, "another long one", HERE, keep=kept.id)
    assert await env.sessions.find(here) is not None
    assert await env.sessions.find(there) is None


# -- invites -------------------------------------------------------------------------------------------------------


async def test_an_invite_is_kept_hashed_and_two_cannot_share_it(env: Env) -> None:
    code = await env.accounts.make_invite("for somebody")
    async with env.storage.read() as tx:
        row = (await tx.execute(select(invites))).one()
    assert code not in str(row)
    made = await asyncio.gather(
        *(env.accounts.create(h, f"{h}@example.org", PASSWORD, invite=code) for h in ("carol", "dave")),
        return_exceptions=True,
    )
    assert sorted(type(m).__name__ for m in made) == ["EnrollError", "Member"]
    winner = next(m for m in made if isinstance(m, Member))
    (invite,) = await env.accounts.list_invites()
    assert (invite.used_by, invite.state(env.clock.now())) == (winner.handle, "used")


async def test_a_taken_handle_leaves_the_invite_unused(env: Env) -> None:
    await env.member()
    code = await env.accounts.make_invite()
    assert (await refused(env.accounts.create("alice", "a@b.test", PASSWORD, invite=code))).code == "HANDLE_TAKEN"
    assert (await env.accounts.create("alice2", "a@b.test", PASSWORD, invite=code)).handle == "alice2"


async def test_an_invite_expires_and_can_be_taken_back(env: Env) -> None:
    old, fresh = await env.accounts.make_invite(), await env.accounts.make_invite()
    newest, older = await env.accounts.list_invites()
    assert await env.accounts.list_invites(before=newest.id) == [older]
    await env.accounts.revoke_invite(newest.id)
    assert (await refused(env.accounts.create("carol", "a@b.test", PASSWORD, invite=fresh))).status == 403
    env.clock.move(14 * DAY)
    assert (await refused(env.accounts.create("carol", "a@b.test", PASSWORD, invite=old))).status == 403


# -- what becomes of a member --------------------------------------------------------------------------------------


async def test_suspending_and_releasing_reach_the_relay_and_the_log(env: Env) -> None:
    alice = await env.member()
    before, shown = await env.version(), env.shown
    suspended = await env.accounts.suspend("ALICE", "complaints")
    assert (suspended.status, suspended.reason) == ("suspended", "complaints")
    assert (await refused(env.accounts.suspend("alice", "again"))).status == 409
    released = await env.accounts.release("alice")
    assert (released.status, released.reason) == ("active", "")
    assert (await refused(env.accounts.release("alice"))).status == 409
    assert await env.version() == before + 2
    assert env.shown == shown + 2
    assert await env.events(alice.id) == ["member.suspended", "member.released"]


async def test_deleting_ends_keys_domains_and_sign_ins_and_reserves_the_handle(env: Env) -> None:
    alice = await env.member()
    own = "did:web:alice.example"
    await env.storage.write(lambda tx: account_rows.set_did(tx, alice.id, own))
    _, key = await env.credentials.issue(alice.id)
    token, _ = await env.sessions.open(alice.id, HERE, "")

    async def enroll(tx: Tx) -> None:
        made = await tx.execute(
            insert(domains).values(
                uuid="u", member_id=alice.id, name="a.test", state="verified", ownership_token="t", options={},
                created_at=1.0,
            ).returning(domains.c.id)
        )
        await tx.execute(
            insert(dkim_keys).values(
                domain_id=made.scalar_one(), stem="s", state="live", rsa_private=b"SECRET", rsa_txt="",
                ed_private=b"SECRET", ed_txt="", created_at=1.0, state_at=1.0,
            )
        )

    await env.storage.write(enroll)
    await env.accounts.delete("alice")
    gone = await env.accounts.get("alice")
    assert (gone.status, gone.email, gone.has_password) == ("deleted", "", False)
    assert (await env.credentials.get(alice.id, key.id)).revoked_at == env.clock.now()
    assert await env.sessions.find(token) is None
    async with env.storage.read() as tx:
        assert (await tx.execute(select(domains.c.state))).scalar_one() == "deleted"
        assert b"SECRET" not in (await tx.execute(select(dkim_keys.c.rsa_private))).scalars().all()
    assert await env.events(alice.id) == ["domain.deleted"]
    assert (await refused(env.member("alice"))).code == "HANDLE_TAKEN"
    assert (await refused(env.accounts.delete("alice"))).status == 409
    bob = await env.member("bob")
    assert await env.storage.write(lambda tx: account_rows.set_did(tx, bob.id, own)), "it is free again"


async def test_nothing_can_be_done_for_a_member_that_is_not_there(env: Env) -> None:
    for asked in (
        env.accounts.get("nobody"), env.accounts.get("@"), env.accounts.suspend("nobody", ""),
        env.accounts.password_link(99), env.accounts.by_id(99), env.credentials.issue(99),
    ):
        assert (await refused(asked)).status == 404


async def test_the_relays_own_member_is_made_once_and_is_nobodys(env: Env) -> None:
    first, again = await asyncio.gather(env.accounts.system_member(), env.accounts.system_member())
    assert first.id == again.id
    assert first.system
    assert await env.accounts.search("") == []
    assert (await refused(env.accounts.delete("posthouse"))).status == 409
    assert (await refused(env.accounts.verify_password("posthouse", "", HERE))).status == 401


def test_the_did_names_the_public_host_and_its_port(tmp_path: Path) -> None:
    def did(url: str) -> str:
        return default_did(make_config(tmp_path, server={"public_url": url, "hostname": "mx.example"}), "alice")

    assert did("https://relay.example") == "did:web:relay.example:m:alice"
    assert did("https://Relay.example:8443") == "did:web:relay.example%3A8443:m:alice"
    assert did("http://127.0.0.1:8080") == "did:web:mx.example%3A8080:m:alice"


# -- sign-ins ------------------------------------------------------------------------------------------------------


async def test_a_sign_in_lives_on_when_used_but_not_for_ever(env: Env) -> None:
    alice = await env.member()
    token, made = await env.sessions.open(alice.id, HERE, "browser\nX-Evil: 1")
    assert made.agent == "browser X-Evil: 1"
    for _ in range(17):
        env.clock.move(5 * DAY)
        found = await env.sessions.find(token)
        assert found is not None
        assert found.csrf == made.csrf
    assert found.expires_at == made.created_at + 90 * DAY
    env.clock.move(5 * DAY)
    assert await env.sessions.find(token) is None
    assert await env.storage.write(lambda tx: sign_ins.purge(tx, env.clock.now(), 10)) == 1


async def test_an_unused_sign_in_ends(env: Env) -> None:
    alice = await env.member()
    token, _ = await env.sessions.open(alice.id, HERE, "")
    env.clock.move(168 * HOUR)
    assert await env.sessions.find(token) is None


async def test_the_token_is_kept_as_a_hash(env: Env) -> None:
    alice = await env.member()
    token, _ = await env.sessions.open(alice.id, HERE, "")
    async with env.storage.read() as tx:
        assert token not in str((await tx.execute(select(sessions))).one())
    for bad in (token[:-1], token + "A", "", "phs_", "x" * 10_000, "phs_\ud800"):
        assert await env.sessions.find(bad) is None


@pytest.mark.parametrize("env", [{"max_sessions": 2}], indirect=True)
async def test_the_longest_unused_sign_in_makes_room(env: Env) -> None:
    alice = await env.member()
    tokens = []
    for _ in range(3):
        tokens.append((await env.sessions.open(alice.id, HERE, ""))[0])
        env.clock.move(1)
    assert [await env.sessions.find(t) is not None for t in tokens] == [False, True, True]


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [{"max_keys": 3}], indirect=True)
async def test_keys_made_at_once_do_not_pass_the_limit(env: Env) -> None:
    alice = await env.member()
    made = await asyncio.gather(*(env.credentials.issue(alice.id) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(m, tuple) for m in made) == 3
    assert all(m.status == 409 for m in made if isinstance(m, EnrollError))


async def test_an_expired_key_is_not_regenerated_and_frees_its_place(env: Env) -> None:
    alice = await env.member()
    _, key = await env.credentials.issue(alice.id, expires_at=env.clock.now() + 10)
    env.clock.move(10)
    assert key.state(env.clock.now()) == "expired"
    assert (await refused(env.credentials.regenerate(alice.id, key.id))).status == 409


async def test_the_operator_finds_a_key_by_any_part_that_may_be_shown(env: Env) -> None:
    alice = await env.member()
    text, key = await env.credentials.issue(alice.id, networks=["192.0.2.7", "2001:db8::/32", "192.0.2.7"])
    assert key.networks == ("192.0.2.7/32", "2001:db8::/32")
    for given in (text, key.public_id, f"ph_{key.public_id}_"):
        assert (await env.credentials.find(given)).id == key.id
    assert (await refused(env.credentials.find("ph_nothing"))).status == 404


async def test_a_revoked_key_stays_revoked_since_then(env: Env) -> None:
    alice = await env.member()
    _, key = await env.credentials.issue(alice.id)
    first = await env.credentials.revoke(alice.id, key.id)
    env.clock.move(5)
    assert (await env.credentials.revoke(alice.id, key.id)).revoked_at == first.revoked_at
