"""Logins: who gets in, with which words the others are told, and how soon a change is felt."""

from __future__ import annotations

import asyncio

import pytest

from relay import replies
from relay.base.names import address
from relay.base.storage import Tx, allowances, versions
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
    assert refused.smtp_lines("u") == [
        "550 5.1.0 From address not allowed: b.test is yours, but this API key is for other domains"
    ]


async def test_the_greeting_locks_out_only_addresses_that_belong_to_suspended_members_alone(world: World) -> None:
    bad, good = await world.member("bad"), await world.member("good")
    await world.change("api_keys", bad.key_id, networks=["10.0.0.0/24"])
    await world.change("api_keys", good.key_id, networks=["10.0.0.7/32"])
    await world.change("members", bad.id, status="suspended", reason="spam")
    await world.directory.refresh()
    shown = world.directory.greeting("10.0.0.3")
    assert shown is not None
    assert shown.reply.smtp == 521
    assert world.directory.greeting("10.0.0.7") is None
    assert world.directory.greeting("192.0.2.1") is None


async def test_whoever_names_a_network_in_a_key_does_not_lock_out_who_logs_in_from_there(world: World) -> None:
    bad, good = await world.member("bad"), await world.member("good")
    for _ in range(2):
        assert isinstance(world.directory.login("good", good.key, "10.0.0.7"), Login)
        assert isinstance(world.directory.login("bad", bad.key, "10.0.0.7"), Login)
        assert isinstance(world.directory.login("bad", bad.key, "10.0.0.8"), Login)
    await world.change("api_keys", bad.key_id, networks=["0.0.0.0/0"])
    await world.change("members", bad.id, status="suspended", reason="spam")
    await world.directory.refresh()
    assert refused(world.directory.login("bad", bad.key, "10.0.0.8")).reply is replies.MEMBER_SUSPENDED
    assert world.directory.greeting("10.0.0.7") is None
    assert world.directory.greeting("10.0.0.8") is not None


def refused(got: Login | Verdict) -> Verdict:
    assert isinstance(got, Verdict)
    return got


def wrong_secret(key: str) -> str:
    """The same key's name with another secret."""
    return f"ph_{key.split('_')[1]}_{'x' * 43}"


@pytest.mark.parametrize("kind", ["nonsense", "unknown keys", "the member's own key, wrongly"])
async def test_wrong_keys_wait_after_too_many_and_a_right_one_never_does(world: World, kind: str) -> None:
    alice = await world.member()
    s = world.config.submission
    tries = {
        "nonsense": [f"wrong{i}" for i in range(60)],
        "unknown keys": [f"ph_aaaaaaaaaa{a}{b}_{'x' * 43}" for a in "abcdefgh" for b in "abcdefgh"],
        "the member's own key, wrongly": [wrong_secret(alice.key)] * 15,
    }[kind]
    limit = s.auth_failures_a_key if kind.startswith("the member's") else s.auth_failures_an_address
    got = [refused(world.directory.login("alice", secret, "192.0.2.9")) for secret in tries]
    assert [g.reply for g in got] == [replies.AUTH_FAILED] * limit + [replies.TOO_MANY_FAILURES] * (len(tries) - limit)
    assert {g.guess for g in got[:limit]} == {True}
    assert got[-1].passes_at == world.clock.now() + s.auth_failure_window_seconds
    for username in ("alice", None):
        assert isinstance(world.directory.login(username, alice.key, "192.0.2.9"), Login)
    # From elsewhere a wrong key is merely wrong; and here again when the window has passed.
    assert refused(world.directory.login("alice", tries[0], "192.0.2.10")).reply is replies.AUTH_FAILED
    await world.pass_time(s.auth_failure_window_seconds + 1)
    assert refused(world.directory.login("alice", tries[0], "192.0.2.9")).reply is replies.AUTH_FAILED


async def test_a_right_key_used_wrongly_is_refused_and_not_counted(world: World) -> None:
    alice, bob = await world.member("alice"), await world.member("bob")
    carol = await world.member("carol")
    await world.change("api_keys", carol.key_id, networks=["10.0.0.0/8"])
    await world.directory.refresh()
    login = world.directory.login
    for _ in range(40):
        for got in (
            login("bob", alice.key, "192.0.2.9"), login("alice", alice.key, "192.0.2.9", acts_as="bob"),
            login(None, alice.key, "192.0.2.9", did=bob.did), login("carol", carol.key, "192.0.2.9"),
        ):
            verdict = refused(got)
            assert (verdict.reply, verdict.guess) == (replies.AUTH_FAILED, False)
            assert verdict.text() == "Authentication failed: wrong handle or API key"
    assert refused(login("alice", "wrong", "192.0.2.9")).reply is replies.AUTH_FAILED
    assert isinstance(login("alice", alice.key, "192.0.2.9", acts_as=alice.did), Login)


async def test_what_is_no_key_of_this_relay_is_no_guess(world: World) -> None:
    await world.member()
    for secret in ("", "phs_" + "x" * 43, "phi_" + "x" * 24, "whsec_" + "x" * 44):
        for _ in range(40):
            got = refused(world.directory.login(None, secret, "192.0.2.9"))
            assert (got.reply, got.guess) == (replies.AUTH_FAILED, False)
    assert refused(world.directory.login("alice", "wrong", "192.0.2.9")).reply is replies.AUTH_FAILED


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

    async def slowly(tx: Tx, only: versions.Changed | None = None) -> rows.Snapshot:
        found = await read(tx, only)
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
        got = await world.policy.recipient(login, domain, address, named=named)
        return got.reply.name if isinstance(got, Verdict) else got.text

    assert await ask("Bob@SINK.test") == "Bob@sink.test"
    assert await ask("b@x@y") == "invalid_recipient"
    assert await ask("a@b.test", named=5) == "tier_too_small"
    assert await ask("a@b.test", named=4) == "a@b.test"
    await world.storage.write(lambda tx: allowances.spend(tx, {(domain.id, world.clock.now()): 1}, "me"))
    assert await ask("a@b.test", named=4) == "rate_limited"
    assert await ask("a@b.test", named=100) == "too_many_recipients"
    await world.suppressions.add(alice.id, "bob+tag@sink.test", "unsubscribe")
    assert await ask("BOB@sink.test") == "suppressed"
    assert await ask("BOB@sink.test.") == "invalid_recipient"
