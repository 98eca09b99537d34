"""What the sandbox sends back goes home and nowhere else, over real sockets, within its bounds."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.base.clock import Clock
from relay.sandbox import Received, Responder
from tests.kit.dns import world
from tests.kit.hooks import receiver
from tests.kit.sink import Sink
from tests.kit.storage import make_config

PATH = "b-1@bounce.relay.test"
TABLE = {
    "relay.test": [("@", "A", "127.0.0.1"), ("bounce.relay.test", "MX", "10 relay.test.")],
    # An address of the documentation's block (RFC 5737 §3): nothing may even try to go there.
    "away.test": [("@", "MX", "10 mx.away.test."), ("mx.away.test", "A", "192.0.2.1")],
    "both.test": [("@", "MX", "10 mx.away.test."), ("@", "MX", "20 relay.test.")],
    "null.test": [("@", "MX", "0 .")],
}
RAW = (
    b"From: a@away.test\r\nSubject: x\r\nList-Unsubscribe: <%s>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n"
)


class Place:
    """The senders, and the exchanger they find."""

    def __init__(self, responder: Responder, sink: Sink) -> None:
        self.responder, self.sink = responder, sink
        self.number = 0

    async def ask(
        self, *recipients: str, sender: str = PATH, raw: bytes = RAW % b"https://relay.test/u/1"
    ) -> list[str]:
        """What is said of one message to these, once all is done."""
        self.number += 1
        self.responder.consider(
            self.number, Received(sender, recipients, raw, "127.0.0.1", "relay.test", None, 1000.0)
        )
        await self.responder.idle()
        return self.responder.said(self.number)


@asynccontextmanager
async def place(tmp_path: Path, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Place]:
    config = make_config(
        tmp_path, server={"hostname": "relay.test", "public_url": "https://relay.test"},
        sandbox={"answer_seconds": 0, "answer_timeout_seconds": 5, **options},
    )
    async with world(TABLE) as dns, Sink(tls=tls) as sink:
        responder = Responder(config, dns.resolver, Clock(), host="sandbox.relay.test", port=lambda: sink.port)
        responder.start()
        try:
            yield Place(responder, sink)
        finally:
            await responder.close()


async def test_a_report_goes_to_the_return_path_by_its_mx_over_tls(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("relay.test").configure_cert(context)
    async with place(tmp_path, tls=context) as p:
        said = await p.ask("late-bounce@s.test", "ok@s.test")
        assert said == ["delivery status notification: failed 5.1.1: relay.test said 250 2.0.0 taken"]
        [taken] = await p.sink.wait_for(1)
        assert (taken.mail_from, taken.rcpt_tos) == ("", [PATH])
        assert "STARTTLS" in p.sink.verbs()


@pytest.mark.parametrize(
    ("domain", "says"),
    [
        ("away.test", "neither this relay nor on this machine"), ("null.test", "null MX"),
        ("nowhere.away.test", "does not exist"), ("[192.0.2.1]", "can't be answered"),
    ],
)
async def test_nothing_leaves_for_elsewhere(tmp_path: Path, domain: str, says: str) -> None:
    async with place(tmp_path) as p:
        [said] = await p.ask("late-bounce@s.test", sender=f"b-1@{domain}")
        assert says in said
        assert p.sink.messages == []


async def test_of_several_exchangers_only_ours_is_called(tmp_path: Path) -> None:
    async with place(tmp_path) as p:
        [said] = await p.ask("complain@s.test", sender="b-1@both.test")
        assert said == "complaint to b-1@both.test: relay.test said 250 2.0.0 taken"


async def test_later_is_asked_again_a_few_times(tmp_path: Path) -> None:
    async with place(tmp_path, answer_tries=2) as p:
        p.sink.on("RCPT", "451 4.3.0 later", "250 2.1.5 ok")
        assert (await p.ask("vacation@s.test"))[0].endswith("said 250 2.0.0 taken")
        p.sink.on("RCPT", "451 4.3.0 later")
        assert (await p.ask("vacation@s.test"))[0].endswith("said 451 4.3.0 later")
        assert p.sink.verbs().count("RCPT") == 4


async def test_more_than_allowed_a_minute_or_waiting_is_not_sent(tmp_path: Path) -> None:
    async with place(tmp_path, answers_a_minute=2) as p:
        said = await p.ask(*(f"vacation@{i}.test" for i in range(4)))
        assert sorted(s.startswith("not sent: more than 2 a minute") for s in said) == [False, False, True, True]
        assert len(p.sink.messages) == 2
    async with place(tmp_path, answers_waiting=1) as p:
        said = await p.ask(*(f"vacation@{i}.test" for i in range(4)))
        assert sum(s.startswith("not sent: 1 others wait") for s in said) == 3


async def test_what_is_said_is_bounded(tmp_path: Path) -> None:
    async with place(tmp_path, keep_messages=3) as p:
        for _ in range(5):
            await p.ask("vacation@s.test", sender="")
        assert [bool(p.responder.said(n)) for n in range(1, 6)] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("https://relay.test/u/1", "no valid DKIM signature covers"),
        ("http://127.0.0.1:9/u/1", "no valid DKIM signature covers"),
        ("https://relay.test:444/u/1", "leads neither to this relay"), ("https://away.test/u/1", "leads neither"),
        ("https://relay.test@away.test/u/1", "leads neither"), ("http://[::1/u/1", "leads neither"),
        ("https://192.0.2.1/u/1", "leads neither"),
    ],
)
async def test_no_button_leads_elsewhere_or_without_a_signature(tmp_path: Path, link: str, says: str) -> None:
    async with place(tmp_path) as p, receiver() as elsewhere:
        [said] = await p.ask("unsubscribe@s.test", raw=RAW % link.replace(":9/", f"{elsewhere.url[16:]}/").encode())
        assert says in said
        assert elsewhere.came == []
