"""/account/second-factor: setting one up, replacing it, taking it away."""

from __future__ import annotations

import segno
from aiohttp import web
from markupsafe import Markup

from enroll.pages.guard import Guard, Known
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from relay.replies import FORM_EXPIRED, Refused


class SecondFactorPages:
    """The handlers."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer
        self._factors = services.accounts.second_factor

    def routes(self) -> list[web.RouteDef]:
        """Everything of the second factor."""
        return [
            web.get("/account/second-factor", self.show),
            web.post("/account/second-factor", self.begin),
            web.post("/account/second-factor/remove", self.remove),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """What there is, and a secret to set up."""
        return await self._page(await self._guard.known(request))

    async def begin(self, request: web.Request) -> web.Response:
        """The device has the secret and shows its code: from now on it is asked."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        token = form.text("token", 2000)
        try:
            codes = await self._services.accounts.begin_second_factor(
                visitor.member.id, token, form.text("code", 64), form.secret("password"), visitor.address,
                session=visitor.session.id,
            )
        except Refused as e:
            return await self._page(visitor, "" if e.status == FORM_EXPIRED.http else token, error=e)
        return self._renderer.page("recovery_codes.html", visitor, codes=codes)

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """Only for who knows the password, whatever this browser was left open for."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        try:
            await self._services.accounts.remove_second_factor(
                visitor.member.id, form.secret("password"), visitor.address, session=visitor.session.id
            )
        except Refused as e:
            return await self._page(visitor, error=e, about="remove")
        return to("/account/settings?done=factor-removed")

    async def _page(
        self, visitor: Known, token: str = "", *, error: Refused | None = None, about: str = "begin"
    ) -> web.Response:
        offer = self._factors.offer(visitor.member.id, visitor.member.handle, token)
        code = segno.make(offer.uri, error="m", micro=False)
        drawn = code.svg_inline(scale=5, border=4, omitsize=True, svgclass=None, lineclass=None, title="QR code")
        return self._renderer.page(
            "second_factor.html", visitor, status=error.status if error is not None else 200, error=error, about=about,
            offer=offer, drawn=Markup(drawn),  # noqa: S704 - squares and our own title
            secret=" ".join(offer.secret[i : i + 4] for i in range(0, 32, 4)),
            recovery_codes=await self._factors.state(visitor.member.id),
            demanded=self._services.authenticator.lacks_factor(visitor.session),
        )
