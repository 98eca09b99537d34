"""Addresses of others, as real mail has them, through the whole relay: as senders on port 25, as recipients, on lists.

Each of them is longer, dottier or odder than RFC 5321 §4.1.2 has it; none is ours to judge.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email import message_from_bytes

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import select

from relay.base import names
from relay.base.config import Config
from relay.base.names import address
from relay.base.storage import suppressions
from relay.base.storage.tables import messages
from relay.bounces import address as return_paths
from relay.delivery.dsn import Reports
from relay.intake import Accepted
from relay.replies import Verdict
from relay.suppression import New
from tests.journeys.test_forwarding import MAIL, env
from tests.journeys.test_inbound import arf, dsn, give, inbound
from tests.kit.dns import make_zone
from tests.kit.line import Line, line
from tests.kit.sink import Taken
from tests.kit.world import MemberAt

SENDERS = {
    "gmailuser+caf_=website_00000000-b5c5-4e14-8294-f5ebd6083faa=demo.test@gmail.test": "gmail.test",
    "SRS0=HHH=TT=far.example=a.rather.long.name.of.somebody.who.writes.to.us@forwarder.test": "forwarder.test",
    "taro..0511@docomo.test": "docomo.test",
    "taro.@docomo.test": "docomo.test",
    "a_b@sand_box.test": "a_b@sand_box.test",
    "bob%far.test@gateway.test": "gateway.test",
    '"bob; spf=pass"@gateway.test': "gateway.test",
    "root@[192.0.2.1]": "",
    "root@192.0.2.1": "root@192.0.2.1",
}
"""What a stranger is called, and what Authentication-Results says of it."""

RECIPIENTS = [
    "reply+000c89caea14b0bf53caf17fd0c9c67fce378f51fd1af05492cf000000011292f3d892a169ce07601530@sink.test",
    "x" * 244 + "@sink.test",
    "ü" * 122 + "@sink.test",
    "john..doe@sink.test",
    "taro.@sink.test",
    ".taro@sink.test",
    '"ann lee"@sink.test',
    "a_b@sand_box.test",
]


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_mail_of_whoever_writes_is_forwarded(config: Config) -> None:
    async with env(config, forwards_a_domain_an_hour=100) as at:
        at.way.start()
        # Whoever asks for the local part would hear of an odd one: none gets into a question to DNS.
        for name in ("docomo.test", "gmail.test"):
            at.way.dns.zones.put(make_zone(name, [
                ("@", "TXT", "v=spf1 exists:%{l}.by.%{d} -all"), (f"postmaster.by.{name}", "A", "127.0.0.2"),
            ]))  # fmt: skip
        for n, (sender, said) in enumerate(SENDERS.items()):
            rcpt, end = await give(at.port, "info@example.test", MAIL.replace(b"..dots", b"...%d" % n), sender)
            assert (rcpt[:9], end[:9]) == ("250 2.1.5", "250 2.0.0"), sender
            assert await at.way.settle(1) == ["sent"]
            taken = (await at.way.sink.wait_for(n + 1))[n]
            assert return_paths.read(at.way.world.vault, taken.mail_from.partition("@")[0])
            results = re.sub(rb"\s+", b" ", taken.raw.partition(b"X-Posthouse-Forwarded")[0]).decode()
            verdict = "pass" if sender.endswith(("docomo.test", "gmail.test")) else "none"
            mailfrom = f" smtp.mailfrom={said}" if said else ""
            assert f"; spf={verdict}{mailfrom}; dkim=none; dmarc=" in results
        async with at.way.world.storage.read() as tx:
            kept = (await tx.execute(select(messages.c.mail_from).order_by(messages.c.id))).scalars().all()
        assert kept == list(SENDERS)
        # Of nobody, as a report comes: so it is passed on.
        for sender in ("MAILER-DAEMON", "#@[]"):
            assert (await give(at.port, "hel..lo.@example.test", MAIL, sender))[1].startswith("250")
            assert await at.way.settle(1) == ["sent"]
        assert [t.mail_from for t in at.way.sink.messages[-2:]] == ["", ""]


async def listed(way: Line, member: MemberAt) -> list[tuple[str, str]]:
    async with way.world.storage.read() as tx:
        return [(s.original, s.reason) for s in await suppressions.page(tx, member.id)]


@dataclass
class Post:
    """What alice can do with one recipient after another, and what the recipient can do about it."""

    way: Line
    alice: MemberAt
    http: TestClient
    port: int

    async def sent(self, to: str) -> Taken:
        """One message, taken by its host under the name it came with."""
        assert isinstance(await self.way.world.submit(self.alice, to), Accepted), to
        assert await self.way.settle(1) == ["sent"], to
        taken = self.way.sink.messages[-1]
        assert taken.rcpts[0].startswith(b"RCPT TO:<" + to.encode() + b">")
        return taken

    async def given(self, to: str, raw: bytes) -> None:
        assert (await give(self.port, to, raw))[1].startswith("250 2.0.0"), to

    async def off(self, to: str, spelt: str, reason: str) -> None:
        """On the list for this reason, refused in every spelling, and off it again."""
        world = self.way.world
        assert await listed(self.way, self.alice) == [(spelt, reason)]
        await world.suppressions.refresh()
        login = world.login(self.alice)
        domain = world.policy.sender(login, "news@example.test")
        assert not isinstance(domain, Verdict)
        for spelling in {to, to.upper(), address(to).header}:
            said = await world.policy.recipient(login, domain, spelling, named=0)
            assert isinstance(said, Verdict)
            assert said.reply.name == "suppressed", spelling
        assert await world.suppressions.remove(self.alice.id, spelt)
        await world.suppressions.refresh()


@pytest.fixture
async def post(config: Config) -> AsyncIterator[Post]:
    async with line(config) as way, inbound(way.world, max_connections=100) as server:
        way.dns.zones.put(make_zone("sand_box.test", [("@", "MX", "10 mx.sink.test.")]))
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        app = web.Application()
        app.add_routes(way.world.unsubscribe.routes())
        async with TestClient(TestServer(app)) as http:
            yield Post(way, alice, http, server.ports[0])


async def test_each_recipient_is_mailed_given_up_and_mailed_again(post: Post) -> None:
    way = post.way
    # The longest ones tell whether they fit the columns.
    some = RECIPIENTS if way.world.config.database.url.startswith("sqlite") else RECIPIENTS[1:3]
    for to in some:
        # Its host takes the mail and reports later, under the name that it knows.
        path = (await post.sent(to)).mail_from
        await post.given(path, dsn(path, address(to).header))
        await post.off(to, to, "hard_bounce")
        # It complains; it leaves by mail, and by the link.
        path = (await post.sent(to)).mail_from
        await post.given(path, arf(path))
        await post.off(to, to, "complaint")
        link, mailto = re.findall(rb"<https?://[^/]+(/u/[^>]+)>,\r\n <mailto:([^?>]+)", (await post.sent(to)).raw)[0]
        await post.given(mailto.decode(), b"From: x@sink.test\r\nSubject: unsubscribe\r\n\r\n")
        await post.off(to, to, "unsubscribe")
        assert (await post.http.post(link.decode(), data={"List-Unsubscribe": "One-Click"})).status == 200
        # The link shows no address, so all that is known is the form for comparing.
        assert [r for _, r in await listed(way, post.alice)] == ["unsubscribe"]
        async with way.world.storage.read() as tx:
            [entry] = await suppressions.page(tx, post.alice.id)
        assert entry.canonical == names.canonical(to)
        assert await way.world.suppressions.remove(post.alice.id, to)
        await way.world.suppressions.refresh()
        # Its host refuses it at once.
        assert isinstance(await way.world.submit(post.alice, to), Accepted)
        way.sink.on("RCPT", "550 5.1.1 no such user", "250 2.1.5 ok")
        assert await way.settle(1) == ["bounced"]
        await post.off(to, to, "hard_bounce")
        # A file of them is taken in, and comes out as it was.
        await way.world.suppressions.put(post.alice.id, New(to))
        written = "".join([piece async for piece in way.world.suppressions.written(post.alice.id, "csv")])
        assert await way.world.suppressions.remove(post.alice.id, to)
        assert (await way.world.suppressions.take_in(post.alice.id, written.encode())).added == 1
        await post.off(to, to, "manual")
    # Reports to alice name each of them, in a form that can be read.
    posted = Reports(way.world.storage, way.world.intake, way.world.config, way.world.clock)
    assert await posted.post_due() == 2 * len(some)
    assert await way.settle(2 * len(some)) == ["sent"] * 2 * len(some)
    shown = {
        str(message_from_bytes(t.raw).get_payload()[1].get_payload()[1]["Final-Recipient"])  # type: ignore[index,union-attr]
        for t in way.sink.messages[-2 * len(some) :]
    }
    ascii_ones = {f"rfc822; {to}" for to in some if to.isascii()}
    assert ascii_ones < shown
    assert len(shown) == len(some)
