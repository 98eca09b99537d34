"""Fixtures of the pages: a site for a test, and a real browser where there is one.

The browser starts once and lives in the one loop of the whole run, so a test with it runs there too: its module says
`pytestmark = IN_BROWSER` and `place = shown`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.storage import make_config
from tests.pages.site import Site, site

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
IN_BROWSER = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """The pages over SQLite; parametrised indirectly with config sections."""
    async with _site(tmp_path, request) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def shown(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """The same in the browser's loop."""
    async with _site(tmp_path, request) as made:
        yield made


def _site(tmp_path: Path, request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Site]:
    sections = {name: dict(values) for name, values in getattr(request, "param", {}).items()}
    return site(make_config(tmp_path, **sections))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Any]:
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


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Any) -> AsyncIterator[Any]:
    """The browser, as if nobody had used it before."""
    yield chromium
    for context in chromium.contexts:
        await context.close()
