"""Logins: who gets in, with which words the others are told, and how soon a change is felt."""

from __future__ import annotations

import asyncio

import pytest

from relay import replies
from relay.base.names import address
from relay.base.storage import Tx, versions
from relay.base.storage import directory as rows
from relay.directory import Login
from relay.intake import Accepted, Recipient, Submission
from relay.replies import Verdict
from tests.kit.world import World, letter

pytestmark = pytest.mark.parametrize("config", ["sqlite"], indirect=True)


async def test_handle_or_did_in_any_letter_case(world: World) -> None:
    alice = await world.member()
    for name in ("alice", "ALICE", alice.did, alice.did.upper().replace("DID:WEB", "did:web"), None):
        assert isinstance(world.directory.login(name, alice.key, "127.0.0.1"), Login), name


async def test_every_wrong_credential_gets_the_same_words(world: World) -> None:
    alice, bob = await world.member("alice"), await world.member("bob")
    expired, revoked = await world.member("carol"), await world.member("dave")
    await world.change("api_keys", expired.key_id, expires_at=world.clock.now() - 1)
    await world.change("api_keys", revoked.key_id, revoked_at=world.clock.now())
    await world.directory.refresh()
    wrong = alice.key[:-1] + ("B" if alice.key.endswith("A") else "A")
    tries = [
        ("alice", "nonsense"), ("alice", bob.key), ("nobody", alice.key), ("alice", wrong),
        ("alice", "ph_aaaaaaaaaaaa_" + "x" * 43), ("carol", expired.key), ("dave", revoked.key),
    ]
    got = [world.directory.login(u, k, f"192.0.2.{i}") for i, (u, k) in enumerate(tries)]
    assert all(isinstance(g, Verdict) for g in got)
    assert {g.smtp_lines("https://r.example")[0] for g in got if isinstance(g, Verdict)} == {
        "535 5.7.8 Authentication failed: wrong handle or API key; "
        "sign in at https://r.example/account and regenerate the key"
    }


async def test_a_suspended_member_is_told_why_and_a_revoked_key_is_noticed_in_an_open_session(world: World) -> None:
    alice = await world.member()
    login = world.login(alice)
    assert world.directory.recheck(login) is None
    await world.change("members", alice.id, status="suspended", reason="complaints")
    await world.directory.refresh()
    again = world.directory.recheck(login)
    assert again is not None
    assert again.reply is replies.MEMBER_SUSPENDED
    assert "complaints" in again.text()
    await world.change("members", alice.id, status="active")
    await world.change("api_keys", alice.key_id, revoked_at=1.0)
    await world.directory.refresh()
    revoked = world.directory.recheck(login)
    assert revoked is not None
    assert revoked.reply is replies.AUTH_FAILED


@pytest.mark.parametrize("exact", [True, False], ids=["by the snapshot", "by the tables"])
async def test_a_key_that_expires_in_an_open_session_sends_nothing_more(world: World, exact: bool) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.change("api_keys", alice.key_id, expires_at=world.clock.now() + 60)
    await world.directory.refresh()
    login = world.login(alice)
    domain = world.policy.sender(login, "news@example.test")
    assert not isinstance(domain, Verdict)
    bob = [Recipient(address("bob@sink.test"))]
    mail = Submission(login, domain, "smtp", address("news@example.test"), bob, letter())
    assert isinstance(await world.intake.accept(mail), Accepted)
    await world.pass_time(60)
    # MAIL asks the snapshot; what was named before is asked again in the accepting transaction.
    again = world.policy.sender(login, "news@example.test")
    assert isinstance(again, Verdict)
    assert again.reply is replies.AUTH_FAILED
    if not exact:
        await world.change("domains", domain.id, tier="unlimited")
    late = await world.intake.accept(mail)
    assert isinstance(late, Verdict)
    assert late.reply is replies.AUTH_FAILED


async def test_a_key_is_only_good_in_its_networks_and_for_its_domains(world: World) -> None:
    alice = await world.member()
    await world.domain(alice, "a.test")
    await world.domain(alice, "b.test")
    await world.change("api_keys", alice.key_id, networks=["10.0.0.0/8", "2001:db8::/32"], domains=["a.test"])
    await world.directory.refresh()
    assert isinstance(world.directory.login("alice", alice.key, "192.0.2.1"), Verdict)
    login = world.directory.login("alice", alice.key, "::ffff:10.1.2.3")
    assert isinstance(login, Login)
    assert not isinstance(world.policy.sender(login, "x@a.test"), Verdict)
    refused = world.policy.sender(login, "x@b.test")
    assert isinstance(refused, Verdict)
    assert refused.smtp_lines("u") == ["550 5.1.0 From address not allowed: domain b.test is not one of a.test"]


async def test_the_greeting_locks_out_only_addresses_that_belong_to_suspended_members_alone(world: World) -> None:
    bad, good = await world.member("bad"), await world.member("good")
    await world.change("api_keys", bad.key_id, networks=["10.0.0.0/24"])
    await world.change("api_keys", good.key_id, networks=["10.0.0.7/32"])
    await world.change("members", bad.id, status="suspended", reason="spam")
    await world.directory.refresh()
    told = world.directory.greeting("10.0.0.3")
    assert told is not None
    assert told.reply.smtp == 521
    assert world.directory.greeting("10.0.0.7") is None
    assert world.directory.greeting("192.0.2.1") is None


async def test_too_many_failures_from_one_address_wait_and_another_address_does_not(world: World) -> None:
    alice = await world.member()
    limit = world.config.submission.auth_failures_an_address
    for i in range(limit):
        got = world.directory.login("alice", f"wrong{i}", "192.0.2.9")
        assert isinstance(got, Verdict)
        assert got.reply is replies.AUTH_FAILED
    stopped = world.directory.login("alice", alice.key, "192.0.2.9")
    assert isinstance(stopped, Verdict)
    assert stopped.reply is replies.TOO_MANY_FAILURES
    assert stopped.passes_at is not None
    assert isinstance(world.directory.login("alice", alice.key, "192.0.2.10"), Login)
    await world.pass_time(world.config.submission.auth_failure_window_seconds + 1)
    assert isinstance(world.directory.login("alice", alice.key, "192.0.2.9"), Login)


async def test_a_did_that_is_not_one_and_a_did_of_another(world: World) -> None:
    alice, bob = await world.member("alice"), await world.member("bob")
    bad = world.directory.login(None, alice.key, "127.0.0.1", did="did:key:z6Mk")
    assert isinstance(bad, Verdict)
    assert bad.reply is replies.INVALID_DID
    other = world.directory.login(None, alice.key, "127.0.0.1", did=bob.did)
    assert isinstance(other, Verdict)
    assert other.reply is replies.AUTH_FAILED


async def test_with_the_tables_out_of_reach_logins_get_a_temporary_answer(world: World) -> None:
    alice = await world.member()
    world.clock.move(world.config.database.snapshot_max_age_seconds + 1)  # type: ignore[attr-defined]
    got = world.directory.login("alice", alice.key, "127.0.0.1")
    assert isinstance(got, Verdict)
    assert got.reply is replies.AUTH_UNAVAILABLE
    await world.directory.refresh()
    assert isinstance(world.directory.login("alice", alice.key, "127.0.0.1"), Login)


async def test_a_look_that_ends_late_takes_nothing_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, read = await world.member(), rows.snapshot
    began, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(tx: Tx) -> rows.Snapshot:
        found = await read(tx)
        began.set()
        await may_end.wait()
        return found

    await world.storage.write(lambda tx: versions.bump(tx, versions.DIRECTORY))
    monkeypatch.setattr(rows, "snapshot", slowly)
    first = asyncio.create_task(world.directory.refresh())
    await began.wait()
    monkeypatch.undo()
    second = asyncio.create_task(world.domain(alice))
    await asyncio.wait({second}, timeout=0.3)
    may_end.set()
    await asyncio.gather(first, second)
    assert world.directory.is_sending_domain("example.test")


async def test_policy_recipient_counts_names_and_warms(world: World) -> None:
    alice = await world.member()
    await world.domain(alice, tier="week 1")
    login = world.login(alice)
    domain = world.policy.sender(login, "x@example.test")
    assert not isinstance(domain, Verdict)

    async def ask(address: str, named: int = 0) -> str:
        got = await world.policy.recipient(login, domain, address, category=None, named=named)
        return got.reply.name if isinstance(got, Verdict) else got.text

    assert await ask("Bob@SINK.test") == "Bob@sink.test"
    assert await ask("b@x@y") == "invalid_recipient"
    assert await ask("a@b.test", named=5) == "rate_limited"
    assert await ask("a@b.test", named=100) == "too_many_recipients"
    await world.suppressions.add(alice.id, "bob+tag@sink.test", "unsubscribe")
    assert await ask("BOB@sink.test.") == "suppressed"
