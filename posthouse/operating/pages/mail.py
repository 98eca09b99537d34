"""/operator/messages: any message, explained; /operator/queue: waiting mail by a filter, counted before it is acted
upon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from enroll.errors import invalid, not_found
from enroll.pages.render import to
from posthouse.operating import explanation, queue
from posthouse.operating.pages.access import Access, Change, asked, number, older
from posthouse.operating.queue import Filter
from relay.base import names
from relay.replies import Refused

_FIELDS = ("message", "member", "domain", "to", "error", "held")
_VERBS = {"retry": "Try now", "hold": "Hold", "release": "Release", "drop": "Drop"}


class Mail:
    """The handlers."""

    def __init__(self, access: Access) -> None:
        self._access, self._core = access, access.core

    def routes(self) -> list[web.RouteDef]:
        """Finding and explaining messages; the queue and what can be done to it."""
        return [
            web.get("/operator/messages", self.messages),
            web.get("/operator/messages/{message}", self.message),
            web.get("/operator/queue", self.queue),
            web.get("/operator/queue/act", self.count),
            web.post("/operator/queue/act", self.act),
        ]

    async def messages(self, request: web.Request) -> web.Response:
        """The newest recipients, or those of one address or destination; a queue id or a Message-ID leads to its
        message."""
        visitor = await self._access.operator(request)
        given, size, error = asked(request, "find"), self._access.size, None
        text = given["find"]
        if text and (led := await self._message_named(text)):
            return to(f"/operator/messages/{quote(led)}")
        found = await queue.newest(
            self._core, Filter(to=_destination(text) if text else None), only_open=False,
            before=number(request.query.get("before", "")), limit=size + 1,
        )
        return self._access.page(
            "operator_messages.html", visitor, request, given=given, error=error, rows=found[:size], state=queue.state,
            older=older(found, size, given),
        )

    async def _message_named(self, text: str) -> str | None:
        """The queue id of the message of this queue id, recipient number or Message-ID; None where there is none."""
        try:
            return (await explanation.explain(self._core, text)).message.queue_id
        except Refused as e:
            if e.status != 404:
                raise
            return None

    async def message(self, request: web.Request) -> web.Response:
        """One message, with the reason why each recipient waits."""
        visitor = await self._access.operator(request)
        found = await explanation.explain(self._core, request.match_info["message"])
        return self._access.page(
            "operator_message.html", visitor, request, found=found, in_a_line=explanation.in_a_line,
            open=any(r["state"] in ("queued", "deferred") for r in found.recipients),
        )

    async def queue(self, request: web.Request) -> web.Response:
        """What waits, newest first, with how many the filter names."""
        visitor = await self._access.operator(request)
        given, size = asked(request, *_FIELDS), self._access.size
        error: Refused | None = None
        rows, count, wanted = [], 0, Filter()
        try:
            wanted = await self._filter(given)
            count = await queue.count(self._core, wanted)
            rows = await queue.newest(
                self._core, wanted, only_open=True, before=number(request.query.get("before", "")), limit=size + 1
            )
        except Refused as e:
            error = e
        now = self._core.clock.now()
        return self._access.page(
            "operator_queue.html", visitor, request, given=given, error=error, count=count, chooses=wanted.chooses,
            rows=[(q, queue.state(q), queue.next_try(q, now)) for q in rows[:size]], older=older(rows, size, given),
            verbs=_VERBS, changed=number(request.query.get("changed", "")), left=number(request.query.get("left", "")),
        )

    async def count(self, request: web.Request) -> web.Response:
        """What an action would be done to, before it is."""
        visitor = await self._access.operator(request)
        given, action = asked(request, *_FIELDS), request.query.get("action", "")
        wanted = await self._chosen(given, action)
        count = await queue.count(self._core, wanted)
        return self._access.page(
            "operator_queue_act.html", visitor, request, given=given, action=action, verb=_VERBS[action], count=count,
            back=urlencode({k: v for k, v in given.items() if v}),
        )

    async def act(self, request: web.Request) -> web.Response:
        """Do it."""
        visitor, form = await self._access.form(request)
        given, action = {name: form.text(name, 320) for name in _FIELDS}, form.text("action", 16)
        wanted = await self._chosen(given, action)
        changed, left = await queue.act(self._core, action, wanted)
        if not changed and not left:
            raise not_found("No such mail waits any more")
        kept = {k: v for k, v in given.items() if v}
        await self._access.changed(
            visitor, Change(f"queue.{action}", ", ".join(f"{k}={v}" for k, v in kept.items()), {},
                   {"recipients": len(changed), "left": left}, wanted.member_id),
        )
        noted = {"done": f"queue-{action}", "changed": str(len(changed)), "left": str(left)}
        return to(f"/operator/queue?{urlencode(noted if action == 'drop' else kept | noted)}")

    async def _chosen(self, given: Mapping[str, str], action: str) -> Filter:
        if action not in queue.ACTIONS:
            raise invalid("action", f"one of {', '.join(queue.ACTIONS)}")
        wanted = await self._filter(given)
        if not wanted.chooses:
            raise invalid("to", "Choose the mail first: a message, a member, a domain, a recipient or a reply")
        return wanted

    async def _filter(self, given: Mapping[str, str]) -> Filter:
        member_id = (await self._core.enroll.accounts.get(given["member"])).id if given["member"] else None
        try:
            domain = names.domain(given["domain"]) if given["domain"] else None
        except names.BadName as e:
            raise invalid("domain", e.reason) from None
        return Filter(
            given["message"].split(), member_id, domain, _destination(given["to"]) if given["to"] else None,
            given["error"] or None, True if given["held"] else None,
        )


def _destination(text: str) -> str:
    """An address or a domain in the form in which it is kept, else as it was typed: nothing has it."""
    read: Any = names.address if "@" in text else names.domain
    try:
        found = read(text)
    except names.BadName:
        return text
    return found if isinstance(found, str) else found.text
