"""/account/webhooks: where events are posted, and what became of each. A secret stands on one page, once."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from enroll.errors import invalid
from enroll.pages.guard import Form, Guard, Known
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from enroll.webhooks import Endpoint
from relay.base.clock import DAY
from relay.base.events import TYPES
from relay.replies import Refused

_FIELDS = ("url", "description")
_ID = "{id:[a-z0-9]{1,32}}"


class WebhookPages:
    """The handlers."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """The list, one endpoint with its log, and what can be done to it."""
        return [
            web.get("/account/webhooks", self.show),
            web.post("/account/webhooks", self.add),
            web.get(f"/account/webhooks/{_ID}", self.one),
            web.post(f"/account/webhooks/{_ID}/rotate", self.rotate),
            web.post(f"/account/webhooks/{_ID}/test", self.test),
            web.post(f"/account/webhooks/{_ID}/replay", self.replay),
            web.post(f"/account/webhooks/{_ID}/enable", self.enable),
            web.post(f"/account/webhooks/{_ID}/delete", self.delete),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """The endpoints, and the form for another."""
        visitor = await self._guard.known(request)
        return await self._list(visitor, done=request.query.get("done"))

    async def add(self, request: web.Request) -> web.Response:
        """A new endpoint; its secret is shown in the answer itself."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        try:
            secret, made = await self._services.webhooks.add(
                visitor.member.id, form.text("url", 2000), types=form.every("types"),
                description=form.text("description"),
            )
        except Refused as e:
            return await self._list(visitor, error=e, form=form)
        return self._secret(visitor, secret, made)

    async def one(self, request: web.Request) -> web.Response:
        """One endpoint with its log."""
        visitor = await self._guard.known(request)
        return await self._one(visitor, request.match_info["id"], done=request.query.get("done"))

    async def rotate(self, request: web.Request) -> web.Response:
        """A new secret beside the old one."""
        visitor, name = await self._asked(request)
        return self._secret(visitor, *await self._services.webhooks.rotate(visitor.member.id, name))

    async def test(self, request: web.Request) -> web.Response:
        """A test on its way."""
        visitor, name = await self._asked(request)
        await self._services.webhooks.test(visitor.member.id, name)
        return to(f"/account/webhooks/{name}?done=webhook-test")

    async def replay(self, request: web.Request) -> web.Response:
        """One event again, or those of the days since a date (UTC)."""
        visitor = await self._guard.known(request)
        form, name = await self._guard.form(request, visitor), request.match_info["id"]
        try:
            event = form.text("event", 15)
            if event and not (event.isascii() and event.isdecimal()):
                raise invalid("event", "an event id is a number")
            await self._services.webhooks.replay(
                visitor.member.id, name, event_id=int(event) if event else None,
                since=None if event else self._since(form),
            )
        except Refused as e:
            if e.status == 404 and not form.text("event", 15):
                raise
            return await self._one(visitor, name, error=e)
        return to(f"/account/webhooks/{name}?done=webhook-replayed")

    async def enable(self, request: web.Request) -> web.Response:
        """Post there again."""
        visitor, name = await self._asked(request)
        await self._services.webhooks.enable(visitor.member.id, name)
        return to(f"/account/webhooks/{name}?done=webhook-enabled")

    async def delete(self, request: web.Request) -> web.Response:
        """Post there no more."""
        visitor, name = await self._asked(request)
        await self._services.webhooks.remove(visitor.member.id, name)
        return to("/account/webhooks?done=webhook-deleted")

    async def _asked(self, request: web.Request) -> tuple[Known, str]:
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        return visitor, request.match_info["id"]

    async def _list(
        self, visitor: Known, *, error: Refused | None = None, form: Form | None = None, done: str | None = None
    ) -> web.Response:
        form = form or Form(())
        return self._renderer.page(
            "webhooks.html", visitor, status=error.status if error is not None else 200, error=error, done=done,
            webhooks=await self._services.webhooks.list(visitor.member.id), types=sorted(TYPES),
            given=form.given(_FIELDS), chosen=set(form.every("types")),
        )

    async def _one(
        self, visitor: Known, name: str, *, error: Refused | None = None, done: str | None = None
    ) -> web.Response:
        found = await self._services.webhooks.get(visitor.member.id, name)
        lines = await self._services.webhooks.posted(
            visitor.member.id, name, limit=self._services.config.http.page_size
        )
        yesterday = datetime.fromtimestamp(self._services.clock.now() - DAY, UTC).strftime("%Y-%m-%d")
        return self._renderer.page(
            "webhook.html", visitor, status=error.status if error is not None else 200, error=error, done=done,
            webhook=found, lines=lines, since=yesterday,
        )

    def _secret(self, visitor: Known, secret: str, made: Endpoint) -> web.Response:
        return self._renderer.page("webhook_secret.html", visitor, webhook=made, secret=secret)

    def _since(self, form: Form) -> float:
        try:
            day = datetime.strptime(form.text("since", 10), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise invalid("since", "write the date like 2030-12-31") from None
        return day.timestamp()
