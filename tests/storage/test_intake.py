"""Intake and the queue on both engines: what is accepted is kept, exactly as much as is allowed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from relay import replies
from relay.base.config import Tier
from relay.base.config.model import Warming
from relay.base.names import address
from relay.base.storage import events, mail
from relay.base.storage.tables import allowances, bodies, messages, recipients
from relay.intake import Accepted
from relay.outcome import Outcome
from relay.replies import Verdict
from tests.kit.dkim_check import dkimpy_verifies
from tests.kit.world import World, key_pair, letter


def outcome(kind: str, code: int | None = 250, text: str = "ok") -> Outcome:
    return Outcome(kind, code, None, text, "mx.sink.test", "127.0.0.1", "TLSv1.3", True, "dot", "recipient")


async def rows(world: World, table: object) -> int:
    async with world.storage.read() as tx:
        return int(await tx.scalar(select(func.count()).select_from(table)) or 0)


async def test_accepted_mail_is_in_the_tables_with_its_final_bytes(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    got = await world.submit(alice, "bob@sink.test", "carol@sink.test")
    assert isinstance(got, Accepted)
    assert len({i for _, i in got.recipients}) == 2
    async with world.storage.read() as tx:
        found = await mail.bytes_of(tx, [(i, got.message_id) for _, i in got.recipients])
        shown = await events.of_message(tx, got.message_id)
    copies = [b"".join(found[i]) for _, i in got.recipients]
    assert copies[0] != copies[1], "bulk mail has each recipient's own unsubscribe link"
    for copy in copies:
        assert copy.endswith(b"\r\n\r\nHi there.\r\n")
        assert copy.count(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n") == 1
    assert [e.type for e in shown] == ["accepted", "accepted"]
    _, rsa, _, ed = key_pair()
    table = {"ph1r._domainkey.example.test": rsa, "ph1e._domainkey.example.test": ed}
    assert [dkimpy_verifies(copies[0], table, i) for i in (0, 1)] == [True, True]


async def test_fifty_senders_get_exactly_the_allowance(world: World) -> None:
    alice = await world.member()
    domain = await world.domain(alice, tier="hundred")
    tier = Tier(name="hundred", until_day=0, per_hour=100, per_day=500)
    world.config.__dict__["warming"] = Warming(tiers=[tier])
    results = await asyncio.gather(*(world.submit(alice, f"u{i}@sink.test") for i in range(150)))
    accepted = [r for r in results if isinstance(r, Accepted)]
    refused = [r for r in results if isinstance(r, Verdict)]
    assert len(accepted) == 100
    assert {r.reply.name for r in refused} == {"rate_limited"}
    async with world.storage.read() as tx:
        assert await tx.scalar(select(func.sum(allowances.c.n)).where(allowances.c.domain_id == domain)) == 100
    assert await rows(world, messages) == 100


async def test_a_member_suspended_a_moment_ago_is_refused_in_the_transaction(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    login = world.login(alice)
    domain = world.policy.sender(login, "a@example.test")
    await world.change("members", alice.id, status="suspended", reason="too many bounces")
    from relay.intake import Recipient, Submission

    got = await world.intake.accept(
        Submission(login, domain, "smtp", address("a@example.test"), [Recipient(address("b@sink.test"))], letter())
    )
    assert isinstance(got, Verdict)
    assert got.reply is replies.MEMBER_SUSPENDED
    assert got.saw == "too many bounces"
    assert await rows(world, messages) == 0


async def test_a_recipient_suppressed_after_rcpt_refuses_the_smtp_message(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.suppressions.add(alice.id, "Bob+news@sink.test", "complaint")
    got = await world.submit(alice, "bob@SINK.test", "carol@sink.test")
    assert isinstance(got, Verdict)
    assert got.reply is replies.SUPPRESSED
    over_http = await world.submit(alice, "bob@sink.test", "carol@sink.test", door="http")
    assert isinstance(over_http, Accepted)
    assert [a.text for a, _ in over_http.recipients] == ["carol@sink.test"]
    assert [a for a, _ in over_http.rejected] == ["bob@sink.test"]


async def test_user_initiated_mail_passes_an_unsubscribe_but_never_a_complaint(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.suppressions.add(alice.id, "bob@sink.test", "unsubscribe")
    passed = await world.submit(alice, "bob@sink.test", door="http", category="password-reset")
    assert isinstance(passed, Accepted)
    bulk = await world.submit(alice, "bob@sink.test", door="http", category="broadcast")
    assert isinstance(bulk, Verdict)
    await world.suppressions.add(alice.id, "bob@sink.test", "complaint")
    refused = await world.submit(alice, "bob@sink.test", door="http", category="password-reset")
    assert isinstance(refused, Verdict)
    header_only = await world.submit(
        alice, "carol@sink.test", raw=b"X-Posthouse-Category: mfa-otp\r\n" + letter()
    )
    assert isinstance(header_only, Accepted)
    async with world.storage.read() as tx:
        found = await mail.bytes_of(tx, [(header_only.recipients[0][1], header_only.message_id)])
    copy = b"".join(found[header_only.recipients[0][1]])
    assert b"\r\nList-Unsubscribe" not in copy
    assert b"X-Posthouse-Category" not in copy


async def test_handed_over_recipients_are_leased_and_nobody_else_claims_them(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    world.handoff.open = True
    got = await world.submit(alice)
    assert isinstance(got, Accepted)
    [ready] = world.handoff.take()
    assert ready.due.id == got.recipients[0][1]
    assert await world.queue.claim(10, {}) == []
    state = await world.queue.settle(ready.due, outcome("delivered"))
    assert state == "sent"
    async with world.storage.read() as tx:
        row = (await tx.execute(select(recipients))).one()
        message = (await tx.execute(select(messages))).one()
    assert (row.state, row.attempts, row.lease_owner) == ("sent", 1, None)
    assert message.finished_at is not None


@pytest.mark.parametrize("category", [None, "password-reset", "broadcast"])
async def test_what_is_handed_over_is_what_the_tables_say(world: World, category: str | None) -> None:
    """The worker is told the same of a recipient whether it was handed over or claimed."""
    alice = await world.member()
    await world.domain(alice)
    world.handoff.open = True
    await world.submit(
        alice, "bob+x@sink.test", door="smtp" if category is None else "http", category=category, envid="Q1", ret="HDRS"
    )
    [handed] = world.handoff.take()
    await world.queue.release(handed.due)
    [claimed] = await world.queue.claim(10, {})
    assert claimed.due == handed.due
    assert claimed.head + claimed.body == handed.head + handed.body


async def test_the_last_try_comes_when_patience_ends(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.submit(alice)
    hour = 3600.0
    await world.pass_time(world.config.delivery.max_age_seconds - hour)
    [ready] = await world.queue.claim(10, {})
    due = replace(ready.due, attempts=20)  # the schedule's step is four hours by now
    assert await world.queue.settle(due, outcome("later", 451)) == "deferred"
    async with world.storage.read() as tx:
        row = (await tx.execute(select(recipients))).one()
    assert row.next_at == row.expires_at
    await world.pass_time(hour)
    [last] = await world.queue.claim(10, {})
    assert await world.queue.settle(last.due, outcome("later", 451)) == "bounced"


async def test_a_lost_lease_makes_a_late_settle_a_no_op(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.submit(alice)
    [first] = await world.queue.claim(10, {})
    await world.pass_time(world.config.delivery.lease_seconds + 1)
    world.queue._owner = "another"
    [second] = await world.queue.claim(10, {})
    assert second.due.id == first.due.id
    world.queue._owner = "test"
    assert await world.queue.settle(first.due, outcome("delivered")) == ""
    world.queue._owner = "another"
    assert await world.queue.settle(second.due, outcome("later", 451)) == "deferred"
    async with world.storage.read() as tx:
        row = (await tx.execute(select(recipients))).one()
        shown = [e.type for e in await events.of_message(tx, row.message_id)]
    assert (row.state, row.attempts) == ("deferred", 1)
    assert shown == ["accepted", "deferred"]


async def test_renewing_tells_which_leases_are_still_ones_own(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    got = await world.submit(alice, *(f"u{i}@sink.test" for i in range(4)))
    assert len(await world.queue.claim(10, {})) == 4
    kept, settled, held, lost = [i for _, i in got.recipients]
    await world.pass_time(world.config.delivery.lease_seconds + 1)
    await world.queue.change("cancel", [settled])
    await world.queue.change("hold", [held])
    assert await world.queue.renew([kept]) == {kept}
    world.queue._owner = "another"
    assert [r.due.id for r in await world.queue.claim(10, {})] == [lost]
    world.queue._owner = "test"
    assert await world.queue.renew([kept, settled, held, lost]) == {kept}
    assert await world.queue.renew([]) == set()


async def test_the_retry_schedule_and_the_end_of_patience(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.submit(alice)
    waits = []
    state = "queued"
    while state in ("queued", "deferred"):
        [ready] = await world.queue.claim(1, {})
        state = await world.queue.settle(ready.due, outcome("later", 451, "greylisted"))
        due = await world.queue.next_due()
        if due is not None:
            waits.append(due - world.clock.now())
            await world.pass_time(waits[-1] + 0.001)
    assert state == "bounced"
    assert 300 <= waits[0] <= 330, "the first retry to a greylisting host waits five minutes"
    assert 270 <= waits[1] <= 330
    assert waits[2] > 800
    assert sum(waits) >= 432_000 - 1
    async with world.storage.read() as tx:
        assert len(await mail.reports_due(tx, 10, world.clock.now())) == 1


async def test_a_flood_of_one_member_does_not_hold_up_another(world: World) -> None:
    alice, bob = await world.member("alice"), await world.member("bob")
    await world.domain(alice, "a.test")
    await world.domain(bob, "b.test")
    for i in range(60):
        await world.submit(alice, f"u{i}@sink.test", sender="x@a.test", raw=letter("x@a.test"))
    await world.submit(bob, "late@sink.test", sender="x@b.test", raw=letter("x@b.test"))
    claimed = await world.queue.claim(10, {})
    assert len(claimed) == 10
    assert bob.id in {r.due.member_id for r in claimed}


async def test_bodies_are_purged_once_settled_and_the_log_stays(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    await world.submit(alice, "a@sink.test", "b@sink.test")
    first, second = await world.queue.claim(10, {})
    await world.queue.settle(first.due, outcome("delivered"))
    later = world.clock.now() + 1
    assert await world.storage.write(lambda tx: mail.purge_bodies(tx, later, 100)) == (0, None)
    await world.queue.settle(second.due, outcome("never", 550))
    assert await world.storage.write(lambda tx: mail.purge_bodies(tx, later, 100)) == (0, None), "a report is owed"
    assert await world.storage.write(lambda tx: mail.report_done(tx, [second.due.id], "failed"))
    assert await world.storage.write(lambda tx: mail.purge_bodies(tx, later, 100)) == (1, None)
    assert await rows(world, bodies) == 0
    assert await rows(world, recipients) == 2


async def test_cancel_and_retry_by_the_owner(world: World) -> None:
    alice, bob = await world.member("alice"), await world.member("bob")
    await world.domain(alice)
    got = await world.submit(alice, send_at=world.clock.now() + 3600)
    assert await world.queue.claim(10, {}) == []
    ids = [i for _, i in got.recipients]
    assert await world.queue.change("cancel", ids, bob.id) == []
    assert await world.queue.change("cancel", ids, alice.id) == ids
    await world.pass_time(7200)
    assert await world.queue.claim(10, {}) == []
    got = await world.submit(alice, send_at=world.clock.now() + 3600)
    await world.queue.change("retry", [i for _, i in got.recipients], alice.id)
    assert len(await world.queue.claim(10, {})) == 1


async def test_a_hang_up_in_mid_commit_undoes_nothing(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    hold, started = asyncio.Event(), asyncio.Event()

    async def blocker(tx: object) -> None:
        started.set()
        await hold.wait()

    blocked = asyncio.create_task(world.storage.write(blocker))
    await started.wait()
    task = asyncio.create_task(world.submit(alice))
    while not world.storage.backlog:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    hold.set()
    await blocked
    await world.storage.write(lambda tx: events.append(tx, []))
    assert await rows(world, messages) == 1
