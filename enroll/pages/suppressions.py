"""/account/suppressions: whom not to mail, and why; /account/bounces: what came back, with its reason in words."""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from enroll.errors import invalid
from enroll.pages.figures import why
from enroll.pages.guard import Form, Guard, Known
from enroll.pages.render import Renderer, to
from enroll.pages.services import PageServices
from relay.base.names import BadName
from relay.base.storage import reports
from relay.base.web import UploadMemory
from relay.base.web.answers import download
from relay.replies import Refused
from relay.suppression import DETAIL_MAX, FORMATS, REASONS, Imported, Lists, New

_SEARCH_MAX = 320
_BY_HAND = ("manual", "unsubscribe", "complaint", "hard_bounce")
_EVERY = 2**62


class SuppressionPages:
    """The handlers."""

    def __init__(self, services: PageServices, guard: Guard, renderer: Renderer) -> None:
        self._services, self._guard, self._renderer = services, guard, renderer
        self._lists = Lists(services.storage, services.config, services.clock)
        self._uploads = UploadMemory(2 * services.config.suppression.max_import_bytes)

    def routes(self) -> list[web.RouteDef]:
        """The list and what can be done to it; the bounces."""
        return [
            web.get("/account/suppressions", self.show),
            web.post("/account/suppressions", self.add),
            web.post("/account/suppressions/remove", self.remove),
            web.post("/account/suppressions/import", self.take_in),
            web.get("/account/suppressions/export", self.written),
            web.get("/account/bounces", self.bounces),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """The list, newest first, narrowed by reason and a part of the address."""
        visitor = await self._guard.known(request)
        return await self._list(
            visitor, search=request.query.get("search", "").replace("\0", "").strip()[:_SEARCH_MAX],
            reason=request.query.get("reason", ""), before=_number(request.query.get("before", "")),
            done=request.query.get("done"),
        )

    async def add(self, request: web.Request) -> web.Response:
        """One address, by hand."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        try:
            reason = form.text("why", 32) or "manual"
            if reason not in _BY_HAND:
                raise invalid("why", f"one of {', '.join(_BY_HAND)}")
            await self._lists.put(
                visitor.member.id, New(form.text("address", 1000), reason, form.text("detail", DETAIL_MAX))
            )
        except BadName as e:
            return await self._list(visitor, error=invalid("address", e.reason), form=form)
        except Refused as e:
            return await self._list(visitor, error=e, form=form)
        return to("/account/suppressions?done=suppressed")

    async def remove(self, request: web.Request) -> web.Response:
        """One address off the list; one that is gone already is gone."""
        visitor = await self._guard.known(request)
        form = await self._guard.form(request, visitor)
        try:
            await self._lists.remove(visitor.member.id, form.text("address", 1000))
        except BadName as e:
            return await self._list(visitor, error=invalid("search", e.reason))
        return to("/account/suppressions?done=unsuppressed")

    async def take_in(self, request: web.Request) -> web.Response:
        """A file, ours or another relay's; what became of it stands in the answer."""
        visitor = await self._guard.known(request)
        most = self._services.config.suppression.max_import_bytes
        try:
            with self._uploads.room(min(request.content_length or most, most)):
                form, raw = await self._guard.upload(request, visitor, most)
                reason = form.text("why", 32) or "import"
                if reason not in REASONS:
                    raise invalid("file", "unknown reason")
                found = await self._lists.take_in(visitor.member.id, raw, reason)
        except Refused as e:
            if e.status == 403:
                raise
            return await self._list(visitor, error=e)
        return await self._list(visitor, imported=found)

    async def written(self, request: web.Request) -> web.StreamResponse:
        """The whole list as a file."""
        visitor = await self._guard.known(request)
        form = request.query.get("format", "csv")
        if form not in FORMATS:
            raise invalid("format", f"one of {', '.join(FORMATS)}")
        return await download(
            request, self._lists.written(visitor.member.id, form), kind=FORMATS[form], name=f"suppressions.{form}"
        )

    async def bounces(self, request: web.Request) -> web.Response:
        """Recipients whose mail came back for good, newest first."""
        visitor = await self._guard.known(request)
        before, size = _number(request.query.get("before", "")), self._services.config.http.page_size
        async with self._services.storage.read() as tx:
            rows = await reports.recipients_of(
                tx, visitor.member.id, state="bounced", limit=size + 1, before=before
            )
            stages = await reports.stages(tx, [r.id for r in rows[:size]])
        listed = await self._lists.listed(visitor.member.id, [r.address for r in rows[:size]])
        return self._renderer.page(
            "bounces.html", visitor, paged=before is not None,
            rows=[(r, why(r.code, r.says, stages.get(r.id, ""), r.address), r.address in listed) for r in rows[:size]],
            older=rows[size - 1].id if len(rows) > size else None,
        )

    async def _list(
        self, visitor: Known, *, search: str = "", reason: str = "", before: int | None = None,
        error: Refused | None = None, form: Form | None = None, imported: Imported | None = None,
        done: str | None = None,
    ) -> web.Response:
        size = self._services.config.http.page_size
        found = await self._lists.page(
            visitor.member.id, before=before or _EVERY, reason=reason if reason in REASONS else None, search=search,
            limit=size + 1,
        )
        older = None
        if len(found) > size:
            kept = {k: v for k, v in {"search": search, "reason": reason}.items() if v}
            older = urlencode(kept | {"before": str(found[size - 1].id)})
        status = error.status if error is not None else 503 if imported is not None and imported.stopped else 200
        return self._renderer.page(
            "suppressions.html", visitor, status=status, error=error, done=done, rows=found[:size], older=older,
            paged=before is not None, filtered=bool(search or reason), search=search, reason=reason, reasons=REASONS,
            by_hand=_BY_HAND, given=(form or Form(())).given(("address", "detail", "why")), imported=imported,
        )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 19 else None
