"""Senders as rows, on both engines."""

from __future__ import annotations

import asyncio

from relay.base.storage import Storage, Tx, accounts, senders

NOW = 1_780_000_000.0


async def member(tx: Tx, handle: str) -> int:
    made = await accounts.add(
        tx, handle=handle, did=f"did:web:relay.test:m:{handle}", email="", password_hash=None, now=NOW
    )
    assert made is not None
    return made


async def email(tx: Tx, member_id: int, address: str) -> senders.EmailRow:
    await senders.add_email(
        tx, uuid=f"{member_id}-{address}"[:36], member_id=member_id, address=address, folded=address.lower(),
        domain=address.partition("@")[2], verified_at=None, data={"a": 1}, now=NOW,
    )
    found = await senders.email_at(tx, member_id, address.lower())
    assert found is not None
    return found


async def test_the_newest_code_counts_and_codes_are_counted_by_address_and_by_member(storage: Storage) -> None:
    async def write(tx: Tx) -> None:
        alice, bob = await member(tx, "alice"), await member(tx, "bob")
        for who, at, mac in ((alice, NOW - 4000, "0" * 64), (alice, NOW, "1" * 64), (bob, NOW + 1, "2" * 64)):
            await senders.add_code(
                tx, member_id=who, email_uuid=f"of-{who}", folded="a@b.test", mac=mac, now=at, expires_at=at + 900,
                forget=NOW - 3600,
            )
        newest = await senders.code(tx, f"of-{alice}")
        assert newest is not None
        assert (newest.mac, newest.tries) == ("1" * 64, 0)
        await senders.count_try(tx, newest.id)
        assert (await senders.code(tx, f"of-{alice}")).tries == 1
        assert await senders.codes_since(tx, NOW - 3600, folded="a@b.test") == [NOW, NOW + 1]
        assert await senders.codes_since(tx, NOW - 9999, member_id=alice) == [NOW], "older ones are forgotten"
        assert await senders.code(tx, "of-nobody") is None

    await storage.write(write)


async def test_there_is_one_default_and_a_deleted_member_leaves_nothing(storage: Storage) -> None:
    async def write(tx: Tx) -> None:
        alice, bob = await member(tx, "alice"), await member(tx, "bob")
        for who in (alice, bob):
            row = await email(tx, who, "News@example.test")
            assert (row.data, row.verified_at) == ({"a": 1}, None)
            for n, first in (("one", True), ("two", False)):
                await senders.add_details(
                    tx, uuid=f"{who}-{n}", member_id=who, email_id=row.id, from_name=n, is_default=first, data=None,
                    now=NOW,
                )
        second = await senders.details(tx, alice, f"{alice}-two")
        assert second is not None
        await senders.make_default(tx, alice, second.id, NOW + 1)
        assert [(d.from_name, d.is_default) for d in await senders.all_details(tx, alice)] == [
            ("one", False), ("two", True),
        ]
        assert (await senders.default_details(tx, bob)).from_name == "one"
        assert await senders.details(tx, bob, f"{alice}-two") is None
        assert await senders.linked_domains(tx, alice) == {"example.test"}
        await senders.forget_member(tx, alice)
        assert (await senders.count_emails(tx, alice), await senders.count_details(tx, alice)) == (0, 0)
        assert (await senders.count_emails(tx, bob), await senders.count_details(tx, bob)) == (1, 2)

    await storage.write(write)


async def test_two_at_once_who_hold_the_codes_count_one_after_the_other(storage: Storage) -> None:
    async def send(tx: Tx) -> bool:
        await senders.hold_codes(tx)
        if len(await senders.codes_since(tx, NOW - 3600, folded="a@b.test")) >= 3:
            return False
        await senders.add_code(
            tx, member_id=1, email_uuid="x", folded="a@b.test", mac="0" * 64, now=NOW, expires_at=NOW, forget=0
        )
        return True

    assert sum(await asyncio.gather(*(storage.write(send) for _ in range(8)))) == 3
