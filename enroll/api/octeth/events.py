"""`emailgateway.getevents`, `emailgateway.exportevents` and `GET /api/v1/events`: what happened, the newest first.

The events are those of `/v1/events`, under the names that this shape has for them; those that it has no name for
(deferred, cancelled, what became of domains) are not shown.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from enroll.api.octeth.errors import Fault, not_found
from enroll.api.octeth.requests import Parameters
from enroll.api.octeth.views import ACCESS, DOMAIN_KEY, Answer, Asking, CodedAnswer, ErrorsView, View
from enroll.domains import Domains
from enroll.services import Services
from enroll.sessions import Actor
from relay.base.clock import DAY, iso
from relay.base.events import ACCEPTED, BOUNCED, CLICKED, COMPLAINED, OPENED, SENT, SUPPRESSED, UNSUBSCRIBED
from relay.base.storage import reports
from relay.base.storage.reports import EventRow, EventsWanted
from relay.base.web import raw_answer
from relay.base.web.calls import Calls
from relay.replies import Refused
from relay.suppression.export import cell

TAG = ("Events", "What happened to messages.")
NAMES = {
    ACCEPTED: "accepted", SUPPRESSED: "rejected", SENT: "delivered", BOUNCED: "bounced", OPENED: "opened",
    CLICKED: "clicked", UNSUBSCRIBED: "unsubscribed", COMPLAINED: "complained",
}
"""Our events, and their names here."""
_KINDS = {name: kind for kind, name in NAMES.items()} | {
    "accepted-by-oempro": ACCEPTED, "rejected-by-oempro": SUPPRESSED, "accepted-by-mta": SENT,
    "rejected-by-mta": BOUNCED, "delivery": SENT, "bounce": BOUNCED, "open": OPENED, "click": CLICKED,
    "unsubscribe": UNSUBSCRIBED, "complaint": COMPLAINED,
}
_COLUMNS = ("Time", "Event", "MessageID", "From", "To", "Subject", "Domain", "SMTPCode")
_MOST = 100
_MOST_BEFORE = 10**9
_MOST_EXPORTED, _CHUNK = 10_000, 1000
_EXPORTED_DAYS = 30
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_calls = Calls(TAG[0], ACCESS, scope="manage", hands=("p",))
_by_domain = Calls(TAG[0], DOMAIN_KEY, scope="read", hands=("p",))


class Narrowed(Asking):
    """Which events."""

    DomainID: int = Field(0, description="0: of all domains.")
    StartDate: str = Field("", description="A day in UTC, `Y-m-d`.", examples=["2026-04-01"])
    EndDate: str = Field("", description="A day in UTC, `Y-m-d`; all of it is meant.")
    Event: str = Field("", description=f"One of {', '.join(sorted(_KINDS))}.")
    MessageID: str = ""
    Query: str = Field("", description="A part of an address, the subject, the reply or the domain.")


class GetEvents(Narrowed):
    """What getevents takes."""

    StartFrom: int = Field(ge=0, examples=[0])
    RetrieveCount: int = Field(ge=0, description=f"At most {_MOST}.", examples=[50])


class PublicEvents(BaseModel):
    """What the query of GET /api/v1/events takes."""

    StartFrom: int = Field(0, ge=0)
    RetrieveCount: int = Field(5, ge=0, description=f"At most {_MOST}.")
    StartDate: Any = Field(None, description="Unix seconds; whatever is no whole number counts as left out.")
    EndDate: Any = Field(None, description="Unix seconds, this second included; as `StartDate`.")
    Event: str = Field("", description=f"One of {', '.join(sorted(_KINDS))}.")
    MessageID: str = ""


class EventView(View):
    """One event, in the names of the private call."""

    event: str
    timestamp: int
    domain: str | None
    message: dict[str, Any]


class PublicEventView(View):
    """One event, in the names of the public call."""

    Event: str
    LoggedAt: int
    Domain: str | None
    Message: dict[str, Any]


class EventsAnswer(CodedAnswer):
    """emailgateway.getevents"""

    TotalRecords: int
    Events: list[EventView]


class PublicAnswer(Answer):
    """GET /api/v1/events"""

    TotalRecords: int
    Events: list[PublicEventView]

    def response(self) -> web.Response:
        """This as JSON; clients of this call know no `Success`."""
        return raw_answer(self.model_dump_json(exclude={"Success"}), 200)


class Csv(Answer):
    """emailgateway.exportevents: a file."""

    text: str
    name: str
    total: int

    def response(self) -> web.Response:
        """The file, with what it leaves out in its headers."""
        made = web.Response(text=self.text, content_type="text/csv", charset="utf-8")
        made.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{self.name}"'
        made.headers["X-Octeth-Export-Total"] = str(self.total)
        if self.total > _MOST_EXPORTED:
            made.headers["X-Octeth-Export-Truncated"] = "1"
            made.headers["X-Octeth-Export-Limit"] = str(_MOST_EXPORTED)
        return made


class Events:
    """The two calls of a member. Raises Fault, and what storage raises."""

    FAMILY = "emailgateway."

    def __init__(self, services: Services, domains: Domains) -> None:
        self._storage, self._clock, self._domains = services.storage, services.clock, domains

    @_calls.post("/api/v1/emailgateway.getevents", "Search events, the newest first", takes=GetEvents, reads=True)
    async def getevents(self, who: Actor, p: Parameters) -> EventsAnswer:
        """emailgateway.getevents"""
        start, limit = p.whole("StartFrom", 4, _MOST_BEFORE), p.whole("RetrieveCount", 5, _MOST)
        wanted = await self._wanted(who, p, _day(p, "StartDate"), _day(p, "EndDate"))
        async with self._storage.read() as tx:
            total = await reports.events_counted(tx, wanted)
            found = await reports.events_found(tx, wanted, start=start, limit=limit)
        return EventsAnswer(TotalRecords=total, Events=[_view(row) for row in found])

    @_calls.post(
        "/api/v1/emailgateway.exportevents", "Events as a CSV file", takes=Narrowed, reads=True,
        gives=ErrorsView, gives_as={"text/csv": {"type": "string"}},
    )
    async def exportevents(self, who: Actor, p: Parameters) -> Csv:
        """emailgateway.exportevents"""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        today = datetime(now.year, now.month, now.day, tzinfo=UTC)
        since = _day(p, "StartDate") or today - timedelta(days=_EXPORTED_DAYS)
        until = max(_day(p, "EndDate") or today, since)
        wanted = await self._wanted(who, p, since, until)
        out = io.StringIO()
        written = csv.writer(out, lineterminator="\r\n")
        written.writerow(_COLUMNS)
        before: int | None = None
        async with self._storage.read() as tx:
            total = await reports.events_counted(tx, wanted)
            for _ in range(_MOST_EXPORTED // _CHUNK):
                found = await reports.events_found(tx, wanted, before=before, limit=_CHUNK)
                written.writerows(map(_cells, found))
                if len(found) < _CHUNK:
                    break
                before = found[-1].id
        return Csv(text=_BOM + out.getvalue(), name=f"transactional-events-{today:%Y-%m-%d}.csv", total=total)

    async def _wanted(
        self, who: Actor, p: Parameters, since: datetime | None, until: datetime | None
    ) -> EventsWanted:
        """`until` is a day, all of which is meant. Raises Fault 2."""
        message = p.text("MessageID")
        return EventsWanted(
            who.member.id, _types(p), await self._of(who, p), since.timestamp() if since else None,
            until.timestamp() + DAY if until else None, message, "" if message else p.text("Query"),
        )

    async def _of(self, who: Actor, p: Parameters) -> list[int] | None:
        """The domains that are meant; None: all of the member's, deleted ones too."""
        if p.has("DomainID") and p.text("DomainID") != "0":
            domain = await self._domains.get(who.member.id, p.domain_id())
            if not who.may_use(domain.name):
                raise not_found()
            return [domain.id]
        return None if who.domains is None else await _enrolled(self._domains, who)


class PublicCalls:
    """The call of a domain's programs. Raises Fault, and what storage raises."""

    FAMILY = "emailgateway.getevents."

    def __init__(self, services: Services, domains: Domains) -> None:
        self._storage, self._domains = services.storage, domains

    @_by_domain.get("/api/v1/events", "Search events by a domain's key, the newest first", asks=PublicEvents)
    async def public(self, who: Actor, p: Parameters) -> PublicAnswer:
        """emailgateway.getevents.public"""
        start, limit = p.whole("StartFrom", 4, _MOST_BEFORE, 0), p.whole("RetrieveCount", 5, _MOST, 5)
        of = None if who.domains is None else await _enrolled(self._domains, who)
        if of == []:
            raise Fault(2, "Invalid sender domain", 403)
        since, until = p.id("StartDate") or None, p.id("EndDate")
        wanted = EventsWanted(who.member.id, _types(p), of, since, until + 1 if until else None, p.text("MessageID"))
        async with self._storage.read() as tx:
            total = await reports.events_counted(tx, wanted)
            found = await reports.events_found(tx, wanted, start=start, limit=limit)
        return PublicAnswer(TotalRecords=total, Events=[_public(row) for row in found])


async def _enrolled(domains: Domains, who: Actor) -> list[int]:
    """The ids of the domains that a key is limited to."""
    found = []
    for name in sorted(who.domains or ()):
        try:
            found.append((await domains.get(who.member.id, name)).id)
        except Refused as e:
            if e.status != 404:
                raise
    return found


def _types(p: Parameters) -> Collection[str]:
    word = p.text("Event").lower()
    return [_KINDS[word]] if word in _KINDS else ([] if word else list(NAMES))


def _day(p: Parameters, name: str) -> datetime | None:
    """The beginning of a day (UTC); None for one left out, and for what is none."""
    try:
        return datetime.strptime(p.text(name), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _message_id(row: EventRow) -> str:
    """The one that sending answered here; of others the queue id."""
    return str((row.metadata or {}).get("MessageID") or row.queue_id or "")


def _code(row: EventRow) -> int | None:
    return row.code if row.type in (SENT, BOUNCED) else None


def _view(row: EventRow) -> EventView:
    headers = {"from": row.header_from or "", "to": row.recipient or "", "subject": row.subject or ""}
    message = {"message-id": _message_id(row), "smtp-code": _code(row), "headers": headers}
    return EventView(event=NAMES[row.type], timestamp=int(row.at), domain=row.domain, message=message)


def _public(row: EventRow) -> PublicEventView:
    headers = {"From": row.header_from or "", "To": row.recipient or "", "Subject": row.subject or ""}
    message = {"MessageID": _message_id(row), "SMTPCode": _code(row), "Headers": headers}
    return PublicEventView(Event=NAMES[row.type], LoggedAt=int(row.at), Domain=row.domain, Message=message)


def _cells(row: EventRow) -> list[str]:
    texts = (_message_id(row), row.header_from, row.recipient, row.subject, row.domain)
    code = _code(row)
    return [iso(row.at), NAMES[row.type], *(cell(text or "") for text in texts), "" if code is None else str(code)]
