"""/account/messages: what became of each recipient, every try with the other side's own words, and what comes next."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from aiohttp import web

from enroll.errors import EnrollError, conflict, not_found
from enroll.pages.figures import HAPPENED, STATES, tls_in_words, what_next
from enroll.pages.guard import Guard, Known
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from relay.base import names
from relay.base.events import ACCEPTED, AFTERWARDS, REPEATED, Event
from relay.base.storage import events, reports
from relay.base.storage.reports import AttemptRow, DetailRow, MessageRow
from relay.replies import INVALID_VALUE, Refused

_QUEUE_ID = re.compile(r"[a-z0-9]{8,32}")
_FILTERS = ("status", "event", "recipient", "domain")
_DONE = {"cancel": "cancelled", "retry": "retried"}
_STAGES = {
    "route": "before any host was found", "connect": "on connecting", "greeting": "instead of a greeting",
    "ehlo": "to EHLO", "starttls": "to STARTTLS", "auth": "to the login", "mail": "to the sender",
    "rcpt": "to the recipient", "data": "to DATA", "dot": "to the whole message",
    "report": "later, in a report",
}
_TRACKED = {
    "large": "not tracked: the copies for its recipients would have been too large in total",
    "signed": "not tracked: it already had a DKIM signature",
    "pgp": "not tracked: it contains PGP",
    "plain": "not tracked: nothing in it may be changed (no HTML, or signed or encrypted)",
    "off": "not tracked: the client asked for it",
}
_MACHINES = {
    "privacy": "Apple's privacy protection, which loads every image", "scanner": "a program",
    "ahead": "a browser prefetching it", "at-once": "faster than anyone could read it",
}
_WAYS = {"one-click": "by the link", "page": "on the page", "mail": "by mail", "report": "by a report to the relay"}
Found = tuple[MessageRow, list[DetailRow], list[AttemptRow]]


class Messages:
    """The handlers. Another member's message is not found."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer

    def routes(self) -> list[web.RouteDef]:
        """The list, a message, and its two buttons."""
        return [
            web.get("/account/messages", self.list),
            web.get("/account/messages/{id}", self.show),
            web.post("/account/messages/{id}/cancel", self._change("cancel")),
            web.post("/account/messages/{id}/retry", self._change("retry")),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Recipients, newest first, narrowed by the filters."""
        visitor = await self._guard.known(request)
        given = {name: request.query.get(name, "").strip()[:320] for name in _FILTERS}
        before = request.query.get("before", "")
        size = self._services.config.http.page_size
        error, rows, happened = None, [], {}
        try:
            to, name = _address(given["recipient"]), _domain(given["domain"])
            state = given["status"] or None
            if state is not None and state not in reports.STATES:
                raise EnrollError(INVALID_VALUE, f"one of {', '.join(reports.STATES)}", "status")
            event = given["event"] or None
            if event is not None and event not in AFTERWARDS:
                raise EnrollError(INVALID_VALUE, f"one of {', '.join(AFTERWARDS)}", "event")
            async with self._services.storage.read() as tx:
                rows = await reports.recipients_of(
                    tx, visitor.member.id, state=state, event=event, address=to, domain=name, limit=size + 1,
                    before=int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None,
                )
                happened = await reports.afterwards(tx, {r.message_id for r in rows[:size]})
        except Refused as e:
            error = e
        older = None
        if len(rows) > size:
            kept = {k: v for k, v in given.items() if v}
            older = urlencode(kept | {"before": str(rows[size - 1].id)})
        return self._renderer.page(
            "messages.html", visitor, status=error.status if error else 200, rows=rows[:size], given=given,
            error=error, older=older, paged=bool(before), states=STATES, filtered=any(given.values()),
            happened=happened, words=HAPPENED,
        )

    async def show(self, request: web.Request) -> web.Response:
        """One message."""
        visitor = await self._guard.known(request)
        message, people, tries = await self._find(request, visitor)
        async with self._services.storage.read() as tx:
            after = await events.timeline(tx, message.id, types=AFTERWARDS)
            taken = await events.of_message(tx, message.id, types=(ACCEPTED,), limit=1)
            again = await events.of_message(tx, message.id, types=(REPEATED,))
        of: dict[int, list[AttemptRow]] = {}
        for one in tries:
            of.setdefault(one.recipient_id, []).append(one)
        happened: dict[int | None, list[Event]] = {}
        for e in after:
            happened.setdefault(e.recipient_id, []).append(e)
        return self._renderer.page(
            "message.html", visitor, done=request.query.get("done"), message=message, states=STATES,
            people=[
                (p, tries, what_next(p, tries, did), did)
                for p in people for tries, did in [(of.get(p.id, []), happened.get(p.id, []))]
            ],
            tracked=_TRACKED.get(str(taken[0].data.get("tracking", "")) if taken else "", ""), machines=_MACHINES,
            ways=_WAYS, again=[e.at for e in again],
            stages=_STAGES, tls_in_words=tls_in_words, open=any(p.state in ("queued", "deferred") for p in people),
        )

    def _change(self, action: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def change(request: web.Request) -> web.StreamResponse:
            visitor = await self._guard.known(request)
            form = await self._guard.form(request, visitor)
            message, people, _ = await self._find(request, visitor)
            only = {int(v) for v in form.every("recipient") if v.isascii() and v.isdigit() and len(v) < 19}
            ids = [p.id for p in people if not only or p.id in only]
            if not await self._services.queue.change(action, ids, member_id=visitor.member.id):
                raise conflict(
                    "No recipient of this message is waiting: all are finished, or being delivered at this moment"
                )
            return to(f"/account/messages/{message.queue_id}?done={_DONE[action]}")

        return change

    async def _find(self, request: web.Request, visitor: Known) -> Found:
        queue_id = request.match_info["id"]
        found = None
        if _QUEUE_ID.fullmatch(queue_id):
            async with self._services.storage.read() as tx:
                found = await reports.message(tx, visitor.member.id, queue_id=queue_id)
        if found is None:
            raise not_found("There is no such message, or its log has expired")
        return found


def _address(text: str) -> str | None:
    try:
        return names.address(text).text if text else None
    except names.BadName as e:
        raise EnrollError(INVALID_VALUE, e.reason, "recipient") from None


def _domain(text: str) -> str | None:
    try:
        return names.domain(text) if text else None
    except names.BadName as e:
        raise EnrollError(INVALID_VALUE, e.reason, "domain") from None
