"""Domains and DKIM pairs as rows, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.base.storage import Storage, StorageError, Tx, accounts, domains
from relay.base.storage.domains import NewPair

NOW = 1_780_000_000.0


async def in_tx(storage: Storage, question: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    async def do(tx: Tx) -> Any:
        return await question(tx, *args, **kwargs)

    return await storage.write(do)


async def member(storage: Storage, handle: str) -> int:
    return await in_tx(
        storage, accounts.add, handle=handle, did=f"did:web:relay.test:m:{handle}", email=f"{handle}@mail.test",
        password_hash=None, now=NOW,
    )


async def domain(storage: Storage, member_id: int, name: str, **over: Any) -> int:
    made = await in_tx(
        storage, domains.add, uuid=f"{member_id}-{name}"[:36], member_id=member_id, name=name, token="t" * 32,
        options={"tracking": False}, now=NOW, next_check_at=NOW + 60,
    )
    if over:
        await in_tx(storage, domains.change, made, **over)
    return made


async def pair(storage: Storage, domain_id: int, stem: str) -> int:
    new = NewPair(stem, b"sealed rsa", "v=DKIM1; k=rsa; p=AAA", b"sealed ed", "v=DKIM1; k=ed25519; p=BBB")
    return await in_tx(storage, domains.add_pair, domain_id, new, NOW)


async def test_a_new_domain_is_initializing_with_everything_that_was_said(storage: Storage) -> None:
    alice = await member(storage, "alice")
    made = await domain(storage, alice, "mail.test")
    async with storage.read() as tx:
        row = await domains.get(tx, made)
    assert row is not None
    assert (row.id, row.member_id, row.name, row.state) == (made, alice, "mail.test", "initializing")
    assert row.options == {"tracking": False}
    assert (row.findings, row.first_verified_at, row.failing, row.return_path_ok) == (None, None, 0, False)


async def test_a_domain_is_found_by_id_name_and_uuid_by_its_member_only(storage: Storage) -> None:
    alice, bob = await member(storage, "alice"), await member(storage, "bob")
    made = await domain(storage, alice, "mail.test", uuid="c0ffee00-aaaa")
    async with storage.read() as tx:
        for key in (made, "mail.test", "c0ffee00-aaaa"):
            assert (await domains.of_member(tx, alice, key)).id == made
            assert await domains.of_member(tx, bob, key) is None


async def test_one_name_may_be_enrolled_by_several_but_once_by_each(storage: Storage) -> None:
    alice, bob = await member(storage, "alice"), await member(storage, "bob")
    ids = [await domain(storage, alice, "mail.test"), await domain(storage, bob, "mail.test")]
    with pytest.raises(StorageError):
        await in_tx(
            storage, domains.add, uuid="other", member_id=alice, name="mail.test", token="t", options={}, now=NOW,
            next_check_at=NOW,
        )
    async with storage.read() as tx:
        assert [r.id for r in await domains.named(tx, "mail.test")] == ids


async def test_the_deleted_are_neither_listed_nor_counted_nor_named(storage: Storage) -> None:
    alice = await member(storage, "alice")
    kept = await domain(storage, alice, "kept.test")
    await domain(storage, alice, "gone.test", state="deleted")
    async with storage.read() as tx:
        assert [r.id for r in await domains.page(tx, alice)] == [kept]
        assert await domains.count(tx, alice) == 1
        assert await domains.named(tx, "gone.test") == []


async def test_a_list_comes_in_pages(storage: Storage) -> None:
    alice = await member(storage, "alice")
    ids = [await domain(storage, alice, f"d{i}.test") for i in range(5)]
    async with storage.read() as tx:
        first = await domains.page(tx, alice, limit=2)
        second = await domains.page(tx, alice, after=first[-1].id, limit=2)
    assert [r.id for r in first + second] == ids[:4]


async def test_verified_and_paused_domains_hold_their_name(storage: Storage) -> None:
    alice = await member(storage, "alice")
    for state in ("pending", "verified", "disabled", "suspended"):
        await domain(storage, alice, f"{state}.test", state=state)
    async with storage.read() as tx:
        held = await domains.holders(tx, [f"{s}.test" for s in ("pending", "verified", "disabled", "suspended")])
        assert await domains.holders(tx, []) == []
    assert {r.name for r in held} == {"verified.test", "disabled.test"}


async def test_what_is_due_comes_longest_overdue_first_and_only_in_states_the_clock_looks_at(storage: Storage) -> None:
    alice = await member(storage, "alice")
    for i, state in enumerate(("pending", "verified", "initializing", "disabled", "blocked", "deleted")):
        await domain(storage, alice, f"{state}.test", state=state, next_check_at=NOW - i)
    await domain(storage, alice, "later.test", state="pending", next_check_at=NOW + 1)
    await domain(storage, alice, "never.test", state="pending", next_check_at=None)
    async with storage.read() as tx:
        rows = [await domains.get(tx, i) for i in await domains.due(tx, NOW, 10)]
        assert len(await domains.due(tx, NOW, 2)) == 2
    assert [r.name for r in rows] == ["initializing.test", "verified.test", "pending.test"]


async def test_of_those_that_wait_the_longest_unchecked_come_first(storage: Storage) -> None:
    alice = await member(storage, "alice")
    old = await domain(storage, alice, "old.test", state="pending", checked_at=NOW - 500)
    await domain(storage, alice, "fresh.test", state="pending", checked_at=NOW - 5)
    older = await domain(storage, alice, "older.test", state="pending", checked_at=NOW - 900)
    never = await domain(storage, alice, "never.test", state="pending")
    async with storage.read() as tx:
        assert [i for i, _ in await domains.waiting(tx, alice, 3)] == [never, older, old]
        assert [i for i, _ in await domains.waiting(tx, alice, 1, {"old.test", "fresh.test"})] == [old]
        assert await domains.waiting(tx, alice, 10, frozenset()) == []
        assert (await domains.waiting(tx, alice, 10))[0] == (never, None)
        assert [row.id for row in await domains.some(tx, [old, never])] == sorted([old, never])


async def test_a_destroyed_pair_keeps_its_public_halves_only(storage: Storage) -> None:
    alice = await member(storage, "alice")
    made = await domain(storage, alice, "mail.test")
    one = await pair(storage, made, "ph1")
    await in_tx(storage, domains.destroy_pairs, [one], NOW + 5)
    async with storage.read() as tx:
        (kept,) = (await domains.pairs(tx, [made]))[made]
        raw = (await tx.exec_driver_sql("SELECT rsa_private, ed_private FROM dkim_keys")).one()
    assert (kept.state, kept.state_at, kept.rsa_txt) == ("removed", NOW + 5, "v=DKIM1; k=rsa; p=AAA")
    assert [bytes(half) for half in raw] == [b"", b""]


async def test_only_pairs_that_have_retired_long_enough_are_due_for_removal(storage: Storage) -> None:
    alice = await member(storage, "alice")
    made = await domain(storage, alice, "mail.test")
    old, young, live = [await pair(storage, made, stem) for stem in ("ph1", "ph2", "ph3")]
    await in_tx(storage, domains.set_pair_state, old, "retiring", NOW - 100)
    await in_tx(storage, domains.set_pair_state, young, "retiring", NOW)
    await in_tx(storage, domains.set_pair_state, live, "live", NOW - 100)
    async with storage.read() as tx:
        assert await domains.retired(tx, NOW - 50, 10) == [(made, old)]


async def test_deleting_a_members_domains_destroys_their_keys(storage: Storage) -> None:
    alice, bob = await member(storage, "alice"), await member(storage, "bob")
    made, other = await domain(storage, alice, "mail.test", state="verified"), await domain(storage, bob, "bob.test")
    await pair(storage, made, "ph1")
    await pair(storage, other, "ph1")
    gone = await in_tx(storage, domains.delete_of_member, alice, NOW)
    assert [(r.name, r.state) for r in gone] == [("mail.test", "verified")]
    async with storage.read() as tx:
        assert (await domains.get(tx, made)).state == "deleted"
        pairs = await domains.pairs(tx, [made, other])
    assert [p.state for p in pairs[made]] == ["removed"]
    assert [p.state for p in pairs[other]] == ["pending"]


async def test_enrollments_of_one_member_take_turns(storage: Storage) -> None:
    alice = await member(storage, "alice")

    async def enroll(tx: Tx, name: str) -> int:
        await domains.hold_enrolling(tx, alice)
        before = await domains.count(tx, alice)
        await domains.add(
            tx, uuid=name, member_id=alice, name=name, token="t", options={}, now=NOW, next_check_at=NOW
        )
        return before

    seen = await asyncio.gather(*(in_tx(storage, enroll, f"d{i}.test") for i in range(5)))
    assert sorted(seen) == [0, 1, 2, 3, 4]
