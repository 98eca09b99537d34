"""`/v1/suppressions`: whom a member no longer mails; one by one, many at once, as a file in and out."""

from __future__ import annotations

from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from enroll.api.models import Strict, View, body, done, refuse_fields, shown_at, whole_number
from enroll.api.schema import KEY_OR_SESSION, Paths, operation
from enroll.errors import EnrollError, not_found
from enroll.services import Services
from relay.base import names
from relay.base.names import BadName
from relay.base.web import UploadMemory, read_body
from relay.base.web.download import download
from relay.suppression import BULK, DETAIL_MAX, FORMATS, REASONS, Imported, Lists, New, Suppression

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


def routes(services: Services) -> list[web.RouteDef]:
    """The routes of this page of the API."""
    lists = _Suppressions(services)
    one = "/v1/suppressions/{address}"
    return [
        web.get("/v1/suppressions", lists.list),
        web.post("/v1/suppressions", lists.add),
        web.post("/v1/suppressions/batch", lists.add_many),
        web.post("/v1/suppressions/import", lists.take_in),
        web.get("/v1/suppressions/export", lists.written),
        web.get(one, lists.get),
        web.delete(one, lists.remove),
    ]


def openapi_paths() -> Paths:
    """Their description."""
    who, address = KEY_OR_SESSION, {"address": "string"}
    why: dict[str, dict[str, Any]] = {"reason": {"type": "string", "enum": list(REASONS)}}
    pages = why | {
        "search": {"type": "string", "maxLength": _SEARCH_MAX},
        "cursor": {"type": "integer", "minimum": 1, "maximum": 10**15 - 1},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10**15 - 1},
    }
    file = {"schema": {"type": "string"}}
    taking = operation("Take in a file, ours or another relay's", security=who, gives=ImportView, query=why)
    taking["requestBody"] = {
        "required": True,
        "content": {"text/csv": file, "application/json": {"schema": {}}, "text/plain": file},
    }
    giving = operation(
        "The whole list as a file", security=who, query={"format": {"type": "string", "enum": list(FORMATS)}}
    )
    giving["responses"]["200"]["content"] = {kind: {"schema": {}} for kind in FORMATS.values()}
    return {
        "/v1/suppressions": {
            "get": operation("List whom you no longer mail", security=who, gives=SuppressionList, query=pages),
            "post": operation("Stop mailing an address", security=who, takes=NewSuppression, gives=SuppressionView,
                              status=201, also={200: "The address stood there already."}),
        },
        "/v1/suppressions/batch": {
            "post": operation("Stop mailing many", security=who, takes=NewSuppressions, gives=BatchView)
        },
        "/v1/suppressions/import": {"post": taking},
        "/v1/suppressions/export": {"get": giving},
        "/v1/suppressions/{address}": {
            "get": operation(
                "Look an address up", security=who, gives=SuppressionView, path=address, errors=(422,)
            ),
            "delete": operation("Mail an address again", security=who, status=204, path=address),
        },
    }


class _Suppressions:
    def __init__(self, services: Services) -> None:
        self._services, self._config = services, services.config
        self._lists = Lists(services.storage, services.config, services.clock)
        # Of the largest files two are held at once, of smaller ones more.
        self._uploads = UploadMemory(2 * services.config.suppression.max_import_bytes)

    async def list(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "read")
        limit = min(whole_number(request, "limit") or self._config.http.page_size, self._config.http.max_page_size)
        search = request.query.get("search", "").strip()
        if len(search) > _SEARCH_MAX or "\0" in search:
            refuse_fields([("search", f"a part of an address is needed, at most {_SEARCH_MAX} characters")])
        found = await self._lists.page(
            member_id, before=whole_number(request, "cursor") or 2**62, reason=_reason(request), search=search,
            limit=limit + 1,
        )
        cursor = str(found[limit - 1].id) if len(found) > limit else None
        return SuppressionList(suppressions=[_shown(s) for s in found[:limit]], cursor=cursor).response()

    async def get(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "read")
        try:
            found = await self._lists.look_up(member_id, request.match_info["address"])
        except BadName as e:
            raise _bad("address", e) from None
        if found is None:
            raise not_found("This address is not on your list")
        return _shown(found).response()

    async def add(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        asked = await body(NewSuppression, request)
        try:
            found, new = await self._lists.put(member_id, asked.new())
        except BadName as e:
            raise _bad("address", e) from None
        return _shown(found).response(201 if new else 200)

    async def add_many(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        asked = await body(NewSuppressions, request)
        most = self._config.suppression.max_batch
        if len(asked.suppressions) > most:
            refuse_fields([("suppressions", f"at most {most} at once; send a file to /v1/suppressions/import")])
        done = await self._lists.put_many(member_id, [s.new() for s in asked.suppressions])
        return BatchView(
            added=sum(t.new for t in done), known=sum(t.entry is not None and not t.new for t in done),
            refused=[RefusedView(index=i, reason=t.fault) for i, t in enumerate(done) if t.entry is None],
        ).response()

    async def remove(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        try:
            removed = await self._lists.remove(member_id, request.match_info["address"])
        except BadName as e:
            raise _bad("address", e) from None
        if not removed:
            raise not_found("This address is not on your list")
        return done()

    async def take_in(self, request: web.Request) -> web.Response:
        member_id = await self._member(request, "manage")
        otherwise = _reason(request) or "import"
        most = self._config.suppression.max_import_bytes
        with self._uploads.room(min(request.content_length or most, most)):
            found = await self._lists.take_in(member_id, await read_body(request, most), otherwise)
        view = _imported(found)
        if found.stopped:
            raise EnrollError(
                503, "TEMPORARILY_UNAVAILABLE",
                f"The database can't be asked just now. What stands up to line {found.line} is taken in; "
                "send the file again, and the rest is added",
                extra=view.model_dump(mode="json", by_alias=True),
            )
        return view.response()

    async def written(self, request: web.Request) -> web.StreamResponse:
        member_id = await self._member(request, "read")
        form = request.query.get("format", "csv")
        if form not in FORMATS:
            refuse_fields([("format", f"one of {', '.join(FORMATS)}")])
        return await download(
            request, self._lists.written(member_id, form), kind=FORMATS[form], name=f"suppressions.{form}"
        )

    async def _member(self, request: web.Request, scope: str) -> int:
        actor = await self._services.gate.actor(request, scope)
        if actor.login is not None and actor.login.domains is not None:
            # The list is the member's, whatever domain an address was mailed from.
            raise EnrollError(403, "FORBIDDEN", "An API key limited to some domains can't use the suppression list")
        return actor.member.id


def _imported(found: Imported) -> ImportView:
    """What became of a file, as it is shown."""
    return ImportView(
        read=found.read, added=found.added, known=found.known, refused=found.refusals,
        lines=[LineView(line=line, reason=why) for line, why in found.refused], origins=dict(found.origins),
        reasons=dict(found.reasons), guessed=found.guessed,
    )


def _shown(s: Suppression) -> SuppressionView:
    return SuppressionView(
        address=s.original, reason=s.reason, since=shown_at(s.created_at), detail=s.detail,
        categories=s.categories.split(),
    )


def _bad(field: str, error: names.BadName) -> EnrollError:
    return EnrollError(422, "INVALID_VALUE", error.reason, field)


def _reason(request: web.Request) -> str | None:
    found = request.query.get("reason")
    if found is not None and found not in REASONS:
        refuse_fields([("reason", f"one of {', '.join(REASONS)}")])
    return found
