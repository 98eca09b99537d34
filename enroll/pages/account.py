"""/account: signing in and out, the overview, the password, the sign-ins, the DID."""

from __future__ import annotations

from aiohttp import web

from enroll import stats as figures
from enroll.errors import EnrollError
from enroll.pages import charts
from enroll.pages.charts import Chart
from enroll.pages.connect import settings
from enroll.pages.figures import HAPPENED, allowance
from enroll.pages.guard import Guard, Known, Visitor, inside
from enroll.pages.refusal import refusal_view
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from enroll.sessions import cookie_token
from relay.base.clock import DAY
from relay.base.storage import allowances, refusals, reports
from relay.base.storage import stats as counters
from relay.base.storage.stats import Day
from relay.replies import INVALID_VALUE, Refused
from relay.standing import SLOWED, standing_of, texts

_LATEST = 6


class Account:
    """The handlers."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """Everything of the account itself."""
        return [
            web.get("/account", self.show),
            web.post("/account/sign-in", self.sign_in),
            web.post("/account/sign-out", self.sign_out),
            web.get("/account/set-password", self.link),
            web.post("/account/set-password", self.set_password),
            web.get("/account/settings", self.settings),
            web.post("/account/settings/password", self.change_password),
            web.post("/account/settings/did", self.set_did),
            web.post(r"/account/sessions/{id:\d{1,18}}/end", self.end_session),
            web.post("/account/sessions/end-others", self.end_others),
            web.get("/account/connect", self.connect),
        ]

    # -- the overview ----------------------------------------------------------------------------------------------

    async def show(self, request: web.Request) -> web.Response:
        """The overview, or the sign-in for a stranger."""
        visitor = await self._guard.visitor(request)
        if not isinstance(visitor, Known):
            return self._sign_in_page(visitor, request.query.get("next", ""), done=request.query.get("done"))
        if self._services.authenticator.lacks_factor(visitor.session):
            return to("/account/second-factor")
        services, member = self._services, visitor.member
        size = services.config.http.page_size
        after = request.query.get("after", "")
        start = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
        found = await services.domains.list(member.id, after=start, limit=size + 1)
        domains, now = found[:size], services.clock.now()
        async with services.storage.read() as tx:
            spent = await allowances.entries(tx, [d.id for d in domains], now - DAY) if domains else {}
            counted = await counters.days(tx, figures.needed_since(now, figures.DEFAULT_DAYS), member_id=member.id)
            latest = await reports.recipients_of(tx, member.id, limit=_LATEST)
            happened = await reports.afterwards(tx, {r.message_id for r in latest})
            refused = await refusals.latest(tx, member.id, _LATEST)
            standing = await standing_of(tx, services.config, member.id, member.status, now)
        public_url = services.config.server.public_url
        return self._renderer.page(
            "account.html", visitor, done=request.query.get("done"), latest=latest,
            happened=happened, words=HAPPENED,
            domains=[
                (
                    d, allowance(d, spent.get(d.id, []), services.config, now, slowed=standing.stage == SLOWED,
                              directory=services.directory),
                    _volume([c for c in counted if c.domain_id == d.id], now),
                )
                for d in domains
            ],
            standing=standing, meaning=texts.MEANING[standing.stage], advice=texts.advice(standing.judgement),
            said=texts.said(standing.judgement, services.config), formula=texts.formula(services.config),
            more=domains[-1].id if len(found) > size else None, paged=bool(start),
            refused=[t for r in refused if (t := refusal_view(r, public_url, member.id)) is not None],
        )

    # -- in and out ------------------------------------------------------------------------------------------------

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Check the password; a new session id whatever cookie came along."""
        visitor = await self._guard.visitor(request)
        form = await self._guard.form(request, visitor)
        login, back = form.text("login", 320), inside(form.text("next", 2000))
        try:
            made = await self._services.authenticator.sign_in(
                request, login, form.secret("password"), visitor.address, code=form.text("code", 64)
            )
        except Refused as e:
            return self._sign_in_page(visitor, back, e, login)
        response = to(back)
        self._services.authenticator.hand_over(request, response, made)
        return response

    def _sign_in_page(
        self, visitor: Visitor, back: str, error: Refused | None = None, login: str = "",
        done: str | None = None,
    ) -> web.Response:
        page = self._renderer.page(
            "sign_in.html", visitor, status=error.status if error is not None else 200, error=error, login=login,
            next=inside(back), done=done,
        )
        return self._guard.offering(page, visitor)

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """End this sign-in."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        await self._services.sessions.close(cookie_token(request, self._services.config))
        response = to("/account?done=signed-out")
        self._guard.signed_out(response)
        # The browser forgets what it may have kept of our pages (W3C Clear Site Data).
        response.headers["Clear-Site-Data"] = '"cache"'
        return response

    # -- passwords -------------------------------------------------------------------------------------------------

    async def link(self, request: web.Request) -> web.Response:
        """The page behind a set-password link. Raises EnrollError 410 when it works no more."""
        visitor = await self._guard.visitor(request)
        token = request.query.get("token", "")
        member = await self._services.accounts.read_link(token)
        return self._link_page(visitor, token, member.handle)

    async def set_password(self, request: web.Request) -> web.StreamResponse:
        """Set the password of a link; every sign-in ends."""
        visitor = await self._guard.visitor(request)
        form = await self._guard.form(request, visitor)
        token = form.text("token", 2000)
        member = await self._services.accounts.read_link(token)
        try:
            await self._services.accounts.set_password(token, _twice(form.secret("password"), form.secret("again")))
        except Refused as e:
            return self._link_page(visitor, token, member.handle, e)
        return to("/account?done=password")

    def _link_page(
        self, visitor: Visitor, token: str, handle: str, error: Refused | None = None
    ) -> web.Response:
        page = self._renderer.page(
            "set_password.html", visitor, status=error.status if error is not None else 200, error=error,
            token=token, handle=handle, least=self._services.config.enrollment.min_password_length,
        )
        return self._guard.offering(page, visitor)

    async def change_password(self, request: web.Request) -> web.StreamResponse:
        """Replace the password; the other sign-ins end, this one goes on."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        try:
            await self._services.accounts.change_password(
                visitor.member.id, form.secret("old"), _twice(form.secret("new"), form.secret("again"), "new"),
                visitor.address, keep=visitor.session.id,
            )
        except Refused as e:
            return await self._settings_page(visitor, error=e, about="password")
        return to("/account/settings?done=password-changed")

    # -- settings --------------------------------------------------------------------------------------------------

    async def settings(self, request: web.Request) -> web.Response:
        """Identity, password, sign-ins."""
        visitor = await self._guard.known(request)
        return await self._settings_page(visitor, done=request.query.get("done"))

    async def _settings_page(
        self, visitor: Known, *, error: Refused | None = None, about: str = "", did: str | None = None,
        done: str | None = None,
    ) -> web.Response:
        return self._renderer.page(
            "settings.html", visitor, status=error.status if error is not None else 200, error=error, about=about,
            sessions=await self._services.sessions.list(visitor.member.id), done=done,
            recovery_codes=await self._services.accounts.second_factor.state(visitor.member.id),
            did=visitor.member.did if did is None else did,
            least=self._services.config.enrollment.min_password_length,
        )

    async def set_did(self, request: web.Request) -> web.StreamResponse:
        """Another DID, or the relay's own with an empty field."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        given = form.text("did")
        try:
            if given:
                await self._services.own_dids.use(visitor.member.id, given)
            else:
                await self._services.accounts.set_did(visitor.member.id, None)
        except Refused as e:
            return await self._settings_page(visitor, error=e, about="did", did=given)
        return to("/account/settings?done=did")

    async def end_session(self, request: web.Request) -> web.StreamResponse:
        """End one sign-in; one's own is a sign-out."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        session_id = int(request.match_info["id"])
        await self._services.sessions.revoke(visitor.member.id, session_id)
        if session_id == visitor.session.id:
            response = to("/account?done=signed-out")
            self._guard.signed_out(response)
            return response
        return to("/account/settings?done=session")

    async def end_others(self, request: web.Request) -> web.StreamResponse:
        """End every sign-in but this one."""
        visitor = await self._guard.known(request)
        await self._guard.form(request, visitor)
        await self._services.sessions.revoke_others(visitor.member.id, visitor.session.id)
        return to("/account/settings?done=sessions")

    async def connect(self, request: web.Request) -> web.Response:
        """The connection settings."""
        visitor = await self._guard.known(request)
        found = await self._services.domains.list(visitor.member.id, limit=self._services.config.http.page_size)
        name = next((d.name for d in found if d.state == "verified"), None)
        return self._renderer.page(
            "connect.html", visitor, settings=settings(self._services.config, visitor.member.handle, name),
            verified=name is not None,
        )


def _volume(counted: list[Day], now: float) -> Chart | None:
    """A domain's last month as a small chart."""
    found = figures.figures(counted, now, figures.DEFAULT_DAYS)
    return charts.volume(charts.days_of(found.periods, now, found.days))


def _twice(new: str, again: str, field: str = "password") -> str:
    if new != again:
        raise EnrollError(INVALID_VALUE, "the two passwords are not the same", field)
    return new


