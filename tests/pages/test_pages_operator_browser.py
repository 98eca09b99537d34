"""The operator's pages in a real browser: five tasks by somebody who reads only the pages, and axe-core.

Clicks, from /operator on (typing and choosing not counted), the same at a desk and on a phone without the script:

    why does a message wait?         3   Messages · Find · the recipient
    suspend a member, release it     5   Members · Search · the member · Suspend · Release
    raise a domain's tier            3   Domains · the domain · Set the tier
    pause a site                     2   Sites · Pause the site
    revoke an invite                 2   Invites · Revoke
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from axe_core_python.async_playwright import Axe

from relay.base.storage import incidents, sites
from tests.kit.world import letter
from tests.pages.conftest import IN_BROWSER, shown
from tests.pages.site import PASSWORD, Site
from tests.pages.test_pages_browser import OVERFLOW, full, tab
from tests.pages.test_pages_mail import ready

pytestmark = IN_BROWSER
place = shown

WIDTHS = (1280, 390)


class Hand:
    """Somebody at the page: reads what is there, clicks by its words, and counts."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url, self.clicks = page, url, 0

    async def starts(self) -> None:
        await self.page.goto(f"{self.url}/operator")
        self.clicks = 0

    async def click(self, role: str, name: str) -> None:
        await self.page.locator("main").get_by_role(role, name=name, exact=True).first.click()
        await self.page.wait_for_load_state()
        self.clicks += 1
        assert await self.page.evaluate(OVERFLOW) <= 0, self.page.url

    async def fill(self, label: str, text: str) -> None:
        await self.page.get_by_label(label).fill(text)

    async def reads(self, text: str) -> None:
        await self.page.locator("main").get_by_text(text).first.wait_for()


async def signed_in(page: Any, place: Site) -> None:
    """The operator, with a second factor."""
    code = await place.operator()
    await page.goto(f"{place.url}/account")
    await page.fill("#login", "olga")
    await page.fill("#password", PASSWORD)
    await page.fill("#code", code)
    await page.click("main button")
    await page.wait_for_selector("text=Sign out")


async def troubled(place: Site) -> str:
    """A message of alice's that waits because its site is paused; its queue id. There are an invite and an incident."""
    now = place.env.clock.now()
    sent = await place.env.world.submit(
        await ready(place), "bob@sink.test", raw=letter(subject="Your invoice of November")
    )
    await place.answered("4.7.1 greylisted, try again later", 451)

    async def do(tx: Any) -> None:
        await sites.seen(tx, {"sink.test": "mx.sink.test"}, now)
        await sites.pause(tx, "mx.sink.test", 4, now)
        example = {"at": now, "host": "mx.sink.test", "recipient": "bob@sink.test", "reply": "550 no reverse name"}
        await incidents.join(tx, "ptr", seen_at=now, count=3, examples=[example], keep=5)

    await place.env.storage.write(do)
    await place.env.services.accounts.make_invite("for Bob")
    return str(sent.queue_id)


@pytest.mark.parametrize(("width", "script"), [(1280, True), (390, False)], ids=["desk", "phone without script"])
async def test_five_tasks_are_done_by_who_reads_only_the_pages(
    place: Site, browser: Any, width: int, script: bool
) -> None:
    await troubled(place)
    services = place.env.services
    async with tab(
        browser, place, signed_in=False, viewport={"width": width, "height": 800}, java_script_enabled=script
    ) as page:
        await signed_in(page, place)
        hand = Hand(page, place.url)

        await hand.starts()
        await hand.click("link", "Messages")
        await hand.fill("Queue id, Message-ID or recipient", "bob@sink.test")
        await hand.click("button", "Find")
        await hand.click("link", "bob@sink.test")
        await hand.reads("mx.sink.test is paused by the operator")
        await hand.reads("4.7.1 greylisted, try again later")
        assert hand.clicks == 3

        await hand.starts()
        await hand.click("link", "Members")
        await hand.fill("Handle, address or DID", "ali")
        await hand.click("button", "Search")
        await hand.click("link", "alice")
        await hand.fill("Reason", "complaints about the invoice")
        await hand.click("button", "Suspend alice")
        assert (await services.accounts.get("alice")).reason == "complaints about the invoice"
        await hand.click("button", "Release alice")
        await hand.reads("The member may send again.")
        assert (hand.clicks, (await services.accounts.get("alice")).status) == (5, "active")

        await hand.starts()
        await hand.click("link", "Domains")
        await hand.click("link", "example.test")
        await page.get_by_label("Tier").select_option("week 2")
        await hand.click("button", "Set the tier")
        await hand.reads("The tier has been set.")
        assert (hand.clicks, (await place.env.operator.find("example.test")).tier) == (3, "week 2")

        await hand.starts()
        await hand.click("link", "Sites")
        await hand.fill("Site, or a domain of its recipients", "other.test")
        await hand.click("button", "Pause the site")
        await hand.reads("The site is paused until you resume it.")
        async with place.env.storage.read() as tx:
            assert len([s for s in await sites.listing(tx, 10) if s.held]) == 2
        assert hand.clicks == 2

        await hand.starts()
        await hand.click("link", "Invites")
        await hand.click("button", "Revoke invite 1")
        await hand.reads("The invite is revoked")
        assert (hand.clicks, await services.accounts.list_invites()) == (2, [])

        await hand.click("link", "Audit")
        for action in ("member.suspend", "member.release", "domain.tier", "site.pause", "invite.revoke"):
            await hand.reads(action)


PAGES = (
    "/operator", "/operator/doctor", "/operator/members", "/operator/members/alice", "/operator/domains",
    "/operator/members/alice/domains/example.test", "/operator/messages", "/operator/queue?to=sink.test",
    "/operator/queue/act?action=drop&to=sink.test", "/operator/sites", "/operator/incidents", "/operator/invites",
    "/operator/audit",
)


async def findings_of(page: Any, url: str, widths: Sequence[int] = WIDTHS) -> list[str]:
    """What axe-core has to say about a page at each width, by rule and element; and what is too wide."""
    await page.goto(url)
    found = []
    for width in widths:
        await page.set_viewport_size({"width": width, "height": 800})
        result = await Axe().run(page, options={"resultTypes": ["violations"]})
        found += [f"{url} {v['id']} {n['html'][:200]}" for v in result["violations"] for n in v["nodes"]]
        if await page.evaluate(OVERFLOW) > 0:
            found.append(f"{url} too wide at {width}")
    return found


async def test_axe_finds_nothing_on_the_operators_pages(place: Site, browser: Any) -> None:
    queue_id = await troubled(place)
    async with tab(browser, place, signed_in=False) as page:
        await signed_in(page, place)
        found = [f for path in (*PAGES, f"/operator/messages/{queue_id}")
                 for f in await findings_of(page, place.url + path)]
    assert found == []


async def test_axe_finds_nothing_on_members_pages(place: Site, browser: Any) -> None:
    paths = await full(place)
    async with tab(browser, place) as page:
        found = [f for path in (*paths, "/account/senders", "/account/suppressions", "/account/webhooks")
                 for f in await findings_of(page, place.url + path, [390])]
    assert found == []
