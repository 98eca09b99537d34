"""Unsubscribing by mail to port 25: the address in the copy that a recipient got, and every other one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from relay.base.config import Config
from relay.base.storage import events, suppressions
from relay.unsubscribe import address
from tests.journeys.test_inbound import arf, dsn, give, inbound, sent
from tests.kit.line import Line, line, states
from tests.kit.world import MemberAt

pytestmark = pytest.mark.parametrize("config", ["sqlite"], indirect=True)
ASKED = b"From: Bob <bob@sink.test>\r\nTo: list\r\nSubject: unsubscribe\r\n\r\n\r\n"


async def listed(way: Line, member: MemberAt) -> list[tuple[str, str, str]]:
    async with way.world.storage.read() as tx:
        return [(s.original, s.reason, s.detail) for s in await suppressions.page(tx, member.id)]


def ways_out(way: Line) -> dict[str, str]:
    """By recipient, the mail address in the copy that the exchanger took."""
    found = {}
    for taken in way.sink.messages:
        [mailto] = re.findall(rb"<mailto:([^?>]+)\?subject=unsubscribe>", taken.raw)
        found[taken.rcpt_tos[0]] = mailto.decode()
    return found


async def shown(way: Line) -> list[dict[str, Any]]:
    async with way.world.storage.read() as tx:
        return [e.data | {"recipientId": e.recipient_id} for e in await events.after(tx, 0, types=["unsubscribed"])]


async def test_any_mail_to_it_takes_its_own_recipient_off_once(config: Config) -> None:
    async with line(config) as way, inbound(way.world) as server:
        alice, got, _ = await sent(way, "Bob+x@sink.test", "carol@sink.test")
        out = ways_out(way)["Bob+x@sink.test"]
        # Sent by somebody else, in capitals, twice: who writes doesn't matter, the token says who leaves.
        for to in (out.upper(), out):
            rcpt, end = await give(server.ports[0], to, ASKED, "someone@far.test")
            assert (rcpt[:9], end[:9]) == ("250 2.1.5", "250 2.0.0")
        assert await listed(way, alice) == [("Bob+x@sink.test", "unsubscribe", "mailto")]
        [event] = await shown(way)
        ids = {a.text: r for a, r in got.recipients}
        assert event == {
            "recipient": "Bob+x@sink.test", "by": "mailto", "category": "bulk", "stops": "all",
            "recipientId": ids["Bob+x@sink.test"],
        }
        await way.world.suppressions.refresh()
        refused = await way.world.submit(alice, "bob@sink.test")
        assert refused.reply.name == "suppressed"
        # Nothing goes back, and the delivery stays what it was.
        assert set((await states(way.world)).values()) == {"sent"}


def fields(*lines: str, body: str = "") -> bytes:
    """A request with these fields in place of or beside the usual ones."""
    names = {line.partition(":")[0].lower() for line in lines}
    usual = ("From: Bob <bob@sink.test>", "To: list", "Subject: unsubscribe")
    head = [line for line in usual if line.partition(":")[0].lower() not in names]
    return "".join(f"{line}\r\n" for line in (*head, *lines, "", body)).encode()


HTML = "<html><body><div><br></div><div>Sent from my iPhone</div></body></html>"
QUOTED = "\r\n> Undelivered Mail Returned to Sender\r\n> 550 5.1.1 <bob@sink.test>: user unknown\r\n"
PROGRAMS = [
    # Apple's programs; Gmail, Yahoo and others for their users; what else programs put into what they write.
    fields("Auto-Submitted: auto-replied", "X-Mailer: Apple Mail"),
    fields("Auto-Submitted: auto-generated", "Precedence: bulk"),
    fields("Auto-Submitted: auto-notified; owner-email=bob@sink.test"),
    fields("Precedence: auto_reply", "X-Auto-Response-Suppress: All", "X-Autoreply: yes"),
    fields("Auto-Submitted: auto-replied", "Subject: Automatic reply: unsubscribe"),
    fields("Subject: Re: Hello", "X-Vacation: yes"),
    fields("Subject:"),
    fields("Subject: =?utf-8?b?RGVzYWJvbm5lcg==?=", "Content-Type: text/html; charset=utf-8", body=HTML),
    fields("From: MAILER-DAEMON <bob@sink.test>"),
    fields("Subject: Re: Returned mail: your newsletter", body=QUOTED),
    fields("Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b",
           body="--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b--\r\n"),
    fields("Content-Type: application/pkcs7-mime; smime-type=enveloped-data", "Content-Transfer-Encoding: base64",
           body="MIAG\r\n"),
    fields("Subject: Fwd: News", "Content-Type: multipart/mixed; boundary=b",
           body="--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: news@example.test\r\n\r\nhi\r\n--b--\r\n"),
]


async def test_leaving_works_from_every_mail_program(config: Config) -> None:
    async with line(config) as way, inbound(way.world, max_connections=50) as server:
        alice, _, _ = await sent(way, "bob@sink.test")
        out = ways_out(way)["bob@sink.test"]
        for raw in PROGRAMS:
            for sender in ("bob@sink.test", ""):
                said = await give(server.ports[0], out, raw, sender)
                assert said[1].startswith("250"), raw
                assert await listed(way, alice) == [("bob@sink.test", "unsubscribe", "mailto")], raw
                async with way.world.storage.read() as tx:
                    [entry] = await suppressions.page(tx, alice.id)
                await way.world.storage.write(
                    lambda tx, key=entry.canonical: suppressions.remove(tx, alice.id, key)  # type: ignore[misc]
                )
        # Also by way of this relay: its own Received field makes no loop of what nothing answers to.
        ours = b"Received: from x by localhost with ESMTPSA id a; Mon, 30 Nov 2026 12:00:00 +0000\r\n" + PROGRAMS[0]
        assert (await give(server.ports[0], out, ours))[1].startswith("250")
        assert await listed(way, alice) == [("bob@sink.test", "unsubscribe", "mailto")]


async def test_what_a_mail_system_reports_unsubscribes_nobody(config: Config) -> None:
    async with line(config) as way, inbound(way.world) as server:
        alice, _, [path] = await sent(way, "bob@sink.test")
        out = ways_out(way)["bob@sink.test"]
        receipt = fields(
            "Content-Type: multipart/report; report-type=disposition-notification; boundary=b",
            body="--b\r\nContent-Type: message/disposition-notification\r\n\r\nDisposition: a; read\r\n--b--\r\n",
        )
        prose = fields(
            "From: Mail Delivery System <MAILER-DAEMON@sink.test>", "Subject: Undelivered Mail Returned to Sender",
            body="The following address failed:\r\n\r\n  <bob@sink.test>: 550 5.1.1 user unknown\r\n",
        )
        for raw in (dsn(out), arf(path), receipt, prose):
            assert (await give(server.ports[0], out, raw))[1].startswith("250")
        assert await listed(way, alice) == []


async def test_every_wrong_address_is_refused_with_the_same_words(config: Config) -> None:
    async with line(config) as way, inbound(way.world, max_connections=50) as server:
        alice, got, _ = await sent(way, "bob@sink.test")
        local, _, domain = ways_out(way)["bob@sink.test"].partition("@")
        vault = way.world.vault
        elsewhere = address.local_part(vault, got.queue_id, "carol@sink.test")
        forgotten = address.local_part(vault, "a" * 16, "bob@sink.test")
        turned = local[:-1] + ("a" if local[-1] != "a" else "b")
        wrong = [
            f"{turned}@{domain}", f"{local[:-1]}@{domain}", f"{elsewhere}@{domain}", f"{forgotten}@{domain}",
            f"{local}@localhost", f"u-@{domain}", f"nobody@{domain}",
        ]
        said = {await give(server.ports[0], to, ASKED) for to in wrong}
        assert said == {("550 5.1.1 No such address here", "")}
        assert await listed(way, alice) == []
