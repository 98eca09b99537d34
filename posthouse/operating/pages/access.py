"""Who may see the operator's pages, what each of them stands on, and how a change made there is written down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import structlog
from aiohttp import web

from enroll.errors import EnrollError
from enroll.pages import Renderer
from enroll.pages.guard import Form, Guard, Known
from posthouse.wiring import Core
from relay.base.storage import audit
from relay.base.storage.audit import OPERATOR, Entry
from relay.replies import OPERATOR_ONLY

log = structlog.get_logger("operator")

Findings = Callable[[], Awaitable[Mapping[str, Any]]]
"""The doctor's findings: `{"ok", "findings": [{"name", "status", "saw", "fix"}]}`."""
_MAX_ID = 19


def may_operate(visitor: Known) -> str:
    """Why somebody signed in may not see these pages, in a sentence; "" for members to whom `posthouse member operator`
    gave the role, signed in with a second factor."""
    if not visitor.member.operator or visitor.member.status != "active":
        return "These pages are for the relay's operator"
    if visitor.session.second_factor_at is None:
        return (
            "These pages need a second factor: set one up at /account/second-factor. "
            "If you have one, sign out and sign in again with its code"
        )
    return ""


@dataclass(frozen=True, slots=True)
class Change:
    """A change made on a page. `member_id`: whom it concerns, where it is one member; `before` and `after` hold no
    secrets."""

    action: str
    subject: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    member_id: int | None = None


class Access:
    """What every page of the operator's asks first."""

    def __init__(self, core: Core, guard: Guard, renderer: Renderer, findings: Findings) -> None:
        self.core, self.findings = core, findings
        self._guard, self._renderer = guard, renderer

    async def operator(self, request: web.Request) -> Known:
        """The operator who reads; raises the redirect to the sign-in, or EnrollError 403 for everybody else."""
        visitor = await self._guard.known(request)
        if refused := may_operate(visitor):
            raise EnrollError(OPERATOR_ONLY, refused)
        return visitor

    async def form(self, request: web.Request) -> tuple[Known, Form]:
        """The operator who sends a form, and the form; raises the same, and what `Guard.form` raises."""
        visitor = await self.operator(request)
        return visitor, await self._guard.form(request, visitor)

    async def changed(self, visitor: Known, change: Change) -> None:
        """Write down who changed what, from where, before and after."""
        entry = Entry(
            at=self.core.clock.now(), actor=OPERATOR, who=visitor.member.handle, address=visitor.address,
            action=change.action, subject=change.subject, before=change.before, after=change.after,
            member_id=change.member_id,
        )
        # The line in the log stands even where the disk takes no more.
        log.info(
            "operator.changed", handle=entry.who, address=entry.address, action=entry.action, subject=entry.subject
        )
        await self.core.storage.write(lambda tx: audit.add(tx, entry))

    def page(self, name: str, visitor: Known, request: web.Request, **values: Any) -> web.Response:
        """A page, with what was done before it came."""
        error = values.setdefault("error", None)
        status = error.status if error is not None else 200
        return self._renderer.page(name, visitor, status=status, done=request.query.get("done"), **values)

    @property
    def size(self) -> int:
        """Rows on a page."""
        return self.core.config.http.page_size


def asked(request: web.Request, *names: str) -> dict[str, str]:
    """Fields of the query, without blanks around them, "" where absent."""
    return {name: request.query.get(name, "").replace("\0", "").strip()[:320] for name in names}


def number(text: str) -> int | None:
    """A positive number of a query or path, None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < _MAX_ID else None


def older(rows: Sequence[Any], size: int, given: Mapping[str, str]) -> str | None:
    """The query of the next page, where more than `size` rows were found; they have ids."""
    if len(rows) <= size:
        return None
    return urlencode({k: v for k, v in given.items() if v} | {"before": str(rows[size - 1].id)})
