"""`/v1/webhooks` over HTTP and `/account/webhooks` in a browser: shapes, scopes, what another member gets to see."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator

import pytest
from standardwebhooks import Webhook

from relay.base.config import Config
from relay.base.events import SENT, Event
from relay.base.storage import events
from relay.webhooks import Dispatcher, Poster
from tests.kit.hooks import Receiver, receiver
from tests.kit.world import MemberAt
from tests.pages.site import NASTY, Site, Visit, site


@pytest.fixture
async def place(sqlite_config: Config) -> AsyncIterator[Site]:
    found = sqlite_config.webhooks.model_copy(update={"allow_private_networks": True})
    async with site(sqlite_config.model_copy(update={"webhooks": found})) as made:
        yield made


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


async def ask(visit: Visit, method: str, path: str, member: MemberAt, json: object = None) -> tuple[int, dict]:
    headers = {"Authorization": f"Bearer {member.key}"}
    async with visit.client.request(method, visit.url + path, json=json, headers=headers) as response:
        return response.status, await response.json() if response.status != 204 else {}


async def posted(place: Site) -> None:
    """Post what is due."""
    env = place.env

    poster = Poster(env.world.config.webhooks, env.dns.resolver, env.clock.monotonic)
    dispatcher = Dispatcher(
        env.storage, env.world.config, env.clock, env.world.vault, poster, env.world.core.notices,
        owner="test",
    )
    await dispatcher.tick()
    await dispatcher.finish()
    await dispatcher.close()
    await poster.close()


async def happen(place: Site, member: MemberAt, kind: str = SENT) -> None:
    event = Event(kind, member.id, place.env.clock.now(), data={"recipient": "x@y.test"})
    await place.env.storage.write(lambda tx: events.append(tx, [event]))


async def test_a_webhook_lives_and_dies_by_the_api(place: Site, there: Receiver) -> None:
    alice, bob, visit = await place.member("alice"), await place.member("bob"), place.visit()
    status, made = await ask(visit, "POST", "/v1/webhooks", alice, {"url": there.url, "types": [SENT]})
    assert status == 201
    assert (made["url"], made["types"], made["state"], made["failingSince"]) == (there.url, [SENT], "live", None)
    path = f"/v1/webhooks/{made['id']}"
    status, shown = await ask(visit, "GET", path, alice)
    assert (status, shown) == (200, {k: v for k, v in made.items() if k != "secret"})
    assert (await ask(visit, "GET", "/v1/webhooks", alice))[1] == {"webhooks": [shown]}

    await happen(place, alice)
    status, answer = await ask(visit, "POST", f"{path}/test", alice)
    assert status == 202
    await posted(place)
    status, log = await ask(visit, "GET", f"{path}/log", alice)
    assert status == 200
    assert {(line["type"], line["state"], line["status"]) for line in log["log"]} == {
        ("test", "delivered", 204), (SENT, "delivered", 204),
    }
    assert answer["delivery"] in {line["id"] for line in log["log"]}
    reported = {c.name: c.verified(made["secret"]) for c in there.came}
    (event,) = [t["data"] for name, t in reported.items() if name.startswith("evt_")]
    _, feed = await ask(visit, "GET", f"{path}/log?state=failed", alice)
    assert feed == {"log": [], "cursor": None}

    status, new = await ask(visit, "POST", f"{path}/rotate", alice)
    assert status == 200
    assert new["secret"] != made["secret"]
    assert new["twoSecretsUntil"]
    assert await ask(visit, "POST", f"{path}/replay", alice, {"event": event["id"]}) == (202, {"events": 1})
    status, refused = await ask(visit, "POST", f"{path}/replay", alice, {"since": "yesterday"})
    assert (status, refused["detail"]["field"]) == (400, "since")
    await posted(place)
    assert there.came[-1].verified(new["secret"]) == there.came[-1].verified(made["secret"])
    status, page = await ask(visit, "GET", f"{path}/log?limit=1", alice)
    _, rest = await ask(visit, "GET", f"{path}/log?limit=1&cursor={page['cursor']}", alice)
    assert {page["log"][0]["id"], rest["log"][0]["id"]} == {line["id"] for line in log["log"]}

    for method, where, body in (
        ("GET", path, None), ("DELETE", path, None), ("POST", f"{path}/rotate", None), ("POST", f"{path}/test", None),
        ("POST", f"{path}/replay", {"event": 1}), ("POST", f"{path}/enable", None), ("GET", f"{path}/log", None),
    ):
        assert (await ask(visit, method, where, bob, body))[0] == 404
    assert (await ask(visit, "POST", f"{path}/enable", alice))[0] == 409
    assert (await ask(visit, "DELETE", path, alice))[0] == 204
    assert (await ask(visit, "GET", path, alice))[0] == 404


async def test_what_a_key_may_not_do_and_what_can_not_be_read(place: Site) -> None:
    alice, visit = await place.member("alice"), place.visit()
    issue = place.env.services.credentials.issue
    reader, _ = await issue(alice.id, scopes=["read"])
    await place.env.domains.enroll(alice.id, "example.test", {})
    narrow, _ = await issue(alice.id, domains=["example.test"])
    good = {"url": "http://127.0.0.1:9/"}
    by = lambda key: MemberAt(alice.id, alice.handle, alice.did, key, 0)  # noqa: E731
    assert (await ask(visit, "POST", "/v1/webhooks", by(reader), good))[0] == 403
    assert (await ask(visit, "GET", "/v1/webhooks", by(reader)))[0] == 200
    # Its endpoint would get the events of every domain.
    assert (await ask(visit, "POST", "/v1/webhooks", by(narrow), good))[0] == 403
    assert (await ask(visit, "GET", "/v1/webhooks", by("ph_nonsense")))[0] == 401
    for body in ({}, {"url": 1}, {"url": "x", "extra": 1}, {**good, "types": "sent"}):
        assert (await ask(visit, "POST", "/v1/webhooks", alice, body))[0] == 400, body
    for body in ({"url": "ftp://x.test/"}, {**good, "types": ["nope"]}):
        assert (await ask(visit, "POST", "/v1/webhooks", alice, body))[0] == 422, body
    for query in ("limit=0", "limit=x", "cursor=-1", "state=odd"):
        assert (await ask(visit, "GET", f"/v1/webhooks/aaaa/log?{query}", alice))[0] == 400, query


async def test_the_pages_do_the_same(place: Site, there: Receiver) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    status, text, _ = await visit.send("/account/webhooks", "/account/webhooks", {"url": "nonsense"})
    assert status == 422
    assert "http" in text
    status, text, _ = await visit.send(
        "/account/webhooks", "/account/webhooks", {"url": there.url, "description": NASTY, "types": [SENT]}
    )
    assert status == 200
    secret = html.unescape(re.search(r"whsec_[^<\"]+", text)[0])
    page = re.search(r"/account/webhooks/[a-z2-7]+", text)[0]
    assert NASTY not in text
    _, text, _ = await visit.get("/account/webhooks")
    assert there.url in text
    assert secret not in text
    assert NASTY not in text

    await happen(place, alice)
    status, _, response = await visit.send(page, f"{page}/test")
    assert (status, response.headers["Location"]) == (303, f"{page}?done=webhook-test")
    await posted(place)
    _, text, _ = await visit.get(page)
    assert "answered 204" in text
    event = re.search(r'name="event" value="(\d+)"', text)[1]
    assert (await visit.send(page, f"{page}/replay", {"event": event}))[0] == 303
    assert (await visit.send(page, f"{page}/replay", {"since": "2026-01-01"}))[0] == 303
    assert (await visit.send(page, f"{page}/replay", {"since": "x"}))[0] == 422
    assert (await visit.send(page, f"{page}/replay", {"event": "99999"}))[0] == 404
    await posted(place)
    assert [c.name for c in there.came].count(f"evt_{event}") == 2
    assert all(Webhook(secret).verify(c.body, c.headers) for c in there.came)
    status, text, _ = await visit.send(page, f"{page}/rotate")
    assert (status, text.count("whsec_")) == (200, 1)
    assert (await visit.send(page, f"{page}/enable"))[0] == 409
    assert (await place.visit().get(page))[0] == 303
    assert (await visit.send(page, f"{page}/delete"))[0] == 303
    assert (await visit.get(page))[0] == 404
