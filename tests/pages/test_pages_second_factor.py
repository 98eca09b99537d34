"""/account/second-factor, and what it opens: the operator's pages."""

from __future__ import annotations

import html
import re

import pyotp
import pytest

from tests.kit.storage import make_config
from tests.pages.site import PASSWORD, Site, Visit, site

PAGE = "/account/second-factor"


async def set_up(visit: Visit, place: Site) -> tuple[pyotp.TOTP, list[str]]:
    """What an app would hold, and the recovery codes."""
    _, text, _ = await visit.get(PAGE)
    offered, csrf = _field(text, "token"), _field(text, "csrf")
    assert "<svg" in text
    app = app_of(text)
    fields = [("csrf", csrf), ("token", offered), ("code", app.at(int(place.env.clock.now())))]
    status, text, _ = await visit.post(PAGE, fields, Sec_Fetch_Site="same-origin", Origin=visit.url)
    assert status == 200, text
    return app, re.findall(r"<code>([a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4})</code>", text)


def app_of(text: str) -> pyotp.TOTP:
    """The secret of the page, in an app."""
    shown = re.search(r"(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}", html.unescape(text))
    assert shown
    return pyotp.TOTP(shown[0].replace(" ", ""))


def _field(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', text)
    assert found, text[:2000]
    return html.unescape(found[1])


async def test_a_factor_is_set_up_asked_for_and_removed(place: Site) -> None:
    await place.account("carol")
    visit = await place.signed_in("carol")
    status, text, _ = await visit.send(PAGE, PAGE, {"token": _field((await visit.get(PAGE))[1], "token"), "code": "1"})
    assert (status, "is its clock right" in text) == (422, True)
    app, codes = await set_up(visit, place)
    assert len(codes) == 10
    assert "10 recovery codes left" in (await visit.get("/account/settings"))[1]

    again = place.visit()
    fields = {"login": "carol", "password": PASSWORD}
    status, text, _ = await again.send("/account", "/account/sign-in", fields)
    assert (status, "asks for a code of its second factor" in text) == (401, True)
    status, text, _ = await again.send("/account", "/account/sign-in", fields | {"code": "000000"})
    assert (status, "code is wrong" in text) == (401, True)
    await again.sign_in("carol", code=codes[0])
    place.env.clock.move(60)
    await place.visit().sign_in("carol", code=app.at(int(place.env.clock.now())))

    for password, outcome in (("wrong password", 401), (PASSWORD, 200)):
        _, text, _ = await again.get(PAGE)
        newer = app_of(text)
        fields = {"token": _field(text, "token"), "code": newer.at(int(place.env.clock.now())), "password": password}
        status, _, _ = await again.send(PAGE, PAGE, fields)
        assert status == outcome, "replaced by who only found the browser open"
    status, text, _ = await again.send(PAGE, f"{PAGE}/remove", {"password": "wrong password"})
    assert (status, "wrong handle or password" in text) == (401, True)
    status, _, _ = await again.send(PAGE, f"{PAGE}/remove", {"password": PASSWORD})
    assert status == 303
    await place.visit().sign_in("carol")


async def test_the_operators_pages_need_the_role_and_a_second_factor(place: Site) -> None:
    await place.account("oscar")
    visit = await place.signed_in("oscar")
    assert "for the relay&#39;s operator" in (await visit.get("/operator"))[1]
    await place.env.services.accounts.set_operator("oscar", True)
    status, text, _ = await visit.get("/operator")
    assert (status, "These pages need a second factor: set one up at /account/second-factor" in text) == (403, True)
    await set_up(visit, place)
    assert (await visit.get("/operator"))[0] == 200
    assert (await visit.send(PAGE, f"{PAGE}/remove", {"password": PASSWORD}))[0] == 303
    assert (await visit.get("/operator"))[0] == 403, "a factor that was removed opens the pages"
    place.env.clock.move(60)
    await set_up(visit, place)
    assert await place.env.services.accounts.reset_factor("oscar")
    assert (await visit.get("/operator"))[0] == 303, "a sign-in from before the reset goes on"
    place.env.clock.move(60)
    visit = await place.signed_in("oscar")
    await set_up(visit, place)
    assert (await visit.get("/operator"))[0] == 200
    await place.env.services.accounts.set_operator("oscar", False)
    assert (await visit.get("/operator"))[0] == 403


@pytest.mark.asyncio
async def test_an_operator_may_demand_it_of_all(tmp_path: object) -> None:
    config = make_config(tmp_path, enrollment={"second_factor_required": True})
    async with site(config) as place:
        await place.account("dora")
        visit = await place.signed_in("dora")
        for path in ("/account", "/account/settings", "/account/keys"):
            status, _, response = await visit.get(path)
            assert (status, response.headers["Location"]) == (303, PAGE), path
        async with visit.client.post(f"{visit.url}/v1/sessions", json={"handle": "dora", "password": PASSWORD}) as made:
            bearer = {"Authorization": f"Bearer {(await made.json())['token']}"}
        async with visit.client.get(f"{visit.url}/v1/keys", headers=bearer) as refused:
            assert (refused.status, (await refused.json())["code"]) == (403, "SECOND_FACTOR_MISSING")
        assert "asks everybody for a second factor" in (await visit.get(PAGE))[1]
        await set_up(visit, place)
        assert (await visit.get("/account/keys"))[0] == 200
