"""The page for whoever runs a domain's DNS: by a link, without an account, and nothing but that domain's records."""

from __future__ import annotations

import re
from typing import Any

import pytest

from relay.base.clock import DAY
from tests.pages.conftest import IN_BROWSER, shown
from tests.pages.site import Site
from tests.pages.test_pages_browser import OVERFLOW, tab
from tests.pages.test_pages_operator_browser import findings_of

pytestmark = IN_BROWSER
place = shown
NO_LINK = "This link is not complete, has ended or was revoked"


async def link(place: Site, name: str = "example.test", **options: Any) -> tuple[Any, str]:
    """A domain of alice's, and the path of a link to its records."""
    alice = await place.member("alice")
    domain = await place.env.domains.enroll(alice.id, name, options)
    made = await place.env.services.for_domains.handoff.create(alice.id, domain.id)
    return domain, "/dns/" + made.url.partition("/dns/")[2]


async def test_a_domain_is_verified_by_somebody_without_an_account(place: Site, browser: Any) -> None:
    """The member never touches DNS: makes a link, and hears when all is there."""
    alice = await place.member("alice")
    domain = await place.env.domains.enroll(alice.id, "example.test")
    async with tab(browser, place, viewport={"width": 390, "height": 800}) as page:
        await page.goto(f"{place.url}/account/domains/{domain.id}")
        await page.click("button:has-text('Make a link')")
        await page.wait_for_selector("text=The link is ready")
        url = (await page.inner_text("#hand-off li code")).strip()
        assert await page.evaluate(OVERFLOW) <= 0
    path = "/dns/" + url.partition("/dns/")[2]
    phone = {"viewport": {"width": 390, "height": 800}, "java_script_enabled": False}
    async with tab(browser, place, signed_in=False, **phone) as page:
        await page.goto(place.url + path)
        assert await page.locator("text=Sign out").count() == 0
        assert await page.evaluate(OVERFLOW) <= 0
        await page.click("button:has-text('Look again')")
        await page.wait_for_selector("text=has no such record")
        await page.wait_for_selector("text=resolvers may repeat that until")
        # What is read on the page is what is entered.
        published = await page.text_content("pre[aria-label='the zone file'] code")
        assert published == place.env.domains.zone(await place.env.domains.get(alice.id, domain.id))
        for row in published.splitlines():
            name, _, _, type, value = row.split(" ", 4)
            text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', value)) if type == "TXT" else value
            place.env.zone(name.rstrip(".")).add(name.rstrip("."), type, text)
        place.env.clock.move(61)
        await page.click("button:has-text('Look again')")
        await page.wait_for_selector("text=there is nothing left to do")
        assert await page.locator("text=/\\d+ of \\d+ records found/").count() == 0
    assert (await place.env.domains.get(alice.id, domain.id)).state == "verified"
    assert len(await place.env.mail_to("alice@mail.test")) == 1  # one letter: it is verified
    # Her own page shows it, and the link is still hers to revoke.
    async with tab(browser, place) as page:
        await page.goto(f"{place.url}/account/domains/{domain.id}")
        await page.wait_for_selector("h1 .badge.verified")
        await page.click("button:has-text('Revoke')")
        await page.wait_for_selector("text=The link can no longer be used")
    status, text, _ = await place.visit().get(path)
    assert (status, NO_LINK in text) == (410, True)


async def test_the_script_looks_without_loading_the_page_again(place: Site, browser: Any) -> None:
    domain, path = await link(place)
    async with tab(browser, place, signed_in=False) as page:
        await page.goto(place.url + path)
        await page.evaluate("window.kept = true")
        place.env.publish(domain)
        await page.click("button:has-text('Look again')")
        await page.wait_for_selector("text=there is nothing left to do")
        assert await page.evaluate("window.kept") is True


async def test_whatever_is_wrong_with_a_link_gets_one_answer(place: Site) -> None:
    domain, path = await link(place)
    handoff = place.env.services.for_domains.handoff
    revoked = await handoff.create(domain.member_id, domain.id)
    await handoff.revoke(domain.member_id, domain.id, revoked.id)
    other = await place.env.domains.enroll(domain.member_id, "gone.example")
    deleted = await handoff.create(domain.member_id, other.id)
    await place.env.domains.delete(domain.member_id, other.id)
    # Enrolled again it has the same id, and the link of its former life opens nothing.
    await place.env.domains.enroll(domain.member_id, "gone.example")
    visit = place.visit()
    assert (await visit.get(path))[0] == 200
    place.env.clock.move(15 * DAY)
    answers = set()
    for one in (path, path[:-1] + ("A" if path[-1] != "A" else "B"), "/dns/x", revoked.url, deleted.url):
        at = "/dns/" + one.partition("/dns/")[2]
        for ask in (visit.get(at), visit.get(at + "/zone")):
            status, text, _ = await ask
            answers.add((status, re.sub(r'value="[^"]*"|Reference.*', "", text)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 410


async def test_the_page_has_nothing_but_that_domain_s_records(place: Site) -> None:
    domain, path = await link(place)
    await place.env.domains.enroll(domain.member_id, "other.test")
    place.env.clock.move(1)
    for visit in (place.visit(), await place.signed_in()):
        status, text, response = await visit.get(path)
        assert status == 200
        assert all(r.name in text and (not r.value or r.value.split()[0] in text)
                   for r in place.env.domains.records(domain))
        assert all(word not in text for word in ("alice", "other.test", "/account/domains", "Sign out", "mail.test"))
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cache-Control"] == "no-store"


async def test_a_stranger_s_look_takes_nothing_away(place: Site) -> None:
    """Whoever has the link may look; what is verified isn't taken back by it, nor is a failed look counted."""
    alice = await place.member("alice")
    domain = await place.env.verified(alice, "example.test")
    made = await place.env.services.for_domains.handoff.create(alice.id, domain.id)
    token = made.url.rpartition("/")[2]
    place.env.unpublish(domain, only=["ownership"])
    for _ in range(5):
        place.env.clock.move(2 * DAY)
        after = await place.env.services.for_domains.handoff.look(token)
        assert (after.state, after.failing) == ("verified", 0)
    assert next(f for f in after.findings if f["purpose"] == "ownership")["ok"] is False


async def test_looking_is_limited_and_needs_the_page_s_own_form(place: Site) -> None:
    _, path = await link(place)
    visit = place.visit()
    assert (await visit.post(path + "/look", [("csrf", "x")]))[0] == 403
    asked = place.env.dns.faults.asked
    assert (await visit.send(path, path + "/look"))[0] == 303
    count = len(asked)
    place.env.clock.move(1)
    status, _, response = await visit.send(path, path + "/look")
    assert (status, response.headers["Location"]) == (303, f"{path}?done=checked-before")
    assert len(asked) == count


@pytest.mark.parametrize(("servers", "form", "name", "value"), [
    ("rose.ns.cloudflare.com", "Cloudflare", "_posthouse-challenge", "Content"),
    ("ns-1.awsdns-00.com", "Route 53", "_posthouse-challenge", "Value"),
])
async def test_records_are_shown_in_the_provider_s_words(
    place: Site, servers: str, form: str, name: str, value: str
) -> None:
    zone = place.env.zone("example.test")
    zone.remove("example.test", "NS", "ns.example.test.")
    zone.add("example.test", "NS", f"{servers}.")
    _, path = await link(place)
    _, text, _ = await place.visit().get(path)
    assert f"form of <b>{form}</b>" in text
    assert f"<dt>{value}</dt>" in text
    assert f">{name}</code>" in text


async def test_axe_finds_nothing_before_and_after(place: Site, browser: Any) -> None:
    domain, path = await link(place, return_path=True, replies=True)
    async with tab(browser, place, signed_in=False) as page:
        found = await findings_of(page, place.url + path)
        await page.goto(place.url + path)
        await page.click("button:has-text('Look again')")
        await page.wait_for_selector("text=has no such record")
        await page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        found += await findings_of(page, place.url + path)
        place.env.publish(domain)
        place.env.clock.move(61)
        await page.click("button:has-text('Look again')")
        await page.wait_for_selector("text=there is nothing left to do")
        found += await findings_of(page, place.url + path)
    assert found == []
