"""Who is calling, and the refusal in the words that SMTP would use.

Credentials come before the body is read: a stranger uploads nothing. Refusals of policy get their reference here,
once, whichever module found them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

from aiohttp import web

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.resolver import Resolver
from relay.base.storage import Storage
from relay.base.web import UploadMemory, bearer, claimed_did, client_address, is_https
from relay.base.web.calls import Call
from relay.directory import Directory, Login
from relay.intake import Intake
from relay.policy import Policy
from relay.refusals import Refusals
from relay.replies import AUTH_REQUIRED, Refused, Verdict

_MAX_RECORDED = 100


@dataclass(frozen=True)
class SendServices:
    """What the send API stands on, handed in by whoever puts the process together."""

    config: Config
    clock: Clock
    storage: Storage
    directory: Directory
    policy: Policy
    intake: Intake
    refusals: Refusals
    resolver: Resolver | None = None
    uploads: UploadMemory = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "uploads", UploadMemory(self.config.http.max_upload_memory_bytes))


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated request: the login, where it comes from, whether its way was encrypted."""

    login: Login
    address: str
    tls: str | None


def login_by_key(
    directory: Directory, request: web.Request, key: str, address: str, *, scope: str, reads: bool
) -> Login | Verdict:
    """Whose API key an HTTP request bears: asked by every API that keys open. Raises Refused INVALID_DID for an
    X-Atproto-DID that is none; what the key may not is the verdict."""
    return directory.login(None, key, address, did=claimed_did(request), scope=scope, reads=reads)


class Access:
    """Authentication and refusals for every route of the send API. `records` False: no refusal gets a page."""

    def __init__(self, services: SendServices, *, records: bool = True) -> None:
        self._services, self._records = services, records

    async def caller(self, request: web.Request, call: Call, token: str | None = None) -> Caller:
        """Whose key it is that makes a call: the one in the Bearer header, or `token` where it stands elsewhere. What
        only reads, a suspended member may too. Raises Refused: AUTH_REQUIRED, AUTH_FAILED, INVALID_DID, …"""
        address = self._address(request)
        found = self._login(request, token or bearer(request), address, call)
        if isinstance(found, Verdict):
            self.refuse(found, address)
        https = is_https(request, self._services.config.server.trusted_proxies)
        return Caller(found, address, "HTTPS" if https else None)

    def recorded(self, verdict: Verdict, address: str, login: Login | None = None, **asked: Any) -> Verdict:
        """The verdict with its reference; `asked` is what asking again needs (addresses and sizes, never content)."""
        if not self._records:
            return verdict
        return self._services.refusals.record(
            verdict, door="http", address=address,
            member_id=login.member_id if login else verdict.member_id,
            request=_shortened(asked) or None,
        )

    def refuse(self, verdict: Verdict, address: str, login: Login | None = None, **asked: Any) -> NoReturn:
        """Record and raise."""
        raise Refused(self.recorded(verdict, address, login, **asked))

    def _login(self, request: web.Request, token: str | None, address: str, call: Call) -> Login | Verdict:
        if token is None:
            return Verdict(AUTH_REQUIRED)
        return login_by_key(
            self._services.directory, request, token, address, scope=call.scope, reads=call.reads
        )

    def _address(self, request: web.Request) -> str:
        return client_address(request, self._services.config.server.trusted_proxies)


def _shortened(asked: dict[str, Any]) -> dict[str, Any]:
    return {k: v[:_MAX_RECORDED] if isinstance(v, list) else v for k, v in asked.items()}
