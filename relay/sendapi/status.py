"""What became of messages: lists, details with every attempt, cancel and retry, and the feed of events.

A message is named by its queue id, one of its recipients by the integer that sending answered. Another member's are
not found, like those of domains that the key may not use.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from aiohttp import web

from relay.base.clock import iso
from relay.base.events import TYPES, shown
from relay.base.names import BadName, address, domain
from relay.base.storage import events, reports
from relay.base.storage.reports import AttemptRow, DetailRow, MessageRow, RecipientRow
from relay.base.web import answer, reject
from relay.replies import NOT_FOUND, NOT_POSSIBLE, Refused
from relay.sendapi.authenticate import Caller, Door, SendServices, naming, query
from relay.sendapi.responses import Attempt, Changed, Events, Message, Messages, Row
from relay.sendapi.send import Sender

_QUEUE_ID = re.compile(r"[a-z0-9]{8,32}")
_BIG = 2**62
_MAX_NUMBER = 10**18 - 1
Found = tuple[MessageRow, list[DetailRow], list[AttemptRow]]


class Status:
    """The handlers."""

    def __init__(self, sender: Sender) -> None:
        self._services: SendServices = sender.services
        self._door: Door = sender.door
        self._moment = sender.moment

    def routes(self) -> list[web.RouteDef]:
        """GET /v1/messages and what hangs on it, GET /v1/events."""
        return [
            web.get("/v1/messages", self.list),
            web.get("/v1/messages/{id}", self.get),
            web.post("/v1/messages/{id}/cancel", self._change("cancel")),
            web.post("/v1/messages/{id}/retry", self._change("retry")),
            web.get("/v1/events", self.events),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """One row a recipient, newest first, by cursor."""
        caller = self._door.caller(request, "read")
        given = query(request, "status", "recipient", "domain", "since", "cursor", "limit")
        state = given.get("status")
        if state is not None and state not in reports.STATES:
            reject(f"status: one of {', '.join(reports.STATES)}", field="status")
        to = name = None
        try:
            to = address(given["recipient"]).text if "recipient" in given else None
            name = domain(given["domain"]) if "domain" in given else None
        except BadName as e:
            where = "recipient" if to is None and "recipient" in given else "domain"
            reject(f"{where}: {e.reason}", field=where)
        limit = self._limit(given)
        async with self._services.storage.read() as tx:
            rows = await reports.recipients_of(
                tx, caller.login.member_id, names=caller.login.domains, state=state, address=to, domain=name,
                since=_since(given.get("since")), before=_number(given, "cursor"), limit=limit + 1,
            )
        cursor = str(rows[limit - 1].id) if len(rows) > limit else None
        page: Messages = {"messages": [_row(r) for r in rows[:limit]], "cursor": cursor}
        return answer(page)

    async def get(self, request: web.Request) -> web.Response:
        """One message with its recipients and their attempts."""
        caller = self._door.caller(request, "read")
        query(request)
        return answer(_detail(*await self._found(request, caller)))

    def _change(self, action: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def change(request: web.Request) -> web.Response:
            caller = self._door.caller(request, "send")
            query(request)
            _, people, _ = await self._found(request, caller)
            done = await self._services.queue.change(
                action, [p.id for p in people], member_id=caller.login.member_id
            )
            if not done:
                states = ", ".join(sorted({p.state for p in people}))
                raise Refused(
                    NOT_POSSIBLE,
                    saw=f"no recipient is waiting: {states}" if states not in ("queued", "deferred")
                    else "the message is being delivered just now",
                )
            if action == "retry":
                self._services.wake()
            after: Changed = {
                "action": action, "messageIds": done, **_detail(*await self._found(request, caller))
            }
            return answer(after)

        return change

    async def events(self, request: web.Request) -> web.Response:
        """The member's events after a cursor, oldest first."""
        caller = self._door.caller(request, "read")
        given = query(request, "after", "limit", many=("type",))
        types = request.query.getall("type", [])
        if any(t not in TYPES for t in types):
            reject("type: no such event", field="type")
        after, limit = _number(given, "after") or 0, self._limit(given)
        async with self._services.storage.read() as tx:
            found = await events.after(tx, after, member_id=caller.login.member_id, types=types, limit=limit + 1)
            names = await reports.domain_names(tx, caller.login.member_id)
        more = len(found) > limit
        found = found[:limit]
        allowed = caller.login.domains
        told = [
            shown(e, names.get(e.domain_id or 0))
            for e in found if allowed is None or names.get(e.domain_id or 0) in allowed
        ]
        page: Events = {"events": told, "cursor": str(found[-1].id if found else after), "more": more}
        return answer(page)

    async def _found(self, request: web.Request, caller: Caller) -> Found:
        text = request.match_info["id"]
        wanted: dict[str, Any]
        if text.isascii() and text.isdigit() and int(text[:20]) < _BIG and len(text) <= 20:
            wanted = {"recipient_id": int(text)}
        elif _QUEUE_ID.fullmatch(text.lower()):
            wanted = {"queue_id": text.lower()}
        else:
            raise Refused(NOT_FOUND)
        async with self._services.storage.read() as tx:
            found = await reports.message(tx, caller.login.member_id, names=caller.login.domains, **wanted)
        if found is None:
            raise Refused(NOT_FOUND)
        return found

    def _limit(self, given: dict[str, str]) -> int:
        http = self._services.config.http
        number = _number(given, "limit", least=1)
        return min(http.max_page_size, number or http.page_size)


def _number(given: dict[str, str], name: str, least: int = 0) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and least <= int(text) <= _MAX_NUMBER):
        reject(f"{name}: a whole number from {least} to {_MAX_NUMBER} is needed", field=name)
    return int(text)


def _since(text: str | None) -> float | None:
    """RFC 3339 or Unix seconds."""
    if text is None:
        return None
    with naming("since"):
        # A "+" that a client forgot to escape arrives as a blank.
        plain = text.replace(" ", "+")
        if text.replace(".", "", 1).isdigit() and text.isascii():
            return float(text)
        at = datetime.fromisoformat(plain.upper())
        if at.tzinfo is None:
            raise ValueError
        return at.timestamp()


def _row(r: RecipientRow) -> Row:
    return {
        "messageId": r.id, "id": r.queue_id, "recipient": r.address, "status": r.state,
        "from": r.header_from or r.mail_from, "subject": r.subject, "domain": r.domain, "category": r.category,
        "receivedAt": iso(r.received_at), "attempts": r.attempts, "code": r.code, "reply": r.says,
        "nextAttemptAt": _next(r.state, r.held, r.next_at), "settledAt": _iso(r.settled_at),
    }


def _detail(message: MessageRow, people: list[DetailRow], tries: list[AttemptRow]) -> Message:
    of: dict[int, list[Attempt]] = {}
    for one in tries:
        of.setdefault(one.recipient_id, []).append(
            {
                "at": iso(one.at), "result": one.kind, "host": one.host, "ip": one.ip, "tls": one.tls or None,
                "stage": one.stage, "code": one.code, "enhanced": one.enhanced or None, "reply": one.says,
                "seconds": round(one.seconds, 3),
            }
        )
    return {
        "id": message.queue_id, "domain": message.domain, "door": message.door, "mailFrom": message.mail_from,
        "from": message.header_from or message.mail_from, "subject": message.subject,
        "messageIdHeader": message.header_id, "category": message.category, "tags": message.tags or [],
        "metadata": message.metadata or {}, "size": message.size, "receivedAt": iso(message.received_at),
        "finishedAt": _iso(message.finished_at),
        "recipients": [
            {
                "messageId": p.id, "recipient": p.address, "status": p.state, "held": p.held, "code": p.code,
                "reply": p.says, "nextAttemptAt": _next(p.state, p.held, p.next_at),
                "expiresAt": iso(p.expires_at), "settledAt": _iso(p.settled_at), "attempts": of.get(p.id, []),
            }
            for p in people
        ],
    }


def _next(state: str, held: bool, at: float) -> str | None:
    return iso(at) if state in ("queued", "deferred") and not held else None


def _iso(at: float | None) -> str | None:
    return iso(at) if at is not None else None
