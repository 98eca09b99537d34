"""Who gets in, and who doesn't: sign-in, sessions, forms from elsewhere, fences for the browser."""

from __future__ import annotations

import base64
import re
from uuid import uuid4

import pytest
from yarl import URL

from enroll.pages import PageServices, pages
from tests.pages.site import PASSWORD, Site, token

OPEN_PAGES = ("/", "/account", "/enroll", "/help", "/docs")
MEMBER_PAGES = (
    "/account", "/account/messages", "/account/keys", "/account/connect", "/account/settings", "/account/second-factor",
    "/enroll", "/help", "/",
)


def fenced(text: str, headers: dict[str, str]) -> None:
    """Nothing inline, nothing from outside, no frame around it, no copy kept."""
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    for rule in ("frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! src=\"/static/)", text)
    assert not re.search(r'(?:src|action|<link[^>]*href)="(?!/)', text)
    assert text.count("<h1") == 1
    assert 'lang="en"' in text


async def test_every_page_is_fenced(place: Site) -> None:
    await place.member("alice")
    stranger = place.visit()
    for path in OPEN_PAGES:
        status, text, response = await stranger.get(path)
        assert status == 200, path
        fenced(text, dict(response.headers))
    known = await place.signed_in()
    for path in MEMBER_PAGES:
        status, text, response = await known.get(path)
        assert status == 200, path
        fenced(text, dict(response.headers))
        assert "Sign out" in text


async def test_strangers_are_led_to_the_sign_in_and_back(place: Site) -> None:
    await place.member("alice")
    visit = place.visit()
    status, _, response = await visit.get("/account/messages?status=sent")
    assert (status, response.headers["Location"]) == (303, "/account?next=/account/messages%3Fstatus%3Dsent")
    _, text, _ = await visit.get(response.headers["Location"])
    assert 'name="next" value="/account/messages?status=sent"' in text
    status, _, response = await visit.post(
        "/account/sign-in",
        {"csrf": token(text), "login": "alice", "password": PASSWORD, "next": "/account/messages?status=sent"}.items(),
    )
    assert (status, response.headers["Location"]) == (303, "/account/messages?status=sent")


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example/account", "/\\evil.example", "/account\r\nX: y", "javascript:alert(1)",
     "/static/x", "///account", "/\taccount"],
)  # fmt: skip
async def test_the_sign_in_leads_nowhere_else(place: Site, target: str) -> None:
    await place.member("alice")
    visit = place.visit()
    status, _, response = await visit.send(
        "/account", "/account/sign-in", {"login": "alice", "password": PASSWORD, "next": target}
    )
    assert (status, response.headers["Location"]) == (303, "/account")


async def test_a_wrong_password_says_so_and_keeps_the_name(place: Site) -> None:
    await place.member("alice")
    visit = place.visit()
    for login in ("alice", "nobody"):
        status, text, _ = await visit.send("/account", "/account/sign-in", {"login": login, "password": "wrong wrong"})
        assert status == 401
        assert "wrong handle or password" in text
        assert f'value="{login}"' in text
        assert "wrong wrong" not in text


QUICK = {"enrollment": {"login_failures": 3, "login_check_seconds": 0.01}}


@pytest.mark.parametrize("place", [QUICK], indirect=True)
async def test_guessing_passwords_ends_in_a_wait(place: Site) -> None:
    await place.member("alice")
    visit = place.visit()
    guess = {"login": "alice", "password": "guess it"}
    for _ in range(3):
        status, _, response = await visit.send("/account", "/account/sign-in", guess)
        assert (status, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="posthouse"')
    status, text, response = await visit.send("/account", "/account/sign-in", guess | {"password": PASSWORD})
    assert status == 429
    assert "Try again <time" in text
    assert 0 < int(response.headers["Retry-After"]) <= 600


async def guessed(place: Site, address: str, times: int) -> int:
    """The last status of wrong passwords for alice that come from an address."""
    stranger, status = place.visit(), 0
    for _ in range(times):
        _, text, _ = await stranger.get("/account")
        fields = {"csrf": token(text), "login": "alice", "password": "guess it"}
        status, _, _ = await stranger.post("/account/sign-in", fields.items(), X_Forwarded_For=address)
    return status


@pytest.mark.parametrize("place", [QUICK | {"server": {"trusted_proxies": ["127.0.0.1"]}}], indirect=True)
async def test_strangers_guesses_keep_the_owner_out_nowhere(place: Site) -> None:
    await place.member("alice")
    known = await place.signed_in()
    await known.send("/account/settings", "/account/sign-out")
    assert await guessed(place, "198.51.100.9", 5) == 429
    # From another network, and in the very network in which the guesses were made: with the browser that is known.
    await place.signed_in()
    assert await guessed(place, "127.0.0.1", 5) == 429
    await known.sign_in()
    assert (await known.get("/account/keys"))[0] == 200
    unknown = place.visit()
    right = {"login": "alice", "password": PASSWORD}
    assert (await unknown.send("/account", "/account/sign-in", right))[0] == 429


async def test_a_browser_is_known_by_a_cookie_that_says_nothing_and_opens_nothing(place: Site) -> None:
    alice = await place.member("alice")
    visit = place.visit()
    _, _, response = await visit.send("/account", "/account/sign-in", {"login": "alice", "password": PASSWORD})
    cookie = response.cookies["posthouse-device"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["max-age"]) == (
        True, "Lax", "/", str(365 * 86_400),
    )
    said = base64.urlsafe_b64decode(cookie.value + "==")
    assert b"alice" not in said
    assert alice.id.to_bytes(8, "big") not in said
    async with visit.client.post(
        visit.url + "/v1/sessions", json={"handle": "alice", "password": PASSWORD}
    ) as opened:
        assert opened.status == 201
        assert "posthouse-device" in opened.cookies
    thief = place.visit()
    thief.client.cookie_jar.update_cookies({"posthouse-device": cookie.value}, URL(thief.url))
    assert (await thief.get("/account/keys"))[0] == 303
    # What is no such cookie is none.
    thief.client.cookie_jar.update_cookies({"posthouse-device": cookie.value[:-4] + "AAAA"}, URL(thief.url))
    assert (await thief.get("/account"))[0] == 200
    await thief.sign_in()


@pytest.mark.parametrize("place", [{"server": {"public_url": "https://relay.example.org"}}], indirect=True)
async def test_behind_tls_cookies_are_bound_to_it(place: Site) -> None:
    _, text, response = await place.visit().get("/account")
    cookie = response.cookies["__Host-posthouse-form"]
    assert (cookie["secure"], cookie["httponly"], cookie["path"], cookie["samesite"]) == (True, True, "/", "Lax")
    assert response.headers["Strict-Transport-Security"]
    visit = place.visit()
    sent = {"Cookie": f"__Host-posthouse-form={cookie.value}", "Origin": "https://relay.example.org"}
    await place.member("alice")
    fields = {"csrf": token(text), "login": "alice", "password": PASSWORD}
    status, _, response = await visit.post("/account/sign-in", fields.items(), **sent)
    session = response.cookies["__Host-posthouse"]
    assert (status, session["secure"], session["httponly"]) == (303, True, True)
    sent["Origin"] = "http://relay.example.org"
    assert (await visit.post("/account/sign-in", fields.items(), **sent))[0] == 403


async def test_signing_in_makes_a_new_session_and_ends_the_one_before(place: Site) -> None:
    await place.member("alice")
    visit = await place.signed_in()
    first = visit.client.cookie_jar.filter_cookies(URL(visit.url))["posthouse"].value
    status, _, response = await visit.send("/account/keys", "/account/sign-out")
    assert status == 303
    # Somebody plants a session id of their own before the member signs in.
    planted = "phs_" + "A" * 43
    visit.client.cookie_jar.update_cookies({"posthouse": planted}, URL(visit.url))
    _, _, response = await visit.send("/account", "/account/sign-in", {"login": "alice", "password": PASSWORD})
    fresh = response.cookies["posthouse"]
    assert fresh.value not in (first, planted)
    thief = place.visit()
    for stolen in (first, planted):
        thief.client.cookie_jar.update_cookies({"posthouse": stolen}, URL(visit.url))
        assert (await thief.get("/account/keys"))[0] == 303
    assert fresh["httponly"]
    assert fresh["samesite"] == "Lax"


async def test_no_form_is_taken_from_elsewhere(place: Site) -> None:
    """Every route that changes something, tried from another site, without a token, and with a stranger's token."""
    alice = await place.member("alice")
    await place.member("bob")
    domain = await place.env.verified(alice, "example.test")
    sent = await place.env.world.submit(alice, "bob@sink.test")
    services = PageServices.of(place.env.services, place.env.world.intake, place.env.world.queue)
    forms = [r for r in pages(services).routes if r.method == "POST"]
    assert len(forms) > 20
    visit, other = await place.signed_in(), await place.signed_in("bob")
    good = token((await visit.get("/account/keys"))[1])
    strange = token((await other.get("/account/keys"))[1])
    before = await place.env.services.credentials.list(alice.id)
    none = str(uuid4())
    what = {
        "domains": domain.id, "keys": alice.key_id, "messages": sent.queue_id, "senders": none, "names": none,
    }
    link = (await place.env.services.for_domains.handoff.create(alice.id, domain.id)).url.rpartition("/")[2]
    for route in forms:
        path = re.sub(r"\{token.*?\}(?=/|$)", link, route.path).replace(r"{link:\d{1,15}}", "1")
        path = re.sub(r"/(\w+)/\{id.*?\}(?=/|$)", lambda m: f"/{m[1]}/{what.get(m[1], 1)}", path)
        if path in ("/enroll/account",):
            continue  # leads somebody who is signed in away before it reads anything
        for fields, headers in (
            ({"csrf": good}, {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}),
            ({"csrf": good}, {"Origin": "null"}),
            ({"csrf": good}, {"Sec_Fetch_Site": "same-site"}),
            ({"csrf": strange}, {}),
            ({"csrf": ""}, {}),
            ({}, {}),
        ):
            status, _, _ = await visit.post(path, fields.items(), **headers)
            assert status == 403, (path, fields, headers, status)
    assert await place.env.services.credentials.list(alice.id) == before
    assert (await place.env.domains.get(alice.id, domain.id)).state == "verified"
    assert (await visit.get("/account"))[0] == 200


@pytest.mark.parametrize("place", [{"enrollment": {"signup": "open"}}], indirect=True)
@pytest.mark.parametrize("path", ["/account/sign-in", "/enroll/account"])
async def test_strangers_forms_need_the_cookie_that_came_with_them(place: Site, path: str) -> None:
    visit = place.visit()
    page = "/account" if "sign-in" in path else "/enroll"
    given = token((await visit.get(page))[1])
    visit.client.cookie_jar.clear()
    fields = {"csrf": given, "login": "x", "password": "y" * 12, "handle": "eve", "email": "eve@mail.test"}
    assert (await visit.post(path, fields.items()))[0] == 403
    visit.client.cookie_jar.update_cookies({"posthouse-form": "short"}, URL(visit.url))
    assert (await visit.post(path, (fields | {"csrf": "short"}).items()))[0] == 403


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"csrf=x&pass\x00word=1", "application/x-www-form-urlencoded", 400),
        (b"csrf=%00", "application/x-www-form-urlencoded", 400),
        (b"csrf=%ff%fe", "application/x-www-form-urlencoded", 400),
        ("csrf=ü".encode(), "application/x-www-form-urlencoded", 403),
        (b"&".join([b"a=1"] * 300), "application/x-www-form-urlencoded", 400),
        (b"a=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
        (b'{"csrf":"x"}', "application/json", 415),
        (b"", "text/plain", 415),
    ],
)
async def test_unreadable_forms_are_refused_in_words(place: Site, body: bytes, kind: str, status: int) -> None:
    visit = place.visit()
    headers = {"Content-Type": kind, "Accept": "text/html"}
    async with visit.client.post(visit.url + "/account/sign-in", data=body, headers=headers) as response:
        text = await response.text()
        assert response.status == status
        assert "<h1>" in text
        assert "Traceback" not in text


async def test_a_nonsense_host_gets_400(place: Site) -> None:
    visit = place.visit()
    for host in ("evil.example/..", "a b", "<script>", ""):
        status, text, _ = await visit.get("/", Host=host)
        assert status == 400, host
        assert host == "" or host not in text


async def test_no_page_repeats_the_host_header(place: Site) -> None:
    _, text, _ = await place.visit().get("/", Host="evil.example")
    assert "evil.example" not in text


async def test_static_files_are_kept_by_browsers_and_nothing_else_is_served(place: Site) -> None:
    visit = place.visit()
    _, text, _ = await visit.get("/")
    path = re.search(r'href="(/static/posthouse\.css\?v=\w+)"', text)[1]  # type: ignore[index]
    status, _, response = await visit.get(path)
    assert (status, response.content_type) == (200, "text/css")
    assert "immutable" in response.headers["Cache-Control"]
    tag = response.headers["ETag"]
    assert (await visit.get(path, If_None_Match=tag))[0] == 304
    _, _, unmarked = await visit.get("/static/posthouse.css")
    assert unmarked.headers["Cache-Control"] == "no-cache"
    for wrong in ("/static/nothing.css", "/static/..%2f__init__.py", "/static/%2e%2e/render.py", "/static/"):
        assert (await visit.get(wrong))[0] == 404, wrong


async def test_errors_are_pages_for_people_and_json_for_programs(place: Site) -> None:
    visit = place.visit()
    status, text, response = await visit.get("/r/nothing-of-the-kind")
    assert status == 404
    assert "Page not found" in text
    fenced(text, dict(response.headers))
    status, text, response = await visit.get("/r/nothing-of-the-kind", Accept="application/json")
    assert (status, response.content_type) == (404, "application/json")
    # A page that doesn't exist at all, and a method that a page doesn't have.
    assert (await visit.get("/nowhere"))[0] == 404
    status, text, response = await visit.post("/help")
    assert (status, response.headers["Allow"]) == (405, "GET,HEAD")
    assert "<h1>" in text
