"""/: what this place is, and the pages that lead on."""

from __future__ import annotations

from aiohttp import web

from enroll.pages.figures import steps
from enroll.pages.guard import Guard
from enroll.pages.render import Renderer
from enroll.pages.services import PageServices


class Home:
    """The handler."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """GET /."""
        return [web.get("/", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """The page, for anybody."""
        visitor = await self._guard.visitor(request)
        return self._renderer.page("home.html", visitor, steps=steps(self._services.config))
