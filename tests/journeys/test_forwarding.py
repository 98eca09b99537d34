"""Reply forwarding, the whole way over real sockets: a stranger's mail comes in on port 25, goes out to a mailbox."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from enroll.domains import MailboxWatch
from relay.base.clock import Clock, utc_day
from relay.base.config import Config
from relay.base.domain_options import Notes
from relay.base.keys import generate_rsa
from relay.base.storage import domains, events, reports, stats
from relay.base.storage.tables import messages, recipients, suppressions
from relay.bounces import address as return_paths
from relay.delivery.dsn import Reports
from relay.message import Field
from relay.signing import SigningKey, body_hash, load_rsa, sign
from relay.verify import signatures
from tests.journeys.test_inbound import dsn, give, inbound
from tests.kit.dns import make_zone
from tests.kit.line import Line, line, states
from tests.kit.smtp import Talk
from tests.kit.world import MemberAt

KEY = generate_rsa()
MAIL = (
    b"From: Ann <ann@stranger.test>\r\nTo: info@example.test\r\nSubject: A question\r\nDate: Mon, 1 Jan 2024 00:00:00 "
    b"+0000\r\nMessage-ID: <1@stranger.test>\r\n\r\nDo you  sell it? \r\n..dots\r\n"
)


def signed(raw: bytes = MAIL, now: float | None = None) -> bytes:
    """The stranger's mail with the stranger's DKIM signature."""
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = [Field(f.split(b":")[0].decode().lower(), f + b"\r\n") for f in head.split(b"\r\n")]
    key = SigningKey("stranger.test", "s", "rsa-sha256", load_rsa(KEY.private))
    return sign(fields, body_hash(body), [key], now=now or Clock().now(), lifetime_seconds=3600) + raw


@dataclass
class Env:
    """A line with an open port 25, and alice, whose example.test is forwarded to owner@sink.test."""

    way: Line
    port: int
    alice: MemberAt
    domain_id: int

    async def options(self, **options: Any) -> None:
        await self.way.world.change(
            "domains", self.domain_id, options={"replies": True, "forward_to": "owner@sink.test", **options}, notes={}
        )
        await self.way.world.directory.refresh()

    async def log(self) -> list[Any]:
        async with self.way.world.storage.read() as tx:
            return await reports.recipients_of(tx, self.alice.id)

    async def reported(self) -> list[tuple[str, int | None, dict[str, Any]]]:
        async with self.way.world.storage.read() as tx:
            [row] = (await tx.execute(select(messages.c.id).where(messages.c.door == "forward"))).all()
            return [(e.type, e.domain_id, e.data) for e in await events.of_message(tx, row.id)]

    async def nothing_else(self) -> None:
        """No report to anybody, nobody suppressed, nothing counted."""
        world = self.way.world
        assert await Reports(world.storage, world.intake, world.config, world.clock).post_due() == 0
        async with world.storage.read() as tx:
            assert {r.door for r in await tx.execute(select(messages.c.door))} <= {"forward"}
            assert not (await tx.execute(select(suppressions.c.id))).all()
            assert not await stats.days(tx, utc_day(0), domain_id=self.domain_id)


@asynccontextmanager
async def env(config: Config, *, ours: bool = False, **sections: Any) -> AsyncIterator[Env]:
    async with line(config, ours=ours) as way:
        way.dns.zones.put(make_zone("stranger.test", [
            ("@", "TXT", "v=spf1 ip4:127.0.0.1 -all"), ("_dmarc.stranger.test", "TXT", "v=DMARC1; p=reject"),
            ("s._domainkey.stranger.test", "TXT", KEY.txt),
        ]))  # fmt: skip
        alice = await way.world.member()
        made = Env(way, 0, alice, await way.world.domain(alice))
        await made.options()
        async with inbound(way.world, resolver=way.dns.resolver, **sections) as server:
            made.port = server.ports[0]
            yield made


async def test_a_strangers_mail_arrives_with_its_signature_whole(config: Config) -> None:
    async with env(config) as at:
        at.way.start()
        raw = signed(
            b"Authentication-Results: localhost; spf=pass\r\nAuthentication-Results: mx.far.test; spf=none\r\n" + MAIL
        )
        rcpt, end = await give(at.port, "Info@Example.test", raw.replace(b"\r\n..", b"\r\n..."), "ann@stranger.test")
        assert (rcpt[:9], end[:9]) == ("250 2.1.5", "250 2.0.0")
        assert await at.way.settle(1) == ["sent"]
        [taken] = await at.way.sink.wait_for(1)
        assert taken.rcpt_tos == ["owner@sink.test"]
        path, domain = taken.mail_from.split("@")
        assert domain == at.way.world.config.bounce_host
        assert return_paths.read(at.way.world.vault, path)
        head, _, rest = taken.raw.partition(b"X-Posthouse-Forwarded: example.test\r\n")
        # The outermost field says what was found; the forged one is gone, another host's stays, all else as it came.
        assert re.sub(rb"\s+", b" ", head) == (
            b"Authentication-Results: localhost; spf=pass smtp.mailfrom=ann@stranger.test; dkim=pass "
            b"header.d=stranger.test header.s=s header.a=rsa-sha256; dmarc=pass (p=reject) header.from=stranger.test "
        )
        assert re.match(rb"Received: from client.test \(\[127.0.0.1\]\)\s+by localhost\s+with ESMTPS", rest)
        trace = rest[: rest.index(b"DKIM-Signature")]
        assert b"for <Info@example.test>" in trace
        assert trace.count(b"\r\n") <= 4
        want = raw.replace(b"Authentication-Results: localhost; spf=pass\r\n", b"")
        assert rest.removeprefix(trace) == want
        assert [s.result for s in await signatures(taken.raw, at.way.dns.resolver)] == ["pass"]
        [shown] = await at.log()
        assert (shown.domain, shown.mail_from, shown.address, shown.state, shown.subject, shown.category) == (
            "example.test", "ann@stranger.test", "owner@sink.test", "sent", "A question", "forwarded"
        )  # fmt: skip
        facts = [(kind, domain_id, data.get("forwardedFor")) for kind, domain_id, data in await at.reported()]
        assert facts == [("accepted", None, "Info@example.test"), ("sent", None, None)]
        assert (await at.reported())[1][2]["forwarded"] is True
        await at.nothing_else()


async def test_a_copy_that_fails_at_once_or_later_is_an_event_and_makes_no_mail(config: Config) -> None:
    async with env(config) as at:
        at.way.start()
        await give(at.port, "a@example.test", signed(), "ann@stranger.test")
        assert await at.way.settle(1) == ["sent"]
        [taken] = at.way.sink.messages
        rcpt, end = await give(at.port, taken.mail_from, dsn(taken.mail_from, "owner@sink.test"))
        assert (rcpt[:3], end[:3]) == ("250", "250")
        assert await states(at.way.world) == {"owner@sink.test": "bounced"}
        reported = await at.reported()
        assert [kind for kind, _, _ in reported] == ["accepted", "sent", "bounced"]
        assert reported[2][2]["forwarded"] is True
        await at.nothing_else()
        at.way.sink.on("RCPT", "550 5.1.1 no such user")
        assert (await give(at.port, "b@example.test", signed(), "ann@stranger.test"))[1].startswith("250")
        assert await at.way.settle(1) == ["bounced"]
        await at.nothing_else()


async def test_an_automatic_answer_without_a_sender_is_forwarded_without_one(sqlite_config: Config) -> None:
    async with env(sqlite_config) as at:
        at.way.start()
        raw = b"Auto-Submitted: auto-replied\r\nReceived: from x by localhost; now\r\n" + MAIL
        assert (await give(at.port, "postmaster@example.test", raw))[1].startswith("250")
        assert await at.way.settle(1) == ["sent"]
        [taken] = at.way.sink.messages
        assert taken.mail_from == ""
        assert re.sub(rb"\s+", b" ", taken.raw).startswith(b"Authentication-Results: localhost; spf=none smtp.helo=")
        await at.nothing_else()


async def test_two_domains_that_forward_to_each_other_end_after_one_round(sqlite_config: Config) -> None:
    async with line(sqlite_config) as way:
        bob = await way.world.member("bob")
        alice = await way.world.member("alice")
        for owner, name, other in ((alice, "a.test", "b.test"), (bob, "b.test", "a.test")):
            way.dns.zones.put(make_zone(name, [("@", "MX", f"10 mx.{name}."), (f"mx.{name}", "A", "127.0.0.2")]))
            domain = await way.world.domain(owner, name)
            await way.world.change("domains", domain, options={"replies": True, "forward_to": f"x@{other}"})
        await way.world.directory.refresh()
        listen = [f"127.0.0.2:{way.sink.port}", "127.0.0.1:0"]
        async with inbound(way.world, resolver=way.dns.resolver, listen=listen) as server:
            way.start()
            assert (await give(server.ports[1], "info@a.test", MAIL, "ann@stranger.test"))[1].startswith("250")
            assert sorted(await way.settle(2)) == ["bounced", "sent"]
            assert await states(way.world) == {"x@b.test": "sent", "x@a.test": "bounced"}
            async with way.world.storage.read() as tx:
                [row] = (
                    await tx.execute(select(recipients.c.member_id, recipients.c.says).where(recipients.c.code == 554))
                ).all()
            assert row.member_id == bob.id
            assert "5.4.6 Mail loop" in row.says


@asynccontextmanager
async def watched(at: Env) -> AsyncIterator[tuple[MailboxWatch, Callable[[], Awaitable[Notes]]]]:
    """A watch over the mailboxes, and what is kept of the domain's."""
    world = at.way.world
    watch = MailboxWatch(world.storage, world.config, world.clock, world.core.notices, owner="test")
    await watch.tick()

    async def notes() -> Notes:
        async with world.storage.read() as tx:
            row = await domains.get(tx, at.domain_id)
            assert row is not None
            return Notes.of(row)

    yield watch, notes


async def test_the_owner_hears_once_of_a_mailbox_that_takes_nothing(config: Config) -> None:
    async with env(config) as at, watched(at) as (watch, notes):
        await at.way.world.change("members", at.alice.id, email="alice@sink.test")
        at.way.start()

        async def come(n: int, reply: str) -> Notes:
            at.way.sink.on("RCPT", lambda command: reply if b"owner@" in command else "250 OK")
            for _ in range(n):
                assert (await give(at.port, "a@example.test", MAIL, "ann@stranger.test"))[1].startswith("250")
            await at.way.settle(n)
            await watch.tick()
            return await notes()

        # What is refused for its own sake says nothing about the mailbox, and a success ends a row of failures.
        assert not (await come(3, "550 5.7.1 this message looks like spam")).forward_failing
        assert not (await come(2, "550 5.1.1 no such user")).forward_failing
        assert not (await come(1, "250 OK")).forward_failing
        assert not (await come(2, "550 5.1.1 no such user")).forward_failing
        failing = await come(1, "550 5.1.1 no <such> user")
        assert failing.forward_failing
        assert failing.forward_says == "550 5.1.1 no <such> user"
        assert await at.way.settle(1) == ["sent"]
        [letter] = [m for m in at.way.sink.messages if m.rcpt_tos == ["alice@sink.test"]]
        assert b"Subject: Mail for example.test can't be forwarded" in letter.raw
        assert b"no <such> user" in letter.raw
        assert f"/account/domains/{at.domain_id}\r\n".encode() in letter.raw
        assert (await come(3, "550 5.1.1 still nobody")).forward_failing == failing.forward_failing
        assert not (await come(1, "250 OK")).forward_failing
        # Failing again the same day, it stands on the page; there is no second letter.
        assert (await come(3, "550 5.1.1 gone again")).forward_failing
        assert len([m for m in at.way.sink.messages if m.rcpt_tos == ["alice@sink.test"]]) == 1


async def test_a_mailbox_out_of_reach_or_sending_back_is_noticed_too(sqlite_config: Config) -> None:
    async with env(sqlite_config) as at, watched(at) as (watch, notes):
        world = at.way.world
        # The account's own address is behind the same mailbox: no letter could arrive.
        await world.change("members", at.alice.id, email="alice@example.test")
        at.way.start()
        for _ in range(3):
            await give(at.port, "a@example.test", MAIL, "ann@stranger.test")
            assert await at.way.settle(1) == ["sent"]
            path = at.way.sink.messages[-1].mail_from
            await give(at.port, path, dsn(path, "owner@sink.test", status="5.2.2"))
            await watch.tick()
        assert (await notes()).forward_failing
        async with world.storage.read() as tx:
            assert {r.door for r in await tx.execute(select(messages.c.door))} == {"forward"}
        # Another mailbox is another matter.
        await at.options(forward_to="new@sink.test")
        await watch.tick()
        assert not (await notes()).forward_failing
        at.way.sink.on("RCPT", "451 4.3.0 later")
        await give(at.port, "a@example.test", MAIL, "ann@stranger.test")
        assert await at.way.settle(1) == ["deferred"]
        world.config.inbound.__dict__["forward_alarm_hours"] = 0.0
        await watch.tick()
        assert (await notes()).forward_failing


@pytest.fixture
async def refusing(sqlite_config: Config) -> AsyncIterator[Env]:
    async with env(sqlite_config, forwards_a_domain_an_hour=2, forward_max_bytes=4000) as at:
        yield at


async def rcpt(at: Env, to: str, *, mail: str = "<ann@stranger.test>") -> str:
    async with await Talk.secured(at.port) as talk:
        await talk.ask(f"MAIL FROM:{mail}")
        return await talk.ask(f"RCPT TO:<{to}>")


async def test_what_is_refused_at_rcpt_and_why(refusing: Env) -> None:
    at, world = refusing, refusing.way.world
    assert (await rcpt(at, "any.body@example.test")).startswith("250")
    assert (await rcpt(at, "info@stranger.test")).startswith("550 5.1.1 No such")
    assert (await rcpt(at, "info@sub.example.test")).startswith("550 5.1.1 No such")
    assert (await rcpt(at, "x%sink.test@example.test@sink.test")).startswith("5")
    token = return_paths.local_part(world.vault, 7)
    assert (await rcpt(at, f"{token}@example.test")).startswith("550 5.1.1 No such")
    assert (await rcpt(at, "info@example.test", mail="<a@b.test> SIZE=4001")).startswith("552 5.3.4")
    await at.options(forward_to="")
    assert (await rcpt(at, "info@example.test")).startswith("550 5.1.1 address not available")
    await at.options(replies=False)
    assert (await rcpt(at, "info@example.test")).startswith("550 5.1.1 address not available")
    await at.options(forward_to="me@example.test")
    assert (await rcpt(at, "info@example.test")).startswith("554 5.4.6")
    await at.options()
    await world.change("members", at.alice.id, status="suspended")
    await world.directory.refresh()
    assert (await rcpt(at, "info@example.test")).startswith("451 4.3.0")
    await world.change("members", at.alice.id, status="active")


async def test_while_a_domain_is_paused_or_proved_again_strangers_keep_their_mail(refusing: Env) -> None:
    at, world = refusing, refusing.way.world
    for state in ("disabled", "pending", "suspended", "blocked"):
        await world.change("domains", at.domain_id, state=state)
        await world.directory.refresh()
        assert (await rcpt(at, "info@example.test")).startswith("451 4.3.0"), state
    # A return path and a subdomain are no addresses of it, and a domain that was never proved has none.
    assert (await rcpt(at, f"{return_paths.local_part(world.vault, 7)}@example.test")).startswith("550 5.1.1 No such")
    assert (await rcpt(at, "info@sub.example.test")).startswith("550 5.1.1 No such")
    await world.change("domains", at.domain_id, state="pending", first_verified_at=None)
    await world.directory.refresh()
    assert (await rcpt(at, "info@example.test")).startswith("550 5.1.1 No such")
    # Somebody else has proved the name since, and wants no mail.
    await world.change("domains", at.domain_id, first_verified_at=1.0)
    await world.domain(await world.member("bob"))
    assert (await rcpt(at, "info@example.test")).startswith("550 5.1.1 address not available")


async def test_what_is_refused_after_data(refusing: Env) -> None:
    at = refusing
    for raw, reply in (
        (b"X-Posthouse-Forwarded: Example.test\r\n" + MAIL, "554 5.4.6"),
        (b"Received: from a by b; now\r\n" * 31 + MAIL, "554 5.4.6"),
        (MAIL + b"x" * 999 + b"\r\n", "554 5.6.0"),
        (MAIL + (b"x" * 78 + b"\r\n") * 60, "552 5.3.4"),
        (b"no header\r\n\r\nx\r\n", "554 5.6.0"),
    ):
        said = (await give(at.port, "info@example.test", raw, "ann@stranger.test"))[1]
        assert said.startswith(reply), (raw[:40], said)
    assert await states(at.way.world) == {}
    for _ in range(2):
        assert (await give(at.port, "info@example.test", MAIL, "ann@stranger.test"))[1].startswith("250")
    assert (await give(at.port, "info@example.test", MAIL, "ann@stranger.test"))[0].startswith("451 4.7.1")
    assert len(await at.log()) == 2


async def test_what_is_forwarded_comes_alone_and_once(refusing: Env) -> None:
    at = refusing
    other = await at.way.world.domain(at.alice, "other.test")
    await at.way.world.change("domains", other, options={"replies": True, "forward_to": "owner@sink.test"})
    await at.way.world.directory.refresh()
    async with await Talk.secured(at.port) as talk:
        await talk.ask("MAIL FROM:<ann@stranger.test>")
        assert (await talk.ask("RCPT TO:<info@example.test>")).startswith("250")
        assert (await talk.ask("RCPT TO:<sales@example.test>")).startswith("250")
        assert (await talk.ask("RCPT TO:<info@other.test>")).startswith("452 4.5.3")
        assert (await talk.ask("RCPT TO:<postmaster>")).startswith("452 4.5.3")
        await talk.ask("DATA")
        await talk.send(MAIL + b".\r\n")
        assert (await talk.reply()).startswith("250 2.0.0")
        await talk.ask("MAIL FROM:<ann@stranger.test>")
        assert (await talk.ask("RCPT TO:<postmaster>")).startswith("250")
        assert (await talk.ask("RCPT TO:<info@example.test>")).startswith("452 4.5.3")
    assert len(await at.log()) == 1


async def test_the_report_of_a_members_own_failure_goes_to_the_mailbox(sqlite_config: Config) -> None:
    async with env(sqlite_config) as at:
        world = at.way.world
        at.way.sink.on("RCPT", lambda said: "550 5.1.1 no such user" if b"gone@" in said else "250 2.1.5 ok")
        at.way.start()
        await world.submit(at.alice, "gone@sink.test")
        assert await at.way.settle(1) == ["bounced"]
        assert await Reports(world.storage, world.intake, world.config, world.clock).post_due() == 1
        assert await at.way.settle(1) == ["sent"]
        [report] = [taken for taken in at.way.sink.messages if not taken.mail_from]
        assert report.rcpt_tos == ["owner@sink.test"]
        assert b"Final-Recipient: rfc822; gone@sink.test" in report.raw


async def test_a_member_writes_to_an_address_of_its_own_domain(sqlite_config: Config) -> None:
    async with env(sqlite_config) as at:
        # The exchanger of example.test is the relay: without forwarding, mail for it ends there.
        at.way.dns.zones.replace("example.test", "MX", "10 localhost.")
        assert at.way.world.config.mx_host == "localhost"
        at.way.dns.zones.put(make_zone("localhost", [("@", "A", "127.0.0.1")]))
        at.way.start()
        await at.options(replies=False)
        await at.way.world.submit(at.alice, "info@example.test")
        assert await at.way.settle(1) == ["bounced"]
        await at.options()
        await at.way.world.submit(at.alice, "info@example.test")
        # The line's exchanger stands where port 25 would.
        assert await at.way.settle(1) == ["sent"]


async def test_an_exchanger_at_our_own_address_is_gone_to_for_forwarded_mail_only(sqlite_config: Config) -> None:
    """Under a name that isn't ours: mail that our port 25 wouldn't take waits until its domain's records are right."""
    async with env(sqlite_config, ours=True) as at:
        at.way.start()
        await at.options(replies=False)
        await at.way.world.submit(at.alice, "info@example.test")
        assert await at.way.settle(1) == ["deferred"]
        assert at.way.sink.connections == 0
        [waiting] = await at.log()
        assert waiting.says == "an exchanger of example.test has this relay's address under another name"
        await at.options()
        await at.way.world.submit(at.alice, "info@example.test")
        assert await at.way.settle(1) == ["sent"]
