"""/docs: the documents of the APIs as pages, made from what /openapi.json says and from nothing else.

Promises that nothing on them comes from elsewhere, that every call has an address of its own (`/docs#get_v1_domains`)
and a line that works when pasted. What the calls are is the documents' business; `reading` puts them into words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from enroll.pages.api_reference import Described
from enroll.pages.guard import Guard
from enroll.pages.render import Renderer

__all__ = ["Described", "Docs"]


class Docs:
    """The handlers, one page a document; the first of them stands at /docs."""

    def __init__(self, documents: Sequence[Described], guard: Guard, renderer: Renderer) -> None:
        self._documents, self._guard, self._renderer = list(documents), guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """GET /docs and /docs/<slug>."""
        return [web.get(one.page, self._page(one)) for one in self._documents]

    def _page(self, one: Described) -> Any:
        async def show(request: web.Request) -> web.Response:
            visitor = await self._guard.visitor(request)
            reference = await asyncio.to_thread(lambda: one.reference)
            return self._renderer.page(
                "docs.html", visitor, one=one, documents=self._documents, reference=reference,
                calls=sum(len(g.calls) for g in reference.groups),
            )

        return show
