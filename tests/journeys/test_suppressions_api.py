"""`/v1/suppressions` over HTTP and /account/suppressions as a browser without a face sees it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import FormData

from relay.base.config import Config
from relay.suppression import Lists
from tests.kit.world import MemberAt
from tests.pages.site import NASTY, Site, Visit, site, token
from tests.pages.test_pages_mail import ready

ROOT = "/v1/suppressions"


@pytest.fixture
async def place(sqlite_config: Config) -> AsyncIterator[Site]:
    few = {"max_import_bytes": 2000, "max_batch": 3, "import_rows": 2}
    config = sqlite_config.model_copy(
        update={
            "suppression": sqlite_config.suppression.model_copy(update=few),
            "http": sqlite_config.http.model_copy(update={"page_size": 2}),
        }
    )
    async with site(config) as made:
        yield made


async def ask(
    visit: Visit, method: str, path: str, key: str, json: object = None, data: bytes | None = None
) -> tuple[int, dict, str]:
    headers = {"Authorization": f"Bearer {key}"} | ({"Content-Type": "text/csv"} if data is not None else {})
    async with visit.client.request(method, visit.url + path, json=json, data=data, headers=headers) as response:
        text = await response.text()
        is_json = response.content_type == "application/json" and not path.startswith(f"{ROOT}/export")
        return response.status, await response.json() if is_json else {}, text


async def test_a_list_is_kept_by_the_api_and_another_member_sees_nothing(place: Site) -> None:
    alice, bob, visit = await place.member("alice"), await place.member("bob"), place.visit()
    new = {"address": "Bob+x@Sink.test", "detail": "asked by phone"}
    status, made, _ = await ask(visit, "POST", ROOT, alice.key, new)
    assert status == 201
    assert {k: made[k] for k in ("address", "reason", "detail", "categories")} == {
        "address": "Bob+x@Sink.test", "reason": "manual", "detail": "asked by phone", "categories": [],
    }
    assert (await ask(visit, "POST", ROOT, alice.key, {"address": "bob@sink.test"}))[:2] == (200, made)
    assert (await ask(visit, "GET", f"{ROOT}/BOB%2Bother@sink.test", alice.key))[:2] == (200, made)
    assert (await ask(visit, "GET", f"{ROOT}/bob@sink.test", bob.key))[0] == 404
    assert (await ask(visit, "DELETE", f"{ROOT}/bob@sink.test", bob.key))[0] == 404

    many = [{"address": a, "reason": "complaint"} for a in ("a/b@sink.test", "no", "bob@sink.test")]
    status, said, _ = await ask(visit, "POST", f"{ROOT}/batch", alice.key, {"suppressions": many})
    assert (status, said["added"], said["known"], [r["index"] for r in said["refused"]]) == (200, 1, 1, [1])
    status, said, _ = await ask(visit, "POST", f"{ROOT}/batch", alice.key, {"suppressions": many + many})
    assert status == 400
    assert "import" in said["error"]

    raw = b"address,reason\nc@sink.test,unsubscribe\nbroken\nd@sink.test,\na/b@sink.test,\n"
    status, said, _ = await ask(visit, "POST", f"{ROOT}/import?reason=hard_bounce", alice.key, data=raw)
    assert status == 200
    assert said["lines"] == [{"line": 3, "reason": "the address has no @"}]
    counts = {k: said[k] for k in ("read", "added", "known", "refused", "guessed", "reasons")}
    assert counts == {
        "read": 4, "added": 2, "known": 1, "refused": 1, "guessed": 2,
        "reasons": {"unsubscribe": 1, "hard_bounce": 2},
    }
    status, _, text = await ask(visit, "POST", f"{ROOT}/import", alice.key, data=b"x@y.test\n" * 300)
    assert (status, "2000" in text) == (413, True)

    seen, cursor = [], ""
    while True:
        _, page, _ = await ask(visit, "GET", f"{ROOT}?limit=3{cursor}", alice.key)
        seen += [s["address"] for s in page["suppressions"]]
        if not page["cursor"]:
            break
        cursor = f"&cursor={page['cursor']}"
    assert seen == ["d@sink.test", "c@sink.test", "a/b@sink.test", "Bob+x@Sink.test"]
    _, page, _ = await ask(visit, "GET", f"{ROOT}?reason=complaint", alice.key)
    assert [s["address"] for s in page["suppressions"]] == ["a/b@sink.test"]
    _, page, _ = await ask(visit, "GET", f"{ROOT}?search=BOB", alice.key)
    assert [s["address"] for s in page["suppressions"]] == ["Bob+x@Sink.test"]

    _, _, text = await ask(visit, "GET", f"{ROOT}/export", alice.key)
    assert text.splitlines()[0] == "address,reason,since,detail,categories"
    assert len(text.splitlines()) == 5
    _, _, text = await ask(visit, "GET", f"{ROOT}/export?format=json", alice.key)
    assert [e["address"] for e in json.loads(text)] == seen[::-1]
    assert (await ask(visit, "POST", f"{ROOT}/import", bob.key, data=text.encode()))[1]["added"] == 4
    assert (await ask(visit, "DELETE", f"{ROOT}/a%2Fb@sink.test", alice.key))[0] == 204
    assert (await ask(visit, "GET", f"{ROOT}/a%2Fb@sink.test", alice.key))[0] == 404
    assert (await ask(visit, "GET", f"{ROOT}/a%2Fb@sink.test", bob.key))[0] == 200


async def test_what_a_key_may_not_do_and_what_can_not_be_read(place: Site) -> None:
    alice, visit = await place.member("alice"), place.visit()
    issue = place.env.services.credentials.issue
    reader, _ = await issue(alice.id, scopes=["read"])
    await place.env.domains.enroll(alice.id, "example.test", {})
    narrow, _ = await issue(alice.id, domains=["example.test"])
    good = {"address": "a@b.test"}
    for method, path, body in (
        ("POST", ROOT, good), ("POST", f"{ROOT}/batch", {"suppressions": [good]}), ("POST", f"{ROOT}/import", None),
        ("DELETE", f"{ROOT}/a@b.test", None),
    ):
        assert (await ask(visit, method, path, reader, body))[0] == 403, path
    for path in (ROOT, f"{ROOT}/export"):
        assert (await ask(visit, "GET", path, reader))[0] == 200
        assert (await ask(visit, "GET", path, narrow))[0] == 403
        assert (await ask(visit, "GET", path, "ph_nonsense"))[0] == 401
    wrong = ({"reason": "because"}, {"extra": 1}, {"categories": ["x"]})
    for body in ({}, {"address": 1}, *(good | w for w in wrong)):
        assert (await ask(visit, "POST", ROOT, alice.key, body))[0] == 400, body
    for query in ("limit=0", "cursor=x", "reason=odd", "search=" + "x" * 400):
        assert (await ask(visit, "GET", f"{ROOT}?{query}", alice.key))[0] == 400, query
    assert (await ask(visit, "GET", f"{ROOT}/export?format=xml", alice.key))[0] == 400
    status, said, _ = await ask(visit, "POST", ROOT, alice.key, {"address": "no address"})
    assert (status, said["detail"]["field"]) == (422, "address")


async def upload(visit: Visit, text: str, csrf: str | None = None) -> tuple[int, str]:
    _, page, _ = await visit.get("/account/suppressions")
    form = FormData()
    form.add_field("csrf", token(page) if csrf is None else csrf)
    form.add_field("why", "unsubscribe")
    form.add_field("file", text.encode(), filename="list.csv", content_type="text/csv")
    headers = {"Accept": "text/html", "Origin": visit.url, "Sec-Fetch-Site": "same-origin"}
    async with visit.client.post(f"{visit.url}/account/suppressions/import", data=form, headers=headers) as response:
        return response.status, await response.text()


async def test_the_page_does_the_same(place: Site) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    page = "/account/suppressions"
    assert "No addresses yet" in (await visit.get(page))[1]
    status, text, _ = await visit.send(page, page, {"address": "nonsense", "detail": "kept"})
    assert status == 422
    assert 'value="kept"' in text
    new = {"address": "Bob@sink.test", "detail": NASTY, "why": "complaint"}
    status, _, response = await visit.send(page, page, new)
    assert (status, response.headers["Location"]) == (303, f"{page}?done=suppressed")
    status, text = await upload(visit, "a@sink.test\nb@sink.test\n@broken\nBOB@sink.test\n")
    assert status == 200
    assert "2 added" in text
    assert "1 were already on the list" in text
    assert "Line 3" in text
    assert (await upload(visit, "z@sink.test\n", csrf="x" * 32))[0] == 403
    assert (await upload(visit, "z@sink.test\n" * 500))[0] == 413
    _, text, _ = await visit.get(page)
    assert re.findall(r'data-label="Address">([^<]+)<', text) == ["b@sink.test", "a@sink.test"]
    older = re.search(r'href="([^"]+before=\d+)"', text)[1]
    _, text, _ = await visit.get(older)
    assert "Bob@sink.test" in text
    assert "<script>window" not in text
    _, text, _ = await visit.get(f"{page}?search=bob&reason=complaint")
    assert "Bob@sink.test" in text
    assert "a@sink.test" not in text
    status, text, response = await visit.get(f"{page}/export?format=csv")
    assert "attachment" in response.headers["Content-Disposition"]
    assert len(text.split("\r\n")) == 5
    assert (await visit.send(page, f"{page}/remove", {"address": "bob@sink.test"}))[0] == 303
    lists = Lists(place.env.storage, place.env.world.config, place.env.clock)
    assert [s.original for s in await lists.page(alice.id)] == ["a@sink.test", "b@sink.test"]
    assert (await place.visit().get(page))[0] == 303


async def test_bounces_are_told_in_plain_words(place: Site) -> None:
    alice: MemberAt = await ready(place)
    sent = await place.env.world.submit(alice, "gone@sink.test")
    await place.answered(f"5.1.1 no such user {NASTY}", 550)
    await place.env.world.submit(alice, "full@sink.test")
    await place.answered("5.2.2 over quota", 552)
    visit = await place.signed_in()
    _, text, _ = await visit.get("/account/bounces")
    assert text.count("There is no such mailbox.") == text.count("The mailbox is full.") == 1
    assert text.count(">suppressed<") == 1
    assert f"/account/messages/{sent.queue_id}" in text
    assert "<script>window" not in text
    bob = await place.member("bob")
    other = await place.signed_in(bob.handle)
    assert "No bounces" in (await other.get("/account/bounces"))[1]
