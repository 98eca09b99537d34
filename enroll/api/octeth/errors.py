"""The numbered errors: code, message, HTTP status. And what every other refusal looks like in this shape.

Promises that the message is ours or a remote mail host's, never an exception's.
"""

from __future__ import annotations

from aiohttp import hdrs, web

from enroll.api.octeth.views import ErrorsView, ErrorView
from enroll.errors import EnrollError
from relay.base.config import Config
from relay.base.storage import StorageError
from relay.base.web import answer, retry_after
from relay.replies import LABEL_TOO_LONG, MEMBER_SUSPENDED, SESSION_REQUIRED, Refused, Verdict

_WAIT = {429: 60, 503: 30}
_NUMBERED = 200
"""Codes below this are numbers of the documentation; others are HTTP statuses, or its general ones."""
UNREADABLE, UNKNOWN_COMMAND = 100000, 100003


class Fault(Exception):
    """One error of a call. `status` is what HTTP means by it; `named`: Octeth's documentation says so too. `wait`:
    whole seconds after which trying again can help."""

    def __init__(
        self, code: int, message: str, status: int = 400, wait: int | None = None, *, named: bool = False
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.wait = code, message, status, wait
        self.named = named or code >= _NUMBERED

    def response(self, config: Config) -> web.Response:
        """As the client gets it."""
        shown = ErrorsView(
            ErrorCode=self.code, ErrorText=self.message, Errors=[ErrorView(Code=self.code, Message=self.message)]
        )
        status = self.status if self.named or config.octeth.error_status == "http" else 200
        made = answer(shown.model_dump(mode="json"), status)
        if status == 401:
            # RFC 9110 §11.6.1: a 401 names a scheme that would do.
            made.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="posthouse"'
        wait = self.wait or _WAIT.get(self.status)
        if wait is not None:
            made.headers[hdrs.RETRY_AFTER] = str(wait)
        return made


def unauthorised() -> Fault:
    """No credentials, wrong ones, or ones that may not change domains."""
    return Fault(0, "Authentication failed", 401)


def missing(parameter: str, code: int = 1) -> Fault:
    """A parameter that the call can't do without."""
    return Fault(code, f"Missing {parameter} parameter")


def not_found() -> Fault:
    """No such domain, or another member's."""
    return Fault(2, "Sender domain not found", 404)


def bad_label(parameter: str, why: Refused) -> Fault:
    """A subdomain or prefix that can't be one."""
    if why.reply is LABEL_TOO_LONG:
        return Fault(6, f"Invalid {parameter}. {why.text}")
    return Fault(
        6, f"Invalid {parameter}. Letters, digits, and hyphens only; max 32 chars; no leading/trailing hyphens"
    )


def fault_of(error: Exception, now: float) -> Fault:
    """Any refusal of the services below as an error of this shape: where it gives none, the HTTP status is the code."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, EnrollError):
        if error.status == 401 or error.reply is SESSION_REQUIRED:
            return unauthorised()
        if error.status == 404:
            return not_found()
        if error.code == "MEMBER_SUSPENDED":
            return Fault(0, error.text, 403)
        return Fault(error.status, error.text, error.status, retry_after(error.verdict, now))
    if isinstance(error, Refused):
        return _of_verdict(error.verdict, now)
    assert isinstance(error, StorageError)
    return Fault(503, "The request can't be served just now: try again later", 503)


def _of_verdict(verdict: Verdict, now: float) -> Fault:
    status = verdict.reply.http or 500
    if verdict.reply is MEMBER_SUSPENDED:
        return Fault(0, verdict.text(), 403)
    if status in (401, 403) or verdict.reply.code == "AUTH_REQUIRED":
        return unauthorised()
    return Fault(status, verdict.text(), status, retry_after(verdict, now))
