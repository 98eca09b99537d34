"""Requests made from the served documents: no 5xx, and no answer that its document doesn't tell of, for any caller."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from relay.base import keys
from tests.kit.api_fuzz import furnished, fuzz, patient
from tests.kit.storage import make_config
from tests.kit.whole import Whole, whole


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    # Making RSA keys, which rotation and enrolling do, would be most of the time.
    monkeypatch.setattr(keys, "generate_rsa", functools.cache(keys.generate_rsa))
    async with whole(make_config(tmp_path, **patient())) as made:
        yield made


async def test_no_request_made_from_a_document_gets_an_answer_it_does_not_tell_of(place: Whole) -> None:
    env = await furnished(place)
    paths = [
        path for route in place.app.router.routes()
        if route.method == "GET" and route.resource and (path := route.resource.canonical).startswith("/openapi")
    ]
    assert "/openapi.json" in paths
    # The relay's own comes last: it deletes what the others need.
    for path in sorted(paths, key=len, reverse=True):
        async with ClientSession(place.url) as http, http.get(path) as response:
            document = await response.json()
        report = await asyncio.to_thread(fuzz, document, place.url, env, examples=2, others=0)
        assert report.faults == {}
        if path == "/openapi.json":
            # It wasn't refused everywhere: most calls did what they are for.
            assert len(report.reached) > len(report.statuses) / 2, sorted(report.statuses.keys() - report.reached)
