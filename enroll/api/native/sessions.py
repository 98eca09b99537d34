"""`/v1/sessions`: signing in and out, and the list of sign-ins; `/v1/password`: a new password."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from enroll.accounts import Member
from enroll.services import Services
from enroll.sessions import Actor, Session, clear_cookie
from relay.base.web.calls import OPEN, SIGN_IN, Calls
from relay.base.web.models import Strict, View, shown_at


class SignInRequest(Strict):
    """What POST /v1/sessions takes."""

    handle: str = Field(
        min_length=1, max_length=320, examples=["anna"],
        description="The handle, or the account's e-mail address.",
    )
    password: str = Field(min_length=1, max_length=1024)
    code: str = Field(
        "", max_length=64, examples=["123456"],
        description="Of the second factor, where the account has one: six digits, or a recovery code.",
    )


class NewPassword(Strict):
    """What PUT /v1/password takes."""

    old: str = Field(min_length=1, max_length=1024)
    new: str = Field(min_length=1, max_length=1024)


class CurrentView(View):
    """The sign-in in use and its member. `csrf` is what forms of the pages repeat."""

    id: int
    csrf: str
    handle: str
    did: str
    status: str
    reason: str
    created_at: str
    expires_at: str


class OpenedView(CurrentView):
    """A sign-in just made. `token` is a Bearer token; browsers got it as a cookie too, which opens the pages alone."""

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


_calls = Calls("Account", SIGN_IN, suspended=True)


class SignIns:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services, self._sessions, self._config = services, services.sessions, services.config

    @_calls.post(
        "/v1/sessions", "Sign in", access=OPEN, status=201, errors=(401, 403), gives=OpenedView,
    )
    async def open(self, who: str, request: web.Request, body: SignInRequest) -> web.Response:
        # A browser must not be signed in to somebody else's account by another site.
        self._services.authenticator.own_page(request)
        authenticator = self._services.authenticator
        made = await authenticator.sign_in(request, body.handle, body.password, who, code=body.code)
        response = OpenedView(token=made.token, **_shown(made.session, made.member)).response(201)
        authenticator.hand_over(request, response, made)
        return response

    @_calls.get("/v1/sessions", "List the sign-ins")
    async def list(self, who: Actor) -> SessionList:
        session = _current(who)
        shown = [
            SessionView(
                id=s.id, current=s.id == session.id, address=s.address, agent=s.agent,
                created_at=shown_at(s.created_at) or "", seen_at=shown_at(s.seen_at) or "",
                expires_at=shown_at(s.expires_at) or "",
            )
            for s in await self._sessions.list(session.member_id)
        ]
        return SessionList(sessions=shown)

    @_calls.get("/v1/sessions/current", "Show this sign-in")
    async def current(self, who: Actor) -> CurrentView:
        return CurrentView(**_shown(_current(who), who.member))

    @_calls.delete("/v1/sessions/current", "Sign out", status=204)
    async def close(self, who: Actor) -> web.Response:
        session = _current(who)
        await self._sessions.revoke(session.member_id, session.id)
        response = web.Response(status=204)
        clear_cookie(response, self._config)
        return response

    @_calls.delete("/v1/sessions/others", "End all other sign-ins")
    async def close_others(self, who: Actor) -> None:
        session = _current(who)
        await self._sessions.revoke_others(session.member_id, session.id)

    @_calls.delete("/v1/sessions/{id}", "End a sign-in")
    async def revoke(self, who: Actor, id: int) -> None:
        await self._sessions.revoke(who.member.id, id)

    @_calls.put("/v1/password", "Change the password; all other sign-ins end")
    async def new_password(self, who: Actor, body: NewPassword) -> None:
        await self._services.accounts.change_password(
            who.member.id, body.old, body.new, who.address, keep=_current(who).id
        )


def _current(who: Actor) -> Session:
    """The sign-in that asks: these calls take no API key."""
    assert who.session is not None
    return who.session


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
