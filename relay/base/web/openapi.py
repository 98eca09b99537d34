"""/openapi.json: the fragments of the rooms, merged once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from relay.base.web.answers import dumps, raw_answer


def document(fragments: Iterable[dict[str, Any]], *, public_url: str, version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document. Each fragment has `paths` and may have `components`; methods of one path are merged."""
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, dict[str, Any]] = {}
    for fragment in fragments:
        for path, methods in fragment.get("paths", {}).items():
            paths.setdefault(path, {}).update(methods)
        for kind, named in fragment.get("components", {}).items():
            components.setdefault(kind, {}).update(named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Posthouse", "version": version},
        "servers": [{"url": public_url}],
        "paths": dict(sorted(paths.items())),
        "components": components,
    }


def openapi_route(fragments: Iterable[dict[str, Any]], *, public_url: str, version: str) -> web.RouteDef:
    """GET /openapi.json."""
    text = dumps(document(fragments, public_url=public_url, version=version))

    async def openapi(_: web.Request) -> web.Response:
        return raw_answer(text, 200)

    return web.get("/openapi.json", openapi)
