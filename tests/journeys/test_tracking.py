"""Tracked mail from intake to the reader's click: signed as it leaves, each recipient's own, told and counted."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.base.clock import DAY
from relay.base.events import Event
from relay.base.storage import events, mail, stats
from relay.intake import Accepted
from relay.outcome import Peer, Reply, from_reply
from tests.kit.clock import HandClock
from tests.kit.dkim_check import dkimpy_verifies, plainly_verifies
from tests.kit.storage import make_config
from tests.kit.world import MemberAt, World, key_pair

READER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
EVERYTHING = {"link_tracking": True, "open_tracking": True, "unsubscribe_link": True}
SQLITE = pytest.mark.parametrize("config", ["sqlite"], indirect=True)
PAGE = '<html><body>Grüße <a href="https://shop.test/?a=1&amp;b=ü">Laden</a> <a href="https://x.test">x</a></body></html>'


def letter(html: bytes = PAGE.encode(), encoding: str = "8bit") -> bytes:
    """Text and HTML."""
    return (
        b"From: News <news@example.test>\r\nTo: bob@sink.test\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/alternative; boundary=alt\r\n\r\n--alt\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        b"Gr\xc3\xbc\xc3\x9fe\r\n--alt\r\n"
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n"
        + html + b"\r\n--alt--\r\n"
    )


async def tracked(world: World, **options: Any) -> tuple[MemberAt, int]:
    """alice with example.test and its switches."""
    alice = await world.member()
    domain = await world.domain(alice)
    await world.change("domains", domain, options=options or EVERYTHING)
    await world.directory.refresh()
    return alice, domain


async def copies(world: World, got: Accepted) -> dict[str, bytes]:
    """Address → the octets that leave."""
    async with world.storage.read() as tx:
        found = await mail.bytes_of(tx, [(i, got.message_id) for _, i in got.recipients])
    return {address.text: b"".join(found[i]) for address, i in got.recipients}


def shown(raw: bytes) -> tuple[str, str]:
    """(plain text, HTML) of a copy."""
    plain, html = message_from_bytes(raw).get_payload()
    return plain.get_payload(decode=True).decode(), html.get_payload(decode=True).decode()


def paths(html: str, kind: str) -> list[str]:
    """The paths of our own addresses in HTML."""
    return re.findall(rf'"http://127\.0\.0\.1:8080(/{kind}/[\w-]+)"', html)


async def delivered(world: World) -> None:
    """Everything that is due arrives."""
    for ready in await world.queue.claim(100, {}):
        await world.queue.settle(ready.due, from_reply(Reply(250, (b"2.0.0 ok",)), "dot", Peer("mx.test", "192.0.2.1")))


async def reported(world: World, *types: str) -> list[Event]:
    """The events of these types."""
    await world.tracking.close()
    async with world.storage.read() as tx:
        return await events.after(tx, 0, types=types)


@pytest.fixture
async def http(world: World) -> AsyncIterator[TestClient]:
    app = web.Application(middlewares=[world.tracking.middleware])
    app.add_routes([*world.tracking.routes(), *world.unsubscribe.routes(), web.get("/account", account)])
    async with TestClient(TestServer(app)) as client:
        yield client


async def account(request: web.Request) -> web.Response:
    return web.Response(text="sign in here")


async def test_a_message_to_two_is_signed_followed_told_and_counted_for_each(world: World, http: TestClient) -> None:
    alice, domain = await tracked(world)
    world.handoff.reserve = lambda *_: False  # type: ignore[method-assign]  # let the queue's tables hand it out
    got = await world.submit(alice, "bob@sink.test", "eve@sink.test", raw=letter())
    _, rsa, _, ed = key_pair()
    table = {"ph1r._domainkey.example.test": rsa, "ph1e._domainkey.example.test": ed}
    kept = await copies(world, got)
    for raw in kept.values():
        for n in range(2):
            assert dkimpy_verifies(raw, table, n)
            assert plainly_verifies(raw, table, n)
    plain, html = shown(kept["bob@sink.test"])
    other = shown(kept["eve@sink.test"])[1]
    assert plain.startswith("Grüße\r\n\r\nUnsubscribe: http://127.0.0.1:8080/u/")
    assert not set(paths(html, "[cou]")) & set(paths(other, "[cou]"))
    assert "bob" not in re.sub("[^a-z]", "", str(paths(html, "[cou]")))
    await delivered(world)
    await world.pass_time(60)
    first, second = paths(html, "c")
    answer = await http.get(first, headers=READER, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, "https://shop.test/?a=1&b=%C3%BC")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Set-Cookie" not in answer.headers
    assert (await http.get(second, headers=READER, allow_redirects=False)).headers["Location"] == "https://x.test"
    dot = await http.get(paths(other, "o")[0], headers=READER)
    assert (dot.content_type, (await dot.read())[:6]) == ("image/gif", b"GIF89a")
    found = await reported(world, "opened", "clicked")
    ids = {a.text: i for a, i in got.recipients}
    assert {(e.type, e.recipient_id, e.data.get("url")) for e in found} == {
        ("clicked", ids["bob@sink.test"], "https://shop.test/?a=1&b=%C3%BC"),
        ("clicked", ids["bob@sink.test"], "https://x.test"), ("opened", ids["eve@sink.test"], None),
    }
    assert {(e.member_id, e.domain_id, e.message_id) for e in found} == {(alice.id, domain, got.message_id)}
    assert all("machine" not in e.data and e.data["queueId"] == got.queue_id for e in found)
    async with world.storage.read() as tx:
        [day] = await stats.days(tx, "2000-01-01", domain_id=domain)
    assert (day.opens, day.clicks, day.accepted, day.delivered) == (1, 2, 2, 2)
    left = await http.post(paths(html, "u")[0], data={"List-Unsubscribe": "One-Click"})
    assert left.status == 200
    assert [e.data["recipient"] for e in await reported(world, "unsubscribed")] == ["bob@sink.test"]


async def test_a_failed_copy_of_its_own_is_reported_with_its_header(world: World) -> None:
    alice, _ = await tracked(world)
    world.handoff.reserve = lambda *_: False  # type: ignore[method-assign]
    await world.submit(alice, "bob@sink.test", "eve@sink.test", raw=letter())
    for ready in await world.queue.claim(100, {}):
        no = Reply(550, (b"5.1.1 no such user",))
        await world.queue.settle(ready.due, from_reply(no, "rcpt", Peer("mx.test", "192.0.2.1")))
    async with world.storage.read() as tx:
        [(message_id, kind)] = await mail.reports_due(tx, 10, world.clock.now())
        facts = await mail.report_facts(tx, message_id, kind, 10)
    assert facts is not None
    assert b"\r\nSubject: Hello\r\n" in facts.content


@SQLITE
async def test_without_switches_nothing_changes(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    [raw] = (await copies(world, await world.submit(alice, "bob@sink.test", raw=letter()))).values()
    assert raw.endswith(letter().split(b"\r\n\r\n", 1)[1])
    [event] = await reported(world, "accepted")
    assert "tracking" not in event.data


@SQLITE
@pytest.mark.parametrize(
    ("options", "category", "kinds"),
    [
        ({"link_tracking": True}, "bulk", "c"), ({"open_tracking": True}, "bulk", "o"),
        ({"unsubscribe_link": True}, "bulk", "u"), (EVERYTHING, "password-reset", "co"),
    ],
)
async def test_each_switch_does_its_own(world: World, options: dict[str, bool], category: str, kinds: str) -> None:
    alice, _ = await tracked(world, **options)
    got = await world.submit(alice, "bob@sink.test", raw=letter(), category=category, door="http")
    [raw] = (await copies(world, got)).values()
    plain, html = shown(raw)
    assert {k for k in "cou" if paths(html, k)} == set(kinds)
    assert ("/u/" in plain) is ("u" in kinds)


@SQLITE
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda raw: b"X-Posthouse-Tracking: off\r\n" + raw, "off"),
        (lambda raw: b"DKIM-Signature: v=1; d=example.test; s=own; b=x\r\n" + raw, "signed"),
        (lambda raw: raw.replace(b"multipart/alternative", b"multipart/signed"), "plain"),
        (lambda raw: raw.replace(b"Gr\xc3\xbc", b"-----BEGIN PGP MESSAGE-----"), "pgp"),
    ],
)
async def test_what_goes_out_untouched_says_why(world: World, change: Any, why: str) -> None:
    alice, _ = await tracked(world)
    raw = change(letter())
    [sent] = (await copies(world, await world.submit(alice, "bob@sink.test", raw=raw))).values()
    assert sent.endswith(raw.split(b"\r\n\r\n", 1)[1])
    assert b"X-Posthouse-Tracking" not in sent
    [event] = await reported(world, "accepted")
    assert event.data["tracking"] == why


@SQLITE
async def test_copies_that_would_be_too_large_together_are_not_made(world: World) -> None:
    alice, _ = await tracked(world)
    raw = letter(b"<p>" + b"x" * 76 + b"</p>\r\n" + b"<p>long</p>\r\n" * 100_000)
    got = await world.submit(alice, *(f"r{i}@sink.test" for i in range(60)), raw=raw)
    assert isinstance(got, Accepted)
    assert {e.data["tracking"] for e in await reported(world, "accepted")} == {"large"}


@SQLITE
async def test_wrong_tokens_are_all_the_same_and_lead_nowhere(world: World, http: TestClient) -> None:
    alice, _ = await tracked(world)
    [raw] = (await copies(world, await world.submit(alice, "bob@sink.test", raw=letter()))).values()
    good = paths(shown(raw)[1], "c")[0]
    bodies = set()
    for wrong in (good[:-3], good[:-4] + "AAAA", "/c/x", "/c/" + "A" * 90, good.replace("/c/", "/o/"),
                  "/c/" + base64.urlsafe_b64encode(b"https://evil.test/").decode(), "/o/x"):
        answer = await http.get(wrong, headers=READER, allow_redirects=False)
        assert answer.status == 404
        assert "Location" not in answer.headers
        bodies.add(await answer.text())
    assert len(bodies) == 1
    assert await reported(world, "opened", "clicked") == []


@SQLITE
async def test_machines_are_marked_and_not_counted(world: World, http: TestClient) -> None:
    alice, domain = await tracked(world)
    world.handoff.reserve = lambda *_: False  # type: ignore[method-assign]
    [raw] = (await copies(world, await world.submit(alice, "bob@sink.test", raw=letter()))).values()
    html = shown(raw)[1]
    click, opened = paths(html, "c")[0], paths(html, "o")[0]
    await http.get(click, headers=READER, allow_redirects=False)  # a scanner, before the mailbox had it
    await delivered(world)
    await world.pass_time(60)
    await http.get(opened, headers={"User-Agent": "Mozilla/5.0"})
    await http.head(click, headers=READER, allow_redirects=False)
    found = await reported(world, "opened", "clicked")
    assert [(e.type, e.data.get("machine")) for e in found] == [("clicked", "at-once"), ("opened", "privacy")]
    async with world.storage.read() as tx:
        [day] = await stats.days(tx, "2000-01-01", domain_id=domain)
    assert (day.opens, day.clicks) == (0, 0)


@SQLITE
async def test_one_link_followed_again_and_again_is_recorded_so_often_only(world: World, http: TestClient) -> None:
    alice, _ = await tracked(world)
    [raw] = (await copies(world, await world.submit(alice, "bob@sink.test", raw=letter()))).values()
    click = paths(shown(raw)[1], "c")[0]
    for _ in range(40):
        assert (await http.get(click, headers=READER, allow_redirects=False)).status == 302
    assert len(await reported(world, "clicked")) == world.config.tracking.hits_an_hour


@SQLITE
async def test_a_link_outlives_the_log_and_not_its_years_nor_its_member(world: World, http: TestClient) -> None:
    alice, domain = await tracked(world)
    world.handoff.reserve = lambda *_: False  # type: ignore[method-assign]
    [raw] = (await copies(world, await world.submit(alice, "bob@sink.test", raw=letter()))).values()
    click = paths(shown(raw)[1], "c")[0]
    await delivered(world)
    await world.pass_time(40 * DAY)
    await world.storage.write(lambda tx: mail.purge_bodies(tx, world.clock.now(), 100))
    await world.storage.write(lambda tx: mail.purge_log(tx, world.clock.now(), 100))
    assert (await http.get(click, headers=READER, allow_redirects=False)).status == 302
    [event] = await reported(world, "clicked")
    assert (event.domain_id, event.message_id, event.data["url"]) == (domain, None, "https://shop.test/?a=1&b=%C3%BC")
    assert "recipient" not in event.data
    await world.change("members", alice.id, status="suspended", reason="phishing")
    await world.directory.refresh()
    stopped = await http.get(click, headers=READER, allow_redirects=False)
    assert (stopped.status, "Location" in stopped.headers) == (410, False)
    await world.change("members", alice.id, status="active", reason="")
    for state, status in (("suspended", 410), ("blocked", 410), ("disabled", 302), ("pending", 302), ("verified", 302)):
        await world.change("domains", domain, state=state)
        await world.directory.refresh()
        assert (await http.get(click, headers=READER, allow_redirects=False)).status == status
    await world.pass_time(world.config.tracking.links_days * DAY)
    assert (await http.get(click, headers=READER, allow_redirects=False)).status == 410


@SQLITE
async def test_a_tracking_host_is_used_once_it_answers_and_serves_nothing_else(world: World, http: TestClient) -> None:
    alice, domain = await tracked(world, **EVERYTHING, tracking=True, track_prefix="go", custom_subdomain="mail")
    host = "go-mail.example.test"

    async def link() -> str:
        [raw] = (await copies(world, await world.submit(alice, "bob@sink.test", raw=letter()))).values()
        return re.findall(r'<a href="([^"]+)', shown(raw)[1])[0]

    assert (await link()).startswith("http://127.0.0.1:8080/c/")
    await world.change("domains", domain, tracking_ok=True)
    await world.directory.refresh()
    url = await link()
    assert url.startswith(f"https://{host}/c/")
    there = {"Host": host} | READER
    assert (await http.get(url.removeprefix(f"https://{host}"), headers=there, allow_redirects=False)).status == 302
    assert (await http.get("/account", headers=there)).status == 404
    assert (await http.get("/account", headers=READER)).status == 200
    assert await (await http.get("/.well-known/posthouse-tracking", headers=there)).text() == "localhost\n"
    assert (await http.get(f"/internal/tls-ask?domain={host}")).status == 200
    assert (await http.get("/internal/tls-ask?domain=example.test")).status == 404
    outside = {"X-Forwarded-For": "198.51.100.7"}
    assert (await http.get(f"/internal/tls-ask?domain={host}", headers=outside)).status == 404
    inside = {"X-Forwarded-For": "127.0.0.1"}
    assert (await http.get(f"/internal/tls-ask?domain={host}", headers=inside)).status == 404, "it was forwarded"


@SQLITE
async def test_a_host_under_a_members_domain_never_shows_pages_again(world: World, http: TestClient) -> None:
    """The CNAME, and the certificate that a proxy fetched, outlive whatever becomes of the domain."""
    _alice, domain = await tracked(world, **EVERYTHING, tracking=True)

    async def status(host: str) -> int:
        await world.directory.refresh()
        return (await http.get("/account", headers={"Host": host} | READER)).status

    for state in ("verified", "disabled", "pending", "suspended", "blocked", "deleted"):
        await world.change("domains", domain, state=state)
        assert await status("track-sl.example.test") == 404, state
        assert await status("TRACK-SL.example.test.:8443") == 404, state
        assert await status("go-mail.example.test") == 404, "a prefix of earlier days"
    # A new life under the old id: pending, and never proved in it.
    await world.change("domains", domain, state="pending", first_verified_at=None)
    assert await status("track-sl.example.test") == 404
    for own in ("localhost", "127.0.0.1:8080", "[::1]:8080", "relay.example.test", "my-relay.elsewhere.test", "x-y"):
        assert await status(own) == 200, own


async def test_the_relays_own_names_under_an_enrolled_domain_go_on(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, server={"hostname": "mx-1.example.test", "public_url": "https://my-relay.example.test"},
        tracking={"own_names": ["old-relay.example.test"]},
    )
    world = await World.make(config, HandClock())
    try:
        domain = await world.domain(await world.member(), "example.test")
        app = web.Application(middlewares=[world.tracking.middleware])
        app.add_routes([web.get("/account", account)])
        async with TestClient(TestServer(app)) as client:

            async def status(host: str) -> int:
                await world.directory.refresh()
                return (await client.get("/account", headers={"Host": host})).status

            for own in ("mx-1", "my-relay", "old-relay"):
                assert await status(f"{own}.example.test") == 200, own
            assert await status("track-sl.example.test") == 404
            # Anybody may claim the operator's domain; that alone takes no name from the relay.
            await world.change("domains", domain, state="pending", first_verified_at=None)
            assert await status("the-pages.example.test") == 200
    finally:
        await world.close()
