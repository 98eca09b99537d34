"""What receivers report about members' domains, the whole way: a mail on port 25, and what API and page then say."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import func, select

from relay.base.clock import DAY, iso
from relay.base.storage.tables import aggregate_reports, dmarc_days, events, suppressions, tls_days
from relay.inbound import InboundServer
from relay.retention import Retention
from tests.journeys.test_domains_api import Api, api
from tests.journeys.test_inbound import give, inbound
from tests.kit.aggregate import bomb, mail, row, tls, xml, zipped
from tests.kit.dns import make_zone

TO = "dmarc@bounce.localhost"
__all__ = ["api"]


@asynccontextmanager
async def reporting(api: Api, **sections: Any) -> AsyncIterator[InboundServer]:
    """Port 25 of the relay whose API this is; far.test says by SPF that mail from here is its own."""
    relay = api.relay
    relay.dns.zones.put(make_zone("far.test", [("@", "TXT", "v=spf1 ip4:127.0.0.1 -all")]))
    async with inbound(relay.world, resolver=relay.dns.resolver, **sections) as server:
        yield server


async def hand_in(server: InboundServer, octets: bytes, *, sender: str = "noreply@far.test", **more: Any) -> None:
    rcpt, end = await give(server.ports[0], TO, mail(octets, TO, **more), sender, helo="mx.far.test")
    assert (rcpt[:3], end[:3]) == ("250", "250")


async def rows(api: Api) -> dict[str, int]:
    async with api.relay.storage.read() as tx:
        counted = {}
        for table in (aggregate_reports, dmarc_days, tls_days):
            counted[table.name] = int(await tx.scalar(select(func.count()).select_from(table)) or 0)
        return counted


async def test_reports_come_in_and_are_shown(api: Api) -> None:
    domain = await api.verified()
    at = api.relay.clock.now() - DAY
    google = zipped(xml("google", row("192.0.2.25", 90), row("203.0.113.9", 60, dkim="fail", spf="fail"), at=at))
    outlook = gzip.compress(xml("microsoft", row("192.0.2.25", 10, spf="fail"), at=at, id="2"))
    session = tls(at=iso(at), to=iso(at + DAY - 1))
    async with reporting(api) as server:
        await hand_in(server, google, kind="application/zip")
        await hand_in(server, google, kind="application/zip")  # again: it counts once
        await hand_in(server, outlook)
        await hand_in(server, session, kind="application/tlsrpt+json")
    status, got = await api.ask("GET", f"/v1/domains/{domain['name']}/dmarc")
    assert (status, got["address"], got["messages"], got["aligned"], got["unproved"]) == (200, TO, 160, 100, 0)
    assert got["reporters"] == ["far.test"]
    assert [(s["address"], s["messages"], s["aligned"], s["dkim"], s["spf"]) for s in got["sources"]] == [
        ("192.0.2.25", 100, 100, 100, 90), ("203.0.113.9", 60, 0, 0, 0),
    ]
    assert got["sources"][0]["signedBy"] == "example.test"
    assert got["problem"]["code"] == "stranger"
    assert "203.0.113.9 sent 60 messages" in got["problem"]["says"]
    assert [(t["result"], t["host"], t["sessions"]) for t in got["tls"]] == [
        ("success", "", 40), ("certificate-expired", "mx.example.test", 3), ("unspecified", "", 2),
    ]
    assert (await api.ask("GET", f"/v1/domains/{domain['name']}/dmarc", by=api.bob))[0] == 404


async def test_what_is_forged_or_broken_changes_nothing_else(api: Api) -> None:
    await api.verified()
    at = api.relay.clock.now() - DAY
    async with api.relay.storage.read() as tx:
        before = await tx.scalar(select(func.count()).select_from(events))
    async with reporting(api) as server:
        for octets in (
            bomb(30_000_000), b"<feedback>", b"\x1f\x8bxx",
            xml(at=at).replace(b"<feedback>", b"<!DOCTYPE x><feedback>"),
            xml(at=at, domain="stranger.test"), xml(at=at, domain="sub.example.test"), tls(domain="stranger.test"),
            xml(at=at - 60 * DAY), xml(at=at + 9 * DAY),
        ):
            await hand_in(server, octets)
        empty = b"From: noreply@far.test\r\nTo: x@y.test\r\n\r\nHello\r\n"
        assert (await give(server.ports[0], TO, empty, "noreply@far.test"))[1][:3] == "250"
        assert set((await rows(api)).values()) == {0}
        # Well-formed, and by nobody who proves to be who he says: it is kept apart.
        forged = xml("google", row("203.0.113.66", 5000, dkim="fail", spf="fail"), at=at)
        await hand_in(server, forged, sender="noreply@evil.test")
    _, got = await api.ask("GET", "/v1/domains/example.test/dmarc")
    assert (got["messages"], got["unproved"], got["sources"], got["problem"]) == (0, 5000, [], None)
    async with api.relay.storage.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(events)) == before
        assert await tx.scalar(select(func.count()).select_from(suppressions)) == 0


async def test_a_day_has_a_bound_and_an_end(api: Api) -> None:
    await api.verified()
    config = api.relay.world.config
    config.__dict__["aggregate_reports"] = config.aggregate_reports.model_copy(update={"max_rows_a_day": 5})
    at = api.relay.clock.now() - DAY
    async with reporting(api) as server:
        for n in range(3):
            many = [row(f"203.0.113.{4 * n + i}") for i in range(4)]
            await hand_in(server, xml("yahoo", *many, at=at, id=str(n)))
    assert (await rows(api))["dmarc_days"] == 5
    api.relay.clock.move(31 * DAY)
    await Retention(api.relay.storage, config, api.relay.clock, "test").once()
    assert set((await rows(api)).values()) == {0}


async def test_the_address_is_suggested_once_dns_lets_reports_come(api: Api) -> None:
    async def suggested(name: str) -> str:
        await api.enroll(name)
        await api.ask("POST", f"/v1/domains/{name}/verify")
        _, got = await api.ask("GET", f"/v1/domains/{name}/records")
        return next(r["value"] for r in got["records"] if r["purpose"] == "dmarc")

    assert await suggested("example.test") == "v=DMARC1; p=none"
    api.relay.dns.zones.put(
        make_zone("bounce.localhost", [("other.test._report._dmarc.bounce.localhost", "TXT", "v=DMARC1")])
    )
    assert await suggested("other.test") == f"v=DMARC1; p=none; rua=mailto:{TO}"


@pytest.mark.parametrize("off", [True])
async def test_without_reports_there_is_no_such_address(api: Api, off: bool) -> None:
    config = api.relay.world.config
    changed = config.aggregate_reports.model_copy(update={"enabled": not off})
    config.__dict__["aggregate_reports"] = changed
    async with reporting(api) as server:
        assert (await give(server.ports[0], TO, mail(b"x", TO)))[0][:3] == "550"


