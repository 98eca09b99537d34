"""A provider that asks for less gets less, from all who mail it, and nobody else's mail waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from relay.base.config import Config
from relay.base.storage import sites
from relay.base.storage.tables import attempts, recipients
from tests.kit.dns import make_zone
from tests.kit.line import Line, line
from tests.kit.sink import Held, Sink
from tests.kit.world import World

TOO_MUCH = "421 4.7.28 unusual rate of mail from your IP address"


def customers(way: Line, n: int, *exchangers: str) -> list[str]:
    """So many domains that have these exchangers, all of which are the sink."""
    for exchanger in exchangers:
        way.dns.zones.put(make_zone(exchanger, [("@", "A", "127.0.0.1")]))
    found = [f"c{i}.test" for i in range(n)]
    for domain in found:
        mx = [("@", "MX", f"{10 * (1 + i)} {e}.") for i, e in enumerate(exchangers)]
        way.dns.zones.put(make_zone(domain, mx))
    return found


async def rows(world: World) -> dict[str, sites.Site]:
    async with world.storage.read() as tx:
        return {s.name: s for s in await sites.listing(tx, 100)}


async def until(true: Callable[[], Awaitable[Any]]) -> None:
    """Wait until it is so; what others do in the tables has no event of its own."""
    async with asyncio.timeout(10):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def parked(world: World) -> dict[str, tuple[int, str]]:
    """Address → tries and reason of those that were given back."""
    async with world.storage.read() as tx:
        c = recipients.c
        query = select(c.address, c.attempts, c.says).where(c.says.startswith("waits: "))
        return {r[0]: (r[1], r[2]) for r in await tx.execute(query)}


async def test_one_sign_is_heard_for_all_domains_of_the_site_and_the_rest_goes_back(config: Config) -> None:
    async with line(config, site_held=5) as way:
        domains = customers(way, 40, "mx1.far.test", "mx2.far.test")
        way.sink.on("MAIL", TOO_MUCH)
        alice = await way.world.member()
        await way.world.domain(alice)
        for domain in domains:
            await way.world.submit(alice, f"x@{domain}")
        way.start()
        assert await way.settle(1) == ["deferred"]

        async def given_back() -> bool:
            return len(await parked(way.world)) == 34

        await until(given_back)
        # One MAIL: its walk ended there, and nobody else began one.
        assert way.sink.verbs().count("MAIL") == 1
        assert set((await parked(way.world)).values()) == {(0, "waits: mx1.far.test is paused")}
        found = (await rows(way.world))["mx1.far.test"]
        assert (found.failures, found.lanes, found.says) == (1, 10.0, TOO_MUCH)
        async with way.world.storage.read() as tx:
            [one] = (await tx.execute(select(attempts))).all()
        assert one.host == "mx1.far.test"

        async def noted() -> bool:
            async with way.world.storage.read() as tx:
                served = await sites.serving(tx, domains)
            # All but the one whose try is over.
            return len(served) >= 39 and set(served.values()) == {"mx1.far.test"}

        await until(noted)
        # Elsewhere mail goes on.
        way.sink.on("MAIL", "250 2.1.0 ok")
        await way.world.submit(alice, "x@sink.test")
        assert await way.settle(1) == ["sent"]


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_after_the_pause_one_tries_and_then_everything_goes(config: Config) -> None:
    async with line(config, site_pause_seconds=0.2, site_slowed_rate=1000.0) as way:
        domains = customers(way, 12, "mx1.far.test")
        way.sink.on("MAIL", TOO_MUCH, "250 2.1.0 ok")
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for domain in domains:
            await way.world.submit(alice, f"x@{domain}")
        assert sorted(await way.settle(12)) == ["deferred"] + ["sent"] * 11
        assert way.sink.verbs().count("MAIL") == 12


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_a_site_in_no_trouble_is_nothing_to_the_tables(config: Config) -> None:
    async with line(config) as way:
        domains = customers(way, 10, "mx1.far.test")
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for domain in domains:
            await way.world.submit(alice, f"x@{domain}")
            assert await way.settle(1) == ["sent"]
        async with way.world.storage.read() as tx:
            assert (await sites.listing(tx, 9), await sites.shares(tx, 0.0, 9)) == ([], [])
            assert await sites.serving(tx, domains) == {}


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_a_kept_connection_serves_only_domains_that_name_its_host(config: Config) -> None:
    """A roll-up is about pacing: the same servers at one address, and yet a conversation for each name."""
    async with line(config, sites=[{"name": "far", "exchangers": ["far.test"]}]) as way:
        for i in (1, 2):
            way.dns.zones.put(make_zone(f"mx{i}.far.test", [("@", "A", "127.0.0.1")]))
            way.dns.zones.put(make_zone(f"c{i}.test", [("@", "MX", f"10 mx{i}.far.test.")]))
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for domain in ("c1.test", "c2.test", "c1.test"):
            await way.world.submit(alice, f"x@{domain}")
            assert await way.settle(1) == ["sent"]
        assert way.sink.connections == 2
        async with way.world.storage.read() as tx:
            hosts = [r.host for r in await tx.execute(select(attempts.c.host).order_by(attempts.c.id))]
        assert hosts == ["mx1.far.test", "mx2.far.test", "mx1.far.test"]
        # And a sign by one is a sign for the site.
        way.sink.on("MAIL", TOO_MUCH)
        await way.world.submit(alice, "y@c1.test")
        assert await way.settle(1) == ["deferred"]
        assert way.pacer.is_paused("far")


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_a_strangers_mx_set_pauses_nobody_but_itself(config: Config) -> None:
    evil = Sink()
    evil.on("MAIL", TOO_MUCH)
    async with line(config, sinks=[evil]) as way:
        way.dns.zones.put(make_zone("l.google.com", [("aspmx.l.google.com", "A", "127.0.0.1")]))
        way.dns.zones.put(make_zone("good.test", [("@", "MX", "1 aspmx.l.google.com.")]))
        both = [("@", "MX", "1 mx.bad0.test."), ("@", "MX", "1 aspmx.l.google.com.")]
        way.dns.zones.put(make_zone("evil.test", both))
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        # Whichever it is whose turn comes first: until the stranger's own host has been asked.
        while not evil.connections:
            await way.world.submit(alice, "x@evil.test")
            await way.settle(1)
        await way.world.submit(alice, "x@good.test")
        assert await way.settle(1) == ["sent"]
        assert not way.pacer.is_paused("google")

        async def known() -> bool:
            return "aspmx.l.google.com,mx.bad0.test" in await rows(way.world)

        await until(known)
        assert "google" not in await rows(way.world)


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_members_take_turns_at_a_slow_site(config: Config) -> None:
    gate = asyncio.Event()
    async with line(config) as way:
        [domain] = customers(way, 1, "mx1.far.test")
        way.sink.on("RCPT", Held(gate, "250 2.1.5 ok"))
        alice, bob = await way.world.member(), await way.world.member("bob")
        await way.world.domain(alice)
        await way.world.domain(bob, "other.test")
        way.start()
        for i in range(8):
            await way.world.submit(alice, f"a{i}@{domain}")
        await way.world.submit(bob, f"b@{domain}", sender="news@other.test")
        await until(lambda: _all_in_line(way, 8))
        gate.set()
        taken = [t.rcpt_tos[0] for t in await way.sink.wait_for(9)]
        assert taken.index(f"b@{domain}") <= 2


async def _all_in_line(way: Line, n: int) -> bool:
    return sum(way.worker._waiting().values()) == n


@pytest.mark.parametrize("config", ["sqlite"], indirect=True)
async def test_what_grows_too_old_while_its_site_is_paused_is_over_in_the_hosts_words(config: Config) -> None:
    async with line(config, max_age_seconds=1.5, site_pause_seconds=60.0) as way:
        domains = customers(way, 3, "mx1.far.test")
        way.sink.on("MAIL", TOO_MUCH)
        alice = await way.world.member()
        await way.world.domain(alice)
        way.start()
        for domain in domains:
            await way.world.submit(alice, f"x@{domain}")
        assert sorted(await way.settle(3)) == ["bounced", "bounced", "deferred"]
        assert way.sink.verbs().count("MAIL") == 1
        async with way.world.storage.read() as tx:
            said = {r.says for r in await tx.execute(select(attempts.c.says))}
        assert said == {TOO_MUCH}
