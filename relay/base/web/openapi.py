"""/openapi.json and its neighbours: the fragments of the rooms, merged once into documents, and the routes for them."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

from relay.base.web.answers import dumps, raw_answer
from relay.base.web.schema import shared

VERSION = "3.1.0"
_WORD = re.compile(r"[A-Za-z0-9]+")


def document(
    fragments: Iterable[dict[str, Any]], *, public_url: str, version: str, title: str = "Posthouse",
    description: str = "", tags: Iterable[tuple[str, str]] = (),
) -> dict[str, Any]:
    """An OpenAPI 3.1 document. Each fragment has `paths` and may have `components`; methods of one path are merged.

    `tags` are (name, description) in the order in which readers should meet them. Operations get an `operationId`
    made from method and path, which stays as long as they do.
    """
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, dict[str, Any]] = {kind: dict(named) for kind, named in shared().items()}
    for fragment in fragments:
        for path, methods in fragment.get("paths", {}).items():
            named = {method: {"operationId": _id(method, path)} | found for method, found in methods.items()}
            paths.setdefault(path, {}).update(named)
        for kind, named in fragment.get("components", {}).items():
            components.setdefault(kind, {}).update(named)
    return {
        "openapi": VERSION,
        "info": {"title": title, "version": version} | ({"description": description} if description else {}),
        "servers": [{"url": public_url}],
        "tags": [{"name": name, "description": says} for name, says in tags],
        "paths": dict(sorted(paths.items())),
        "components": components,
    }


def document_route(make: Callable[[], dict[str, Any]], path: str) -> web.RouteDef:
    """GET of a document, made when first asked for. Public and the same for everybody, so pages elsewhere may read it
    (Fetch §3.2)."""

    @functools.cache
    def text() -> str:
        return dumps(make())

    async def openapi(_: web.Request) -> web.Response:
        response = raw_answer(await asyncio.to_thread(text), 200)
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    return web.get(path, openapi)


def _id(method: str, path: str) -> str:
    return "_".join([method, *_WORD.findall(path)])
