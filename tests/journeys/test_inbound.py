"""What comes back, the whole way: mail goes out to an exchanger, and its report comes in over SMTP on a real port."""

from __future__ import annotations

import asyncio
import base64
import email
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from typing import Any

import pytest
from sqlalchemy import select, update

from relay import replies
from relay.base.clock import utc_day
from relay.base.config import Config
from relay.base.resolver import Resolver
from relay.base.storage import Tx, events, stats, suppressions
from relay.base.storage.tables import messages, recipients
from relay.base.tls import Certificate
from relay.bounces import address as return_paths
from relay.bounces.parse import Fate, Report
from relay.bounces.record import Records
from relay.inbound import InboundServer
from relay.inbound.dispatch import Arrival
from relay.intake import Submission
from relay.replies import Verdict
from tests.kit.line import Line, line, states
from tests.kit.smtp import Talk
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, World


def settings(world: World, *, operator: str = "root@example.test", **sections: Any) -> Config:
    return world.config.model_copy(
        update={
            "inbound": world.config.inbound.model_copy(update={"listen": ["127.0.0.1:0"], **sections}),
            "server": world.config.server.model_copy(update={"operator_email": operator}),
        }
    )


@asynccontextmanager
async def inbound(
    world: World, *, resolver: Resolver | None = None, **sections: Any
) -> AsyncIterator[InboundServer]:
    config = settings(world, **sections)
    server = InboundServer(
        config=config, storage=world.storage, vault=world.vault, directory=world.directory, intake=world.intake,
        refusals=world.refusals, clock=world.clock,
        certificate=Certificate.of(config, world.clock), resolver=resolver or Resolver(["127.0.0.1:1"]),
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(1.0)


async def sent(way: Line, *to: str) -> tuple[MemberAt, Any, list[str]]:
    """Mail that the exchanger has taken: the member, what was accepted, the return paths in the order of `to`."""
    alice = await way.world.member()
    await way.world.domain(alice)
    way.start()
    got = await way.world.submit(alice, *to)
    assert set(await way.settle(len(to))) == {"sent"}
    taken = await way.sink.wait_for(len(to))
    by_rcpt = {t.rcpt_tos[0]: t.mail_from for t in taken}
    return alice, got, [by_rcpt[a] for a in to]


def dsn(to: str, final: str = "bob@sink.test", *, action: str = "failed", status: str = "5.1.1") -> bytes:
    word = {"5": "550", "4": "450"}[status[0]]
    return (
        f"From: MAILER-DAEMON@mx.sink.test\r\nTo: {to}\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n"
        "Auto-Submitted: auto-replied\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nIt did not arrive.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.sink.test\r\n\r\n"
        f"Final-Recipient: rfc822; {final}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: smtp; {word} {status} <{final}>: User unknown\r\n\r\n--b--\r\n"
    ).encode()


def arf(path: str, feedback: str = "abuse") -> bytes:
    return (
        "From: fbl@far.test\r\nTo: fbl@localhost\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nA complaint.\r\n"
        f"--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {feedback}\r\nVersion: 1\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\nReturn-Path: <{path}>\r\nSubject: Hello\r\n\r\nHi\r\n--b--\r\n"
    ).encode()


async def give(
    port: int, to: str, raw: bytes, sender: str = "", *, helo: str = "client.test"
) -> tuple[str, str]:
    """One message in: the replies to RCPT and to its end ("" where RCPT was refused)."""
    async with await Talk.secured(port, helo=helo) as talk:
        assert (await talk.ask(f"MAIL FROM:<{sender}>")).startswith("250")
        rcpt = await talk.ask(f"RCPT TO:<{to}>")
        if not rcpt.startswith("250"):
            return rcpt, ""
        assert (await talk.ask("DATA")).startswith("354")
        await talk.send(raw + b".\r\n")
        return rcpt, await talk.reply()


async def shown(world: World, message_id: int, *types: str) -> list[dict[str, Any]]:
    async with world.storage.read() as tx:
        return [e.data for e in await events.of_message(tx, message_id) if e.type in types]


async def listed(world: World, member: MemberAt) -> dict[str, str]:
    async with world.storage.read() as tx:
        return {s.canonical: s.reason for s in await suppressions.page(tx, member.id)}


async def test_a_late_bounce_touches_its_own_recipient_and_the_member_is_refused_next_time(config: Config) -> None:
    async with line(config) as way, inbound(way.world) as server:
        alice, got, [bob, _] = await sent(way, "bob@sink.test", "carol@sink.test")
        # It names carol; the return path is bob's.
        rcpt, end = await give(server.ports[0], bob.upper(), dsn(bob, "carol@sink.test"))
        assert (rcpt[:9], end[:9]) == ("250 2.1.5", "250 2.0.0")
        assert await states(way.world) == {"bob@sink.test": "bounced", "carol@sink.test": "sent"}
        [bounced] = await shown(way.world, got.message_id, "bounced")
        kept = {k: bounced[k] for k in ("recipient", "late", "class", "status", "ownFault")}
        assert kept == {
            "recipient": "bob@sink.test", "late": True, "class": "mailbox_unknown", "status": "5.1.1",
            "ownFault": False,
        }
        assert await listed(way.world, alice) == {"bob@sink.test": "hard_bounce"}
        async with way.world.storage.read() as tx:
            [day] = await stats.days(tx, utc_day(way.world.clock.now()))
        # One recipient is counted once: what came back was not delivered.
        assert (day.accepted, day.delivered, day.bounced) == (2, 1, 1)
        await way.world.suppressions.refresh()
        refused = await way.world.policy.recipient(
            way.world.login(alice), way.world.directory.domain_of_member(alice.id, "example.test"), "bob@sink.test",
            named=0,
        )
        assert refused.reply.name == "suppressed"
        # The same report again: the path is spent, and says so like any other address that is none.
        again = await give(server.ports[0], bob, dsn(bob))
        forged = await give(server.ports[0], "b-" + "a" * 24 + "@bounce.localhost", dsn(bob))
        assert again == forged == ("550 5.1.1 No such address here", "")
        assert len(await shown(way.world, got.message_id, "bounced")) == 1


async def test_a_delay_a_vacation_note_and_a_full_mailbox_suppress_nobody(config: Config) -> None:
    async with line(config) as way, inbound(way.world) as server:
        alice, got, [bob] = await sent(way, "bob@sink.test")
        delay = dsn(bob, action="delayed", status="4.1.1")
        for _ in range(2):
            assert (await give(server.ports[0], bob, delay))[1].startswith("250")
        note = f"From: bob@sink.test\r\nTo: {bob}\r\nSubject: Out of office\r\n\r\n550 5.1.1 unknown\r\n"
        assert (await give(server.ports[0], bob, note.encode()))[1].startswith("250")
        assert await states(way.world) == {"bob@sink.test": "sent"}
        [delayed] = await shown(way.world, got.message_id, "deferred")
        assert delayed["late"] is True
        assert (await give(server.ports[0], bob, dsn(bob, status="5.2.2").replace(b"User unknown", b"over quota")))[1]
        assert await states(way.world) == {"bob@sink.test": "bounced"}
        assert await listed(way.world, alice) == {}


async def test_the_envelope_says_whether_a_person_wrote(sqlite_config: Config) -> None:
    async with line(sqlite_config) as way, inbound(way.world) as server:
        alice, _, [bob] = await sent(way, "bob@sink.test")
        words = (
            f"From: Anne Clerk <anne@sink.test>\r\nTo: {bob}\r\nSubject: your mail\r\nReturn-Path: <>\r\n\r\n"
            "I'm sorry to have to inform you that your message could not be delivered.\r\n\r\n"
            "<bob@sink.test>: host mx.sink.test said: 550 5.1.1 User unknown (in reply to RCPT TO command)\r\n"
        ).encode()
        # What the message says of its own return path counts for nothing.
        assert (await give(server.ports[0], bob, words, "anne@sink.test"))[1].startswith("250")
        assert await listed(way.world, alice) == {}
        # RFC 5321 §4.5.5: what a null path sends is a report.
        assert (await give(server.ports[0], bob, words))[1].startswith("250")
        assert await listed(way.world, alice) == {"bob@sink.test": "hard_bounce"}


async def test_whoever_names_recipients_without_end_is_cut(config: Config) -> None:
    async with line(config) as way, inbound(way.world, max_recipients=2) as server:
        async with await Talk.secured(server.ports[0]) as talk:
            await talk.ask("MAIL FROM:<>")
            said = [await talk.ask("RCPT TO:<postmaster>") for _ in range(21)]
            assert {s[:9] for s in said[:20]} == {"250 2.1.5"}
            assert said[20].startswith("421 4.7.0 ")
            assert await talk.closed()
        async with await Talk.secured(server.ports[0]) as talk:
            assert "AUTH" not in await talk.ask("HELP")


async def test_every_wrong_return_path_is_refused_with_the_same_words(config: Config) -> None:
    async with line(config) as way, inbound(way.world, max_connections=50) as server:
        _, _, [bob] = await sent(way, "bob@sink.test")
        local, _, domain = bob.partition("@")
        other = return_paths.local_part(way.world.vault, 999_999)
        flipped = local[:-1] + ("a" if local[-1] != "a" else "b")
        wrong = [
            f"{flipped}@{domain}", f"{local[:-1]}@{domain}", f"{other}@{domain}", f"{local}@localhost",
            f"nobody@{domain}",
        ]
        said = {(await give(server.ports[0], to, dsn(to)))[0] for to in wrong}
        assert said == {"550 5.1.1 No such address here"}
        assert (await give(server.ports[0], "bob@example.test", b""))[0] == "550 5.1.1 address not available"
        assert (await give(server.ports[0], "bob@elsewhere.test", b""))[0] == "550 5.1.1 No such address here"
        assert await states(way.world) == {"bob@sink.test": "sent"}


async def test_a_complaint_needs_a_return_path_of_ours_inside(config: Config) -> None:
    async with line(config) as way, inbound(way.world) as server:
        alice, got, [bob, _] = await sent(way, "bob@sink.test", "carol@sink.test")
        assert (await give(server.ports[0], "fbl@localhost", arf(bob, "not-spam")))[1].startswith("250")
        # A token of ours counts with the domain that was put behind it, and with no other.
        token = bob.partition("@")[0]
        for path in ("b-forged@bounce.localhost", f"{token}@elsewhere.test", f"{token}@example.test", token):
            assert (await give(server.ports[0], "fbl@localhost", arf(path)))[1].startswith("250")
        assert await listed(way.world, alice) == {}
        for _ in range(2):
            assert (await give(server.ports[0], "fbl@localhost", arf(bob), "fbl@far.test"))[1].startswith("250")
        assert await listed(way.world, alice) == {"bob@sink.test": "complaint"}
        [complained] = await shown(way.world, got.message_id, "complained")
        assert complained["recipient"] == "bob@sink.test"
        async with way.world.storage.read() as tx:
            [day] = await stats.days(tx, utc_day(way.world.clock.now()))
        assert day.complaints == 0  # nobody vouched for it


def about(*lines: str) -> bytes:
    """A complaint whose enclosed message has nothing of us but these lines."""
    return arf("").replace(b"Return-Path: <>\r\n", b"".join(f"{line}\r\n".encode() for line in lines))


async def test_a_complaint_is_known_by_what_only_the_recipients_copy_bears(config: Config) -> None:
    """Providers take the return path out; a queue id stands in the References of every answer."""
    async with line(config) as way, inbound(way.world) as server:
        alice, got, _ = await sent(way, "bob@sink.test", "carol@sink.test", "dave@sink.test")
        copies = {t.rcpt_tos[0]: email.message_from_bytes(t.raw) for t in await way.sink.wait_for(3)}
        bob, carol, dave = (copies[f"{who}@sink.test"] for who in ("bob", "carol", "dave"))
        assert bob["X-Posthouse-Message"].startswith(f"{got.queue_id}.")
        assert bob["X-Posthouse-Message"] != carol["X-Posthouse-Message"]
        bare = [
            f"X-Posthouse-Message: {got.queue_id}", f"Feedback-ID: {bob['Feedback-ID']}",
            f"Message-ID: <{got.queue_id}@example.test>", f"References: <{got.queue_id}@example.test>",
            f"Subject: {got.queue_id}", f"X-Posthouse-Message: {got.queue_id}.{'a' * 24}",
            "List-Unsubscribe: <mailto:u-nobody@bounce.localhost>",
            f"List-Unsubscribe: <https://relay.test/u/{'a' * 120}>",
        ]
        for line_ in bare:
            assert (await give(server.ports[0], "fbl@localhost", about(line_)))[1].startswith("250")
        assert await listed(way.world, alice) == {}
        assert await shown(way.world, got.message_id, "complained") == []

        odd = f"X-Posthouse-MESSAGE: {bob['X-Posthouse-Message'][:20].upper()}\r\n {bob['X-Posthouse-Message'][20:]}"
        by_mail, by_link = (
            next(way for way in whose["List-Unsubscribe"].split() if kind in way).strip(",")
            for whose, kind in ((carol, "mailto:"), (dave, "/u/"))
        )
        for line_ in (odd, f"List-Unsubscribe: {by_mail}", f"List-Unsubscribe: <mailto:x@y.test>, {by_link}"):
            assert (await give(server.ports[0], "fbl@localhost", about(line_)))[1].startswith("250")
        assert await listed(way.world, alice) == dict.fromkeys(
            ("bob@sink.test", "carol@sink.test", "dave@sink.test"), "complaint"
        )


async def test_a_complaint_about_mail_without_a_return_path_finds_its_recipient(config: Config) -> None:
    async with line(config) as way, inbound(way.world) as server:
        alice = await way.world.member()
        await way.world.domain(alice)
        await way.world.change("api_keys", alice.key_id, null_sender=True)
        await way.world.directory.refresh()
        way.start()
        away = b"From: ann@example.test\r\nAuto-Submitted: auto-replied\r\n\r\nx\r\n"
        got = await way.world.submit(alice, "bob@sink.test", sender="", raw=away)
        [taken] = await way.sink.wait_for(1)
        assert taken.mail_from == ""
        mark = email.message_from_bytes(taken.raw)["X-Posthouse-Message"]
        assert (await give(server.ports[0], "fbl@localhost", about(f"X-Posthouse-Message: {mark}")))[1][:3] == "250"
        assert await listed(way.world, alice) == {"bob@sink.test": "complaint"}
        assert len(await shown(way.world, got.message_id, "complained")) == 1


async def test_a_wish_to_be_left_alone_is_no_complaint(sqlite_config: Config) -> None:
    async with line(sqlite_config) as way, inbound(way.world) as server:
        alice, got, [bob] = await sent(way, "bob@sink.test")
        for to in ("fbl@localhost", bob):
            assert (await give(server.ports[0], to, arf(bob, "opt-out")))[1].startswith("250")
        assert await listed(way.world, alice) == {"bob@sink.test": "unsubscribe"}
        [left] = await shown(way.world, got.message_id, "unsubscribed", "complained")
        assert (left["recipient"], left["by"], left["stops"]) == ("bob@sink.test", "report", "all")
        async with way.world.storage.read() as tx:
            [day] = await stats.days(tx, utc_day(way.world.clock.now()))
        assert day.complaints == 0


async def test_a_report_finds_its_recipient_while_the_domain_is_paused(sqlite_config: Config) -> None:
    async with line(sqlite_config) as way, inbound(way.world) as server:
        world, alice = way.world, await way.world.member()
        domain_id = await world.domain(alice)
        await world.change("domains", domain_id, options={"return_path": True}, return_path_ok=True)
        await world.directory.refresh()
        way.start()
        await world.submit(alice, "bob@sink.test")
        assert await way.settle(1) == ["sent"]
        [taken] = await way.sink.wait_for(1)
        assert taken.mail_from.endswith("@sl.example.test")
        await world.change("domains", domain_id, state="disabled")
        await world.directory.refresh()
        assert (await give(server.ports[0], "postmaster@sl.example.test", dsn("x")))[0].startswith("550")
        other = taken.mail_from.replace("sl.example.test", "sl.other.test")
        assert (await give(server.ports[0], other, dsn(other)))[0] == "550 5.1.1 No such address here"
        assert (await give(server.ports[0], taken.mail_from, dsn(taken.mail_from)))[1].startswith("250")
        assert await states(world) == {"bob@sink.test": "bounced"}


async def test_role_mail_goes_to_the_operator_once_and_never_round(config: Config) -> None:
    async with line(config) as way, inbound(way.world) as server:
        raw = b"From: eve@far.test\r\nTo: abuse@localhost\r\nSubject: stop\r\n\r\nPlease stop.\r\n"
        for to in ("abuse@localhost", "Postmaster"):
            assert (await give(server.ports[0], to, raw, "eve@far.test"))[1].startswith("250 2.0.0 Queued as")
        async with way.world.storage.read() as tx:
            rows = (await tx.execute(select(recipients.c.address))).scalars().all()
        assert rows == ["root@example.test"] * 2
        way.start()
        await way.settle(2)
        first = (await way.sink.wait_for(2))[0]
        assert first.mail_from == ""
        letter = message_from_bytes(first.raw)
        enclosed = letter.get_payload()[1].get_payload()  # type: ignore[index,union-attr]
        assert base64.b64decode(enclosed) == raw
        # The operator's mailbox sends it back to us: refused, not enclosed in another letter.
        assert (await give(server.ports[0], "abuse@localhost", first.raw))[1].startswith("554 5.4.6")
        looping = b"Received: from a by b\r\n" * 31 + raw
        assert (await give(server.ports[0], "abuse@localhost", looping))[1].startswith("554 5.4.6")


async def test_bare_line_ends_and_nul_are_refused_whoever_the_message_is_for(sqlite_config: Config) -> None:
    async with line(sqlite_config) as way, inbound(way.world) as server:
        _, _, [path] = await sent(way, "bob@sink.test")
        [leave] = re.findall(rb"<mailto:([^?>]+)", way.sink.messages[0].raw)
        for to in ("abuse@localhost", path, leave.decode()):
            for odd in (b"a\rb", b"a\nb", b"a\0b", b"\n.\r\nb", b"\r\r\n"):
                raw = dsn(path).replace(b"It did not arrive.", odd)
                end = (await give(server.ports[0], to, raw))[1]
                assert end.startswith("554 5.6.0 Malformed message: line 11: "), (to, odd, end)
        assert await letters(way.world) == 0
        assert await states(way.world) == {"bob@sink.test": "sent"}


async def letters(world: World) -> int:
    async with world.storage.read() as tx:
        return len((await tx.execute(select(recipients.c.id).where(recipients.c.address == "root@example.test"))).all())


async def test_role_mail_that_is_not_kept_is_never_answered_as_kept(sqlite_config: Config, monkeypatch: Any) -> None:
    raw = b"From: eve@far.test\r\nTo: abuse@localhost\r\nSubject: stop\r\n\r\nPlease stop.\r\n"
    async with line(sqlite_config) as way:
        world = way.world
        async with inbound(world, role_mail_an_hour=3, role_mail_a_network_an_hour=2) as server:
            dispatch = server.dispatch

            async def mail(client: str, octets: bytes = raw) -> str:
                taken = await dispatch.accept(Arrival("eve@far.test", (), ("abuse@localhost",), octets, client))
                return taken.reply.name if isinstance(taken, Verdict) else "kept"

            # What could not be kept uses nothing of the budget up.
            with monkeypatch.context() as patch:
                async def full(_: Submission) -> Verdict:
                    return Verdict(replies.QUEUE_FULL)

                patch.setattr(world.intake, "accept", full)
                assert [await mail("192.0.2.1") for _ in range(4)] == ["queue_full"] * 4
            # One network has its share, the hour its whole; what is more comes again.
            assert [await mail(f"192.0.2.{n}") for n in range(3)] == ["kept", "kept", "role_mail_limited"]
            assert [await mail(a) for a in ("2001:db8::1", "198.51.100.1")] == ["kept", "role_mail_limited"]
            assert (await give(server.ports[0], "abuse@localhost", raw))[1].startswith("451 4.7.1 Too much mail for")
            assert await letters(world) == 3
        async with inbound(world) as server:
            # A complaint about somebody else's mail, by a program that calls itself one.
            complaint = b"Auto-Submitted: auto-generated\r\n" + arf("b-nothing@bounce.localhost")
            assert (await give(server.ports[0], "fbl@localhost", complaint))[1].startswith("250")
            assert await letters(world) == 4


async def test_role_mail_without_an_operator_is_refused_and_complaints_are_counted(sqlite_config: Config) -> None:
    async with line(sqlite_config) as way, inbound(way.world, operator="") as server:
        alice, _, [bob] = await sent(way, "bob@sink.test")
        raw = b"From: eve@far.test\r\nTo: abuse@localhost\r\nSubject: stop\r\n\r\nPlease stop.\r\n"
        for to in ("abuse@localhost", "Postmaster"):
            assert (await give(server.ports[0], to, raw, "eve@far.test"))[1].startswith("550 5.2.1 Nobody reads mail")
        assert (await give(server.ports[0], "fbl@localhost", arf(bob)))[1].startswith("250")
        assert await listed(way.world, alice) == {"bob@sink.test": "complaint"}


async def test_the_door_offers_tls_takes_no_login_and_keeps_its_bounds(config: Config) -> None:
    async with line(config) as way, inbound(way.world, max_message_bytes=2000) as server:
        async with await Talk.to(server.ports[0]) as talk:
            assert (await talk.reply()).startswith("220 localhost ESMTP")
            said = await talk.ask("EHLO mx.far.test")
            offers = set(said.replace("250 ", "250-").split("\n"))
            assert {"250-STARTTLS", "250-SIZE 2000"} <= offers
            assert "AUTH" not in said
            assert (await talk.ask("AUTH PLAIN AGEAYg==")).startswith("500 5.5.1")
            assert (await talk.ask("MAIL FROM:<> SIZE=3000")).startswith("552 5.3.4")
            assert (await talk.ask("RCPT TO:<abuse@localhost>")).startswith("503 5.5.1")
            # Guessing is counted like wrong commands, and ends the connection.
            await talk.ask("MAIL FROM:<>")
            said = ""
            for i in range(20):
                said = await talk.ask(f"RCPT TO:<nobody{i}@localhost>")
                if not said.startswith("550"):
                    break
            assert said.startswith("421 4.7.0") or await talk.closed()
        big = b"From: a@b.test\r\n\r\n" + b"x" * 70 + (b"\r\n" + b"y" * 70) * 40 + b"\r\n"
        assert (await give(server.ports[0], "abuse@localhost", big))[1].startswith("552 5.3.4")


async def test_a_refusal_of_the_address_at_delivery_goes_on_the_list(config: Config) -> None:
    def by_name(command: bytes) -> str:
        return {
            b"a": "550 5.1.1 no such user", b"b": "550 5.7.1 listed at zen.spamhaus.org", b"c": "552 5.2.2 quota",
        }[command[9:10]]

    async with line(config) as way:
        way.sink.on("RCPT", by_name)
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        got = await way.world.submit(alice, "a@sink.test", "b@sink.test", "c@sink.test", "d@null.test")
        assert set(await way.settle(4)) == {"bounced"}
        assert await listed(way.world, alice) == {"a@sink.test": "hard_bounce"}
        why = {d["recipient"]: (d["class"], d["ownFault"]) for d in await shown(way.world, got.message_id, "bounced")}
        assert why["a@sink.test"] == ("mailbox_unknown", False)
        assert why["b@sink.test"] == ("reputation", True)


@pytest.mark.parametrize("hostname", ["Mail.Example.org", "mail.example.org.", "mail.bücher.example"])
async def test_bounces_come_back_however_the_operator_writes_the_host_s_name(
    sqlite_config: Config, hostname: str
) -> None:
    async with line(sqlite_config, server={"hostname": hostname}) as way, inbound(way.world) as server:
        _, got, [bob, carol] = await sent(way, "bob@sink.test", "carol@sink.test")
        rcpt, end = await give(server.ports[0], bob, dsn(bob))
        assert (rcpt[:9], end[:9]) == ("250 2.1.5", "250 2.0.0")
        assert await states(way.world) == {"bob@sink.test": "bounced", "carol@sink.test": "sent"}
        # Mail that was under way when the relay still kept the name as it was written.
        as_written = f"{carol.partition('@')[2].title()}."

        async def age(tx: Tx) -> None:
            await tx.execute(update(messages).where(messages.c.id == got.message_id).values(return_path=as_written))

        await way.world.storage.write(age)
        rcpt, end = await give(server.ports[0], carol, dsn(carol, "carol@sink.test"))
        assert (rcpt[:9], end[:9]) == ("250 2.1.5", "250 2.0.0")


async def test_the_switch_for_hard_bounces_is_obeyed(config: Config) -> None:
    plain = make_config(config.server.data_dir, config.database.url, suppression={"hard_bounces": False})
    world = await World.make(plain)
    try:
        alice = await world.member()
        await world.domain(alice)
        got = await world.submit(alice, "bob@sink.test")
        records = Records(world.storage, world.vault, world.config, world.clock)
        report = Report("bounce", fates=(Fate("failed", "5.1.1", "550 5.1.1 no such user"),))
        # Twice in one transaction, as two processes' queues would have it.
        [(_, bob)] = got.recipients
        done = await asyncio.gather(records.apply(bob, report), records.apply(bob, report))
        assert sorted(done) == ["bounced", "nothing"]
        assert await states(world) == {"bob@sink.test": "bounced"}
        assert await listed(world, alice) == {}
    finally:
        await world.close()
