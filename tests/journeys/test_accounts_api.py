"""Signing up, in and out, keys and identity, over real HTTP with real storage and the relay's own directory."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar, web
from argon2 import PasswordHasher

from enroll import app as enrollment
from enroll.services import Services
from relay.base.web import Listener, application
from relay.directory import Directory, Login
from relay.replies import Verdict
from tests.kit.clock import HandClock
from tests.kit.storage import make_config
from tests.kit.world import World

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery"


class Site:
    """A running HTTP server with enrollment's routes."""

    def __init__(self, services: Services, url: str) -> None:
        self.services, self.url = services, url
        self.clock: HandClock = services.clock  # type: ignore[assignment]
        self.directory: Directory = services.directory
        self.client = ClientSession(cookie_jar=CookieJar(unsafe=True))

    async def ask(self, method: str, path: str, json: Any = None, **headers: str) -> tuple[int, Any, ClientResponse]:
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        async with self.client.request(method, self.url + path, json=json, headers=sent) as response:
            text = await response.text()
            return response.status, (await response.json() if text else None), response

    async def sign_in(self, handle: str = "alice", password: str = PASSWORD) -> dict[str, Any]:
        status, body, _ = await self.ask("POST", "/v1/sessions", {"handle": handle, "password": password})
        assert status == 201, body
        return body

    async def bearer(self, handle: str = "alice") -> dict[str, str]:
        """Headers of a sign-in that needs no cookie."""
        token = (await self.sign_in(handle))["token"]
        self.client.cookie_jar.clear()
        return {"Authorization": f"Bearer {token}"}

    def login(self, key: str, handle: str | None = None, address: str = "192.0.2.1") -> Login | Verdict:
        return self.directory.login(handle, key, address)


async def form(request: web.Request) -> web.Response:
    """Stands where the page's handler does."""
    return web.Response(text="a page", headers={"X-Handle": (await request.post())["handle"]})


@pytest.fixture
async def site(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    sections = getattr(request, "param", {})
    config = make_config(tmp_path, **{k: dict(v) for k, v in sections.items()})
    clock = HandClock()
    world = await World.make(config, clock)
    storage, services = world.storage, world.core.enroll
    services.passwords._hasher = CHEAP
    await services.accounts.create("alice", "alice@example.org", PASSWORD, by_operator=True)
    await services.accounts.create("bob", "bob@example.org", PASSWORD, by_operator=True)
    routes = enrollment.routes(services, enroll_form=form)
    app = application(config, clock, storage, routes=routes, translate=[enrollment.translate])
    listener = Listener(app, config, ["127.0.0.1:0"])
    await listener.start()
    site = Site(services, f"http://127.0.0.1:{listener.ports[0]}")
    yield site
    await site.client.close()
    await listener.stop()
    await world.close()


# -- signing up ----------------------------------------------------------------------------------------------------


async def test_an_invite_makes_one_account_that_can_sign_in(site: Site) -> None:
    code = await site.services.accounts.make_invite("for Carol")
    new = {"handle": "Carol", "email": "carol@example.org", "password": PASSWORD, "invite": code}
    status, body, _ = await site.ask("POST", "/enroll", new)
    assert status == 201
    assert body["handle"] == "carol"
    assert body["did"] == "did:web:localhost%3A8080:m:carol"
    await site.sign_in("carol")
    status, body, _ = await site.ask("POST", "/enroll", new | {"handle": "dave"})
    assert (status, body["code"], body["detail"]["field"]) == (403, "INVITE_INVALID", "invite")


async def test_a_browsers_form_goes_to_the_page(site: Site) -> None:
    async with site.client.post(site.url + "/enroll", data={"handle": "carol"}) as response:
        assert (await response.text(), response.headers["X-Handle"]) == ("a page", "carol")


async def test_without_an_invite_nobody_gets_in(site: Site) -> None:
    status, body, _ = await site.ask(
        "POST", "/enroll", {"handle": "eve", "email": "eve@example.org", "password": PASSWORD}
    )
    assert (status, body["code"]) == (403, "INVITE_INVALID")


@pytest.mark.parametrize("site", [{"enrollment": {"signups_an_address": 2}}], indirect=True)
async def test_a_right_invite_works_whatever_others_have_tried_from_there(site: Site) -> None:
    new = {"handle": "carol", "email": "carol@example.org", "password": PASSWORD}
    said = [(await site.ask("POST", "/enroll", new | {"invite": "phi_nonsense"}))[0] for _ in range(4)]
    assert said == [403, 403, 429, 429]
    invite = await site.services.accounts.make_invite()
    # It has a count of its own, for whoever has it tries handle after handle too.
    assert (await site.ask("POST", "/enroll", new | {"handle": "alice", "invite": invite}))[0] == 409
    assert (await site.ask("POST", "/enroll", new | {"invite": invite}))[0] == 201
    assert (await site.ask("POST", "/enroll", new | {"handle": "dave", "invite": invite}))[0] == 429


@pytest.mark.parametrize("site", [{"enrollment": {"signup": "open"}}], indirect=True)
@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"handle": "alice"}, 409, "HANDLE_TAKEN", "handle"),
        ({"handle": "postmaster"}, 409, "HANDLE_TAKEN", "handle"),
        ({"handle": "-x-"}, 422, "INVALID_VALUE", "handle"),
        ({"email": "no address"}, 422, "INVALID_VALUE", "email"),
        ({"email": "a@b.test\r\nBcc: c@d.test"}, 422, "INVALID_VALUE", "email"),
        ({"password": "short"}, 422, "INVALID_VALUE", "password"),
        ({"password": "eve@example.org"}, 422, "INVALID_VALUE", "password"),
        ({"handle": 7}, 400, "INVALID_REQUEST", "handle"),
        ({"admin": True}, 400, "INVALID_REQUEST", "admin"),
    ],
)
async def test_what_is_wrong_with_a_new_account_is_said(
    site: Site, changes: dict[str, Any], status: int, code: str, field: str
) -> None:
    new = {"handle": "eve", "email": "eve@example.org", "password": PASSWORD} | changes
    got, body, _ = await site.ask("POST", "/enroll", new)
    assert (got, body["code"], body["detail"]["field"]) == (status, code, field)


@pytest.mark.parametrize(
    "site", [{"enrollment": {"signup": "open", "signups_an_address": 2}}], indirect=True
)
async def test_one_address_cannot_try_handle_after_handle(site: Site) -> None:
    for handle in ("alice", "carol"):
        await site.ask("POST", "/enroll", {"handle": handle, "email": "c@example.org", "password": PASSWORD})
    status, body, response = await site.ask(
        "POST", "/enroll", {"handle": "dave", "email": "d@example.org", "password": PASSWORD}
    )
    assert (status, body["code"]) == (429, "TOO_MANY_REQUESTS")
    assert 1 <= int(response.headers["Retry-After"]) <= 3600


@pytest.mark.parametrize("site", [{"enrollment": {"signup": "closed"}}], indirect=True)
async def test_a_closed_relay_says_so(site: Site) -> None:
    status, body, _ = await site.ask(
        "POST", "/enroll", {"handle": "eve", "email": "eve@example.org", "password": PASSWORD, "invite": "x"}
    )
    assert (status, body["code"]) == (403, "SIGNUP_CLOSED")


# -- signing in ----------------------------------------------------------------------------------------------------


async def test_the_cookie_is_out_of_scripts_and_other_sites_reach(site: Site) -> None:
    _, _, response = await site.ask("POST", "/v1/sessions", {"handle": "ALICE@example.org", "password": PASSWORD})
    cookie = response.cookies["posthouse"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert not cookie["domain"]


@pytest.mark.parametrize("site", [{"server": {"public_url": "https://relay.test"}}], indirect=True)
async def test_behind_tls_the_cookie_is_secure_and_bound_to_the_host(site: Site) -> None:
    _, _, response = await site.ask("POST", "/v1/sessions", {"handle": "alice", "password": PASSWORD})
    assert response.cookies["__Host-posthouse"]["secure"]


async def test_unknown_and_wrong_are_the_same_answer(site: Site) -> None:
    wrong = await site.ask("POST", "/v1/sessions", {"handle": "alice", "password": "not it at all"})
    unknown = await site.ask("POST", "/v1/sessions", {"handle": "nobody", "password": "not it at all"})
    assert wrong[:2] == unknown[:2]
    assert wrong[0] == 401
    assert wrong[1]["code"] == "AUTH_FAILED"


async def test_every_sign_in_has_a_new_token_and_ends_the_one_it_replaces(site: Site) -> None:
    first = await site.sign_in()
    second = await site.sign_in()
    assert first["token"] != second["token"]
    status, body, _ = await site.ask("GET", "/v1/sessions/current", Authorization=f"Bearer {first['token']}")
    assert (status, body["code"]) == (401, "SESSION_ENDED")


async def test_sign_ins_are_listed_and_ended_one_by_one(site: Site) -> None:
    here, there = await site.bearer(), await site.bearer()
    _, body, _ = await site.ask("GET", "/v1/sessions", **here)
    assert [s["current"] for s in body["sessions"]].count(True) == 1
    other = next(s["id"] for s in body["sessions"] if not s["current"])
    bob = await site.bearer("bob")
    assert (await site.ask("DELETE", f"/v1/sessions/{other}", **bob))[0] == 404
    assert (await site.ask("DELETE", f"/v1/sessions/{other}", **here))[0] == 204
    assert (await site.ask("GET", "/v1/sessions/current", **there))[0] == 401
    assert (await site.ask("DELETE", "/v1/sessions/current", **here))[0] == 204
    assert (await site.ask("GET", "/v1/sessions/current", **here))[0] == 401


async def test_a_new_password_ends_the_other_sign_ins(site: Site) -> None:
    here, there = await site.bearer(), await site.bearer()
    change = {"old": PASSWORD, "new": "another long one"}
    assert (await site.ask("PUT", "/v1/password", change | {"old": "wrong old one"}, **here))[0] == 401
    assert (await site.ask("PUT", "/v1/password", change, **here))[0] == 204
    assert (await site.ask("GET", "/v1/sessions/current", **here))[0] == 200
    assert (await site.ask("GET", "/v1/sessions/current", **there))[0] == 401
    await site.sign_in("alice", "another long one")


# -- other sites' pages --------------------------------------------------------------------------------------------


async def test_the_pages_cookie_opens_nothing_of_the_api(site: Site) -> None:
    made = await site.sign_in()
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", "/v1/sessions/current")):
        status, body, _ = await site.ask(method, path, {}, X_CSRF=made["csrf"], Origin=site.url)
        assert (status, body["code"]) == (400, "AUTH_REQUIRED")
    assert (await site.ask("GET", "/v1/keys", Authorization=f"Bearer {made['token']}"))[0] == 200


async def test_another_site_cannot_sign_a_browser_in(site: Site) -> None:
    status, body, response = await site.ask(
        "POST", "/v1/sessions", {"handle": "alice", "password": PASSWORD}, Origin="https://evil.example"
    )
    assert (status, body["code"]) == (403, "CROSS_SITE")
    assert not response.cookies


# -- keys ----------------------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_and_works_at_once(site: Site) -> None:
    me = await site.bearer()
    status, made, response = await site.ask("POST", "/v1/keys", {"description": "mailer"}, **me)
    assert status == 201
    assert re.fullmatch(r"ph_[a-z2-7]{12}_[A-Za-z0-9_-]{43}", made["key"])
    assert response.headers["Cache-Control"] == "no-store"
    assert isinstance(site.login(made["key"], "alice"), Login)
    _, body, _ = await site.ask("GET", "/v1/keys", **me)
    assert [k["publicId"] for k in body["keys"]] == [made["publicId"]]
    secret = made["key"].split("_", 2)[2]
    assert secret not in str(body)


async def test_regenerating_ends_the_old_key_at_once_and_keeps_its_limits(site: Site) -> None:
    me = await site.bearer()
    limits = {"description": "d", "scopes": ["send"], "networks": ["192.0.2.0/24"], "defaultCategory": "transactional",
              "nullSender": True, "smtpUser": "printer-2"}
    _, old, _ = await site.ask("POST", "/v1/keys", limits, **me)
    status, new, _ = await site.ask("POST", f"/v1/keys/{old['id']}/regenerate", **me)
    assert status == 201
    assert isinstance(site.login(old["key"]), Verdict)
    login = site.login(new["key"], "Printer-2")
    assert isinstance(login, Login)
    assert (login.default_category, login.null_sender) == ("transactional", True)
    _, other, _ = await site.ask("POST", "/v1/keys", {}, **me)
    assert other["nullSender"] is False
    assert {k: new[k] for k in limits} == limits
    status, body, _ = await site.ask("POST", f"/v1/keys/{old['id']}/regenerate", **me)
    assert (status, body["code"]) == (409, "CONFLICT")


async def test_a_user_name_of_a_keys_own_is_its_alone(site: Site) -> None:
    me, bob = await site.bearer(), await site.bearer("bob")
    _, printer, _ = await site.ask("POST", "/v1/keys", {"smtpUser": " Printer "}, **me)
    _, plain, _ = await site.ask("POST", "/v1/keys", {}, **me)
    assert (printer["smtpUser"], plain["smtpUser"]) == ("printer", None)
    for name in ("printer", "PRINTER", "printer@localhost", "alice"):
        assert isinstance(site.login(printer["key"], name), Login)
    assert isinstance(site.login(plain["key"], "printer"), Verdict)
    status, body, _ = await site.ask("POST", "/v1/keys", {"smtpUser": "printer"}, **me)
    assert (status, body["detail"]["field"]) == (422, "smtpUser")
    status, others, _ = await site.ask("POST", "/v1/keys", {"smtpUser": "printer"}, **bob)
    assert status == 201
    assert isinstance(site.login(others["key"], "alice"), Verdict)
    await site.ask("DELETE", f"/v1/keys/{printer['id']}", **me)
    assert (await site.ask("POST", "/v1/keys", {"smtpUser": "printer"}, **me))[0] == 201


async def test_a_key_cannot_make_or_end_keys(site: Site) -> None:
    _, made, _ = await site.ask("POST", "/v1/keys", {}, **await site.bearer())
    for method, path in (
        ("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", f"/v1/keys/{made['id']}"),
        ("POST", f"/v1/keys/{made['id']}/regenerate"), ("GET", "/v1/sessions"),
    ):
        status, body, _ = await site.ask(method, path, Authorization=f"Bearer {made['key']}")
        assert (status, body["code"]) == (403, "SESSION_REQUIRED")


async def test_another_members_key_is_not_there(site: Site) -> None:
    _, made, _ = await site.ask("POST", "/v1/keys", {}, **await site.bearer("alice"))
    bob = await site.bearer("bob")
    for method, path in (
        ("GET", f"/v1/keys/{made['id']}"), ("DELETE", f"/v1/keys/{made['id']}"),
        ("POST", f"/v1/keys/{made['id']}/regenerate"), ("GET", "/v1/keys/99999999999999999999"),
        ("GET", "/v1/keys/x"),
    ):
        status, shown, _ = await site.ask(method, path, **bob)
        assert (status, shown["code"]) == (404, "NOT_FOUND")
        assert "alice" not in json.dumps(shown)
    assert isinstance(site.login(made["key"]), Login)


@pytest.mark.parametrize("site", [{"enrollment": {"max_keys": 2}}], indirect=True)
async def test_keys_are_limited_in_number(site: Site) -> None:
    me = await site.bearer()
    made = [(await site.ask("POST", "/v1/keys", {}, **me))[1] for _ in range(2)]
    assert (await site.ask("POST", "/v1/keys", {}, **me))[0] == 409
    assert (await site.ask("POST", f"/v1/keys/{made[0]['id']}/regenerate", **me))[0] == 201
    assert (await site.ask("DELETE", f"/v1/keys/{made[1]['id']}", **me))[0] == 204
    assert (await site.ask("POST", "/v1/keys", {}, **me))[0] == 201


@pytest.mark.parametrize(
    ("asked", "status", "field"),
    [
        ({"networks": ["10.0.0.5/8"]}, 422, "networks"),
        ({"networks": ["::ffff:192.0.2.0/120"]}, 422, "networks"),
        ({"networks": ["here"]}, 422, "networks"),
        ({"networks": []}, 400, "networks"),
        ({"domains": ["strange.test"]}, 422, "domains"),
        ({"domains": ["a b"]}, 422, "domains"),
        ({"scopes": ["root"]}, 400, "scopes.0"),
        ({"defaultCategory": "spam"}, 422, "defaultCategory"),
        ({"description": "a\nb"}, 422, "description"),
        ({"smtpUser": "ab"}, 422, "smtpUser"),
        ({"smtpUser": "-abc"}, 422, "smtpUser"),
        ({"smtpUser": "me@example.org"}, 422, "smtpUser"),
        ({"smtpUser": "x" * 65}, 422, "smtpUser"),
        ({"expiresAt": "2001-01-01T00:00:00Z"}, 422, "expiresAt"),
        ({"expiresAt": "soon"}, 400, "expiresAt"),
        ({"expiresAt": "2040-01-01T00:00:00"}, 400, "expiresAt"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
async def test_a_key_that_could_never_work_is_refused(
    site: Site, asked: dict[str, Any], status: int, field: str
) -> None:
    got, body, _ = await site.ask("POST", "/v1/keys", asked, **await site.bearer())
    assert (got, body["detail"]["field"]) == (status, field)


# -- suspended and deleted -----------------------------------------------------------------------------------------


async def test_a_suspended_member_reads_why_and_can_still_end_a_key(site: Site) -> None:
    me = await site.bearer()
    _, made, _ = await site.ask("POST", "/v1/keys", {}, **me)
    await site.services.accounts.suspend("alice", "bounce rate")
    refusal = site.login(made["key"])
    assert isinstance(refusal, Verdict)
    assert refusal.reply.name == "member_suspended"
    _, body, _ = await site.ask("GET", "/v1/sessions/current", **await site.bearer())
    assert (body["status"], body["reason"]) == ("suspended", "bounce rate")
    status, body, _ = await site.ask("PUT", "/v1/did", {"did": None}, **me)
    assert (status, body["code"]) == (403, "MEMBER_SUSPENDED")
    assert (await site.ask("DELETE", f"/v1/keys/{made['id']}", **me))[0] == 204


async def test_a_deleted_member_is_gone_everywhere(site: Site) -> None:
    me = await site.bearer()
    _, made, _ = await site.ask("POST", "/v1/keys", {}, **me)
    await site.services.accounts.delete("alice")
    assert isinstance(site.login(made["key"]), Verdict)
    assert (await site.ask("GET", "/v1/keys", **me))[0] == 401
    assert (await site.ask("POST", "/v1/sessions", {"handle": "alice", "password": PASSWORD}))[0] == 401
    assert (await site.ask("GET", "/m/alice/did.json"))[0] == 404


# -- identity ------------------------------------------------------------------------------------------------------


async def test_a_members_did_resolves_to_a_document_about_itself(site: Site) -> None:
    did = (await site.sign_in())["did"]
    status, body, response = await site.ask("GET", "/m/ALICE/did.json")
    assert status == 200
    assert body["id"] == did
    assert body["alsoKnownAs"] == ["at://alice.localhost"]
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "alice@example.org" not in str(body)
    assert (await site.ask("GET", "/m/nobody/did.json"))[0] == 404


async def test_a_did_that_is_nobodys_to_bring_is_refused(site: Site) -> None:
    me = await site.bearer()
    for body, refused in (
        ({"did": "did:web:localhost%3A8080:m:zoe"}, 409), ({"did": "did:key:z6Mk"}, 422), ({"handle": "a b"}, 422),
        ({}, 400), ({"did": None, "handle": "alice.example"}, 400),
    ):
        assert (await site.ask("PUT", "/v1/did", body, **me))[0] == refused, body
    for did in (None, "did:web:localhost%3A8080:m:ALICE"):
        status, body, _ = await site.ask("PUT", "/v1/did", {"did": did}, **me)
        assert (status, body["did"]) == (200, "did:web:localhost%3A8080:m:alice")


async def test_who_says_nothing_is_asked_for_credentials(site: Site) -> None:
    status, body, _ = await site.ask("GET", "/v1/keys")
    assert (status, body["code"]) == (400, "AUTH_REQUIRED")


@pytest.mark.parametrize("site", [{"http": {"requests_a_minute": 3}}], indirect=True)
async def test_an_address_that_asks_too_often_is_told_to_wait(site: Site) -> None:
    answers = [(await site.ask("GET", "/m/alice/did.json"))[0] for _ in range(4)]
    assert answers == [200, 200, 200, 429]
    site.clock.move(61)
    assert (await site.ask("GET", "/m/alice/did.json"))[0] == 200
