"""The documents of the APIs: every route stands in one of them, and what stands there can be read and followed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from enroll.pages import PageServices, pages
from tests.kit.storage import make_config
from tests.kit.whole import Whole, whole

# What readers' browsers and mail programs follow, and what proxies ask: nobody writes a program against these.
FOR_READERS = {
    "/u/{token}", "/c/{token}", "/o/{token}", "/.well-known/posthouse-tracking", "/internal/tls-ask",
}  # fmt: skip


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Whole]:
    async with whole(make_config(tmp_path)) as made:
        yield made


async def documents(place: Whole) -> dict[str, dict[str, Any]]:
    """Every document that is served, by its path."""
    found = {}
    async with ClientSession(place.url) as http:
        for route in place.app.router.routes():
            path = route.resource.canonical if route.resource else ""
            if path.startswith("/openapi") and route.method == "GET":
                async with http.get(path) as response:
                    assert response.status == 200
                    assert response.content_type == "application/json"
                    found[path] = await response.json()
    return found


async def test_every_route_is_in_a_document_and_nothing_else_is(place: Whole) -> None:
    env = place.env
    only_pages = web.Application()
    only_pages.add_routes(pages(PageServices.of(env.services, env.world.intake, env.world.queue)).routes)
    shown = offered(only_pages)
    reported = {
        (path, method.upper())
        for one in (await documents(place)).values() for path, methods in one["paths"].items() for method in methods
    }
    assert reported <= offered(place.app)
    left = {
        (path, method) for path, method in offered(place.app) - shown - reported
        if not path.startswith(("/docs", "/openapi", "/operator")) and path not in FOR_READERS
    }
    assert left == set()


def offered(app: web.Application) -> set[tuple[str, str]]:
    """(path, method) of every route."""
    return {
        (route.resource.canonical, route.method)
        for route in app.router.routes() if route.resource is not None and route.method != "HEAD"
    }


async def test_every_call_says_what_it_takes_who_may_ask_and_what_it_answers(place: Whole) -> None:
    for one in (await documents(place)).values():
        assert one["openapi"] == "3.1.0"
        assert one["servers"] == [{"url": place.env.world.config.server.public_url}]
        named = {tag["name"] for tag in one["tags"]}
        seen = set()
        for path, methods in one["paths"].items():
            for method, call in methods.items():
                where = f"{method} {path}"
                assert call["summary"], where
                assert set(call["tags"]) <= named, where
                assert call["operationId"] not in seen, where
                seen.add(call["operationId"])
                assert all(name in one["components"]["securitySchemes"] for way in call["security"] for name in way)
                placed = {p["name"] for p in call.get("parameters", []) if p["in"] == "path"}
                assert placed == {part[1:-1] for part in path.split("/") if part.startswith("{")}, where
                good = [a for status, a in call["responses"].items() if status.startswith("2")]
                assert good, where
                assert "204" in call["responses"] or all(a["content"] for a in good), where
                assert any(status.startswith(("4", "5", "default")) for status in call["responses"]), where


async def test_every_reference_leads_somewhere_and_refusals_say_when_to_come_back(place: Whole) -> None:
    for one in (await documents(place)).values():
        for reference in set(json.dumps(one).split('"$ref": "#/')[1:]):
            found: Any = one
            for step in reference.partition('"')[0].split("/"):
                found = found[step]
        for name in ("TooManyRequests", "ServiceUnavailable", "InsufficientStorage"):
            assert one["components"]["responses"][name]["headers"]["Retry-After"]["required"] is True
