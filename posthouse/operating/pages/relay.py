"""/operator/sites, /operator/incidents, /operator/invites."""

from __future__ import annotations

from aiohttp import web

from enroll.errors import invalid, not_found
from enroll.pages.guard import Form, Known
from enroll.pages.render import to
from posthouse.operating import incidents, sites
from posthouse.operating.pages.access import Access, Change, number, older
from relay.base.storage import sites as site_rows
from relay.replies import Refused

_SERVED = 20
_NOTE = 200


class Relay:
    """The handlers."""

    def __init__(self, access: Access) -> None:
        self._access, self._core = access, access.core
        self._accounts = access.core.enroll.accounts

    def routes(self) -> list[web.RouteDef]:
        """Sites, incidents, invites."""
        return [
            web.get("/operator/sites", self.sites),
            web.post("/operator/sites/{action:pause|resume}", self.change_site),
            web.get("/operator/incidents", self.incidents),
            web.post("/operator/incidents/{number}/close", self.close),
            web.get("/operator/invites", self.invites),
            web.post("/operator/invites", self.invite),
            web.post("/operator/invites/{number}/revoke", self.revoke),
        ]

    async def sites(self, request: web.Request) -> web.Response:
        """Those that are paused, slowed or in use, and those that are known by name."""
        visitor = await self._access.operator(request)
        return await self._sites(request, visitor)

    async def _sites(
        self, request: web.Request, visitor: Known, *, error: Refused | None = None, given: str = ""
    ) -> web.Response:
        found = await sites.seen(self._core, known=True)
        async with self._core.storage.read() as tx:
            served = {s.name: await site_rows.served(tx, s.name, _SERVED) for s in found if s.row is not None}
        rows = [(s, s.facts(), served.get(s.name, [])) for s in found]
        return self._access.page(
            "operator_sites.html", visitor, request, error=error, given=given, held=sites.HELD,
            rows=sorted(rows, key=lambda r: (r[0].row is None, r[0].name)),
        )

    async def change_site(self, request: web.Request) -> web.Response:
        """Pause a site until it is resumed, or resume it."""
        visitor, form = await self._access.form(request)
        name, action = form.text("site", 255), request.match_info["action"]
        try:
            if not name:
                raise invalid("site", "Name the site, or a domain of its recipients")
            if action == "pause":
                before = await sites.pause(self._core, name)
                after = {"state": sites.HELD}
            else:
                before, due = await sites.resume(self._core, name)
                after = {"state": "resumed", "recipients": str(due)}
        except Refused as e:
            return await self._sites(request, visitor, error=e, given=name)
        await self._access.changed(
            visitor, Change(f"site.{action}", before.name, {"state": before.state}, after)
        )
        return to(f"/operator/sites?done=site-{action}")

    async def incidents(self, request: web.Request) -> web.Response:
        """The newest first; closed ones too where asked for."""
        visitor = await self._access.operator(request)
        closed, size = bool(request.query.get("closed")), self._access.size
        found = await incidents.listing(
            self._core, closed=closed, before=number(request.query.get("before", "")), limit=size + 1
        )
        return self._access.page(
            "operator_incidents.html", visitor, request, closed=closed,
            rows=[(i, incidents.facts(i)) for i in found[:size]],
            older=older(found, size, {"closed": "1" if closed else ""}),
        )

    async def close(self, request: web.Request) -> web.Response:
        """Close one that is fixed."""
        visitor, _ = await self._access.form(request)
        before = await incidents.close(self._core, _numbered(request))
        await self._access.changed(
            visitor,
            Change("incident.close", f"{before.id} {before.kind}", {"state": before.state}, {"state": "closed"}),
        )
        return to("/operator/incidents?done=incident-closed")

    async def invites(self, request: web.Request) -> web.Response:
        """The newest first."""
        visitor = await self._access.operator(request)
        return await self._invites(request, visitor)

    async def _invites(
        self, request: web.Request, visitor: Known, *, code: str = "", error: Refused | None = None,
        form: Form | None = None,
    ) -> web.Response:
        size, now = self._access.size, self._core.clock.now()
        found = await self._accounts.list_invites(before=number(request.query.get("before", "")), limit=size + 1)
        return self._access.page(
            "operator_invites.html", visitor, request, rows=[(i, i.state(now)) for i in found[:size]],
            older=older(found, size, {}), code=code, error=error, given=(form or Form(())).given(("note",)),
            url=f"{self._core.config.server.public_url}/enroll?invite={code}",
            days=self._core.config.enrollment.invite_days,
        )

    async def invite(self, request: web.Request) -> web.Response:
        """Make one; its code is shown this once."""
        visitor, form = await self._access.form(request)
        try:
            note = form.text("note", _NOTE)
        except Refused as e:
            return await self._invites(request, visitor, error=e, form=form)
        code = await self._accounts.make_invite(note)
        await self._access.changed(visitor, Change("invite.make", note, {}, {"note": note}))
        return await self._invites(request, visitor, code=code)

    async def revoke(self, request: web.Request) -> web.Response:
        """Take back one that nobody has used."""
        visitor, _ = await self._access.form(request)
        wanted = _numbered(request)
        await self._accounts.revoke_invite(wanted)
        await self._access.changed(
            visitor, Change("invite.revoke", str(wanted), {"state": "open"}, {"state": "revoked"})
        )
        return to("/operator/invites?done=invite-revoked")


def _numbered(request: web.Request) -> int:
    found = number(request.match_info["number"])
    if found is None:
        raise not_found()
    return found
