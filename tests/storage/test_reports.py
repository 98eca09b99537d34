"""Lists and details answer the same on both engines, and never with another member's rows."""

from __future__ import annotations

from relay.base.clock import DAY, utc_day
from relay.base.storage import reports, stats
from relay.base.storage.reports import EventsWanted
from relay.base.storage.stats import Sums
from relay.outcome import Outcome
from tests.kit.world import World, letter


def said(kind: str, code: int) -> Outcome:
    return Outcome(
        kind=kind,
        code=code,
        enhanced="4.0.0",
        text=f"{code} said",
        host="mx.sink.test",
        ip="192.0.2.1",
        tls=None,  # type: ignore[arg-type]
        tls_verified=False,
        stage="data",
        scope="recipient",
    )


async def test_lists_filter_page_and_stay_within_the_member(world: World) -> None:
    alice, bob = await world.member("alice"), await world.member("bob")
    await world.domain(alice, "example.test")
    await world.domain(alice, "second.test")
    await world.domain(bob, "bob.test")
    one = await world.submit(alice, "a@sink.test", "b@sink.test", tags=["t"], metadata={"k": 1})
    two = await world.submit(alice, "a@sink.test", sender="x@second.test")
    other = await world.submit(bob, "a@sink.test", sender="x@bob.test")
    now = world.clock.now()
    async with world.storage.read() as tx:
        everything = await reports.recipients_of(tx, alice.id)
        assert [r.id for r in everything] == [two.recipients[0][1], one.recipients[1][1], one.recipients[0][1]]
        assert {r.domain for r in everything} == {"example.test", "second.test"}
        assert len(await reports.recipients_of(tx, alice.id, before=everything[0].id, limit=1)) == 1
        for more, count in (
            ({"state": "queued"}, 3),
            ({"state": "sent"}, 0),
            ({"address": "a@sink.test"}, 2),
            ({"domain": "second.test"}, 1),
            ({"since": now}, 3),
            ({"since": now + 1}, 0),
            ({"names": frozenset({"second.test"})}, 1),
            ({"names": frozenset()}, 0),
        ):
            assert len(await reports.recipients_of(tx, alice.id, **more)) == count, more
        assert await reports.message(tx, alice.id, queue_id=other.queue_id) is None
        assert await reports.message(tx, alice.id, recipient_id=other.recipients[0][1]) is None
        assert await reports.message(tx, alice.id, names={"second.test"}, queue_id=one.queue_id) is None
        found = await reports.message(tx, alice.id, queue_id=one.queue_id)
        assert found is not None
        assert (found[0].tags, found[0].metadata, len(found[1])) == (["t"], {"k": 1}, 2)
        narrow = await reports.message(tx, alice.id, recipient_id=one.recipients[1][1])
        assert narrow is not None
        assert [p.address for p in narrow[1]] == ["b@sink.test"]
        assert set((await reports.domain_names(tx, alice.id)).values()) == {"example.test", "second.test"}
        await reports.answers(tx)


async def test_events_are_searched_newest_first_within_the_member(world: World) -> None:
    alice, bob = await world.member("alice"), await world.member("bob")
    first = await world.domain(alice, "example.test")
    second = await world.domain(alice, "second.test")
    await world.domain(bob, "bob.test")
    one = await world.submit(alice, "Ann@sink.test", "b_b@sink.test", metadata={"MessageID": "uuid-1"})
    raw = letter("x@second.test", subject="Größe 5% off")
    two = await world.submit(alice, "c@sink.test", sender="x@second.test", raw=raw)
    await world.submit(bob, "a@sink.test", sender="x@bob.test", metadata={"MessageID": "uuid-1"})
    now = world.clock.now()
    async with world.storage.read() as tx:
        found = await reports.message(tx, alice.id, queue_id=two.queue_id)
        assert found is not None
        for more, people in (
            ({}, ["c@sink.test", "b_b@sink.test", "Ann@sink.test"]), ({"types": ["sent"]}, []), ({"types": []}, []),
            ({"domain_ids": [second]}, ["c@sink.test"]), ({"domain_ids": []}, []),
            ({"domain_ids": [first, second], "since": now + 1}, []), ({"until": now}, []),
            ({"message": "uuid-1"}, ["b_b@sink.test", "Ann@sink.test"]),
            ({"message": two.queue_id}, ["c@sink.test"]), ({"message": found[0].header_id}, ["c@sink.test"]),
            ({"text": "ann@SINK"}, ["Ann@sink.test"]), ({"text": "b_b@"}, ["b_b@sink.test"]), ({"text": "n_n"}, []),
            ({"text": "5% OFF"}, ["c@sink.test"]), ({"text": "second."}, ["c@sink.test"]),
        ):  # fmt: skip
            wanted = EventsWanted(**{"member_id": alice.id, "types": ["accepted"], **more})  # type: ignore[arg-type]
            rows = await reports.events_found(tx, wanted)
            assert [row.recipient for row in rows] == people, more
            assert await reports.events_counted(tx, wanted) == len(people)
        everything = EventsWanted(alice.id, ["accepted"])
        page = await reports.events_found(tx, everything, start=1, limit=1)
        assert [(r.recipient, r.domain, r.metadata) for r in page] == [
            ("b_b@sink.test", "example.test", {"MessageID": "uuid-1"})
        ]
        older = await reports.events_found(tx, everything, before=page[0].id)
        assert [r.recipient for r in older] == ["Ann@sink.test"]
    assert len(one.recipients) == 2


async def test_attempts_and_daily_sums(world: World) -> None:
    alice = await world.member("alice")
    await world.domain(alice)
    await world.domain(alice, "second.test")
    sent = await world.submit(alice, "a@sink.test", "b@sink.test")
    await world.submit(alice, sender="x@second.test")
    by_address = {r.due.address: r.due for r in await world.queue.claim(10, {})}
    await world.queue.settle(by_address["a@sink.test"], said("later", 451))
    await world.queue.settle(by_address["b@sink.test"], said("never", 550))
    since = utc_day(world.clock.now() - DAY)
    async with world.storage.read() as tx:
        found = await reports.message(tx, alice.id, queue_id=sent.queue_id)
        assert found is not None
        assert [(t.kind, t.says) for t in found[2]] == [("later", "451 said"), ("never", "550 said")]
        (day,) = await stats.daily(tx, alice.id, since)
        assert (day.accepted, day.bounced, day.delivered, day.complaints) == (3, 1, 0, 0)
        (day,) = await stats.daily(tx, alice.id, since, names={"second.test"})
        assert day.accepted == 1
        counts, oldest = await reports.waiting(tx, world.clock.now() + 5)
        assert (counts, oldest) == ({"queued": 1, "deferred": 1, "held": 0}, 5.0)
        assert (await reports.waiting(tx, 0))[1] == 0.0


async def test_a_list_of_domains_has_its_sums_over_three_windows(world: World) -> None:
    alice, bob = await world.member("alice"), await world.member("bob")
    one, two = await world.domain(alice), await world.domain(alice, "second.test")
    other = await world.domain(bob, "bob.test")
    for_days = {0: 1, 6: 2, 7: 4, 13: 8, 14: 16, 29: 32, 30: 64}
    day = {ago: utc_day(world.clock.now() - ago * DAY) for ago in for_days}
    counted = {(one, day[ago], alice.id): {"accepted": n, "delivered": n} for ago, n in for_days.items()}
    counted |= {(two, day[29], alice.id): {"accepted": 3, "bounced": 1}, (other, day[0], bob.id): {"accepted": 5}}
    await world.storage.write(lambda tx: stats.count(tx, counted))
    async with world.storage.read() as tx:
        found = await stats.sums(tx, alice.id, since=day[29], week=day[6], week_before=day[13])
    assert found == {one: Sums(one, 63, 63, 0, 0, 3, 12), two: Sums(two, 3, 0, 1, 0, 0, 0)}
