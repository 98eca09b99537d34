"""Transmissions as rows, on both engines: what they have come to, filters, order, and who forgets them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import update

from relay.base.storage import Storage, Tx, accounts, mail, transmissions
from relay.base.storage.mail import NewMessage, NewRecipient
from relay.base.storage.tables import recipients
from relay.base.storage.transmissions import Either, Every, Is, NewTransmission, Not, Order, Place

NOW = 1_780_000_000.0
EVERYTHING = Every(())
BLANK = NewTransmission(
    uuid="", member_id=0, domain_id=1, kind="TRANSACTIONAL", subject="", sender_name="", sender_address="a@b.test",
    reply_to=None, metadata=None, placeholder="", idempotency_key=None, body_hash="", created_at=NOW,
)


async def member(tx: Tx) -> int:
    made = await accounts.add(tx, handle="alice", did="did:web:a", email="", password_hash=None, now=NOW)
    assert made is not None
    return made


async def message(tx: Tx, member_id: int, state: str, at: float | None) -> int:
    row: dict[str, Any] = {
        "queue_id": f"q{state}{at}"[:32], "member_id": member_id, "domain_id": 1, "door": "http",
        "mail_from": "a@b.test", "category": "bulk", "size": 1, "smtputf8": False, "return_path": "",
        "received_at": NOW, "tls_required": None,
    }
    new = NewMessage(row, b"", b"", [NewRecipient("x@y.test", "y.test", NOW, NOW + 9)])
    await mail.add(tx, [new])
    [number] = new.recipient_ids
    await tx.execute(update(recipients).where(recipients.c.id == number).values(state=state, settled_at=at))
    return number


async def test_states_filters_and_order_are_those_of_the_recipients_rows(storage: Storage) -> None:
    async def write(tx: Tx) -> int:
        alice = await member(tx)
        for name, states in (
            ("Ab", [("sent", NOW + 5.5), ("bounced", NOW + 3)]), ("aB", [("queued", None), ("sent", NOW + 1)]),
            ("Äb", [("suppressed", NOW + 2), ("cancelled", NOW + 1)]), ("Zz", []),
        ):
            people = [("x@y.test", "", await message(tx, alice, s, at), "") for s, at in states]
            new = replace(
                BLANK, uuid=name, member_id=alice, subject=name, idempotency_key=name,
                kind="MARKETING" if name == "Zz" else "TRANSACTIONAL", metadata={"a": "1"},
            )
            assert await transmissions.add(tx, new, [*people, ("z@y.test", "Z", None, "refused")], f"<p>{name}</p>")
            assert not await transmissions.add(tx, replace(new, uuid=f"{name}2"), [("x@y.test", "", None, "")], "")
        return alice

    alice = await storage.write(write)
    down = [Order("updatedDate", True)]
    async with storage.read() as tx:

        async def found(where: Any = EVERYTHING, order: list[Order] = down, after: Place | None = None) -> list[str]:
            rows = await transmissions.find(tx, alice, where=where, order=order, after=after, limit=9)
            return [row.uuid for row in rows]

        rows = await transmissions.find(tx, alice, where=EVERYTHING, order=down, after=None, limit=9)
        assert [(r.uuid, r.status, r.updated_at - NOW) for r in rows] == [
            ("Ab", "PROCESSED", 5.5), ("Äb", "REJECTED", 2), ("aB", "IN_PROGRESS", 1), ("Zz", "REJECTED", 0),
        ]
        assert rows[0].metadata == {"a": "1"}
        assert await found(order=[Order("emailSubject", False)]) == ["Ab", "Zz", "aB", "Äb"], "by code points"
        assert await found(Is("status", "eq", "REJECTED")) == ["Äb", "Zz"]
        assert await found(Not(Is("status", "in", ["REJECTED", "PROCESSED"]))) == ["aB"]
        assert await found(Is("emailSubject", "starts", "a")) == ["aB"]
        assert await found(Is("emailSubject", "gt", "Zz")) == ["Äb", "aB"]
        assert await found(Is("updatedDate", "eq", NOW + 5)) == ["Ab"], "in whole seconds, as it is shown"
        assert await found(Is("updatedDate", "lt", NOW + 5.5)) == ["Ab", "Äb", "aB", "Zz"]
        assert await found(Is("updatedDate", "gt", NOW + 5)) == []
        assert await found(Either(())) == []
        for order in ([Order("status", False)], [Order("type", True), Order("updatedDate", False)], down):
            everything = await found(order=order)
            for at, uuid in enumerate(everything):
                row = await transmissions.get(tx, alice, uuid)
                assert row is not None
                assert await found(order=order, after=transmissions.place_of(row, order)) == everything[at + 1 :]
        first = await transmissions.by_key(tx, alice, "Ab")
        assert first is not None
        assert await transmissions.content(tx, first.id) == "<p>Ab</p>"
        people = await transmissions.people(tx, [first.id])
        assert [(p.state, p.reason) for p in people] == [("sent", ""), ("bounced", ""), (None, "refused")]
    assert await storage.write(lambda tx: transmissions.purge_contents(tx, NOW + 1, 9)) == 4
    assert await storage.write(lambda tx: transmissions.purge(tx, NOW, 9)) == 0
    assert await storage.write(lambda tx: transmissions.purge(tx, NOW + 1, 9)) == 3, "one still waits"
    await storage.write(lambda tx: transmissions.forget_member(tx, alice))
    async with storage.read() as tx:
        assert await transmissions.find(tx, alice, where=EVERYTHING, order=down, after=None, limit=9) == []
