"""`user.login`: a sign-in by name and password, for clients that go on with its `SessionID`."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from pydantic import BaseModel, Field

from enroll.accounts import Member
from enroll.api.octeth.errors import Fault, missing
from enroll.api.octeth.requests import Parameters
from enroll.api.octeth.views import CodedAnswer, ErrorsView, View
from enroll.services import Services
from relay.base.web.calls import OPEN, Calls
from relay.base.web.schema import json_of
from relay.replies import SECOND_FACTOR_REQUIRED, SECOND_FACTOR_WRONG, Refused

TAG = ("Sign-in", "At `/api.php` too, by its `Command`.")
_calls = Calls(TAG[0], OPEN, hands=("p",))
_WRONG = "Invalid login information"


class SignIn(BaseModel):
    """What login takes. With a second factor: `TFACode`, or `TFARecoveryCode` in its place."""

    Command: str = ""
    Username: str = Field(examples=["anna"], description="The handle, or the account's e-mail address.")
    Password: str
    TFACode: str = ""
    TFARecoveryCode: str = ""


class UserView(View):
    """Whose sign-in it is."""

    UserID: str
    Username: str
    EmailAddress: str
    FirstName: str
    LastName: str
    AccountStatus: Literal["Enabled", "Disabled"]


class LoginAnswer(CodedAnswer):
    """user.login"""

    ErrorText: Literal[""] = ""
    SessionID: str
    UserInfo: UserView


class Logins:
    """The call. Raises Fault, and what the accounts raise."""

    FAMILY = "user."

    def __init__(self, services: Services) -> None:
        self._services = services

    @_calls.post(
        "/api/v1/user.login", "Sign in", takes=SignIn,
        responses={"401": {"description": "Wrong.", "content": json_of(ErrorsView, "serialization")}},
    )
    async def login(self, who: str, request: web.Request, p: Parameters) -> LoginAnswer:
        """user.login"""
        if p.has("APIKey") and not p.has("Username"):
            # A key has scopes, domains and networks; a sign-in made from it would have none.
            raise Fault(3, f"{_WRONG}: an API key needs no sign-in, send it as APIKey with each call", 401)
        for name, code in (("Username", 1), ("Password", 2)):
            if not p.has(name):
                raise missing(name, code)
        password = p.given("Password")
        try:
            made = await self._services.authenticator.sign_in(
                request, p.text("Username"), password if isinstance(password, str) else p.text("Password"), who,
                browser=False, code=p.text("TFACode") or p.text("TFARecoveryCode"),
            )
        except Refused as e:
            if e.code == SECOND_FACTOR_REQUIRED.code:
                raise Fault(101, "Two-factor authentication code is required", 401) from e
            if e.code == SECOND_FACTOR_WRONG.code:
                raise Fault(6, "Invalid two-factor authentication code", 401) from e
            if e.status != 401:
                raise
            raise Fault(3, _WRONG, 401) from e
        return LoginAnswer(ErrorText="", SessionID=made.token, UserInfo=_shown(made.member))


def _shown(member: Member) -> UserView:
    return UserView(
        UserID=str(member.id), Username=member.handle, EmailAddress=member.email, FirstName="", LastName="",
        AccountStatus="Enabled" if member.status == "active" else "Disabled",
    )
