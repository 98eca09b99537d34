"""Who is calling, and the refusal in the words that SMTP would use.

Credentials come before the body is read: a stranger uploads nothing. Refusals of policy get their reference here,
once, whichever room found them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import unquote_plus

from aiohttp import web

from relay.base.clock import Clock
from relay.base.config import Config
from relay.base.storage import Storage
from relay.base.web import UploadMemory, bearer, client_address, is_https, reject
from relay.directory import Directory, Login
from relay.intake import Intake
from relay.policy import Policy
from relay.queue import Handoff, Queue
from relay.refusals import Refusals
from relay.replies import AUTH_REQUIRED, INVALID_DID, Refused, Verdict

_DID_HEADERS = ("X-Posthouse-DID", "X-Atmos-DID")
_MAX_RECORDED = 100


@dataclass(frozen=True)
class SendServices:
    """What this door stands on, handed in by whoever puts the process together."""

    config: Config
    clock: Clock
    storage: Storage
    directory: Directory
    policy: Policy
    intake: Intake
    refusals: Refusals
    queue: Queue
    handoff: Handoff | None = None
    uploads: UploadMemory = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "uploads", UploadMemory(self.config.http.max_upload_memory_bytes))

    def wake(self) -> None:
        """Tell this process's delivery worker, if it has one, that something is due."""
        if self.handoff is not None:
            self.handoff.wake.set()


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated request: the login, where it comes from, whether its way was encrypted."""

    login: Login
    address: str
    tls: str | None


class Door:
    """Authentication and refusals for every route of this room. `records` False: no refusal gets a page."""

    def __init__(self, services: SendServices, *, records: bool = True) -> None:
        self._services, self._records = services, records

    def caller(self, request: web.Request, scope: str, *, reads: bool = False) -> Caller:
        """The caller, whose key has `scope`. What only `reads`, as all that needs the scope `read` does, a suspended
        member may too. Raises Refused: AUTH_REQUIRED, AUTH_FAILED, INVALID_DID, …"""
        address = self._address(request)
        found = self._login(request, address, scope, reads=reads or scope == "read")
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

    def _login(self, request: web.Request, address: str, scope: str, *, reads: bool) -> Login | Verdict:
        token = bearer(request)
        if token is None:
            return Verdict(AUTH_REQUIRED)
        claimed = {value.strip() for name in _DID_HEADERS for value in request.headers.getall(name, [])}
        claimed |= set(_query_dids(request))
        if len(claimed) > 1:
            return Verdict(INVALID_DID, saw="several DIDs")
        return self._services.directory.login(
            None, token, address, did=next(iter(claimed), None), scope=scope, reads=reads
        )

    def _address(self, request: web.Request) -> str:
        return client_address(request, self._services.config.server.trusted_proxies)


def _query_dids(request: web.Request) -> Iterator[str]:
    """The values of `?did=`. A DID has a percent escape of its own (`did:web:host%3A8080`), which clients that write
    it down as it stands would lose: such a value is taken as it stands."""
    for pair in request.rel_url.raw_query_string.split("&"):
        name, _, value = pair.partition("=")
        if name == "did":
            as_it_stands = value.lower().startswith("did:") and "%25" not in value
            yield (value if as_it_stands else unquote_plus(value)).strip()


def query(request: web.Request, *known: str, many: tuple[str, ...] = ()) -> dict[str, str]:
    """The query's single values; refuses unknown names (all but `did`) and repeated ones (all but `many`)."""
    found: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known and name not in many and name != "did":
            reject("unknown query parameter", field=name[:40])
        if name in found and name not in many and name != "did":
            reject(f"{name}: stands twice", field=name)
        found[name] = value
    return found


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Turn a ValueError of ours into INVALID_REQUEST for `field`."""
    try:
        yield
    except ValueError as e:
        reject(f"{field}: {getattr(e, 'reason', 'not readable')}", field=field)


def _shortened(asked: dict[str, Any]) -> dict[str, Any]:
    return {k: v[:_MAX_RECORDED] if isinstance(v, list) else v for k, v in asked.items()}
