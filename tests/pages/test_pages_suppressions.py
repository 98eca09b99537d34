"""The suppression list in a real browser: a file taken in, an address found and taken off, on a phone's screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.pages.conftest import IN_BROWSER, shown
from tests.pages.site import NASTY, Site
from tests.pages.test_pages_browser import OVERFLOW, tab
from tests.pages.test_pages_mail import ready

pytestmark = IN_BROWSER
place = shown


async def test_a_list_is_kept_by_hand(place: Site, browser: Any, tmp_path: Path) -> None:
    alice = await ready(place)
    await place.env.world.submit(alice, "gone@sink.test")
    await place.answered(f"5.1.1 no such user {NASTY}", 550)
    file = tmp_path / "export.json"
    file.write_text('[{"email": "angry@sink.test", "ip": "192.0.2.1", "created": 1443651141},\n{"email": "no"}]')
    async with tab(browser, place, viewport={"width": 360, "height": 740}) as page:
        await page.click("nav >> text=Suppressions")
        await page.set_input_files("#file", str(file))
        await page.click("text=Import >> nth=-1")
        await page.wait_for_selector("text=1 added")
        assert "Line 2" in await page.inner_text("main")
        await page.fill("#search", "ANGRY")
        await page.click("text=Filter >> nth=0")
        await page.wait_for_selector("text=Show all")
        assert await page.locator("tbody tr").count() == 1
        assert "spam" in await page.inner_text("tbody")
        assert await page.evaluate(OVERFLOW) == 0
        await page.click("text=Remove")
        await page.wait_for_selector("text=removed from your list")
        await page.click("text=What bounced, and why")
        await page.wait_for_selector("text=There is no such mailbox.")
        assert await page.evaluate("window.hacked") is None
        assert await page.evaluate(OVERFLOW) == 0
