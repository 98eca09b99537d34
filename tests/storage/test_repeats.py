"""A client that lost our 250 sends again: it gets the first answer, and nobody gets the mail twice. On both engines."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select

from relay import replies
from relay.base import metrics
from relay.base.clock import HOUR
from relay.base.config import Config, Tier
from relay.base.config.model import Warming
from relay.base.names import address
from relay.base.storage import events
from relay.base.storage.tables import idempotency, messages, recipients
from relay.intake import Accepted, Recipient, Submission
from relay.intake.submission import Built
from relay.replies import Verdict
from tests.kit.world import MemberAt, World, letter

ID = b"Message-ID: <1@example.test>\r\n"


async def again(world: World, member: MemberAt, *to: str, raw: bytes = ID + letter(), **more: Any) -> Any:
    """The same octets once more, as a door that takes finished messages hands them in."""
    return await world.submit(member, *to, raw=raw, as_came=True, **more)


async def mail_for(world: World) -> Counter[str]:
    """How often mail for each address has been taken and not cancelled."""
    async with world.storage.read() as tx:
        rows = await tx.execute(select(recipients.c.address).where(recipients.c.state != "cancelled"))
        return Counter(rows.scalars())


@pytest.fixture
async def alice(world: World) -> MemberAt:
    member = await world.member()
    await world.domain(member)
    return member


async def test_the_same_message_again_is_the_first_one(world: World, alice: MemberAt) -> None:
    world.handoff.open = True
    before = metrics.REPEATED._value.get()
    first = await again(world, alice, "bob@sink.test", "carol@sink.test")
    assert len(world.handoff.take()) == 2
    second = await again(world, alice, "carol@sink.test", "bob@sink.test")
    assert (second.queue_id, second.message_id, second.recipients) == (first.queue_id, first.message_id, ())
    assert dict(second.repeated) == dict(first.recipients)
    assert world.handoff.take() == []
    assert world.handoff.room == world.config.delivery.prefetch - 2, "what was reserved for it is free again"
    assert await mail_for(world) == {"bob@sink.test": 1, "carol@sink.test": 1}
    async with world.storage.read() as tx:
        shown = await events.of_message(tx, first.message_id, types=("repeated",))
    assert [e.data["recipients"] for e in shown] == [["carol@sink.test", "bob@sink.test"]]
    assert metrics.REPEATED._value.get() == before + 1


async def test_only_who_is_new_is_written_and_counted(world: World, alice: MemberAt) -> None:
    world.config.__dict__["warming"] = Warming(tiers=[Tier(name="few", per_hour=3, per_day=3)])
    await world.change("domains", 1, tier="few")
    await world.directory.refresh()
    first = await again(world, alice, "bob@sink.test", "carol@sink.test")
    both = await again(world, alice, "bob@sink.test", "dave@sink.test")
    assert both.queue_id != first.queue_id
    assert [a.text for a, _ in both.recipients] == ["dave@sink.test"]
    assert [a.text for a, _ in both.repeated] == ["bob@sink.test"]
    # The allowance is used up, and yet what has been taken stays taken.
    third = await again(world, alice, "carol@sink.test", "dave@sink.test", "bob@sink.test")
    assert (third.recipients, third.queue_id) == ((), first.queue_id)
    assert isinstance(await again(world, alice, "erin@sink.test"), Verdict)
    assert set((await mail_for(world)).values()) == {1}


async def test_equal_ones_of_one_batch_find_each_other_in_order(world: World, alice: MemberAt) -> None:
    built = []
    for to in (["bob"], ["bob", "carol"], ["carol"], ["bob"]):
        login = world.login(alice)
        one = await world.intake.prepare(
            Submission(
                login, world.policy.sender(login, "news@example.test"), "smtp", address("news@example.test"),  # type: ignore[arg-type]
                [Recipient(address(f"{name}@sink.test")) for name in to], ID + letter(), as_came=True,
            )
        )
        assert isinstance(one, Built)
        built.append(one)
    got = await world.storage.write(lambda tx: world.intake._writer.apply(tx, built))
    assert [len(one.recipients) for one in got if isinstance(one, Accepted)] == [1, 1, 0, 0]
    assert [one.queue_id for one in got] == [built[0].queue_id, built[1].queue_id, built[1].queue_id, built[0].queue_id]  # type: ignore[union-attr]
    assert await mail_for(world) == {"bob@sink.test": 1, "carol@sink.test": 1}


async def test_two_processes_take_it_once(config: Config) -> None:
    one = await World.make(config)
    other = await World.make(config, one.clock)
    try:
        alice = await one.member()
        await one.domain(alice)
        await other.directory.refresh()
        raws = [f"Message-ID: <{i}@example.test>\r\n".encode() + letter() for i in range(8)]
        got = await asyncio.gather(
            *(again(world, alice, "bob@sink.test", raw=raw) for raw in raws for world in (one, other, one))
        )
        assert await mail_for(one) == {"bob@sink.test": len(raws)}
        assert len({a.queue_id for a in got}) == len(raws)
    finally:
        await other.close()
        await one.close()


async def test_a_suppressed_recipient_that_was_taken_is_no_refusal(world: World, alice: MemberAt) -> None:
    first = await again(world, alice, "bob@sink.test", "carol@sink.test")
    await world.suppressions.add(alice.id, "bob@sink.test", "complaint")
    second = await again(world, alice, "bob@sink.test", "carol@sink.test")
    assert second.queue_id == first.queue_id
    assert (await again(world, alice, "bob@sink.test", "erin@sink.test")).repeated == (first.recipients[0],)
    # Where the first one left it out, it is judged as new.
    await world.suppressions.add(alice.id, "gone@sink.test", "complaint")
    refused = await again(world, alice, "carol@sink.test", "gone@sink.test")
    assert refused.reply is replies.SUPPRESSED
    over_http = await again(world, alice, "carol@sink.test", "gone@sink.test", door="http")
    assert [text for text, _ in over_http.rejected] == ["gone@sink.test"]
    assert over_http.repeated == (first.recipients[1],)
    assert set((await mail_for(world)).values()) == {1}


async def test_what_was_cancelled_goes_out_again(world: World, alice: MemberAt) -> None:
    first = await again(world, alice, "bob@sink.test", "carol@sink.test")
    await world.queue.change("cancel", [first.recipients[0][1]])
    second = await again(world, alice, "bob@sink.test", "carol@sink.test")
    assert [a.text for a, _ in second.recipients] == ["bob@sink.test"]
    assert set((await mail_for(world)).values()) == {1}


@pytest.mark.parametrize(
    ("what", "taken"),
    [
        ("no id", 2), ("other content", 2), ("other sender", 2), ("later", 2), ("not as it came", 2), ("off", 2),
        ("an hour early", 1),
    ],
)
async def test_what_counts_as_the_same(world: World, alice: MemberAt, what: str, taken: int) -> None:
    raw = letter() if what == "no id" else ID + letter()
    if what == "off":
        world.config.submission.__dict__["idempotency_hours"] = 0.0
    await again(world, alice, raw=raw)
    if what in ("later", "an hour early"):
        await world.pass_time(25 * HOUR if what == "later" else 23 * HOUR)
    if what == "not as it came":
        await world.submit(alice, raw=raw)
    else:
        sender = "other@example.test" if what == "other sender" else "news@example.test"
        await again(world, alice, raw=raw + b"P.S.\r\n" if what == "other content" else raw, sender=sender)
    assert (await mail_for(world))["bob@sink.test"] == taken


async def test_two_members_never_meet(world: World, alice: MemberAt) -> None:
    bob = await world.member("bob")
    await world.domain(bob, "other.test")
    raw = b"Idempotency-Key: k\r\n" + ID
    await again(world, alice, raw=raw + letter())
    got = await again(world, bob, raw=raw + letter("news@other.test"), sender="news@other.test")
    assert len(got.recipients) == 1


async def test_a_key_of_its_own_is_stronger(world: World, alice: MemberAt) -> None:
    keyed = b"Idempotency-Key:\r\n order-1 \r\n" + letter()
    first = await again(world, alice, raw=keyed)
    assert (await again(world, alice, "bob@sink.test", "carol@sink.test", raw=keyed)).repeated == first.recipients
    assert set((await mail_for(world)).values()) == {1}
    other = await again(world, alice, raw=keyed + b"P.S.\r\n")
    assert (other.reply.smtp, other.reply.enhanced, other.reply.http) == (550, "5.6.0", 409)
    assert (await again(world, alice, raw=keyed, sender="b@example.test")).reply is replies.IDEMPOTENCY_CONFLICT
    async with world.storage.read() as tx:
        assert (await tx.execute(select(idempotency.c.name, idempotency.c.status))).all() == [("smtp:order-1", 250)]
        head = (await tx.execute(select(messages.c.header_id).order_by(messages.c.id))).scalars().first()
    assert head is not None
    assert b"Idempotency-Key" not in await _octets(world)
    await world.pass_time(25 * HOUR)
    assert isinstance(await again(world, alice, raw=keyed + b"P.S.\r\n"), Accepted), "a day later it is free again"


async def test_a_key_of_a_refused_message_is_free(world: World, alice: MemberAt) -> None:
    await world.suppressions.add(alice.id, "gone@sink.test", "complaint")
    keyed = b"Idempotency-Key: k\r\n" + letter()
    assert isinstance(await again(world, alice, "gone@sink.test", raw=keyed), Verdict)
    assert isinstance(await again(world, alice, raw=keyed + b"P.S.\r\n"), Accepted)


@pytest.mark.parametrize("field", [b"", b" " + b"k" * 251, "ü".encode(), b"k\r\nIdempotency-Key: k"])
async def test_a_key_that_cannot_be_read_is_refused(world: World, alice: MemberAt, field: bytes) -> None:
    got = await again(world, alice, raw=b"Idempotency-Key: " + field + b"\r\n" + letter())
    assert got.reply is replies.INVALID_MESSAGE


async def test_a_client_in_a_loop_fills_no_log(world: World, alice: MemberAt) -> None:
    before = metrics.REPEATED._value.get()
    first = await again(world, alice)
    for _ in range(12):
        await again(world, alice)
    async with world.storage.read() as tx:
        assert len(await events.of_message(tx, first.message_id, types=("repeated",))) == 10
    assert metrics.REPEATED._value.get() == before + 12


async def _octets(world: World) -> bytes:
    [ready, *_] = await world.queue.claim(10, {})
    return ready.head + ready.body
