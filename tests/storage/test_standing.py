"""Standing on both engines: each outcome counts once, a stage is reached once, and a release is a new beginning."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from sqlalchemy import select, update

from relay.base.clock import DAY, HOUR
from relay.base.config import Config, Tier
from relay.base.config.model import Warming
from relay.base.config.standing import Standing as Settings
from relay.base.events import Event
from relay.base.storage import Tx, accounts, events, incidents, versions
from relay.base.storage import standing as rows
from relay.base.storage.standing import Tally
from relay.base.storage.tables import messages, standing_failures
from relay.bounces.parse import Fate, Report
from relay.bounces.record import Records
from relay.intake import Accepted
from relay.notices import Join, Notice, NoticeLater, Notices
from relay.outcome import Peer, Reply, from_reply
from relay.replies import Verdict
from relay.retention import Retention
from relay.standing import Standing, Watch, standing_of
from tests.kit.world import MemberAt, World

OK, GONE, FULL = "250 2.0.0 ok", "550 5.1.1 no such user", "550 5.2.2 mailbox full"
LISTED = "550 5.7.1 [192.0.2.1] is listed at zen.spamhaus.org"


class Recorded(Notices):
    """Notices kept in the test's hand instead of queued."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def prepare(self, to: str, notice: Notice, *, about: str) -> Join:
        async def join(tx: Tx) -> None:
            if self._bench.full:
                raise NoticeLater
            self._bench.letters.append(notice)

        return join


class Bench:
    """A watch over a world, the letters it writes, and mail that ends as told."""

    def __init__(self, world: World, **settings: Any) -> None:
        self.world = world
        given = {"min_volume": 20, "exempt_domains": ["Sandbox.test."]} | settings
        world.config.__dict__["standing"] = Settings(**given)
        self.letters: list[Notice] = []
        self.full = False
        self.numbers = itertools.count()
        self.watch = self.another("one")

    def another(self, owner: str) -> Watch:
        w = self.world
        return Watch(w.storage, w.config, w.clock, w.vault, Recorded(self), owner=owner)

    async def mail(self, member: MemberAt, *replies: tuple[str, int], domain: str = "") -> list[int]:
        """For each (reply, n): n recipients whose host says so, at `domain` or at four in turn. Returns their ids."""
        said = [reply for reply, n in replies for _ in range(n)]
        ids: list[int] = []
        for at in range(0, len(said), 100):
            to = [f"u{n}@{domain or f's{n % 4}.test'}" for n, _ in zip(self.numbers, said[at : at + 100], strict=False)]
            ids += await self.accepted(member, *to)
        await self.settle(dict(zip(ids, said, strict=True)))
        return ids

    async def accepted(self, member: MemberAt, *to: str) -> list[int]:
        got = await self.world.submit(member, *to)
        assert isinstance(got, Accepted), got
        return [i for _, i in got.recipients]

    async def settle(self, said: dict[int, str]) -> None:
        ready = await self.world.queue.claim(1000, {})

        async def one(due: Any, reply: str) -> None:
            code, _, rest = reply.partition(" ")
            answer = Reply(int(code), (rest.encode(),))
            await self.world.queue.settle(due, from_reply(answer, "rcpt" if code != "250" else "dot", PEER))

        await asyncio.gather(*(one(r.due, said[r.due.id]) for r in ready if r.due.id in said))

    async def stop(self, member: MemberAt) -> None:
        """Let the watch look as often as it takes to suspend."""
        for _ in range(2):
            await self.watch.tick()
        assert (await self.standing(member)).stage == "suspended"

    async def standing(self, member: MemberAt) -> Standing:
        async with self.world.storage.read() as tx:
            row = await accounts.by_id(tx, member.id)
            assert row is not None
            return await standing_of(tx, self.world.config, member.id, row.status, self.world.clock.now())

    async def shown(self, member: MemberAt) -> list[str]:
        async with self.world.storage.read() as tx:
            found = await events.after(tx, 0, member_id=member.id, limit=5000)
        return [e.type for e in found if e.type.startswith("member.")]

    async def status(self, member: MemberAt, status: str, reason: str = "") -> None:
        """The operator's own word, as the accounts service writes it."""
        now = self.world.clock.now()
        kind = events_of[status]

        async def do(tx: Tx) -> None:
            assert await accounts.set_status(tx, member.id, status, reason=reason, now=now, was=("active", "suspended"))
            await versions.bump(tx, versions.DIRECTORY)
            await events.append(tx, [Event(kind, member.id, now)])

        await self.world.storage.write(do)
        await self.world.directory.refresh()


PEER = Peer("mx.sink.test", "192.0.2.9", "TLSv1.3", True)
events_of = {"suspended": "member.suspended", "active": "member.released"}


@pytest.fixture
async def bench(world: World) -> Bench:
    made = Bench(world)
    await made.watch.tick()
    return made


async def alice_of(bench: Bench, **columns: Any) -> MemberAt:
    alice = await bench.world.member(**columns)
    await bench.world.domain(alice)
    return alice


async def test_each_outcome_counts_once_whoever_counts_it(bench: Bench) -> None:
    alice = await alice_of(bench)
    await bench.mail(alice, (OK, 30), (GONE, 1), (LISTED, 12))
    await bench.mail(alice, (GONE, 5), domain="sandbox.test")
    await bench.accepted(alice, "later@sink.test")
    other = bench.another("two")
    await asyncio.gather(bench.watch.tick(), other.tick())
    # The first is gone without a word; the other takes the duty once its lease is over, and counts nothing twice.
    await bench.world.pass_time(60)
    await other.tick()
    c = (await bench.standing(alice)).counts
    assert (c.delivered, c.bounced, c.late, c.failures.complaints, c.excused) == (30, 1, 0, 0, 12)
    assert c.failures == Tally(1, 1, 1)
    async with bench.world.storage.read() as tx:
        [found] = await incidents.listing(tx)
    assert (found.kind, found.state, found.count, len(found.examples)) == ("reputation", "open", 12, 5)
    await bench.mail(alice, (LISTED, 3))
    await other.tick()
    now = bench.world.clock.now()
    async with bench.world.storage.read() as tx:
        [found] = await incidents.listing(tx)
    assert found.count == 15
    assert await bench.world.storage.write(lambda tx: incidents.close(tx, found.id, now))
    assert await bench.shown(alice) == []


async def test_test_messages_and_the_relays_own_mail_do_not_count(bench: Bench) -> None:
    alice = await alice_of(bench)

    async def by_page(tx: Tx) -> None:
        await tx.execute(update(messages).values(key_id=0))

    ids = await bench.accepted(alice, *(f"u{i}@sink.test" for i in range(30)))
    await bench.world.storage.write(by_page)
    await bench.settle(dict.fromkeys(ids, GONE))
    await bench.watch.tick()
    assert (await bench.standing(alice)).counts.finished == 0


async def test_bounces_suspend_with_every_stage_on_the_way_and_one_letter(bench: Bench) -> None:
    alice, bob = await alice_of(bench), await bench.world.member("bob")
    # A second domain of the same member: the shares are the member's.
    await bench.world.domain(alice, "second.test")
    await bench.mail(alice, (GONE, 10))
    await bench.watch.tick()
    assert (await bench.standing(alice)).stage == "good"
    await bench.mail(alice, (OK, 30))
    await bench.watch.tick()
    # Slowed first, and judged again: nobody is stopped without that step.
    assert await bench.shown(alice) == ["member.noticed", "member.slowed"]
    await bench.watch.tick()
    assert await bench.shown(alice) == ["member.noticed", "member.slowed", "member.suspended"]
    assert [letter.subject for letter in bench.letters] == [
        "Sending for alice has been slowed down", "Sending for alice has been suspended",
    ]
    await bench.world.directory.refresh()
    verdict = bench.world.directory.login("alice", alice.key, "127.0.0.1")
    assert isinstance(verdict, Verdict)
    assert verdict.reply.name == "member_suspended"
    assert "10 bounces of 40" in (verdict.saw or "")
    assert await bench.shown(bob) == []
    await bench.watch.tick()
    assert len(await bench.shown(alice)) == 3


async def test_a_released_member_begins_anew_whatever_is_still_on_its_way(bench: Bench) -> None:
    alice = await alice_of(bench)
    still = await bench.accepted(alice, *(f"old{i}@sink.test" for i in range(30)))
    await bench.mail(alice, (GONE, 20), (OK, 20))
    await bench.stop(alice)
    await bench.world.pass_time(1)
    await bench.status(alice, "active")
    # Judged before the release has been counted: it is not taken back.
    bench.watch._touched.add(alice.id)
    await bench.settle(dict.fromkeys(still, GONE))
    await bench.watch.tick()
    found = await bench.standing(alice)
    assert (found.stage, found.counts.finished) == ("good", 0)
    await bench.mail(alice, (GONE, 3), (OK, 30))
    await bench.watch.tick()
    found = await bench.standing(alice)
    assert (found.stage, found.counts.finished) == ("notice", 33)
    assert [letter.subject for letter in bench.letters][-1] == "Many bounces for alice"


async def test_the_clock_releases_only_where_it_may_and_only_its_own(world: World) -> None:
    bench = Bench(world, release="healed")
    await bench.watch.tick()
    alice, bob = await alice_of(bench), await world.member("bob")
    await bench.mail(alice, (GONE, 20), (OK, 20))
    await bench.stop(alice)
    await bench.status(bob, "suspended", "by hand")
    await world.pass_time(DAY - HOUR)
    await bench.watch.tick()
    assert (await bench.standing(alice)).stage == "suspended"
    await world.pass_time(HOUR + 60)
    await bench.watch.tick()
    await bench.watch.tick()
    assert (await bench.shown(alice))[-1] == "member.released"
    assert bench.letters[-1].subject == "alice can send again"
    await world.directory.refresh()
    await bench.accepted(alice, "bob@sink.test")
    assert await bench.shown(bob) == ["member.suspended"]
    assert (await bench.standing(bob)).stage == "suspended"


async def test_without_that_switch_the_operator_releases(bench: Bench) -> None:
    alice = await alice_of(bench)
    await bench.mail(alice, (GONE, 20), (OK, 20))
    await bench.stop(alice)
    await bench.world.pass_time(3 * DAY)
    await bench.watch.tick()
    assert (await bench.standing(alice)).stage == "suspended"


async def test_late_bounces_and_complaints_count(bench: Bench) -> None:
    alice = await alice_of(bench)
    world = bench.world
    ids = await bench.mail(alice, (OK, 60))
    records = Records(world.storage, world.vault, world.config, world.clock)
    bounce = Report("bounce", fates=(Fate("failed", "5.1.1", "550 5.1.1 no such user"),))
    complaint = Report("complaint", feedback="abuse")

    async def come(last: int, vouched: str) -> Tally:
        await asyncio.gather(
            *(records.apply(i, bounce, vouched) for i in ids[:4]),
            *(records.apply(i, complaint, vouched) for i in ids[-last:]),
        )
        await bench.watch.tick()
        found = await bench.standing(alice)
        assert found.counts.finished == 60
        return found.counts.failures

    # Nobody vouches for them: they are applied, and judge nobody. The same bounces a second time find nothing to do;
    # complaints that are proved later still count.
    assert await come(3, "") == Tally()
    assert (await bench.standing(alice)).stage == "good"
    ids = ids[4:]
    assert await come(2, "spf sink.test") == Tally(4, 4, 0, 2, 2)
    assert (await bench.standing(alice)).stage == "slowed"  # by the complaints, of two places only
    await bench.watch.tick()
    assert (await bench.standing(alice)).stage == "slowed"
    assert await come(3, "dkim s1.test") == Tally(4, 4, 0, 3, 3)
    await bench.stop(alice)
    assert "3 complaints of 60" in bench.letters[-1].text
    async with world.storage.read() as tx:
        shown = await events.after(tx, 0, member_id=alice.id, limit=5000)
    assert len([e for e in shown if e.type == "complained"]) == 6


async def test_one_recipient_is_one_failure_however_it_is_told_of(bench: Bench) -> None:
    alice, world = await alice_of(bench), bench.world
    # One person with many tags, and many names under one organisation's domain.
    for i in range(8):
        await bench.settle(dict.fromkeys(await bench.accepted(alice, f"bob+{i}@mail{i}.sink.test"), FULL))
        await bench.settle(dict.fromkeys(await bench.accepted(alice, f"Carol+{i}@sink.test"), FULL))
    ids = await bench.mail(alice, (OK, 40), domain="sink.test")
    records = Records(world.storage, world.vault, world.config, world.clock)
    complaint = Report("complaint", feedback="abuse")
    for _ in range(5):
        await records.apply(ids[0], complaint, "spf sink.test")
    await bench.watch.tick()
    found = await bench.standing(alice)
    assert (found.counts.finished, found.counts.bounced) == (56, 16)
    assert found.counts.failures == Tally(9, 1, 9, 1, 1)
    assert found.stage == "slowed"
    await bench.watch.tick()
    assert (await bench.standing(alice)).stage == "slowed"
    async with world.storage.read() as tx:
        kept = (await tx.execute(select(standing_failures))).all()
    assert len(kept) == 10
    assert not any(b"bob" in part or b"sink" in part for row in kept for part in row if isinstance(part, bytes))
    # Once they have left every window the rows are gone, and so is the stage.
    await world.pass_time(DAY + 2 * HOUR)
    await bench.watch.tick()
    await Retention(world.storage, world.config, world.clock, "me").once()
    async with world.storage.read() as tx:
        assert (await tx.execute(select(standing_failures))).all() == []
        assert await rows.tallies(tx, 0) == {}
    assert (await bench.standing(alice)).stage == "good"


async def test_many_refusals_that_we_heard_ourselves_stop_at_one_domain(world: World) -> None:
    bench = Bench(world, suspend_refused=30)
    await bench.watch.tick()
    alice = await alice_of(bench)
    await bench.mail(alice, (GONE, 29), (OK, 20), domain="sink.test")
    await bench.watch.tick()
    await bench.watch.tick()
    assert (await bench.standing(alice)).stage == "slowed"
    await bench.mail(alice, (GONE, 1), domain="sink.test")
    await bench.stop(alice)


async def test_a_slowed_member_spends_the_lower_tier_at_once_and_exactly(bench: Bench) -> None:
    world = bench.world
    low = Tier(name="low", until_day=7, per_hour=3, per_day=100)
    high = Tier(name="high", until_day=0, per_hour=2000, per_day=9000)
    world.config.__dict__["warming"] = Warming(tiers=[low, high])
    alice = await world.member()
    await world.domain(alice, tier="high")
    await bench.mail(alice, (GONE, 6), (OK, 60))
    await world.directory.stop()  # a process that hasn't noticed: only the transaction knows
    await bench.watch.tick()
    assert (await bench.standing(alice)).stage == "slowed"
    refused = await world.submit(alice, "bob@sink.test")
    assert isinstance(refused, Verdict)
    assert refused.extra["tier"] == "low"
    await world.directory.refresh()
    domain = world.directory.domain_of_member(alice.id, "example.test")
    assert domain is not None
    tier = world.policy.tier(domain, world.clock.now())
    assert tier is not None
    assert tier.name == "low"
    await world.pass_time(2 * DAY)
    await bench.watch.tick()
    await world.directory.refresh()
    assert (await bench.standing(alice)).stage == "good"
    assert isinstance(await world.submit(alice, *(f"v{i}@sink.test" for i in range(50))), Accepted)


async def test_a_full_queue_for_letters_does_not_hold_up_a_stop(bench: Bench) -> None:
    alice = await alice_of(bench)
    bench.full = True
    await bench.mail(alice, (GONE, 20), (OK, 20))
    await bench.stop(alice)
    assert bench.letters == []


async def test_after_the_clock_was_set_back_the_window_is_still_a_day(bench: Bench) -> None:
    alice, world = await alice_of(bench), bench.world
    world.clock.jump(300 * DAY)  # type: ignore[attr-defined]
    await bench.mail(alice, (GONE, 1), (OK, 40))
    await bench.watch.tick()
    world.clock.jump(-300 * DAY)  # type: ignore[attr-defined]
    await world.pass_time(90)
    await bench.watch.tick()
    assert (await bench.standing(alice)).counts.finished == 41
    await world.pass_time(DAY + HOUR)
    await bench.watch.tick()
    assert (await bench.standing(alice)).counts.finished == 0
    await Retention(world.storage, world.config, world.clock, "me").once()
    async with world.storage.read() as tx:
        assert await rows.sums(tx, 0) == {}
        assert await rows.tallies(tx, 0) == {}


async def test_what_happened_before_the_first_look_is_not_counted(config: Config) -> None:
    world = await World.make(config)
    try:
        bench = Bench(world)
        alice = await alice_of(bench)
        await bench.mail(alice, (GONE, 40))
        await bench.watch.tick()
        await bench.watch.tick()
        assert (await bench.standing(alice)).counts.finished == 0
    finally:
        await world.close()


async def test_a_suspension_by_the_operator_has_a_date_of_its_own(bench: Bench) -> None:
    alice = await alice_of(bench)
    assert (await bench.standing(alice)).since is None
    at = bench.world.clock.now()
    await bench.status(alice, "suspended", "a reason")
    bench.world.clock.move(DAY)  # type: ignore[attr-defined]
    found = await bench.standing(alice)
    assert (found.stage, found.since) == ("suspended", at)
