"""Fixtures of the pages: a site for a test, and a real browser where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.storage import make_config
from tests.pages.site import Site, site

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """The pages over SQLite; parametrised indirectly with config sections."""
    sections = {name: dict(values) for name, values in getattr(request, "param", {}).items()}
    async with site(make_config(tmp_path, **sections)) as made:
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[object]:
    """Chromium, driven by Playwright. Without one the test is skipped, except where CI=true."""
    path = os.environ.get("POSTHOUSE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs a chromium for the tests of the pages")
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    from playwright.async_api import async_playwright

    async with async_playwright() as play:
        running = await play.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        await running.close()
