"""Who is asking, and signing in: the one place of enrollment where a key, a token, a cookie or a password is judged.

Promises that keys are judged by the same directory, in the same words, as everywhere else, and that nobody asks
more often than they may: a member's requests are its own, those of strangers are counted by their address and never in
a member's way. A Bearer token is an API key or a sign-in, told apart by how it begins; the cookie opens the pages alone
(`enroll.pages.guard`). Every sign-in begins here, whichever API or page it was asked by. What belongs to whom is left
to the services.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from aiohttp import hdrs, web

from enroll.accounts import Accounts, Member
from enroll.errors import EnrollError, suspended
from enroll.sessions.browser import Devices, cookie_token, cross_site, set_cookie
from enroll.sessions.service import PREFIX, Session, Sessions
from relay.base.clock import MINUTE, Clock
from relay.base.config import Config
from relay.base.netguard import client_key
from relay.base.throttle import Throttle
from relay.base.web import bearer, client_address
from relay.directory import Directory, Login
from relay.replies import (
    AUTH_REQUIRED,
    CROSS_SITE,
    SECOND_FACTOR_MISSING,
    SESSION_ENDED,
    SESSION_REQUIRED,
    TOO_MANY_REQUESTS,
    Refused,
    Verdict,
)
from relay.sendapi import login_by_key


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody known: the member, and the sign-in or the API key that says so."""

    member: Member
    address: str
    session: Session | None = None
    login: Login | None = None

    @property
    def domains(self) -> frozenset[str] | None:
        """The domains (A-labels) that the API key is limited to; None: all of the member's."""
        return self.login.domains if self.login is not None else None

    def may_use(self, domain: str) -> bool:
        """False for a domain (A-label) that the API key is not limited to."""
        return self.domains is None or domain in self.domains


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that has just begun. `token` stands nowhere else."""

    member: Member
    session: Session
    token: str


class Authenticator:
    """Finds the actor of a request. One for the whole application: it counts requests."""

    def __init__(
        self, config: Config, clock: Clock, directory: Directory, accounts: Accounts, sessions: Sessions,
        devices: Devices,
    ) -> None:
        self._config, self._clock, self._devices = config, clock, devices
        self._directory, self._accounts, self._sessions = directory, accounts, sessions
        self._asked = Throttle(config.http.requests_a_minute, MINUTE)

    async def actor(self, request: web.Request, scope: str, *, reads: bool, keys: bool = True) -> Actor:
        """The actor of a request whose credentials stand in its Bearer header. Arguments and errors as `by_token`."""
        return await self.by_token(request, bearer(request), scope, reads=reads, keys=keys)

    async def by_token(
        self, request: web.Request, token: str | None, scope: str, *, reads: bool, keys: bool = True
    ) -> Actor:
        """The actor who has this token, an API key or a sign-in's; None: there is none. A cookie opens nothing here.

        `scope` is what a key must have (a sign-in may all); `keys` False refuses API keys. What only `reads`, a
        suspended member may too. Raises EnrollError 401, 403; Refused in the same words as SMTP; StorageError.
        """
        if token is None:
            self.visitor(request)
            raise Refused(AUTH_REQUIRED)
        if not token.startswith(PREFIX):
            if keys:
                return await self._by_key(request, token, scope, reads=reads)
            self._counted(request, self._directory.owner(token))
            raise EnrollError(SESSION_REQUIRED, "This needs a sign-in, not an API key")
        session = await self._sessions.find(token)
        if session is None:
            self.visitor(request)
            raise EnrollError(SESSION_ENDED, "The sign-in has ended: sign in again")
        return await self._by_session(request, session, reads=reads)

    async def by_cookie(self, request: web.Request) -> Actor | None:
        """The member whose sign-in the pages' cookie holds, counted as theirs; None for a stranger, who isn't counted
        here. Raises Refused TOO_MANY_REQUESTS, StorageError."""
        token = cookie_token(request, self._config)
        session = await self._sessions.find(token) if token else None
        if session is None:
            return None
        try:
            member = await self._accounts.by_id(session.member_id)
        except Refused:  # deleted meanwhile
            return None
        return Actor(member, self.known(request, member.id), session=session)

    async def sign_in(
        self, request: web.Request, login: str, password: str, address: str, *, code: str = "", browser: bool = True
    ) -> SignedIn:
        """Judge a handle (or email), its password and the code of its second factor, if it has one, and begin a
        sign-in. Arguments as `begin`.

        Raises as `Accounts.prove`; StorageError.
        """
        member, proved = await self._accounts.prove(
            login, password, code, address, device=self._devices.of(request)
        )
        return await self.begin(request, member, address, browser=browser, second_factor=proved)

    async def begin(
        self, request: web.Request, member: Member, address: str, *, browser: bool = True, second_factor: bool = False
    ) -> SignedIn:
        """A new sign-in of somebody who has proved who they are. `browser`: it takes the place of the cookie's."""
        replaced = cookie_token(request, self._config) if browser else ""
        token, session = await self._sessions.open(
            member.id, address, request.headers.get(hdrs.USER_AGENT, ""), instead_of=replaced,
            second_factor=second_factor,
        )
        return SignedIn(member, session, token)

    def hand_over(self, request: web.Request, response: web.StreamResponse, signed_in: SignedIn) -> None:
        """Give a browser its sign-in as a cookie; it is known from now on."""
        set_cookie(response, signed_in.token, self._config)
        self._devices.remember(request, response, signed_in.member.id)

    def lacks_factor(self, session: Session) -> bool:
        """Whether the operator demands a second factor and this sign-in has proved none."""
        return self._config.enrollment.second_factor_required and session.second_factor_at is None

    def visitor(self, request: web.Request) -> str:
        """The address of a stranger, counted: by itself, or as the member's who last signed in with this browser.

        Raises Refused TOO_MANY_REQUESTS.
        """
        address, device = self._address(request), self._devices.of(request)
        key = client_key(address)
        self._count(key if device is None else (key, device.members[0]))
        return address

    def known(self, request: web.Request, member_id: int) -> str:
        """The address from which a member asks, counted as that member's. Raises Refused TOO_MANY_REQUESTS."""
        address = self._address(request)
        self._count((client_key(address), member_id))
        return address

    def own_page(self, request: web.Request) -> None:
        """Raises EnrollError 403 when a browser says that another site's page asks."""
        if cross_site(request, self._config):
            raise EnrollError(CROSS_SITE, "This request comes from another site's page")

    async def _by_key(self, request: web.Request, token: str, scope: str, *, reads: bool) -> Actor:
        try:
            found = login_by_key(self._directory, request, token, self._address(request), scope=scope, reads=reads)
        except Refused:
            self._counted(request, self._directory.owner(token))
            raise
        if isinstance(found, Verdict):
            self._counted(request, found.member_id)
            raise Refused(found)
        return Actor(await self._accounts.by_id(found.member_id), self.known(request, found.member_id), login=found)

    def _counted(self, request: web.Request, member_id: int | None) -> None:
        """A right key, used wrongly, is its member's: its refusal is in no stranger's way, nor they in its."""
        self.visitor(request) if member_id is None else self.known(request, member_id)

    async def _by_session(self, request: web.Request, session: Session, *, reads: bool) -> Actor:
        address = self.known(request, session.member_id)
        member = await self._accounts.by_id(session.member_id)
        if member.status != "active" and not reads:
            raise suspended(member.reason)
        if self.lacks_factor(session):
            raise EnrollError(SECOND_FACTOR_MISSING, "The operator asks for a second factor: set one up at /account")
        return Actor(member, address, session=session)

    def _address(self, request: web.Request) -> str:
        return client_address(request, self._config.server.trusted_proxies)

    def _count(self, who: Hashable) -> None:
        now = self._clock.monotonic()
        if wait := self._asked.wait(who, now):
            raise Refused(Verdict(TOO_MANY_REQUESTS, passes_at=self._clock.now() + wait))
        self._asked.count(who, now)

