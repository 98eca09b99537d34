"""Sandbox recipients on a whole relay in this process, the demo's: what a member notices of each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from posthouse.demo.courses import Course, Courses
from posthouse.demo.folder import HOST, Ports, configuration, demo_zones
from posthouse.demo.receiver import Receiver
from posthouse.demo.walk import SENDER, Walk
from posthouse.serve import Node
from posthouse.serve.sandbox import Mailbox
from relay.base.events import BOUNCED, COMPLAINED, DEFERRED, SENT, UNSUBSCRIBED
from relay.sandbox import Received
from tests.kit.dns import world

SECONDS = 20


class Demo:
    """A node that has walked, and its receiver."""

    def __init__(self, node: Node, receiver: Receiver, walk: Walk, ports: Ports) -> None:
        self.node, self.receiver = node, receiver
        self.url = f"http://{HOST}:{ports.http}"
        account = walk.account
        assert account is not None
        self.courses = Courses(
            node, receiver, url=self.url, member_id=account.member_id, api_key=account.api_key, sender=SENDER
        )

    async def page(self, local: str) -> str:
        """The page of the newest message to this recipient, once everything was sent back."""
        assert self.node.mailbox is not None
        assert self.node.responder is not None
        await self.node.responder.idle()
        kept = await self.node.mailbox.wait_for(lambda k: k.received.rcpt_to[0].startswith(f"{local}."))
        async with ClientSession() as http, http.get(f"{self.url}/sandbox/{kept.id}") as answer:
            assert answer.status == 200
            return await answer.text()


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    zones, receiver, ports = demo_zones(), Receiver(), Ports.from_base(0)
    config = configuration(ports, tmp_path / "data", quiet=True)
    config = config.model_copy(update={"sandbox": config.sandbox.model_copy(update={"answer_seconds": 0.05})})
    node = await Node.start(config, zones=zones)
    try:
        await receiver.start(HOST, ports.webhook)
        walk = Walk(node, zones, ports, lambda text: None, receiver)
        await walk.all()
        yield Demo(node, receiver, walk, ports)
    finally:
        await node.stop()
        await receiver.close()


async def test_what_each_recipient_makes_happen(demo: Demo) -> None:
    courses = [
        Course("bounce in words", "prose-bounce+5.1.1", BOUNCED, "bounced", "hard_bounce", late=True),
        Course("full mailbox", "late-bounce+5.2.2", BOUNCED, "bounced", "", late=True),
        Course("delay", "delayed", DEFERRED, "sent", "", late=True),
        Course("complaint to the role", "complain-fbl", COMPLAINED, "sent", "complaint"),
        Course("unsubscribing by mail", "unsubscribe-mailto", UNSUBSCRIBED, "sent", "unsubscribe", category="bulk"),
        Course("vacation", "vacation", SENT, "sent", ""),
    ]
    async with asyncio.timeout(SECONDS):
        walked = await demo.courses.all(courses, seconds=SECONDS)
        assert [(w.course, w.error) for w in walked] == [(c.name, "") for c in courses]
        page = await demo.page("vacation")
    assert "vacation note: relay.test said 250" in page
    page = re.sub(r"<td [^>]*>", "<td>", page)
    cells = re.findall(r"<td>(SPF|DKIM|DMARC)</td><td>([^<]*)</td><td>([^<]*)</td><td>(\w+)</td><td>([^<]*)</td>", page)
    same = "same organisation as From"
    assert [(c[0], c[1], c[3], c[4]) for c in cells] == [
        ("SPF", "sl.demo.test", "pass", same), ("DKIM", "demo.test", "pass", same), ("DKIM", "demo.test", "pass", same),
        ("DMARC", "demo.test", "pass", ""),
    ]
    # A vacation note changes nothing, though it came on the return path.
    assert walked[5].state == "sent"
    assert demo.receiver.refused == 0


@pytest.mark.parametrize(
    ("raw", "rows"),
    [
        (b"From: a@demo.test\r\n\r\n", [("fail", "different organisation from From"), ("none", "no signature"),
                                       ("fail", "nothing that passed is aligned with From")]),
        (b"From: a@demo.test\r\nFrom: b@demo.test\r\n\r\n", [
            ("fail", ""), ("none", "no signature"), ("permerror", "there is no single From mailbox")]),
        (b"From: <script>\r\n\r\n", [
            ("fail", ""), ("none", "no signature"), ("permerror", "there is no single From mailbox")]),
        (b"From: a@bare.test\r\n\r\n", [("fail", "different organisation from From"), ("none", "no signature"),
                                       ("none", "the From domain has no DMARC record")]),
        (b"From: a@try.test\r\n\r\n", [("fail", "different organisation from From"), ("none", "no signature"), (
            "fail",
            "nothing that passed is aligned with From; test mode (t=y): receivers apply a policy one step weaker",
        )]),
    ],
)  # fmt: skip
async def test_the_card_of_a_message_that_is_not_genuine(raw: bytes, rows: list[tuple[str, str]]) -> None:
    table = {
        "stranger.test": [("stranger.test", "TXT", "v=spf1 -all")],
        "demo.test": [("_dmarc.demo.test", "TXT", "v=DMARC1; p=reject")], "bare.test": [],
        "try.test": [("_dmarc.try.test", "TXT", "v=DMARC1; p=reject; t=y")],
    }
    async with world(table) as dns:
        mailbox = Mailbox(dns.resolver, most=10, most_bytes=1000)
        mailbox.keep(Received("x@stranger.test", ("ok@s.test",), raw, "127.0.0.1", "x.test", None, 0.0))
        judged = await mailbox.judged(mailbox.newest()[0])
        assert [(r["result"], r["remark"]) for r in judged.rows("127.0.0.1")] == rows


async def test_the_webhook_takes_nothing_that_is_not_genuine() -> None:
    receiver = Receiver()
    receiver.secret = "whsec_" + "a" * 32
    await receiver.start(HOST, Ports.from_base(0).webhook)
    async with ClientSession() as http:
        for headers in ({}, {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}):
            async with http.post(receiver.url, data=b'{"type":"bounced","data":{}}', headers=headers) as answer:
                assert answer.status == 401
    await receiver.close()
    assert receiver.refused == 2
