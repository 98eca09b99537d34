"""/account/senders: an address added and proved by its code, names and the default, on a phone's screen too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.kit.hosting import ZONE
from tests.kit.storage import make_config
from tests.pages.conftest import IN_BROWSER, browser, chromium
from tests.pages.site import NASTY, Site, site
from tests.pages.test_pages_browser import OVERFLOW, tab

__all__ = ["browser", "chromium"]
pytestmark = IN_BROWSER
HOSTED = {"hosted_zone": ZONE, "hosted_servers": ["ns.relay.test"]}


@pytest_asyncio.fixture(loop_scope="session")
async def place(tmp_path: Path) -> Any:
    async with site(make_config(tmp_path, dns=HOSTED)) as made:
        yield made


async def code(place: Site, address: str) -> str:
    found = re.findall(rb"^ {4}(\d{6})\r?$", (await place.env.mail_to(address))[-1], re.MULTILINE)
    return found[0].decode()


async def test_an_address_is_proved_and_its_domain_enrolls_itself(place: Site) -> None:
    alice = await place.member("alice")
    visit = await place.signed_in()
    status, text, _ = await visit.send("/account/senders", "/account/senders", {"address": "nonsense"})
    assert (status, "aria-invalid" in text, "nonsense" in text) == (422, True, True)
    status, _, answer = await visit.send("/account/senders", "/account/senders", {"address": "news@example.test"})
    assert (status, answer.headers["Location"]) == (303, "/account/senders?done=sender-code")
    _, text, _ = await visit.get("/account/senders")
    path = re.search(r"/account/senders/[0-9a-f-]{36}(?=/verify)", text)[0]
    status, text, _ = await visit.send("/account/senders", f"{path}/verify", {"code": "abc"})
    assert (status, "not the code" in text) == (422, True)
    status, text, _ = await visit.send("/account/senders", f"{path}/name", {"fromName": "Early"})
    assert (status, "not verified" in text) == (409, True)
    await visit.send("/account/senders", f"{path}/verify", {"code": await code(place, "news@example.test")})
    for name in ("Alice", NASTY[:90]):
        status, _, _ = await visit.send("/account/senders", f"{path}/name", {"fromName": name})
        assert status == 303
    await place.env.services.settled()
    _, text, _ = await visit.get("/account/senders")
    assert "/account/domains/example.test" in text
    assert "<script>window" not in text
    assert text.count("(default)") == 1
    (first, second) = await place.env.services.for_senders.details.list(alice.id)
    status, text, _ = await visit.send("/account/senders", f"/account/senders/names/{first.id}/delete")
    assert (status, "mark another one" in text) == (409, True)
    await visit.send("/account/senders", f"/account/senders/names/{second.id}/default")
    await visit.send("/account/senders", f"/account/senders/names/{first.id}/delete")
    left = await place.env.services.for_senders.details.list(alice.id)
    assert [(s.id, s.default) for s in left] == [(second.id, True)]
    bob = await place.member("bob")
    other = await place.signed_in("bob")
    assert (await other.send("/account/senders", f"/account/senders/names/{second.id}/default"))[0] == 404
    assert await place.env.services.for_senders.addresses.list(bob.id) == []


async def test_it_fits_a_phone(place: Site, browser: Any) -> None:
    await place.member("alice")
    async with tab(browser, place, viewport={"width": 360, "height": 740}) as page:
        await page.click("nav >> text=Senders")
        await page.fill("#address", "a-rather-long-name-for-a-mailbox@example.test")
        await page.click("text=Add and send a code")
        await page.wait_for_selector("text=A code is on its way")
        assert await page.evaluate(OVERFLOW) == 0
        await page.fill("[name=code]", await code(place, "a-rather-long-name-for-a-mailbox@example.test"))
        await page.click("text=Verify >> nth=-1")
        await page.wait_for_selector("text=The address is verified")
        await page.fill("[name=fromName]", "Alice")
        await page.click("text=Add the name")
        await page.wait_for_selector("text=(default)")
        assert await page.evaluate(OVERFLOW) == 0
