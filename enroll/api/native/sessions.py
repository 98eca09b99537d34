"""`/v1/sessions`: signing in and out, and the list of sign-ins; `/v1/password`: a new password."""

from __future__ import annotations

from typing import Any

from aiohttp import hdrs, web
from pydantic import Field

from enroll.accounts import Member
from enroll.api.schema import OPEN, SESSION, Paths, operation
from enroll.services import Services
from enroll.sessions import Actor, Session, clear_cookie, cookie_token, set_cookie
from relay.base.web.models import Strict, View, body, done, path_id, shown_at


class SignInRequest(Strict):
    """What POST /v1/sessions takes."""

    handle: str = Field(
        min_length=1, max_length=320, examples=["anna"],
        description="The handle, or the account's e-mail address.",
    )
    password: str = Field(min_length=1, max_length=1024)


class NewPassword(Strict):
    """What PUT /v1/password takes."""

    old: str = Field(min_length=1, max_length=1024)
    new: str = Field(min_length=1, max_length=1024)


class CurrentView(View):
    """The sign-in in use and its member. `csrf` goes into X-CSRF of requests that change something by cookie."""

    id: int
    csrf: str
    handle: str
    did: str
    status: str
    reason: str
    created_at: str
    expires_at: str


class OpenedView(CurrentView):
    """A sign-in just made. `token` is a Bearer token; browsers got it as a cookie too."""

    token: str


class SessionView(View):
    """One of the member's sign-ins."""

    id: int
    current: bool
    address: str
    agent: str
    created_at: str
    seen_at: str
    expires_at: str


class SessionList(View):
    """The sign-ins, the latest used first."""

    sessions: list[SessionView]


def routes(services: Services) -> list[web.RouteDef]:
    """The routes of this page of the API."""
    sessions = _Sessions(services)
    return [
        web.post("/v1/sessions", sessions.open),
        web.get("/v1/sessions", sessions.list),
        web.get("/v1/sessions/current", sessions.current),
        web.delete("/v1/sessions/current", sessions.close),
        web.delete("/v1/sessions/others", sessions.close_others),
        web.delete("/v1/sessions/{id}", sessions.revoke),
        web.put("/v1/password", sessions.new_password),
    ]


def openapi_paths() -> Paths:
    """Their description."""
    return {
        "/v1/sessions": {
            "get": operation("List the sign-ins", security=SESSION, gives=SessionList),
            "post": operation("Sign in", security=OPEN, takes=SignInRequest, gives=OpenedView, status=201,
                              errors=(401, 403)),
        },
        "/v1/sessions/current": {
            "get": operation("Show this sign-in", security=SESSION, gives=CurrentView),
            "delete": operation("Sign out", security=SESSION, status=204),
        },
        "/v1/sessions/others": {"delete": operation("End all other sign-ins", security=SESSION, status=204)},
        "/v1/sessions/{id}": {
            "delete": operation("End a sign-in", security=SESSION, status=204, path={"id": "integer"})
        },
        "/v1/password": {
            "put": operation(
                "Change the password; all other sign-ins end", security=SESSION, takes=NewPassword, status=204
            )
        },
    }


class _Sessions:
    def __init__(self, services: Services) -> None:
        self._services, self._sessions, self._config = services, services.sessions, services.config

    async def open(self, request: web.Request) -> web.Response:
        address = self._services.gate.visitor(request)
        # A browser must not be signed in to somebody else's account by another site.
        self._services.gate.own_page(request)
        asked = await body(SignInRequest, request)
        member = await self._services.accounts.verify_password(
            asked.handle, asked.password, address, device=self._services.devices.of(request)
        )
        token, session = await self._sessions.open(
            member.id, address, request.headers.get(hdrs.USER_AGENT, ""),
            instead_of=cookie_token(request, self._config),
        )
        response = OpenedView(token=token, **_shown(session, member)).response(201)
        set_cookie(response, token, self._config)
        self._services.devices.remember(request, response, member.id)
        return response

    async def list(self, request: web.Request) -> web.Response:
        _, session = await self._current(request, "read")
        shown = [
            SessionView(
                id=s.id, current=s.id == session.id, address=s.address, agent=s.agent,
                created_at=shown_at(s.created_at) or "", seen_at=shown_at(s.seen_at) or "",
                expires_at=shown_at(s.expires_at) or "",
            )
            for s in await self._sessions.list(session.member_id)
        ]
        return SessionList(sessions=shown).response()

    async def current(self, request: web.Request) -> web.Response:
        actor, session = await self._current(request, "read")
        return CurrentView(**_shown(session, actor.member)).response()

    async def close(self, request: web.Request) -> web.Response:
        _, session = await self._current(request, "manage")
        await self._sessions.revoke(session.member_id, session.id)
        response = done()
        clear_cookie(response, self._config)
        return response

    async def close_others(self, request: web.Request) -> web.Response:
        _, session = await self._current(request, "manage")
        await self._sessions.revoke_others(session.member_id, session.id)
        return done()

    async def revoke(self, request: web.Request) -> web.Response:
        _, session = await self._current(request, "manage")
        await self._sessions.revoke(session.member_id, path_id(request))
        return done()

    async def new_password(self, request: web.Request) -> web.Response:
        actor, session = await self._current(request, "manage")
        asked = await body(NewPassword, request)
        await self._services.accounts.change_password(
            actor.member.id, asked.old, asked.new, actor.address, keep=session.id
        )
        return done()

    async def _current(self, request: web.Request, scope: str) -> tuple[Actor, Session]:
        actor = await self._services.gate.actor(request, scope, session_only=True, even_suspended=True)
        assert actor.session is not None
        return actor, actor.session


def _shown(session: Session, member: Member) -> dict[str, Any]:
    return {
        "id": session.id,
        "csrf": session.csrf,
        "handle": member.handle,
        "did": member.did,
        "status": member.status,
        "reason": member.reason,
        "created_at": shown_at(session.created_at),
        "expires_at": shown_at(session.expires_at),
    }
