"""/enroll: an account for who has none, a domain for who has one."""

from __future__ import annotations

from aiohttp import web

from enroll.pages.guard import Form, Guard, Known, Visitor
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from relay.replies import Refused

_ACCOUNT_FIELDS = ("handle", "email", "invite")
_DOMAIN_FIELDS = ("name", "return_path")


class Enroll:
    """The handlers. `POST /enroll` itself takes JSON and belongs to the API; the forms have paths of their own."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """GET /enroll and its two forms."""
        return [
            web.get("/enroll", self.show),
            web.post("/enroll/account", self.sign_up),
            web.post("/enroll/domain", self.domain),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """The form that fits the visitor."""
        visitor = await self._guard.visitor(request)
        given = {"invite": request.query.get("invite", "")[:200]}
        return self._page(visitor, given, done=request.query.get("done"))

    async def sign_up(self, request: web.Request) -> web.StreamResponse:
        """Make an account and sign in to it."""
        visitor = await self._guard.visitor(request)
        if visitor.member is not None:
            return to("/enroll")
        form = await self._guard.form(request, visitor)
        try:
            member = await self._services.accounts.create(
                form.text("handle", 253), form.text("email", 320), form.secret("password"),
                invite=form.text("invite", 200) or None, address=visitor.address,
            )
        except Refused as e:
            return self._page(visitor, form.given(_ACCOUNT_FIELDS), e)
        made = await self._services.authenticator.begin(request, member, visitor.address)
        response = to("/enroll?done=welcome")
        self._services.authenticator.hand_over(request, response, made)
        return response

    async def domain(self, request: web.Request) -> web.StreamResponse:
        """Enroll a domain and show its records."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        try:
            domain, new = await self._services.domains.enter(
                visitor.member.id, form.text("name", 1000), _options(form)
            )
        except Refused as e:
            return self._page(visitor, form.given(f for f in _DOMAIN_FIELDS if form.ticked(f)), e)
        return to(f"/account/domains/{domain.id}{'' if new else '?done=known'}")

    def _page(
        self, visitor: Visitor, given: dict[str, str], error: Refused | None = None, *, done: str | None = None
    ) -> web.Response:
        status = error.status if error is not None else 200
        if isinstance(visitor, Known):
            return self._renderer.page(
                "enroll_domain.html", visitor, status=status, given=given, error=error, done=done,
            )
        page = self._renderer.page(
            "enroll_account.html", visitor, status=status, given=given, error=error,
            least=self._services.config.enrollment.min_password_length,
        )
        return self._guard.offering(page, visitor)


def _options(form: Form) -> dict[str, bool]:
    return {"return_path": True} if form.ticked("return_path") else {}
