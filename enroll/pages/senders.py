"""/account/senders: a member's sender addresses, proved by a code, and the names to send under."""

from __future__ import annotations

from aiohttp import web

from enroll.pages.guard import Form, Guard, Known
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from enroll.senders import Sender, SenderEmail
from enroll.senders.sending import ADVICE
from relay.replies import Refused

_FIELDS = ("address", "fromName", "code")
_UUID = "{id:[0-9a-f-]{36}}"


class SenderPages:
    """The handlers."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer
        self._addresses, self._details = services.addresses, services.details

    def routes(self) -> list[web.RouteDef]:
        """The list, and what can be done to an address and a name."""
        return [
            web.get("/account/senders", self.show),
            web.post("/account/senders", self.add),
            web.post(f"/account/senders/{_UUID}/code", self.send_code),
            web.post(f"/account/senders/{_UUID}/verify", self.verify),
            web.post(f"/account/senders/{_UUID}/name", self.name),
            web.post(f"/account/senders/{_UUID}/delete", self.delete),
            web.post(f"/account/senders/names/{_UUID}/default", self.make_default),
            web.post(f"/account/senders/names/{_UUID}/delete", self.delete_name),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """The addresses, and the form for another."""
        return await self._page(await self._guard.known(request), done=request.query.get("done"))

    async def add(self, request: web.Request) -> web.Response:
        """A new address; a code goes to it at once, unless its domain proves it."""
        visitor, form = await self._asked(request)
        try:
            made = await self._addresses.add(visitor.member.id, form.text("address", 254))
            if not made.verified:
                await self._addresses.send_code(visitor.member.id, made.id)
        except Refused as e:
            return await self._page(visitor, error=e, form=form)
        return to("/account/senders?done=" + ("sender-added" if made.verified else "sender-code"))

    async def send_code(self, request: web.Request) -> web.Response:
        """Another code."""
        visitor, form = await self._asked(request)
        try:
            await self._addresses.send_code(visitor.member.id, request.match_info["id"])
        except Refused as e:
            return await self._page(visitor, error=e, form=form)
        return to("/account/senders?done=sender-code")

    async def verify(self, request: web.Request) -> web.Response:
        """The code brought back."""
        visitor, form = await self._asked(request)
        try:
            await self._addresses.verify(visitor.member.id, request.match_info["id"], form.text("code", 10))
        except Refused as e:
            return await self._page(visitor, error=e, form=form)
        return to("/account/senders?done=sender-verified")

    async def name(self, request: web.Request) -> web.Response:
        """A name to send under; the address's domain enrolls itself."""
        visitor, form = await self._asked(request)
        try:
            email = await self._addresses.get(visitor.member.id, request.match_info["id"])
            await self._details.add(visitor.member.id, form.text("fromName", 100), email.address)
        except Refused as e:
            return await self._page(visitor, error=e, form=form)
        return to("/account/senders?done=sender-named")

    async def delete(self, request: web.Request) -> web.Response:
        """An address gone."""
        visitor, form = await self._asked(request)
        try:
            await self._addresses.remove(visitor.member.id, request.match_info["id"])
        except Refused as e:
            return await self._page(visitor, error=e, form=form)
        return to("/account/senders?done=sender-deleted")

    async def make_default(self, request: web.Request) -> web.Response:
        """Another default."""
        visitor, _ = await self._asked(request)
        await self._details.make_default(visitor.member.id, request.match_info["id"])
        return to("/account/senders?done=sender-default")

    async def delete_name(self, request: web.Request) -> web.Response:
        """A name gone."""
        visitor, form = await self._asked(request)
        try:
            await self._details.remove(visitor.member.id, request.match_info["id"])
        except Refused as e:
            return await self._page(visitor, error=e, form=form)
        return to("/account/senders?done=sender-deleted")

    async def _asked(self, request: web.Request) -> tuple[Known, Form]:
        visitor = await self._guard.known(request)
        return visitor, await self._guard.form(request, visitor)

    async def _page(
        self, visitor: Known, *, error: Refused | None = None, form: Form | None = None, done: str | None = None
    ) -> web.Response:
        form, s = form or Form(()), self._services.config.senders
        addresses = await self._addresses.list(visitor.member.id, limit=s.max_addresses)
        named: dict[str, list[Sender]] = {}
        for sender in await self._details.list(visitor.member.id, limit=s.max_details):
            named.setdefault(sender.address, []).append(sender)
        shown: list[tuple[SenderEmail, list[Sender]]] = [(a, named.get(a.address, [])) for a in addresses]
        return self._renderer.page(
            "senders.html", visitor, status=error.status if error is not None else 200, error=error, done=done,
            senders=shown, given=form.given(_FIELDS), advice=ADVICE, minutes=s.code_minutes,
            domains={d.name for d in await self._services.domains.list(visitor.member.id, limit=s.max_addresses)},
        )
