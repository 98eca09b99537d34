"""One click, as mail providers do it (RFC 8058), over real HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.base.storage import events, mail, suppressions
from relay.base.web import application
from relay.intake import Accepted
from relay.replies import Verdict
from relay.unsubscribe import Unsubscribe, address
from tests.kit.world import MemberAt, World, letter

pytestmark = pytest.mark.parametrize("config", ["sqlite"], indirect=True)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
async def http(world: World) -> AsyncIterator[TestClient]:
    app = web.Application()
    app.add_routes(world.unsubscribe.routes())
    async with TestClient(TestServer(app)) as client:
        yield client


async def path_in(world: World, got: Accepted) -> str:
    """The unsubscribe path of the first recipient's copy."""
    async with world.storage.read() as tx:
        found = await mail.bytes_of(tx, [(got.recipients[0][1], got.message_id)])
    head, _ = found[got.recipients[0][1]]
    link = re.search(rb"List-Unsubscribe:\r\n <http://127\.0\.0\.1:8080(/u/[\w-]+)>,\r\n <mailto:u-", head)
    assert link is not None
    return link[1].decode()


async def test_one_click_takes_the_recipient_off_at_once_and_may_be_repeated(world: World, http: TestClient) -> None:
    alice = await world.member()
    await world.domain(alice)
    path = await path_in(world, await world.submit(alice, "Bob+x@sink.test"))
    assert b"bob" not in path.encode().lower()
    for _ in range(2):
        answer = await http.post(path, data=ONE_CLICK, allow_redirects=False)
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
    await world.suppressions.refresh()
    refused = await world.submit(alice, "bob@sink.test")
    assert isinstance(refused, Verdict)
    assert refused.reply.name == "suppressed"
    async with world.storage.read() as tx:
        shown = [e.type for e in await events.after(tx, 0, types=["unsubscribed"])]
    assert shown == ["unsubscribed"]


async def test_looking_at_the_link_changes_nothing(world: World, http: TestClient) -> None:
    alice = await world.member()
    await world.domain(alice)
    path = await path_in(world, await world.submit(alice, "bob@sink.test"))
    page = await http.get(path)
    assert page.status == 200
    assert "<button>" in await page.text()
    assert (await http.post(path, data={"something": "else"})).status == 400
    assert isinstance(await world.submit(alice, "bob@sink.test"), Accepted)


async def test_forged_cut_and_foreign_tokens_are_all_the_same_404(world: World, http: TestClient) -> None:
    alice = await world.member()
    await world.domain(alice)
    path = await path_in(world, await world.submit(alice, "bob@sink.test"))
    bodies = set()
    for wrong in (path[:-1], path[:-2] + "AA", "/u/" + "A" * 60, "/u/x", path.replace("/u/", "/u/-")):
        answer = await http.post(wrong, data=ONE_CLICK)
        assert answer.status == 404
        bodies.add(await answer.text())
    assert len(bodies) == 1


async def test_an_own_one_click_header_is_kept_and_a_bare_mailto_is_replaced(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    tail = b"From: n@example.test\r\nSubject: x\r\n\r\nhi\r\n"
    post = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    own = b"List-Unsubscribe: <https://example.test/out>\r\n" + post + tail
    bare = b"List-Unsubscribe: <mailto:out@example.test>\r\n" + tail
    copies = []
    for raw in (own, bare):
        got = await world.submit(alice, "bob@sink.test", raw=raw)
        assert isinstance(got, Accepted)
        async with world.storage.read() as tx:
            found = await mail.bytes_of(tx, [(got.recipients[0][1], got.message_id)])
        copies.append(b"".join(found[got.recipients[0][1]]))
    assert b"\r\nList-Unsubscribe: <https://example.test/out>\r\n" in copies[0]
    assert copies[0].count(b"\r\nList-Unsubscribe:") == 1
    assert b"mailto:out@" not in copies[1]
    assert copies[1].count(b"\r\nList-Unsubscribe:") == 1


async def listed(world: World, member: MemberAt) -> list[tuple[str, str, str]]:
    async with world.storage.read() as tx:
        return [(s.canonical, s.reason, s.categories) for s in await suppressions.page(tx, member.id)]


async def test_the_page_offers_all_or_only_mail_of_this_kind(world: World, http: TestClient) -> None:
    alice = await world.member()
    await world.domain(alice)
    path = await path_in(world, await world.submit(alice, "bob@sink.test", category="broadcast"))
    page = await (await http.get(path)).text()
    assert page.count("<button>") == 2
    assert "announcements" in page
    assert (await http.post(path, data={**ONE_CLICK, "only": "bulk"})).status == 400
    assert (await http.post(path, data={**ONE_CLICK, "only": "broadcast"})).status == 200
    assert await listed(world, alice) == [("bob@sink.test", "unsubscribe", "broadcast")]
    await world.suppressions.refresh()
    # Announcements are refused, whichever way their category is said; the rest still comes.
    refused = await world.submit(alice, "bob@sink.test", category="broadcast")
    assert refused.extra["categories"] == ["broadcast"]
    said = b"X-Posthouse-Category: broadcast\r\n" + letter()
    assert isinstance(await world.submit(alice, "bob@sink.test", raw=said), Verdict)
    other = await world.submit(alice, "bob@sink.test")
    assert isinstance(other, Accepted)
    # Bulk mail left as well makes both; then everything.
    assert (await http.post(await path_in(world, other), data={**ONE_CLICK, "only": "bulk"})).status == 200
    assert await listed(world, alice) == [("bob@sink.test", "unsubscribe", "broadcast bulk")]
    assert isinstance(await world.submit(alice, "bob@sink.test", category="transactional", door="http"), Accepted)
    assert (await http.post(path, data=ONE_CLICK)).status == 200
    assert await listed(world, alice) == [("bob@sink.test", "unsubscribe", "")]
    assert isinstance(await world.submit(alice, "bob@sink.test", category="transactional", door="http"), Verdict)
    assert isinstance(await world.submit(alice, "bob@sink.test", category="mfa-otp", door="http"), Accepted)
    async with world.storage.read() as tx:
        shown = [e.data for e in await events.after(tx, 0, types=["unsubscribed"])]
    assert [(d["category"], d["stops"]) for d in shown] == [
        ("broadcast", ["broadcast"]), ("bulk", ["broadcast", "bulk"]), ("broadcast", "all"),
    ]


async def test_links_of_earlier_versions_still_work(world: World, http: TestClient) -> None:
    alice = await world.member()
    domain_id = await world.domain(alice)
    old = world.vault.token("unsubscribe", f"{alice.id}\n{domain_id}\nbob@sink.test".encode())
    assert (await http.post(f"/u/{old}", data=ONE_CLICK)).status == 200
    assert await listed(world, alice) == [("bob@sink.test", "unsubscribe", "")]


async def test_each_copy_has_both_ways_out_and_both_fields_are_signed(world: World) -> None:
    alice = await world.member()
    await world.domain(alice)
    got = await world.submit(alice, "bob@sink.test", "carol@sink.test")
    async with world.storage.read() as tx:
        found = await mail.bytes_of(tx, [(r, got.message_id) for _, r in got.recipients])
    locals_ = set()
    for head, _ in found.values():
        [mailto] = re.findall(rb"<mailto:(u-[a-z2-7]{40})@bounce\.localhost\?subject=unsubscribe>", head)
        locals_.add(mailto)
        assert len(mailto) <= 64
        signed = re.findall(rb"[\s;]h=([^;]+);", head)
        assert len(signed) == 2
        for names in signed:
            listed_names = b"".join(names.lower().split()).split(b":")
            # Once as they stand and once more, so that nobody can put a second one in front.
            assert listed_names.count(b"list-unsubscribe") == 2
            assert listed_names.count(b"list-unsubscribe-post") == 2
    assert len(locals_) == 2


async def test_the_mail_address_reads_in_any_case_and_no_other_way(world: World) -> None:
    local = address.local_part(world.vault, "abcdefghij234567", "bob@sink.test")
    assert address.read(world.vault, local.upper()) == ("abcdefghij234567", address.who("bob@sink.test"))
    turned = local[:-1] + ("a" if local[-1] != "a" else "b")
    for wrong in (local[:-1], local + "a", turned, "b-" + local[2:], "u-", "u-" + "0" * 40, "u-" + "é" * 40):
        assert address.read(world.vault, wrong) is None, wrong


async def test_a_relay_without_port_25_promises_no_mail(world: World) -> None:
    config = world.config.model_copy(
        update={"suppression": world.config.suppression.model_copy(update={"unsubscribe_mail": False})}
    )
    alone = Unsubscribe(world.storage, world.vault, config, world.clock)
    assert b"mailto" not in alone.lines(1, 1, "bob@sink.test", queue_id="abcdefghij234567")[0][1]


# How each body reaches the socket: its pieces, with a pause between them.
URLENCODED = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 26\r\n"
MULTIPART = b"Content-Type: multipart/form-data; boundary=xx\r\nTransfer-Encoding: chunked\r\n"
PART = b'--xx\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\nContent-Length: 9\r\n\r\n'


def chunk(octets: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(octets), octets)


async def posted(http: TestClient, path: str, head: bytes, pieces: list[bytes], pause: float) -> bytes:
    """The status line, when `pieces` follow the head one by one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    try:
        writer.write(b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%b\r\n" % (path.encode(), head))
        if b"Expect:" in head:
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            # Only time tells a network that is slow from a body that is short.
            await asyncio.sleep(pause)
        return await reader.readline()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (URLENCODED, [b"List-Unsub", b"scribe=One-Click"]),
        (URLENCODED, [bytes([octet]) for octet in b"List-Unsubscribe=One-Click"]),
        (URLENCODED + b"Expect: 100-continue\r\n", [b"List-Unsubscribe=", b"One-Click"]),
        (URLENCODED.replace(b"26", b"30").replace(b"urlencoded", b"urlencoded; charset=UTF-8"),
         [b"List%2DUnsub", b"scribe=one%2DCLICK"]),
        (URLENCODED.partition(b"\r\n")[2], [b"List-Unsubscribe=", b"One-Click"]),
        (b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n",
         [chunk(b"List-Unsub"), chunk(b"scribe=One-Click"), b"0\r\n\r\n"]),
        (MULTIPART, [chunk(PART), chunk(b"One-Click"), chunk(b"\r\n--xx--\r\n"), b"0\r\n\r\n"]),
        (MULTIPART, [chunk(b"--xx\r\nContent-Disposition: form-data; name=list-unsubscribe\r\n\r"),
                     chunk(b"\none-click\r\n--xx--\r\n"), b"0\r\n\r\n"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pause", [0.001, 0.03])
async def test_one_click_is_read_whole_however_it_comes(
    world: World, http: TestClient, head: bytes, pieces: list[bytes], pause: float
) -> None:
    alice = await world.member()
    await world.domain(alice)
    path = await path_in(world, await world.submit(alice, "bob@sink.test"))
    assert (await posted(http, f"{path}?utm_source=x", head, pieces, pause)).startswith(b"HTTP/1.1 200 ")
    assert await listed(world, alice) == [("bob@sink.test", "unsubscribe", "")]


async def test_what_does_not_ask_for_it_changes_nothing(world: World, http: TestClient) -> None:
    alice = await world.member()
    await world.domain(alice)
    path = await path_in(world, await world.submit(alice, "bob@sink.test"))
    named = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
    for body in (b"", b"x=List-Unsubscribe=One-Click", b"List-Unsubscribe=", b"List-Unsubscribe=Two", b"One-Click"):
        head = named + b"%d\r\n" % len(body)
        assert (await posted(http, path, head, [body], 0)).startswith(b"HTTP/1.1 400 "), body
    for query in ("List-Unsubscribe=One-Click", "x"):
        assert (await http.get(f"{path}?{query}")).status == 200
        assert (await http.head(f"{path}?{query}")).status == 200
    # More than a form can be, and one that never ends.
    assert (await posted(http, path, named + b"65537\r\n", [], 0)).startswith(b"HTTP/1.1 413 ")
    impatient = world.config.http.model_copy(update={"read_timeout_seconds": 0.05})
    config = world.config.model_copy(update={"http": impatient})
    app = application(config, world.clock, world.storage, routes=world.unsubscribe.routes())
    async with TestClient(TestServer(app)) as other:
        said = await posted(other, path, named + b"26\r\n", [b"List-Unsub"], 0)
        assert said.startswith(b"HTTP/1.1 400 ")
    assert await listed(world, alice) == []
