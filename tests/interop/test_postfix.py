"""Postfix as the recipients' server: what it finds out late comes back on port 25 and lands on its own recipient."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from relay.base.config import Config
from relay.base.names import address
from relay.base.storage import mail
from relay.bounces import address as return_paths
from relay.delivery.dsn import Reports
from relay.intake import Recipient, Submission
from relay.replies import Verdict
from tests.interop.postfix import AWAY, FULL, LATER, USER, Postfix, postfix
from tests.interop.test_interop import need
from tests.journeys.test_inbound import inbound, listed, shown
from tests.kit.line import line, states
from tests.kit.ports import free_port
from tests.kit.world import letter

NOBODY = "no-such-user"


async def until(true: Callable[[], Awaitable[bool]], host: Postfix) -> None:
    """Until something outside has happened."""
    try:
        async with asyncio.timeout(20):
            while not await true():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(host.log()[-4000:])


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_what_postfix_reports_lands_on_its_recipient_in_its_class(config: Config) -> None:
    need("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix needs root")
    port = free_port()
    async with line(config, port=port) as way, inbound(way.world) as server:
        with postfix("sink.test", "example.test", port, server.ports[0]) as host:
            world = way.world
            alice = await world.member()
            await world.domain(alice)
            way.start()
            login = world.login(alice)
            domain = world.policy.sender(login, "news@example.test")
            assert not isinstance(domain, Verdict)
            notify = {USER: "SUCCESS", NOBODY: "NEVER", FULL: None, LATER: "DELAY,FAILURE", AWAY: None}
            to = {name: f"{name}@sink.test" for name in notify}
            got = await world.intake.accept(
                Submission(
                    login, domain, "smtp", address("news@example.test"),
                    [Recipient(address(to[n]), notify=wanted) for n, wanted in notify.items()], letter(),
                    category="transactional", envid="env-1",
                )
            )
            assert not isinstance(got, Verdict)
            # It takes them all.
            assert await way.settle(5) == ["sent"] * 5, host.log()[-4000:]
            ids = {a.text: i for a, i in got.recipients}
            away = return_paths.local_part(world.vault, ids[to[AWAY]])

            async def all_came() -> bool:
                bounced = await shown(world, got.message_id, "bounced")
                late = await shown(world, got.message_id, "deferred")
                async with world.storage.read() as tx:
                    owed = await mail.reports_due(tx, 10, world.clock.now())
                note = any(f"to=<{away}@" in x and "status=sent" in x for x in host.log().splitlines())
                return (len(bounced), len(late), len(owed), note) == (2, 1, 3, True)

            await until(all_came, host)
            assert await states(world) == {
                to[USER]: "sent", to[NOBODY]: "bounced", to[FULL]: "bounced", to[LATER]: "sent", to[AWAY]: "sent",
            }
            why = {d["recipient"]: (d["class"], d["late"]) for d in await shown(world, got.message_id, "bounced")}
            assert why == {to[NOBODY]: ("mailbox_unknown", True), to[FULL]: ("mailbox_full", True)}
            [delayed] = await shown(world, got.message_id, "deferred")
            assert (delayed["recipient"], delayed["status"]) == (to[LATER], "4.3.0")
            assert await listed(world, alice) == {to[NOBODY]: "hard_bounce"}
            assert host.mailbox(USER).count(b"Subject: Hello") == 1

            # What the sender hears of: success, the full mailbox, the delay; not of what it wants to know NEVER.
            reports = Reports(world.storage, world.intake, world.config, world.clock)
            assert await reports.post_due() == 3
            assert await way.settle(3) == ["sent"] * 3

            async def reports_came() -> bool:
                return host.mailbox(USER).count(b"multipart/report") == 3

            await until(reports_came, host)
            heard = host.mailbox(USER).decode()
            news = {USER: ("delivered", "2.0.0"), FULL: ("failed", "5.2.2"), LATER: ("delayed", "4.3.0")}
            for name, (action, status) in news.items():
                assert f"Final-Recipient: rfc822; {to[name]}\nAction: {action}\nStatus: {status}\n" in heard, heard
            assert heard.count("Original-Envelope-Id: env-1") == 3
