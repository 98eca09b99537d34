"""/docs: every call of the documents, readable, findable, with a line that works when pasted."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
from html import unescape
from typing import Any

import pytest

from posthouse.serve.openapi import described
from relay.base.clock import HOUR
from tests.pages.conftest import IN_BROWSER, shown
from tests.pages.site import Site
from tests.pages.test_pages_browser import OVERFLOW, tab

pytestmark = IN_BROWSER
place = shown

_PAPER = "getComputedStyle(document.documentElement).backgroundColor"


async def test_the_page_holds_every_call_of_its_document(place: Site) -> None:
    for one in described(place.env.world.config):
        status, text, _ = await place.visit().get(one.page)
        assert status == 200
        for path, methods in one.document["paths"].items():
            assert f"<code>{path}</code>" in text
            for call in methods.values():
                # In the list above, at the call, and the link at its head.
                assert text.count(f'href="#{call["operationId"]}"') == 2
                assert f'id="{call["operationId"]}"' in text
        assert "None" not in re.sub(r"<[^>]+>", "", text)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
async def test_pasted_lines_do_what_they_say(place: Site) -> None:
    """The lines of the page, with a real key in place of the word for it, get the documented good answer."""
    alice = await place.member("alice")
    await place.env.verified(alice, "example.org")
    place.env.clock.move(HOUR)
    visit = place.visit()
    _, text, _ = await visit.get("/docs")
    lines = [unescape(found) for found in re.findall(r"<code>(curl .*?)</code>", text, re.DOTALL)]
    assert len(lines) == text.count("<article")
    for path in ("/v1/domains", "/v1/suppressions", "/v1/domains/ID/records", "/v1/webhooks"):
        line = next(one for one in lines if path in shlex.split(one)[-4:][0] or f"{path} " in one or f"{path}'" in one)
        url = next(word for word in shlex.split(line) if word.startswith("http"))
        here = line.replace("YOUR_API_KEY", alice.key).replace("/ID", "/example.org")
        here = here.replace(url.split("/v1/")[0], place.url)
        run = await asyncio.create_subprocess_exec(
            *shlex.split(here.replace("\\\n", " ")), "--silent", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await run.communicate()
        assert "error" not in json.loads(out), (here, out)


async def test_finding_a_call_on_a_phone_by_night(place: Site, browser: Any) -> None:
    async with tab(
        browser, place, signed_in=False, viewport={"width": 360, "height": 740}, color_scheme="dark"
    ) as page:
        await page.goto(f"{place.url}/docs")
        assert await page.evaluate(OVERFLOW) <= 0
        assert await page.evaluate(_PAPER) == "rgb(23, 22, 18)"
        total = await page.locator("article.call:visible").count()
        await page.fill("#find", "webhooks rotate")
        assert await page.locator("article.call:visible").count() == 1
        assert await page.inner_text("#found") == "1 call"
        await page.click("article.call:visible summary >> nth=-1")
        assert "secret" in await page.inner_text("article.call:visible")
        assert await page.evaluate(OVERFLOW) <= 0
        # A link to another call leads there, whatever was being looked for.
        await page.evaluate("location.hash = 'post_v1_send'")
        await page.wait_for_function("document.getElementById('found').textContent === ''")
        assert await page.locator("article.call:visible").count() == total
        await page.locator("article.call details").evaluate_all("all => all.forEach(d => { d.open = true; })")
        assert await page.evaluate(OVERFLOW) <= 0


async def test_without_a_script_everything_is_there(place: Site, browser: Any) -> None:
    async with tab(browser, place, signed_in=False, java_script_enabled=False) as page:
        await page.goto(f"{place.url}/help")
        await page.click("main a:has-text('API')")
        await page.wait_for_load_state()
        assert page.url == f"{place.url}/docs"
        assert not await page.is_visible("#find")
        assert await page.locator("article.call:visible").count() > 50
        await page.click("nav.contents a:has-text('Enroll a domain')")
        assert page.url.endswith("#post_v1_domains")
