"""Reports to senders: which news becomes one, what stands in it, and that there are no more than that."""

from __future__ import annotations

import asyncio
import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest

from relay.base.config import Config
from relay.base.domain_options import Options
from relay.base.names import address
from relay.base.storage import mail
from relay.base.storage import reports as lists
from relay.bounces.parse import Fate, Report
from relay.bounces.record import Records
from relay.delivery.dsn import Reports, destination
from relay.intake import Recipient, Submission
from relay.replies import Verdict
from tests.kit.line import Line, line, states
from tests.kit.sink import Taken
from tests.kit.world import MemberAt, letter
from tests.unit.test_report import facts

WITHOUT_DSN = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


async def begin(way: Line, **options: Any) -> tuple[MemberAt, Reports]:
    alice = await way.world.member()
    domain = await way.world.domain(alice)
    if options:
        await way.world.change("domains", domain, options=options)
        await way.world.directory.refresh()
    way.start()
    return alice, Reports(way.world.storage, way.world.intake, way.world.config, way.world.clock)


async def submit(way: Line, alice: MemberAt, *to: tuple[str, str | None], raw: bytes | None = None, **more: Any) -> Any:
    login = way.world.login(alice)
    domain = way.world.policy.sender(login, "news@example.test")
    assert not isinstance(domain, Verdict)
    people = [Recipient(address(a), notify=notify, orcpt=more.pop("orcpt", None)) for a, notify in to]
    return await way.world.intake.accept(
        Submission(
            login, domain, "smtp", address("news@example.test"), people, raw or letter(), category="transactional",
            **more,
        )
    )


async def posted(way: Line, reports: Reports, before: int) -> list[Taken]:
    """The reports that go out now; `before` messages have come to the exchanger so far, refused ones among them."""
    while await reports.post_due():
        pass
    async with way.world.storage.read() as tx:
        assert await mail.reports_due(tx, 10, way.world.clock.now()) == []
    while (await way.world.queue.next_due()) is not None:
        await way.settle(1)
    return [t for t in way.sink.messages[before:] if t.rcpts and t.mail_from == ""]


def read(taken: Taken) -> tuple[str, str, EmailMessage]:
    """Words for people, the machine's part, the part with the original."""
    message = email.message_from_bytes(taken.raw, policy=email.policy.default)
    assert message.get_content_type() == "multipart/report"
    people, status, original = message.iter_parts()
    assert isinstance(original, EmailMessage)
    return str(people.get_content()), status.as_string(), original


async def test_a_late_bounce_is_reported_when_the_bytes_are_long_gone(config: Config) -> None:
    async with line(config) as way:
        alice, reports = await begin(way)
        got = await submit(way, alice, ("bob@sink.test", None), envid="abc+2B1", raw=letter(subject="Prüfung"))
        assert await way.settle(1) == ["sent"]
        later = way.world.clock.now() + 1
        assert await way.world.storage.write(lambda tx: mail.purge_bodies(tx, later, 10)) == (1, None)
        records = Records(way.world.storage, way.world.vault, way.world.config, way.world.clock)
        fate = Fate("failed", "5.2.2", "552 5.2.2 <bob@sink.test>: Mailbox full", "bob@sink.test", "", "mx.far.test")
        report = Report("bounce", "dsn", (fate,))
        [(_, bob)] = got.recipients
        assert sorted(await asyncio.gather(records.apply(bob, report), records.apply(bob, report)))[0] == "bounced"
        [taken] = await posted(way, reports, 1)
        assert taken.rcpt_tos == ["postmaster@example.test"]
        people, status, original = read(taken)
        assert "now reports that it did not reach bob@sink.test" in " ".join(people.split())
        for expected in (
            "Original-Envelope-Id: abc+1", "Action: failed", "Status: 5.2.2", "Remote-MTA: dns; mx.far.test",
            "Diagnostic-Code: smtp; 552 5.2.2 <bob@sink.test>: Mailbox full",
        ):
            assert expected in status, status
        kept = email.message_from_string(original.get_content(), policy=email.policy.default)
        async with way.world.storage.read() as tx:
            found = await lists.message(tx, alice.id, queue_id=got.queue_id)
        assert found is not None
        row, _, tries = found
        assert (kept["Subject"], kept["Message-ID"]) == ("Prüfung", row.header_id)
        # Always to be seen at the account, whatever became of the report.
        assert (tries[-1].stage, tries[-1].kind, tries[-1].host) == ("report", "never", "mx.far.test")
        assert await posted(way, reports, 2) == []


async def test_wishes_go_on_to_a_host_with_dsn_and_its_success_is_passed_on_once(config: Config) -> None:
    async with line(config) as way:
        alice, reports = await begin(way)
        got = await submit(
            way, alice, ("bob@sink.test", "SUCCESS,DELAY"), envid="abc+2B1", ret="HDRS",
            orcpt="rfc822;Bob+2Bnews@old.test",
        )  # fmt: skip
        assert await way.settle(1) == ["sent"]
        [taken] = way.sink.messages
        assert taken.mail.endswith(b" RET=HDRS ENVID=abc+2B1")
        # Failures always: the return path is ours. Whether the sender hears of them is another question.
        assert taken.rcpts == [
            b"RCPT TO:<bob@sink.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Bob+2Bnews@old.test"
        ]
        assert await posted(way, reports, 1) == []
        records = Records(way.world.storage, way.world.vault, way.world.config, way.world.clock)
        [(_, bob)] = got.recipients
        arrived = Report("bounce", "dsn", (Fate("delivered", "2.0.0", "250 2.0.0 kept", host="mx.far.test"),))
        waits = Report("bounce", "dsn", (Fate("delayed", "4.4.1", "timed out", host="mx.far.test"),))
        failed = Report("bounce", "dsn", (Fate("failed", "5.4.7", "too old", host="mx.far.test"),))
        assert await records.apply(bob, waits) == "deferred"
        [taken] = await posted(way, reports, 1)
        assert "Action: delayed" in read(taken)[1]
        assert [await records.apply(bob, arrived), await records.apply(bob, arrived)] == ["delivered", "nothing"]
        [taken] = await posted(way, reports, 2)
        _, status, _ = read(taken)
        for expected in ("Action: delivered", "Status: 2.0.0", "Original-Recipient: rfc822; Bob+news@old.test"):
            assert expected in status, status
        # It bounces after all; this sender did not ask to hear of failures.
        assert await records.apply(bob, failed) == "bounced"
        assert await posted(way, reports, 3) == []


async def test_without_dsn_success_is_relayed_and_nobody_hears_what_was_not_asked_for(config: Config) -> None:
    async with line(config) as way:
        way.sink.offers = WITHOUT_DSN
        way.sink.on("RCPT", lambda command: "550 5.1.1 who?" if b"gone" in command else "250 2.1.5 ok")
        alice, reports = await begin(way)
        await submit(
            way, alice, ("a@sink.test", "SUCCESS"), ("b@sink.test", None), ("gone1@sink.test", "NEVER"),
            ("gone2@sink.test", "SUCCESS,DELAY"),
        )  # fmt: skip
        assert sorted(await way.settle(4)) == ["bounced", "bounced", "sent", "sent"]
        assert not any(b"NOTIFY" in command for command in way.sink.commands)
        [taken] = await posted(way, reports, 2)
        _, status, original = read(taken)
        assert status.count("Final-Recipient:") == 1
        assert "Final-Recipient: rfc822; a@sink.test\nAction: relayed\nStatus: 2.0.0" in status
        assert original.get_content_type() == "text/rfc822-headers"


AWAY = b"From: ann@example.test\r\nSubject: Away\r\nAuto-Submitted: auto-replied\r\n\r\nBack on Monday.\r\n"


async def test_mail_with_the_null_sender_leaves_with_it_and_makes_no_report(config: Config) -> None:
    async with line(config) as way:
        alice, reports = await begin(way)
        await way.world.change("api_keys", alice.key_id, null_sender=True)
        await way.world.directory.refresh()
        way.sink.on("RCPT", lambda command: "550 5.1.1 who?" if b"gone" in command else "250 2.1.5 ok")
        got = await way.world.submit(alice, "bob@sink.test", sender="", raw=AWAY)
        assert await way.settle(1) == ["sent"]
        [taken] = await way.sink.wait_for(1)
        assert (taken.mail_from, taken.rcpt_tos) == ("", ["bob@sink.test"])
        sent = email.message_from_bytes(taken.raw, policy=email.policy.default)
        assert str(sent["X-Posthouse-Message"]).startswith(f"{got.queue_id}.")
        assert sent["List-Unsubscribe"] is None
        assert len(sent.get_all("DKIM-Signature", [])) == 2
        await way.world.submit(alice, "gone@sink.test", sender="", raw=AWAY)
        assert await way.settle(1) == ["bounced"]
        assert await reports.post_due() == 0


async def test_many_failures_of_one_message_are_one_report(config: Config) -> None:
    def by_name(command: bytes) -> str:
        slow = "450 4.2.1 busy" if b"slow" in command else "250 2.1.5 ok"
        return "550 5.1.1 who?" if b"gone" in command else slow

    async with line(config) as way:
        way.sink.on("RCPT", by_name)
        alice, reports = await begin(way, report_to="mail_from")
        everybody = [*(f"gone{i}@sink.test" for i in range(20)), "slow@sink.test"]
        await submit(way, alice, *((a, None) for a in everybody), ret="FULL")
        assert sorted(set(await way.settle(21))) == ["bounced", "deferred"]
        # One is still open: the news waits a moment for it, and not for ever.
        assert await reports.post_due() == 0
        sections = {"delivery": way.world.config.delivery.model_copy(update={"report_gather_seconds": 0.0})}
        hasty = Reports(
            way.world.storage, way.world.intake, way.world.config.model_copy(update=sections), way.world.clock
        )
        await asyncio.gather(hasty.post_due(), hasty.post_due())
        assert await way.settle(1) == ["sent"]
        [taken] = [t for t in way.sink.messages if t.rcpts]
        assert taken.rcpt_tos == ["news@example.test"]
        people, status, original = read(taken)
        assert status.count("Action: failed") == status.count("Diagnostic-Code: smtp; 550 5.1.1 who?") == 20
        assert all(a in people for a in everybody[:20])
        assert original.get_content_type() == "message/rfc822"
        assert "Hi there." in original.as_string()
        assert (await states(way.world))["slow@sink.test"] == "deferred"


@pytest.mark.parametrize(
    ("options", "failed", "to"),
    [
        ({}, "bob@sink.test", "postmaster@example.test"),
        ({"forward_to": "me@far.test"}, "bob@sink.test", "me@far.test"),
        ({"forward_to": "me@far.test", "report_to": "mail_from"}, "bob@sink.test", "news@example.test"),
        ({"replies": True, "report_to": "mail_from", "forward_to": "me@far.test"}, "bob@sink.test", "me@far.test"),
        ({"replies": True}, "bob@sink.test", None),
        ({"forward_to": "Me@far.test"}, "me@far.test", "postmaster@example.test"),
        ({"forward_to": "me@bounce.localhost"}, "bob@sink.test", "postmaster@example.test"),
    ],
)
def test_a_report_goes_where_it_can_arrive_and_never_comes_back(
    config: Config, options: dict[str, Any], failed: str, to: str | None
) -> None:
    found = destination(facts(failed), ("example.test", Options(**options)), config)
    assert (found.text if found else None) == to
