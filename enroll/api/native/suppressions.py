"""`/v1/suppressions`: whom a member no longer mails; one by one, many at once, as a file in and out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from enroll.errors import EnrollError, invalid, not_found
from enroll.services import Services
from enroll.sessions import Actor
from relay.base.names import BadName
from relay.base.web import UploadMemory, read_body
from relay.base.web.answers import download
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.base.web.models import Page, Query, Strict, View, one_of, refuse_fields, shown_at
from relay.replies import UNAVAILABLE
from relay.suppression import BULK, DETAIL_MAX, FORMATS, Imported, Lists, New, Suppression

Reason = Literal["unsubscribe", "complaint", "hard_bounce", "manual", "import"]
_SEARCH_MAX = 320


class NewSuppression(Strict):
    """What POST /v1/suppressions takes."""

    address: str = Field(
        min_length=1, max_length=1000, examples=["ben@example.net"],
        description="In any spelling; it is kept as it is written.",
    )
    reason: Reason = Field("manual", description="Why; a graver reason replaces `unsubscribe`.")
    detail: str = Field("", max_length=DETAIL_MAX, description="A note.")
    categories: list[Literal["bulk", "broadcast"]] = Field(
        [], max_length=len(BULK), description="For `unsubscribe`: only mail of these categories; none: all."
    )

    def new(self) -> New:
        """As the lists take it."""
        return New(self.address, self.reason, self.detail, " ".join(self.categories))


class NewSuppressions(Strict):
    """What POST /v1/suppressions/batch takes."""

    suppressions: list[NewSuppression] = Field(min_length=1)


class SuppressionView(View):
    """One entry."""

    address: str
    reason: str
    since: str | None
    detail: str
    categories: list[str]


class SuppressionList(View):
    """A page of a list, newest first."""

    suppressions: list[SuppressionView]
    cursor: str | None


class RefusedView(View):
    """One of many that was not taken: where it stands (from 0) and why."""

    index: int
    reason: str


class BatchView(View):
    """What became of many."""

    added: int
    known: int
    refused: list[RefusedView]


class LineView(View):
    """A line of a file that was not taken, and why."""

    line: int
    reason: str


class ImportView(View):
    """What became of a file. `refused` counts all, `lines` names the first of them; `origins` are the recognised
    forms, `reasons` what was noted; `guessed` entries got their reason from the request,
    because the file names none that is known."""

    read: int
    added: int
    known: int
    refused: int
    lines: list[LineView]
    origins: dict[str, int]
    reasons: dict[str, int]
    guessed: int


class Reasoned(Query):
    """What POST …/import may be told besides."""

    reason: Reason | None = Field(None, description="Of entries whose file names none.")


class Filter(Page):
    """What GET /v1/suppressions can be narrowed by."""

    reason: Reason | None = None
    search: str | None = Field(None, max_length=_SEARCH_MAX, description="A part of an address.")


class File(Query):
    """What GET …/export writes."""

    format: Annotated[str, *one_of(FORMATS)] = "csv"


_calls = Calls("Suppressions", KEY_OR_SIGN_IN, limited=False)
_ONE = "/v1/suppressions/{address}"
_TEXT = {"type": "string"}


class Suppressions:
    """The handlers. The list is the member's, whatever domain an address was mailed from: no key limited to some."""

    def __init__(self, services: Services) -> None:
        self._config = services.config
        self._lists = Lists(services.storage, services.config, services.clock)
        # Of the largest files two are held at once, of smaller ones more.
        self._uploads = UploadMemory(2 * services.config.suppression.max_import_bytes)

    @_calls.get("/v1/suppressions", "List whom you no longer mail")
    async def list(self, who: Actor, query: Filter) -> SuppressionList:
        limit = query.size(self._config.http)
        found = await self._lists.page(
            who.member.id, before=query.cursor or 2**62, reason=query.reason, search=(query.search or "").strip(),
            limit=limit + 1,
        )
        cursor = str(found[limit - 1].id) if len(found) > limit else None
        return SuppressionList(suppressions=[suppression_view(s) for s in found[:limit]], cursor=cursor)

    @_calls.post(
        "/v1/suppressions", "Stop mailing an address", status=201, also={200: "The address stood there already."},
        gives=SuppressionView,
    )
    async def add(self, who: Actor, body: NewSuppression) -> web.Response:
        with _naming("address"):
            found, new = await self._lists.put(who.member.id, body.new())
        return suppression_view(found).response(201 if new else 200)

    @_calls.post("/v1/suppressions/batch", "Stop mailing many")
    async def add_many(self, who: Actor, body: NewSuppressions) -> BatchView:
        most = self._config.suppression.max_batch
        if len(body.suppressions) > most:
            refuse_fields([("suppressions", f"at most {most} at once; send a file to /v1/suppressions/import")])
        done = await self._lists.put_many(who.member.id, [s.new() for s in body.suppressions])
        return BatchView(
            added=sum(t.new for t in done), known=sum(t.entry is not None and not t.new for t in done),
            refused=[RefusedView(index=i, reason=t.fault) for i, t in enumerate(done) if t.entry is None],
        )

    @_calls.post(
        "/v1/suppressions/import", "Take in a file, ours or another relay's",
        body_as={
            "text/csv": _TEXT, "application/json": {}, "text/plain": _TEXT,
            "application/octet-stream": _TEXT | {"format": "binary"},
        },
        description="A list of addresses, one a line; a table with a heading line, as CSV; or JSON. Files that another "
        "service has exported are recognised.",
    )
    async def take_in(self, who: Actor, request: web.Request, query: Reasoned) -> ImportView:
        most = self._config.suppression.max_import_bytes
        with self._uploads.room(min(request.content_length or most, most)):
            found = await self._lists.take_in(who.member.id, await read_body(request, most), query.reason or "import")
        view = _imported(found)
        if found.stopped:
            raise EnrollError(
                UNAVAILABLE,
                f"The database can't be asked just now. What stands up to line {found.line} is taken in; "
                "send the file again, and the rest is added",
                extra=view.model_dump(mode="json", by_alias=True),
            )
        return view

    @_calls.get("/v1/suppressions/export", "The whole list as a file", gives_as={kind: {} for kind in FORMATS.values()})
    async def written(self, who: Actor, request: web.Request, query: File) -> web.StreamResponse:
        return await download(
            request, self._lists.written(who.member.id, query.format), kind=FORMATS[query.format],
            name=f"suppressions.{query.format}",
        )

    @_calls.get(_ONE, "Look an address up", errors=(422,))
    async def get(self, who: Actor, address: str) -> SuppressionView:
        with _naming("address"):
            found = await self._lists.look_up(who.member.id, address)
        if found is None:
            raise not_found("This address is not on your list")
        return suppression_view(found)

    @_calls.delete(_ONE, "Mail an address again")
    async def remove(self, who: Actor, address: str) -> None:
        with _naming("address"):
            removed = await self._lists.remove(who.member.id, address)
        if not removed:
            raise not_found("This address is not on your list")


def _imported(found: Imported) -> ImportView:
    """What became of a file, as it is shown."""
    return ImportView(
        read=found.read, added=found.added, known=found.known, refused=found.refusals,
        lines=[LineView(line=line, reason=why) for line, why in found.refused], origins=dict(found.origins),
        reasons=dict(found.reasons), guessed=found.guessed,
    )


def suppression_view(s: Suppression) -> SuppressionView:
    """An entry as it is shown."""
    return SuppressionView(
        address=s.original, reason=s.reason, since=shown_at(s.created_at), detail=s.detail,
        categories=s.categories.split(),
    )


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Say what is wrong with an address."""
    try:
        yield
    except BadName as e:
        raise invalid(field, e.reason) from None
