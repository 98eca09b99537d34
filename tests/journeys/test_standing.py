"""Standing the whole way: mail over real sockets to an exchanger that refuses some of it, and what becomes of its
sender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from relay.base.config import Config
from relay.base.storage import accounts, incidents
from relay.base.storage import events as rows
from relay.base.storage import standing as standings
from relay.base.storage.standing import Tally
from relay.intake import Accepted
from relay.replies import Verdict
from relay.standing import Standing, Watch, standing_of
from tests.journeys.test_inbound import arf, dsn, give, inbound, listed
from tests.kit.line import Line, line
from tests.kit.smtp import Talk
from tests.kit.world import MemberAt

LISTED = "550 5.7.1 Service unavailable, client host [192.0.2.1] blocked using zen.spamhaus.org"
Way = tuple[Line, MemberAt]


@asynccontextmanager
async def judged(config: Config) -> AsyncIterator[Way]:
    """A line under watch, with a member who may send without limit."""
    async with line(config) as way:
        world = way.world
        alice = await world.member(email="alice@sink.test")
        await world.domain(alice)
        watch = Watch(world.storage, world.config, world.clock, world.vault, world.core.notices, owner="test")
        world.config.standing.__dict__["poll_seconds"] = 0.05
        task = asyncio.create_task(watch.run())
        try:
            await watch.tick()
            yield way, alice
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def finish(way: Line, alice: MemberAt, n: int) -> Standing:
    """Send to u0@ …, at three domains in turn, and wait until all of it is finished and counted."""
    numbers = [f"u{i}@{('sink.test', 'slow.test', 'example.test')[(i + i // 12) % 3]}" for i in range(n)]
    for at in range(0, n, 100):
        got = await way.world.submit(alice, *numbers[at : at + 100])
        assert isinstance(got, Accepted), got
    way.start()
    async with asyncio.timeout(20):
        while True:
            async with way.world.storage.read() as tx:
                row = await accounts.by_id(tx, alice.id)
                assert row is not None
                found = await standing_of(tx, way.world.config, alice.id, row.status, way.world.clock.now())
            if found.counts.finished + found.counts.excused >= n:
                return found
            await asyncio.sleep(0.05)


async def shown(way: Line, alice: MemberAt, last: str) -> list[Any]:
    """The member's own events, as soon as `last` is among them."""
    async with asyncio.timeout(10):
        while True:
            async with way.world.storage.read() as tx:
                found = await rows.after(tx, 0, member_id=alice.id, limit=5000)
            mine = [e for e in found if e.type.startswith("member.")]
            if not last or last in {e.type for e in mine}:
                return mine
            await asyncio.sleep(0.02)


def number(command: bytes) -> int:
    return int(command.split(b"<u", 1)[1].split(b"@", 1)[0])


@pytest.mark.parametrize(
    "bad", [lambda i: i < 40, lambda i: i >= 460, lambda i: i % 12 == 0 and i < 480], ids=["first", "last", "mixed"]
)
async def test_eight_percent_of_five_hundred_suspends_in_any_order(
    sqlite_config: Config, bad: Callable[[int], bool]
) -> None:
    async with judged(sqlite_config) as (way, alice):
        written = asyncio.Event()

        def by_number(command: bytes) -> str:
            if b"<alice@" in command:
                written.set()
                return "250 2.1.5 ok"
            return "550 5.1.1 no such user" if bad(number(command)) else "250 2.1.5 ok"

        way.sink.on("RCPT", by_number)
        found = await finish(way, alice, 500)
        assert (found.counts.finished, found.counts.failures.bounces) == (500, 40)
        assert (found.counts.failures.bounce_domains, found.counts.failures.refused) == (3, 40)
        mine = await shown(way, alice, "member.suspended")
        assert [e.type for e in mine] == ["member.noticed", "member.slowed", "member.suspended"]
        # Nobody told this process: it sees by itself.
        async with asyncio.timeout(5):
            await written.wait()
            directory = way.world.directory
            while not isinstance(said := directory.login("alice", alice.key, "127.0.0.1"), Verdict):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (said.reply.smtp, said.reply.http, said.reply.code) == (521, 403, "MEMBER_SUSPENDED")
        assert "bounces of" in said.saw


async def test_one_in_thirteen_suspends_nobody(sqlite_config: Config) -> None:
    async with judged(sqlite_config) as (way, alice):
        way.sink.on("RCPT", lambda c: "550 5.1.1 no such user" if number(c) == 3 else "250 2.1.5 ok")
        found = await finish(way, alice, 13)
        assert (found.stage, found.counts.failures.bounces, found.judgement.enough) == ("good", 1, False)
        assert await shown(way, alice, "") == []


async def test_a_blocklisting_of_ours_suspends_nobody_and_opens_one_incident(sqlite_config: Config) -> None:
    async with judged(sqlite_config) as (way, alice):
        way.sink.on("RCPT", lambda c: LISTED if number(c) % 4 else "250 2.1.5 ok")
        found = await finish(way, alice, 120)
        assert (found.stage, found.counts.finished, found.counts.excused) == ("good", 30, 90)
        assert await shown(way, alice, "") == []
        async with way.world.storage.read() as tx:
            [incident] = await incidents.listing(tx)
        assert (incident.kind, incident.count, incident.examples[0]["reply"]) == ("reputation", 90, LISTED)
        assert isinstance(await way.world.submit(alice, "u0@sink.test"), Accepted)


async def counted(way: Line, alice: MemberAt) -> Standing:
    """The standing once everything in the feed has been counted and judged."""
    async with asyncio.timeout(20):
        while True:
            async with way.world.storage.read() as tx:
                newest, seen = await rows.settled(tx), await standings.cursor(tx)
                row = await accounts.by_id(tx, alice.id)
                assert row is not None
                found = await standing_of(tx, way.world.config, alice.id, row.status, way.world.clock.now())
            if newest == seen and found.stage == found.judgement.stage:
                return found
            await asyncio.sleep(0.02)


async def pour(port: int, to: str, raw: bytes, times: int) -> set[str]:
    """The same message again and again on one connection; the codes it got."""
    async with await Talk.secured(port) as talk:
        codes = set()
        for _ in range(times):
            await talk.ask("MAIL FROM:<>")
            if not (said := await talk.ask(f"RCPT TO:<{to}>")).startswith("250"):
                codes.add(said[:3])
                break
            await talk.ask("DATA")
            await talk.send(raw + b".\r\n")
            codes.add((await talk.reply())[:3])
        return codes


async def test_strangers_suspend_nobody_and_those_who_may_say_it_do(config: Config) -> None:
    """Three of a member's recipients forge complaints and late bounces again and again, from a host that speaks for
    nobody; then their providers and a feedback loop say the same."""
    async with judged(config) as (way, alice), inbound(way.world, resolver=way.dns.resolver) as server:
        await finish(way, alice, 60)
        port = server.ports[0]
        paths = {t.rcpt_tos[0].partition("@")[0]: t.mail_from for t in await way.sink.wait_for(60)}
        for who in ("u0", "u1", "u2"):
            assert await pour(port, "fbl@localhost", arf(paths[who]), 12) == {"250"}
            assert await pour(port, paths[who], arf(paths[who]), 12) == {"250"}
        for who in ("u3", "u4", "u5"):
            # The first settles it; then the return path is spent.
            assert await pour(port, paths[who], dsn(paths[who]), 12) == {"250", "550"}
        found = await counted(way, alice)
        assert (found.stage, found.counts.failures, found.counts.late) == ("good", Tally(), 0)
        assert found.counts.finished == 60
        suppressed = dict.fromkeys(("u0", "u1", "u2"), "complaint") | dict.fromkeys(("u3", "u4", "u5"), "hard_bounce")
        assert {a.partition("@")[0]: r for a, r in (await listed(way.world, alice)).items()} == suppressed
        assert await shown(way, alice, "") == []

        for domain in ("sink.test", "slow.test", "example.test"):
            way.dns.zones.replace(f"mx.{domain}", "TXT", "v=spf1 ip4:127.0.0.1 -all")
        domains = dict(t.rcpt_tos[0].split("@") for t in await way.sink.wait_for(60))
        # One of them complained before, in a stranger's words: that doesn't stand in the way.
        for who in ("u0", "u7"):
            said = await give(port, paths[who], arf(paths[who]), helo=f"mx.{domains[who]}")
            assert said[1].startswith("250")
        found = await counted(way, alice)
        assert (found.stage, found.counts.failures) == ("slowed", Tally(0, 0, 0, 2, 2))
        third = next(w for w in ("u8", "u9", "u10", "u11") if domains[w] not in (domains["u0"], domains["u7"]))
        assert (await give(port, "fbl@localhost", arf(paths[third]), helo=f"mx.{domains[third]}"))[1][:3] == "250"
        assert (await counted(way, alice)).stage == "suspended"
        assert [e.type for e in await shown(way, alice, "member.suspended")] == [
            "member.noticed", "member.slowed", "member.suspended",
        ]
