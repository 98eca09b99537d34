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


async def told(way: Line) -> list[dict[str, Any]]:
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
        [event] = await told(way)
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


async def test_what_nobody_wrote_unsubscribes_nobody(config: Config) -> None:
    async with line(config) as way, inbound(way.world) as server:
        alice, _, [path] = await sent(way, "bob@sink.test")
        out = ways_out(way)["bob@sink.test"]
        vacation = ASKED.replace(b"Subject: unsubscribe", b"Auto-Submitted: auto-replied\r\nSubject: Re: Hello")
        for raw in (vacation, dsn(out), arf(path)):
            assert (await give(server.ports[0], out, raw))[1].startswith("250")
        assert await listed(way, alice) == []
        # A mail provider asks for its user, and says that a program wrote it.
        asked = ASKED.replace(b"Subject:", b"Auto-Submitted: auto-generated\r\nSubject:")
        assert (await give(server.ports[0], out, asked, "unsubscribe@far.test"))[1].startswith("250")
        assert await listed(way, alice) == [("bob@sink.test", "unsubscribe", "mailto")]


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
