"""Members, invites, sign-ins and API keys as rows, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import insert

from relay.base.storage import Storage, Tx, accounts, credentials, invites, key_use, sessions
from relay.base.storage.tables import domains

NOW = 1_780_000_000.0


async def in_tx(storage: Storage, question: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    async def do(tx: Tx) -> Any:
        return await question(tx, *args, **kwargs)

    return await storage.write(do)


async def member(storage: Storage, handle: str, email: str = "", password_hash: str | None = None) -> int:
    return await in_tx(
        storage, accounts.add, handle=handle, did=f"did:web:relay.test:m:{handle}", email=email,
        password_hash=password_hash, now=NOW,
    )


async def key(storage: Storage, member_id: int, public_id: str, **over: Any) -> int:
    values = {
        "secret_hash": "0" * 64, "hashed_by": "k1", "description": "", "scopes": ["send"], "domains": None,
        "networks": None, "default_category": "bulk", "now": NOW, "expires_at": None,
    } | over
    return await in_tx(storage, credentials.add, member_id=member_id, public_id=public_id, **values)


async def test_a_taken_handle_is_a_value_and_spoils_nothing(storage: Storage) -> None:
    first = await member(storage, "alice")
    again, other = await asyncio.gather(member(storage, "alice"), member(storage, "bob"))
    assert first
    assert again is None
    assert other


async def test_a_taken_did_is_a_value(storage: Storage) -> None:
    alice, bob = await member(storage, "alice"), await member(storage, "bob")
    assert await in_tx(storage, accounts.set_did, alice, "did:web:Alice.example")
    assert not await in_tx(storage, accounts.set_did, bob, "did:web:alice.example")
    async with storage.read() as tx:
        assert (await accounts.by_id(tx, bob)).did == "did:web:relay.test:m:bob"


async def test_an_address_finds_its_one_member_in_any_letter_case(storage: Storage) -> None:
    alice = await member(storage, "alice", "Alice@Example.org")
    async with storage.read() as tx:
        assert (await accounts.by_email(tx, "alice@example.org")).id == alice
    await member(storage, "alice2", "alice@example.org")
    async with storage.read() as tx:
        assert await accounts.by_email(tx, "alice@example.org") is None


async def test_deleted_members_leave_their_address_free(storage: Storage) -> None:
    first = await member(storage, "alice", "a@example.org")
    second = await member(storage, "anna", "a@example.org")
    assert await in_tx(
        storage, accounts.set_status, first, accounts.DELETED, reason="", now=NOW, was=(accounts.ACTIVE,)
    )
    async with storage.read() as tx:
        assert (await accounts.by_email(tx, "a@example.org")).id == second
        assert (await accounts.by_handle(tx, "alice")).status == accounts.DELETED


async def test_status_changes_only_from_what_was_expected(storage: Storage) -> None:
    alice = await member(storage, "alice")
    release = (accounts.set_status, alice, accounts.ACTIVE)
    assert not await in_tx(storage, *release, reason="", now=NOW, was=(accounts.SUSPENDED,))
    assert await in_tx(storage, accounts.set_status, alice, "suspended", reason="spam", now=NOW, was=("active",))
    async with storage.read() as tx:
        row = await accounts.by_id(tx, alice)
    assert (row.status, row.reason, row.status_at) == ("suspended", "spam", NOW)


async def test_of_two_password_changes_from_one_state_one_wins(storage: Storage) -> None:
    alice = await member(storage, "alice")
    change = accounts.set_password
    won = await asyncio.gather(
        in_tx(storage, change, alice, "one", old=None), in_tx(storage, change, alice, "two", old=None)
    )
    assert sorted(won) == [False, True]
    async with storage.read() as tx:
        row = await accounts.by_id(tx, alice)
        assert row.password_hash == ("one" if won[0] else "two")
        assert row.password_hash not in repr(row)


async def test_members_are_found_newest_first_without_the_relays_own(storage: Storage) -> None:
    ids = [await member(storage, f"m{n}x") for n in range(3)]
    await in_tx(
        storage, accounts.add, handle="posthouse", did="did:web:x.test", email="", password_hash=None, now=NOW,
        system=True,
    )
    async with storage.read() as tx:
        assert [m.id for m in await accounts.search(tx, "", limit=2)] == ids[:0:-1]
        assert [m.id for m in await accounts.search(tx, "", before=ids[1])] == ids[:1]
        assert await accounts.search(tx, "", status="suspended") == []
        assert [m.id for m in await accounts.search(tx, "M1")] == [ids[1]]
        assert await accounts.search(tx, "%") == []


async def test_an_invite_is_used_once_and_expires(storage: Storage) -> None:
    alice, bob = await member(storage, "alice"), await member(storage, "bob")
    await in_tx(storage, invites.add, code_hash="h1", note="for Alice", now=NOW, expires_at=NOW + 10)
    await in_tx(storage, invites.add, code_hash="h2", note="", now=NOW, expires_at=NOW + 10)
    assert await in_tx(storage, invites.use, ["h1"], alice, NOW + 1)
    assert not await in_tx(storage, invites.use, ["h1"], bob, NOW + 1)
    assert not await in_tx(storage, invites.use, ["h2"], bob, NOW + 10)
    assert not await in_tx(storage, invites.usable, ["h1"], NOW + 1)
    assert [i.used_by for i in await in_tx(storage, invites.listing)] == [None, "alice"]
    second, first = await in_tx(storage, invites.listing)
    assert not await in_tx(storage, invites.revoke, first.id)
    assert await in_tx(storage, invites.revoke, second.id)


async def sign_in(storage: Storage, member_id: int, token_hash: str, now: float = NOW, **over: Any) -> int:
    values = {"csrf": "c", "address": "192.0.2.1", "agent": "", "expires_at": now + 100} | over
    return await in_tx(storage, sessions.add, token_hash=token_hash, member_id=member_id, now=now, **values)


async def test_a_sign_in_is_found_until_it_expires_and_lives_on_when_used(storage: Storage) -> None:
    alice = await member(storage, "alice")
    made = await sign_in(storage, alice, "t1")
    async with storage.read() as tx:
        assert (await sessions.find(tx, ["t1"], NOW + 99)).id == made
        assert await sessions.find(tx, ["t1"], NOW + 100) is None
        assert await sessions.has_address(tx, alice, "192.0.2.1", NOW)
        assert not await sessions.has_address(tx, alice, "192.0.2.2", NOW)
    await in_tx(storage, sessions.seen, made, NOW + 50, NOW + 150)
    async with storage.read() as tx:
        assert (await sessions.find(tx, ["t1"], NOW + 120)).seen_at == NOW + 50


async def test_sign_ins_end_one_by_one_all_but_one_or_the_oldest(storage: Storage) -> None:
    alice, bob = await member(storage, "alice"), await member(storage, "bob")
    ids = [await sign_in(storage, alice, f"t{n}", NOW + n) for n in range(4)]
    assert not await in_tx(storage, sessions.revoke, bob, ids[0])
    assert await in_tx(storage, sessions.trim, alice, 3) == 1
    assert [s.id for s in await in_tx(storage, sessions.of_member, alice, NOW)] == ids[:0:-1]
    assert await in_tx(storage, sessions.revoke, alice, ids[1])
    assert await in_tx(storage, sessions.close_all, alice, keep=ids[3]) == 1
    assert [s.id for s in await in_tx(storage, sessions.of_member, alice, NOW)] == [ids[3]]
    assert await in_tx(storage, sessions.purge, NOW + 500, 10) == 1


async def test_a_key_comes_back_as_it_was_made_with_its_last_use(storage: Storage) -> None:
    alice = await member(storage, "alice")
    free = await key(storage, alice, "aaaa")
    bound = await key(storage, alice, "bbbb", domains=["example.org"], networks=["192.0.2.0/24"], expires_at=NOW + 1)
    await in_tx(storage, key_use.used, {bound: NOW + 7})
    async with storage.read() as tx:
        one, other = await credentials.one(tx, alice, free), await credentials.one(tx, alice, bound)
        assert await credentials.live(tx, alice, NOW + 5) == 1
    assert (one.domains, one.networks, one.last_used_at) == (None, None, None)
    assert (other.domains, other.networks, other.last_used_at) == (("example.org",), ("192.0.2.0/24",), NOW + 7)


async def test_keys_are_revoked_by_their_own_member_only(storage: Storage) -> None:
    alice, bob = await member(storage, "alice"), await member(storage, "bob")
    first, second = await key(storage, alice, "aaaa"), await key(storage, alice, "bbbb")
    assert not await in_tx(storage, credentials.revoke, bob, first, NOW)
    assert await in_tx(storage, credentials.revoke, alice, second, NOW)
    assert not await in_tx(storage, credentials.revoke, alice, second, NOW + 1)
    async with storage.read() as tx:
        assert [k.id for k in await credentials.of_member(tx, alice)] == [first, second]
        assert await credentials.one(tx, bob, first) is None
        assert (await credentials.by_public_id(tx, "bbbb")).revoked_at == NOW
    assert await in_tx(storage, credentials.revoke_all, alice, NOW) == [first]


async def test_only_domains_that_stand_count_as_the_members(storage: Storage) -> None:
    alice, bob = await member(storage, "alice"), await member(storage, "bob")

    async def enroll(tx: Tx) -> None:
        for n, (owner, name, state) in enumerate(
            [(alice, "a.test", "pending"), (alice, "gone.test", "deleted"), (bob, "b.test", "verified")]
        ):
            await tx.execute(
                insert(domains).values(
                    uuid=str(n), member_id=owner, name=name, state=state, ownership_token="t", options={},
                    created_at=NOW,
                )
            )

    await storage.write(enroll)
    async with storage.read() as tx:
        assert await credentials.enrolled(tx, alice, ["a.test", "gone.test", "b.test"]) == {"a.test"}
