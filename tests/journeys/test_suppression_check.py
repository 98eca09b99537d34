"""Who unsubscribes, complains or proves not to exist while mail waits for them gets no more of it, on both engines."""

from __future__ import annotations

import asyncio
from collections import Counter

from sqlalchemy import func, select

from relay.base.config import Config
from relay.base.names import address
from relay.base.storage import StorageError, events, mail, reports
from relay.base.storage.tables import attempts, messages
from relay.intake import Accepted, Recipient, Submission
from relay.suppression import Suppression
from relay.suppression.lists import New
from tests.kit.line import Line, line, states
from tests.kit.sink import Held
from tests.kit.world import MemberAt, letter

WAITED = {
    # Who, the way in, the category, what came on the list meanwhile, for which categories; and what follows.
    "bulk": ("http", "bulk", "unsubscribe", "", "suppressed"),
    "token": ("http", "password-reset", "unsubscribe", "", "sent"),
    "angry": ("http", "password-reset", "complaint", "", "suppressed"),
    "gone": ("http", "transactional", "hard_bounce", "", "suppressed"),
    "some": ("http", "bulk", "unsubscribe", "broadcast", "sent"),
    "those": ("http", "broadcast", "unsubscribe", "broadcast", "suppressed"),
    "header": ("smtp", "mfa-otp", "unsubscribe", "", "suppressed"),
    "free": ("http", "bulk", "", "", "sent"),
}


async def ready(way: Line) -> MemberAt:
    alice = await way.world.member()
    await way.world.domain(alice)
    return alice


def reached(way: Line) -> Counter[str]:
    return Counter(t.rcpt_tos[0].partition("@")[0] for t in way.sink.messages if t.rcpts)


async def test_what_waits_is_held_against_the_list_as_it_is_when_its_time_comes(config: Config) -> None:
    async with line(config) as way:
        alice, world = await ready(way), way.world
        system = await world.core.enroll.accounts.system_member()
        for name, (door, category, *_) in WAITED.items():
            if door == "smtp":
                raw = f"X-Posthouse-Category: {category}\r\n".encode() + letter()
                got = await world.submit(alice, f"{name}@sink.test", raw=raw)
            else:
                got = await world.submit(alice, f"{name}@sink.test", door=door, category=category)
            assert isinstance(got, Accepted)
        # The relay's own letters are never judged.
        own = Submission(None, None, "own", None, [Recipient(address("Bulk@sink.test"))], letter(), "transactional")
        assert isinstance(await world.intake.accept(own), Accepted)
        for name, (_, _, reason, categories, _) in WAITED.items():
            if reason:
                await world.suppressions.put(alice.id, New(f"{name}+tag@SINK.test", reason, categories=categories))
        await world.suppressions.add(system.id, "bulk@sink.test", "complaint")
        asked = []
        find = world.suppressions.find

        async def noted(member_id: int, canonical: str) -> Suppression | None:
            asked.append(canonical)
            return await find(member_id, canonical)

        world.suppressions.find = noted  # type: ignore[method-assign]
        way.start()
        await way.settle(len(WAITED) + 1)
        now = await states(world)
        assert now.pop("Bulk@sink.test") == "sent"
        assert now == {f"{name}@sink.test": after for name, (*_, after) in WAITED.items()}
        assert reached(way) == Counter(["Bulk", "token", "some", "free"])
        assert "free@sink.test" not in asked, "who is on no list costs no query"
        async with world.storage.read() as tx:
            rows = await reports.recipients_of(tx, alice.id, names=None, state="suppressed", limit=10)
            [gone] = [r for r in rows if r.address == "gone@sink.test"]
            shown = await events.of_message(tx, gone.message_id)
            unfinished = await tx.scalar(select(func.count()).where(messages.c.finished_at.is_(None)))
            tries = await tx.scalar(select(func.count()).select_from(attempts))
            owed = await mail.reports_due(tx, 10, world.clock.now() + 86400)
        assert len(rows) == 5
        assert "(hard_bounce): the address does not exist" in gone.says
        assert (gone.attempts, gone.settled_at is not None, unfinished, tries, owed) == (0, True, 0, 4, [])
        assert [e.type for e in shown] == ["accepted", "suppressed"]
        assert shown[1].recipient_id == gone.id
        assert {k: shown[1].data[k] for k in ("recipient", "reason", "category")} == {
            "recipient": "gone@sink.test", "reason": "hard_bounce", "category": "transactional",
        }


async def test_neither_the_next_try_nor_what_is_in_the_workers_line_goes_out_any_more(config: Config) -> None:
    async with line(config) as way:
        alice, world = await ready(way), way.world
        way.sink.on("RCPT", lambda c: "450 4.2.1 busy" if b"later" in c else "250 2.1.5 ok")
        go = asyncio.Event()
        way.start()
        got = await world.submit(alice, "later@sink.test")
        assert await way.settle(1) == ["deferred"]
        before = way.sink.verbs().count("DATA")
        way.sink.on("DOT", Held(go, "250 2.0.0 ok"))
        way.sink.on("RCPT", "250 2.1.5 ok")
        names = [f"u{i}" for i in range(12)]
        await asyncio.gather(*(world.submit(alice, f"{n}@sink.test") for n in names))
        async with asyncio.timeout(10):
            while not way.sink.verbs().count("DATA") - before == way.worker.busy > 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        waiting = [r.due.address for held in way.worker._lines.values() for r in held.waiting()]
        assert waiting
        for who in ("later@sink.test", *waiting):
            await world.suppressions.add(alice.id, who, "unsubscribe")
        assert await world.queue.change("retry", [got.recipients[0][1]])
        go.set()
        assert Counter(await way.settle(13)) == {"suppressed": len(waiting) + 1, "sent": 12 - len(waiting)}
        assert set(reached(way)) == set(names) - {w.partition("@")[0] for w in waiting}
        async with world.storage.read() as tx:
            [late] = [
                r for r in await reports.recipients_of(tx, alice.id, names=None, state="suppressed", limit=50)
                if r.address == "later@sink.test"
            ]
        assert late.attempts == 1, "the try before is still counted and shown"
        assert (world.handoff.room, world.handoff.shares) == (world.config.delivery.prefetch, {})


async def test_while_the_list_can_not_be_asked_nothing_goes_to_who_may_be_on_it(config: Config) -> None:
    async with line(config, lease_seconds=1.0) as way:
        alice, world = await ready(way), way.world
        await world.submit(alice, "maybe@sink.test")
        await world.suppressions.add(alice.id, "maybe@sink.test", "unsubscribe")
        find, tried = world.suppressions.find, asyncio.Event()

        async def away(member_id: int, canonical: str) -> Suppression | None:
            tried.set()
            raise StorageError("away")

        world.suppressions.find = away  # type: ignore[method-assign]
        way.start()
        await asyncio.wait_for(tried.wait(), 5)
        world.suppressions.find = find  # type: ignore[method-assign]
        assert await way.settle(1) == ["suppressed"]
        assert not reached(way)
