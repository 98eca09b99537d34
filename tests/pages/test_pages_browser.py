"""The pages in a real browser: text of strangers stays text, other sites get nowhere, a phone shows it all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest_asyncio
from aiohttp import web

from tests.kit.world import letter
from tests.pages.conftest import IN_BROWSER, shown
from tests.pages.site import NASTY, PASSWORD, Site
from tests.pages.test_pages_mail import ready, refused

pytestmark = IN_BROWSER
place = shown

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@asynccontextmanager
async def tab(browser: Any, place: Site, *, signed_in: bool = True, **options: Any) -> AsyncIterator[Any]:
    """A fresh tab. Whatever the browser complains about (a blocked script, an error in ours) fails the test."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(30_000)  # a busy machine is not a fault
    troubles: list[str] = []
    page.on("pageerror", lambda e: troubles.append(str(e)))
    page.on("console", lambda m: troubles.append(m.text) if m.type in ("error", "warning") else None)
    page.on("request", lambda r: troubles.append(r.url) if not r.url.startswith(place.url) else None)
    if signed_in:
        await page.goto(f"{place.url}/account")
        await page.fill("#login", "alice")
        await page.fill("#password", PASSWORD)
        await page.click("main button")
        await page.wait_for_selector("text=Sign out")
    page.troubles = troubles
    yield page
    await context.close()
    assert troubles == []


async def full(place: Site) -> list[str]:
    """A member with nasty things everywhere; returns the pages that show them."""
    alice = await ready(place)
    pending = await place.env.domains.enroll(alice.id, "xn--bcher-kva.example", {"return_path": True})
    zone = place.env.zone(pending.name)
    for record in place.env.domains.records(pending):
        if record.type == "TXT":
            zone.add(record.name, "TXT", NASTY)
    pending = await place.env.domains.check(pending.id)
    (verified,) = [d for d in await place.env.domains.list(alice.id) if d.state == "verified"]
    sent = await place.env.world.submit(alice, "bob@sink.test", raw=letter(subject=NASTY))
    await place.answered(f"5.1.1 {NASTY}" + "x" * 300, 550, host=NASTY)
    await place.env.services.credentials.issue(alice.id, description=NASTY)
    login = place.env.world.login(alice)
    verdict = place.env.world.policy.sender(login, "x@other.test")
    reference = await refused(place, verdict, alice, ["bob@sink.test"], NASTY)  # type: ignore[arg-type]
    return [
        "/account", f"/account/domains/{pending.id}", f"/account/domains/{verified.id}", "/account/messages",
        f"/account/messages/{sent.queue_id}", "/account/keys", "/account/connect", "/account/settings",
        "/account/second-factor", "/help", f"/r/{reference}", "/enroll", "/",
    ]


async def test_text_of_strangers_stays_text(place: Site, browser: Any) -> None:
    shown = await full(place)
    async with tab(browser, place, user_agent=f"Mozilla/5.0 {NASTY}") as page:
        seen = 0
        for path in shown:
            await page.goto(place.url + path)
            assert await page.evaluate("window.hacked") is None, path
            assert await page.locator("main img").count() == 0, path
            seen += (await page.inner_text("main")).count("<script>window.hacked=1</script>")
        assert seen >= 6  # it was there to be read


async def test_a_phone_shows_every_page_without_scrolling_sideways(place: Site, browser: Any) -> None:
    shown = await full(place)
    async with tab(browser, place, viewport={"width": 360, "height": 740}) as page:
        for path in shown:
            await page.goto(place.url + path)
            assert await page.evaluate(OVERFLOW) <= 0, path
        await page.goto(f"{place.url}/account/keys")
        await page.click("text=Issue the key")
        await page.wait_for_selector("text=Copy it now")
        assert await page.evaluate(OVERFLOW) <= 0


async def test_every_field_has_a_label_and_every_table_a_caption(place: Site, browser: Any) -> None:
    shown = await full(place)
    bare = """() => [...document.querySelectorAll('input:not([type=hidden]):not(.unseen), select, textarea')]
        .filter(e => !e.labels.length).concat([...document.querySelectorAll('table')].filter(t => !t.caption))
        .concat([...document.querySelectorAll('a, button')].filter(e => e.checkVisibility() && !e.innerText.trim()))
        .map(e => e.outerHTML)"""
    async with tab(browser, place) as page:
        for path in shown:
            await page.goto(place.url + path)
            assert await page.evaluate(bare) == [], path


async def test_verifying_happens_without_loading_the_page_again(place: Site, browser: Any) -> None:
    alice = await place.member("alice")
    domain = await place.env.domains.enroll(alice.id, "example.test")
    async with tab(browser, place) as page:
        await page.goto(f"{place.url}/account/domains/{domain.id}")
        await page.evaluate("window.kept = true")
        await page.click("button:has-text('Verify now')")
        await page.wait_for_selector("#findings >> text=Domain ownership verification failed")
        assert await page.evaluate("window.kept") is True
        assert await page.get_attribute("#findings", "aria-live") == "polite"
        assert await page.evaluate("document.activeElement.textContent") == "Verify now"
        # The look that changes the state shows the page of the new state.
        place.env.publish(domain)
        place.env.clock.move(61)
        await page.click("button:has-text('Verify now')")
        await page.wait_for_selector("h1 .badge.verified")


async def test_verifying_works_without_the_script(place: Site, browser: Any) -> None:
    alice = await place.member("alice")
    domain = await place.env.domains.enroll(alice.id, "example.test")
    place.env.publish(domain)
    async with tab(browser, place, java_script_enabled=False) as page:
        await page.goto(f"{place.url}/account/domains/{domain.id}")
        assert await page.locator("button[data-copy]:visible").count() == 0
        await page.click("button:has-text('Verify now')")
        await page.wait_for_selector("h1 .badge.verified")


async def test_a_copy_button_copies_the_value_beside_it(place: Site, browser: Any) -> None:
    alice = await place.member("alice")
    domain = await place.env.domains.enroll(alice.id, "example.test")
    async with tab(browser, place, permissions=["clipboard-read", "clipboard-write"]) as page:
        await page.goto(f"{place.url}/account/domains/{domain.id}")
        rsa = next(r for r in place.env.domains.records(domain) if r.purpose == "dkim_rsa")
        await page.click('.records tbody:has-text("DKIM (RSA)") [aria-label="Copy the value"]')
        await page.wait_for_selector("text=Copied")
        assert await page.evaluate("navigator.clipboard.readText()") == rsa.value


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere() -> AsyncIterator[Any]:
    """Another site: it serves whatever page it is told to."""
    held: dict[str, str] = {}

    async def show(request: web.Request) -> web.Response:
        return web.Response(text=held.get(request.path, ""), content_type="text/html")

    app = web.Application()
    app.router.add_get("/{tail:.*}", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
    # Another host name than the pages', so that it is another site for the browser.
    yield f"http://localhost:{site._server.sockets[0].getsockname()[1]}", held  # type: ignore[union-attr]
    await runner.cleanup()


async def test_another_site_can_neither_post_nor_frame(place: Site, browser: Any, elsewhere: Any) -> None:
    alice = await place.member("alice")
    url, held = elsewhere
    target = f"{place.url}/account/keys/{alice.key_id}/revoke"
    held["/post"] = f'<form method="post" action="{target}"></form><script>document.forms[0].submit()</script>'
    held["/frame"] = f'<iframe src="{place.url}/account"></iframe>'
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(f"{place.url}/account")
        await page.fill("#login", "alice")
        await page.fill("#password", PASSWORD)
        await page.click("main button")
        await page.wait_for_selector("text=Sign out")
        async with page.expect_response(lambda r: r.url.endswith("/revoke")) as answer:
            await page.goto(f"{url}/post")
        # The browser keeps the cookie back, so to us it is a stranger's form.
        response = await answer.value
        assert (response.status, response.headers.get("location")) == (303, "/account")
        await page.goto(f"{url}/frame")
        assert "Overview" not in await page.frames[1].content()
    finally:
        await context.close()
    (key,) = await place.env.services.credentials.list(alice.id)
    assert key.revoked_at is None


async def test_signing_out_leaves_nothing_behind_the_back_button(place: Site, browser: Any) -> None:
    await place.member("alice")
    async with tab(browser, place) as page:
        await page.goto(f"{place.url}/account/keys")
        await page.click("text=Sign out")
        await page.wait_for_selector("text=You are signed out")
        await page.go_back()
        await page.wait_for_selector("h1:has-text('Sign in')")
