"""/account/keys: API keys. The text of a new one stands on one page, once, and nowhere after that."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from enroll.api_keys import SCOPES, Key
from enroll.errors import invalid
from enroll.pages.connect import settings
from enroll.pages.guard import Form, Guard, Known
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from relay.base.clock import DAY
from relay.replies import Refused
from relay.suppression import BULK, CATEGORIES

_FIELDS = ("description", "networks", "default_category", "expires", "smtpUser")


class Keys:
    """The handlers."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """The list, and what can be done to a key."""
        return [
            web.get("/account/keys", self.show),
            web.post("/account/keys", self.issue),
            web.post(r"/account/keys/{id:\d{1,18}}/revoke", self.revoke),
            web.post(r"/account/keys/{id:\d{1,18}}/regenerate", self.regenerate),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """The keys, and the form for another."""
        visitor = await self._guard.known(request)
        return await self._page(visitor, done=request.query.get("done"))

    async def issue(self, request: web.Request) -> web.Response:
        """A new key, shown in the answer itself: no other page ever holds it."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        try:
            text, key = await self._services.credentials.issue(
                visitor.member.id, description=form.text("description"), scopes=form.every("scopes"),
                domains=form.every("domains") or None, networks=form.words("networks") or None,
                default_category=form.text("default_category") or "bulk",
                null_sender=bool(form.text("null_sender")), expires_at=self._expiry(form),
                smtp_user=form.text("smtpUser"),
            )
        except Refused as e:
            return await self._page(visitor, error=e, form=form)
        return await self._issued(visitor, text, key)

    async def revoke(self, request: web.Request) -> web.Response:
        """End a key at once."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        await self._services.credentials.revoke(visitor.member.id, int(request.match_info["id"]))
        return to("/account/keys?done=revoked")

    async def regenerate(self, request: web.Request) -> web.Response:
        """A new key in place of this one, with the same limits."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        text, key = await self._services.credentials.regenerate(visitor.member.id, int(request.match_info["id"]))
        return await self._issued(visitor, text, key)

    async def _issued(self, visitor: Known, text: str, key: Key) -> web.Response:
        names = list(key.domains) if key.domains else await self._names(visitor, "verified")
        return self._renderer.page(
            "key_issued.html", visitor, key=key, text=text,
            settings=settings(
                self._services.config, key.smtp_user or visitor.member.handle, names[0] if names else None, text
            ),
        )

    async def _page(
        self, visitor: Known, *, error: Refused | None = None, form: Form | None = None, done: str | None = None
    ) -> web.Response:
        form = form or Form((("default_category", "bulk"), *(("scopes", s) for s in SCOPES)))
        found = await self._services.credentials.list(visitor.member.id)
        now = self._services.clock.now()
        return self._renderer.page(
            "keys.html", visitor, status=error.status if error is not None else 200, error=error, done=done,
            live=[k for k in found if k.state(now) == "live"], ended=[k for k in found if k.state(now) != "live"],
            scopes=SCOPES, categories=sorted(CATEGORIES, key=lambda c: (c not in BULK, c)),
            names=await self._names(visitor), given=form.given(_FIELDS), chosen=set(form.every("scopes")),
            limited=set(form.every("domains")), null_sender=bool(form.text("null_sender")),
        )

    async def _names(self, visitor: Known, state: str | None = None) -> list[str]:
        found = await self._services.domains.list(
            visitor.member.id, limit=self._services.config.http.max_page_size
        )
        return [d.name for d in found if state is None or d.state == state]

    def _expiry(self, form: Form) -> float | None:
        """The end of the day (UTC) that was chosen; None when none was."""
        given = form.text("expires", 10)
        if not given:
            return None
        try:
            day = datetime.strptime(given, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise invalid("expires", "write the date like 2030-12-31") from None
        return day.timestamp() + DAY
