"""The way out, whole: real storage, real DNS packets, real conversations with a mail exchanger on loopback."""

from __future__ import annotations

import asyncio
import email
import email.policy
from typing import Any

import pytest
from sqlalchemy import func, select

from relay.base.config import Config
from relay.base.storage import events, mail
from relay.base.storage.tables import attempts, recipients
from relay.bounces import address as return_paths
from relay.bounces import header
from relay.delivery.dsn import Reports
from relay.intake import Accepted
from tests.kit.line import line, states
from tests.kit.sink import SILENCE, Answer, Sink
from tests.kit.world import letter


async def test_three_recipients_three_answers_an_event_each(config: Config) -> None:
    def by_name(command: bytes) -> str:
        return {b"b": "450 4.2.1 busy", b"c": "550 5.1.1 no such user"}.get(command[9:10], "250 2.1.5 ok")

    async with line(config) as way:
        way.sink.on("RCPT", by_name)
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        got = await way.world.submit(alice, "a@sink.test", "b@sink.test", "c@sink.test")
        assert sorted(await way.settle(3)) == ["bounced", "deferred", "sent"]
        assert await states(way.world) == {"a@sink.test": "sent", "b@sink.test": "deferred", "c@sink.test": "bounced"}
        [taken] = await way.sink.wait_for(1)
        ids = {a.text: i for a, i in got.recipients}
        assert taken.mail_from.endswith("@bounce.localhost")
        assert return_paths.read(way.world.vault, taken.mail_from.split("@")[0]) == ids["a@sink.test"]
        async with way.world.storage.read() as tx:
            shown = sorted(e.type for e in await events.of_message(tx, got.message_id))
            said = {r.recipient_id: r.says for r in await tx.execute(select(attempts))}
        assert shown == ["accepted"] * 3 + ["bounced", "deferred", "sent"]
        assert "no such user" in said[ids["c@sink.test"]]


async def test_an_unshown_recipient_other_than_ascii_needs_smtputf8_for_itself_alone(config: Config) -> None:
    """RFC 6531 §3.4: a blind copy, or the envelope of a raw message, which no header tells of."""
    plain = Sink(offers=("PIPELINING", "8BITMIME"))
    async with line(config, sinks=[plain]) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        await way.world.submit(alice, "jürg@sink.test", "bob@bad0.test", "jürg@bad0.test", door="http")
        await way.settle(3)
        want = {"jürg@sink.test": "sent", "bob@bad0.test": "sent", "jürg@bad0.test": "bounced"}
        assert await states(way.world) == want
        [taken] = await way.sink.wait_for(1)
        assert (taken.rcpt_tos, taken.mail.endswith(b" SMTPUTF8")) == (["jürg@sink.test"], True)
        assert [t.rcpt_tos for t in await plain.wait_for(1)] == [["bob@bad0.test"]]


async def test_what_was_waiting_is_claimed_and_arrives_as_it_was_kept(config: Config) -> None:
    async with line(config) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        got = await way.world.submit(alice, "a@sink.test", "b@sink.test")
        async with way.world.storage.read() as tx:
            kept = await mail.bytes_of(tx, [(i, got.message_id) for _, i in got.recipients])
        way.start()
        assert await way.settle(2) == ["sent", "sent"]
        taken = await way.sink.wait_for(2)
        # Each copy has a line of its own in front, which says whose it is.
        own = {header.field(way.world.vault, got.queue_id, i) + b"".join(kept[i]) for _, i in got.recipients}
        assert {t.raw for t in taken} == own


async def test_a_null_mx_and_an_unknown_domain_bounce_at_once_and_trouble_defers(config: Config) -> None:
    async with line(config) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        way.dns.faults.set("trouble.test", "servfail")
        way.start()
        await way.world.submit(alice, "a@null.test", "a@nowhere.test", "a@trouble.test")
        await way.settle(3)
        assert await states(way.world) == {
            "a@null.test": "bounced", "a@nowhere.test": "bounced", "a@trouble.test": "deferred"
        }


async def test_a_silent_host_does_not_hold_up_others(config: Config) -> None:
    async with line(config, workers=30) as way:
        way.sink.on("RCPT", lambda command: SILENCE if b"@slow.test" in command else "250 2.1.5 ok")
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for i in range(60):
            await way.world.submit(alice, f"s{i}@slow.test")
        for i in range(30):
            await way.world.submit(alice, f"f{i}@sink.test")
        assert await way.settle(30) == ["sent"] * 30
        assert all(s == "sent" for a, s in (await states(way.world)).items() if a.endswith("@sink.test"))


async def test_a_failure_is_reported_to_the_sender_once_and_never_about_a_report(config: Config) -> None:
    async with line(config) as way:
        way.sink.on("RCPT", lambda command: "550 5.1.1 who?" if b"gone" in command else "250 2.1.5 ok")
        alice = await way.world.member()
        await way.world.domain(alice)
        reports = Reports(way.world.storage, way.world.intake, way.world.config, way.world.clock)
        way.start()
        await way.world.submit(alice, "gone@sink.test", envid="abc+2B1")
        assert await way.settle(1) == ["bounced"]
        await asyncio.gather(reports.post_due(), reports.post_due())
        # The refused transaction ends with an empty message (RFC 2920 §3.1); only one has a recipient.
        [taken] = [t for t in await way.sink.wait_for(2) if t.rcpt_tos]
        assert await way.settle(1) == ["sent"]
        assert (taken.mail_from, taken.rcpt_tos) == ("", ["postmaster@example.test"])
        report = email.message_from_bytes(taken.raw, policy=email.policy.default)
        assert report.get_content_type() == "multipart/report"
        people, status, original = report.iter_parts()
        assert "could not be delivered to gone@sink.test" in people.get_content()
        text = status.as_string()
        for expected in (
            "Reporting-MTA: dns; localhost", "Original-Envelope-Id: abc+1", "Final-Recipient: rfc822; gone@sink.test",
            "Action: failed", "Status: 5.1.1", "Diagnostic-Code: smtp; 550 5.1.1 who?",
        ):
            assert expected in text, text
        assert "Message-ID:" in original.get_content()
        assert await reports.post_due() == 0


async def test_stopping_gives_leases_back(config: Config) -> None:
    async with line(config) as way:
        way.sink.on("RCPT", SILENCE)
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for i in range(3):
            await way.world.submit(alice, f"a{i}@sink.test")
        # One conversation until something has worked at the site; the others wait in its line.
        while way.worker.busy < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert way.task is not None
        await way.worker.stop(0.1)
        await way.task
        way.task = None
        async with way.world.storage.read() as tx:
            assert await mail.owners(tx) == []
        assert set((await states(way.world)).values()) == {"queued"}


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_stopping_leaves_alone_a_host_that_may_have_the_message(config: Config) -> None:
    whole = asyncio.Event()

    def all_of_it(command: bytes) -> Answer:
        whole.set()
        return SILENCE

    async with line(config, jitter=0) as way:
        way.sink.on("DOT", all_of_it)
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        await way.world.submit(alice, "a@sink.test")
        await whole.wait()
        assert way.task is not None
        await way.worker.stop(0.0)
        await way.task
        way.task = None
        async with way.world.storage.read() as tx:
            assert await mail.owners(tx) == []
            found = select(recipients.c.state, recipients.c.next_at, attempts.c.says).join(attempts)
            (row,) = (await tx.execute(found)).all()
        assert (row.state, round((row.next_at - way.world.clock.now()) / 60)) == ("deferred", 120)
        assert "this relay stopped before the remote host had answered" in row.says


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_five_hundred_messages_each_once_over_few_connections(config: Config) -> None:
    async with line(config, connections_a_destination=3) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        got = await asyncio.gather(*(way.world.submit(alice, f"u{i}@sink.test") for i in range(500)))
        assert all(not hasattr(g, "reply") for g in got)
        assert await way.settle(500) == ["sent"] * 500
        taken = await way.sink.wait_for(500)
        assert sorted(t.rcpt_tos[0] for t in taken) == sorted(f"u{i}@sink.test" for i in range(500))
        assert way.sink.verbs().count("EHLO") <= 20


@pytest.mark.parametrize("answer", ["450 4.2.1 busy", "250 2.1.5 fine"])
async def test_a_fault_of_our_own_while_settling_holds_nobody_for_ever(
    sqlite_config: Config, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line(sqlite_config, lease_seconds=0.5) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        settlement = way.world.queue._settlement
        broken = iter([True])

        def at_first_broken(*given: Any, **named: Any) -> Any:
            if next(broken, False):
                raise IndexError("list index out of range")
            return settlement(*given, **named)

        monkeypatch.setattr(way.world.queue, "_settlement", at_first_broken)
        way.sink.on("RCPT", answer)
        way.start()
        await way.world.submit(alice, "bob@sink.test")
        if answer.startswith("450"):
            # Nothing is known of the first try; when its lease has run out there is a second.
            assert await way.settle(2) == ["lost", "deferred"]
            assert await states(way.world) == {"bob@sink.test": "deferred"}
        else:
            # What was delivered is written down, not delivered again.
            assert await way.settle(1) == ["sent"]
            assert way.sink.verbs().count("RCPT") == 1
        assert way.world.handoff.room == way.world.config.delivery.prefetch


async def test_a_backlog_leaves_without_waiting_for_the_next_look(config: Config) -> None:
    # Far more than may be held at once, of one member, and no look into the tables but those that are asked for.
    async with line(config, poll_seconds=3600.0, prefetch=20, member_share=5, destination_share=8) as way:
        alice = await way.world.member()
        await way.world.domain(alice)
        for n in range(4):
            assert isinstance(await way.world.submit(alice, *(f"u{n}-{i}@sink.test" for i in range(40))), Accepted)
        way.start()
        assert await way.settle(160) == ["sent"] * 160


async def test_who_comes_while_another_ones_backlog_leaves_is_not_behind_it(config: Config) -> None:
    async with line(config, poll_seconds=3600.0, prefetch=20, member_share=10) as way:
        alice, bob = await way.world.member("alice"), await way.world.member("bob")
        await way.world.domain(alice, "a.test")
        await way.world.domain(bob, "b.test")
        for n in range(6):
            to = (f"u{n}-{i}@sink.test" for i in range(50))
            await way.world.submit(alice, *to, sender="x@a.test", raw=letter("x@a.test"))
        way.start()
        await way.settle(30)
        async with way.world.storage.read() as tx:
            before = await tx.scalar(select(func.max(attempts.c.id)))
        got = await way.world.submit(bob, "bob@sink.test", sender="x@b.test", raw=letter("x@b.test"))
        assert await way.settle(271) == ["sent"] * 271
        async with way.world.storage.read() as tx:
            his = await tx.scalar(select(attempts.c.id).where(attempts.c.recipient_id == got.recipients[0][1]))
    # What was held when it came, and what left while the tables were asked.
    assert his - before <= 80


async def test_with_all_room_taken_by_one_the_next_one_gets_his_share_of_it(config: Config) -> None:
    async with line(config, poll_seconds=3600.0, prefetch=20, member_share=10, destination_share=100) as way:
        way.sink.on("RCPT", lambda command: SILENCE if b"@slow.test" in command else "250 2.1.5 ok")
        alice, bob = await way.world.member("alice"), await way.world.member("bob")
        await way.world.domain(alice, "a.test")
        await way.world.domain(bob, "b.test")
        way.start()
        for n in range(30):
            await way.world.submit(alice, f"u{n}@slow.test", sender="x@a.test", raw=letter("x@a.test"))
        assert way.world.handoff.shares == {alice.id: 20}, "alone, a member has all of it"
        await way.world.submit(bob, "bob@sink.test", sender="x@b.test", raw=letter("x@b.test"))
        assert await way.settle(1) == ["sent"]
        assert way.world.handoff.shares[alice.id] >= 10
