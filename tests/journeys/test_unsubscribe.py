"""One click, as mail providers do it (RFC 8058), over real HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from relay.base.storage import events, mail
from relay.intake import Accepted
from relay.replies import Verdict
from tests.kit.world import World

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
    link = re.search(rb"List-Unsubscribe:\r\n <http://127\.0\.0\.1:8080(/u/[\w-]+)>", head)
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
        told = [e.type for e in await events.after(tx, 0, types=["unsubscribed"])]
    assert told == ["unsubscribed"]


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
    assert b"mailto:" not in copies[1]
    assert copies[1].count(b"\r\nList-Unsubscribe:") == 1
