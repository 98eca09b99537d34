"""/operator/members and /operator/domains: who is here, how they stand, and what only the operator may change."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from aiohttp import web

from enroll.accounts import Member
from enroll.domains import Domain
from enroll.errors import invalid, not_found
from enroll.pages.guard import Form, Known
from enroll.pages.render import to
from posthouse.operating.pages.access import Access, Change, asked, number, older
from relay.base.storage import accounts
from relay.base.storage import standing as stages
from relay.replies import Refused
from relay.standing import shown, standing_of
from relay.warming import UNLIMITED

STATUSES = ("active", "suspended", "deleted")
STATES = ("initializing", "pending", "verified", "blocked", "suspended")
BY_AGE = "age"
_REASON = 500
_NOTE = 2000
_LISTED = 100


class People:
    """The handlers."""

    def __init__(self, access: Access) -> None:
        self._access, self._core = access, access.core
        self._accounts, self._operator = access.core.enroll.accounts, access.core.operator

    def routes(self) -> list[web.RouteDef]:
        """Members, a member and its forms; domains, a domain and its forms."""
        member, domain = "/operator/members/{handle}", "/operator/members/{handle}/domains/{name}"
        return [
            web.get("/operator/members", self.members),
            web.get(member, self.member),
            web.post(member + "/{action:suspend|release|limit|note}", self.change_member),
            web.get("/operator/domains", self.domains),
            web.get(domain, self.domain),
            web.post(domain + "/{action:tier|suspend|release|approve|check}", self.change_domain),
        ]

    # -- members ---------------------------------------------------------------------------------------------------

    async def members(self, request: web.Request) -> web.Response:
        """The newest first, narrowed by a part of handle, address or DID, and by status."""
        visitor = await self._access.operator(request)
        given, size = asked(request, "search", "status"), self._access.size
        found = await self._accounts.search(
            given["search"], status=given["status"] if given["status"] in STATUSES else None,
            before=number(request.query.get("before", "")), limit=size + 1,
        )
        async with self._core.storage.read() as tx:
            known = await stages.rows(tx, [m.id for m in found[:size]])
        return self._access.page(
            "operator_members.html", visitor, request, given=given, statuses=STATUSES,
            rows=[(m, known[m.id].stage if m.id in known else "good") for m in found[:size]],
            older=older(found, size, given),
        )

    async def member(self, request: web.Request) -> web.Response:
        """One member."""
        visitor = await self._access.operator(request)
        return await self._member(request, visitor, await self._accounts.get(request.match_info["handle"]))

    async def _member(
        self, request: web.Request, visitor: Known, member: Member, *, error: Refused | None = None,
        form: Form | None = None,
    ) -> web.Response:
        core, now = self._core, self._core.clock.now()
        limit, note = await self._accounts.remarks(member.id)
        async with core.storage.read() as tx:
            found = await standing_of(tx, core.config, member.id, member.status, now)
        return self._access.page(
            "operator_member.html", visitor, request, member=member, limit=limit, note=note, error=error,
            default_limit=core.config.enrollment.max_domains, standing=shown(found, core.config, member.reason),
            domains=await self._operator.list(member.id, limit=_LISTED),
            keys=[(k, k.state(now)) for k in await core.enroll.credentials.list(member.id)],
            given=(form or Form(())).given(("reason", "limit", "note")), tried=request.match_info.get("action", ""),
        )

    async def change_member(self, request: web.Request) -> web.Response:
        """One of the forms on a member's page."""
        visitor, form = await self._access.form(request)
        handle, action = request.match_info["handle"], request.match_info["action"]
        before = await self._accounts.get(handle)
        try:
            change = await self._apply(before, action, form)
        except Refused as e:
            if e.status == 404:
                raise
            return await self._member(request, visitor, before, error=e, form=form)
        await self._access.changed(visitor, change)
        return to(f"/operator/members/{quote(before.handle)}?done=member-{action}")

    async def _apply(self, member: Member, action: str, form: Form) -> Change:
        was: dict[str, Any] = {"status": member.status, "reason": member.reason}
        kept_limit, kept_note = await self._accounts.remarks(member.id)
        if action == "suspend":
            reason = form.text("reason", _REASON)
            if not reason:
                raise invalid("reason", "Say why: the member reads it")
            after = await self._accounts.suspend(member.handle, reason)
            is_now: dict[str, Any] = {"status": after.status, "reason": after.reason}
        elif action == "release":
            after = await self._accounts.release(member.handle)
            is_now = {"status": after.status, "reason": after.reason}
        elif action == "limit":
            text = form.text("limit", 9)
            if text and not (text.isascii() and text.isdigit()):
                raise invalid("limit", "A number, or nothing for the default")
            limit = int(text) if text else None
            await self._accounts.set_max_domains(member.handle, limit)
            was, is_now = {"maxDomains": kept_limit}, {"maxDomains": limit}
        else:
            note = form.text("note", _NOTE)
            await self._accounts.set_note(member.handle, note)
            was, is_now = {"note": kept_note}, {"note": note}
        return Change(f"member.{action}", member.handle, was, is_now, member.id)

    # -- domains ---------------------------------------------------------------------------------------------------

    async def domains(self, request: web.Request) -> web.Response:
        """Everybody's, the newest first, narrowed by a part of the name and by state."""
        visitor = await self._access.operator(request)
        given, size = asked(request, "search", "state"), self._access.size
        found = await self._operator.search(
            given["search"], state=given["state"] if given["state"] in STATES else None,
            before=number(request.query.get("before", "")), limit=size + 1,
        )
        return self._access.page(
            "operator_domains.html", visitor, request, given=given, states=STATES,
            rows=[(d, await self._handle(d.member_id)) for d in found[:size]], older=older(found, size, given),
        )

    async def domain(self, request: web.Request) -> web.Response:
        """One domain of one member."""
        visitor = await self._access.operator(request)
        return await self._domain(request, visitor, *(await self._named(request)))

    async def _domain(
        self, request: web.Request, visitor: Known, member: Member, domain: Domain, *, error: Refused | None = None,
        form: Form | None = None,
    ) -> web.Response:
        tiers = [(BY_AGE, "by its age"), *((t.name, f"{t.name}: {t.per_hour} an hour, {t.per_day} a day")
                 for t in self._core.config.warming.tiers), (UNLIMITED, "unlimited")]
        return self._access.page(
            "operator_domain.html", visitor, request, member=member, domain=domain, error=error, tiers=tiers,
            age=self._core.domains.as_of(domain), given=(form or Form(())).given(("reason",)),
        )

    async def change_domain(self, request: web.Request) -> web.Response:
        """One of the forms on a domain's page."""
        visitor, form = await self._access.form(request)
        action = request.match_info["action"]
        member, before = await self._named(request)
        name, whose = before.name, member.id
        try:
            if action == "tier":
                tier = form.text("tier", 64)
                after = await self._operator.set_tier(name, None if tier == BY_AGE else tier, whose)
            elif action == "suspend":
                reason = form.text("reason", _REASON)
                if not reason:
                    raise invalid("reason", "Say why: the owner reads it")
                after = await self._operator.suspend(name, reason, whose)
            elif action == "release":
                after = await self._operator.release(name, whose)
            elif action == "approve":
                after = await self._operator.approve(name, whose)
            else:
                after = await self._core.domains.check(before.id, by="owner", fresh=True)
        except Refused as e:
            return await self._domain(request, visitor, member, before, error=e, form=form)
        await self._access.changed(
            visitor, Change(f"domain.{action}", name, _facts(before), _facts(after), whose)
        )
        return to(f"/operator/members/{quote(member.handle)}/domains/{quote(name)}?done=domain-{action}")

    async def _named(self, request: web.Request) -> tuple[Member, Domain]:
        member = await self._accounts.get(request.match_info["handle"])
        return member, await self._operator.find(request.match_info["name"], member.id)

    async def _handle(self, member_id: int) -> str:
        known = self._core.directory.member(member_id)
        if known is not None:
            return known.handle
        async with self._core.storage.read() as tx:
            row = await accounts.by_id(tx, member_id)
        if row is None:
            raise not_found("There is no such member")
        return row.handle


def _facts(d: Domain) -> dict[str, Any]:
    return {"state": d.state, "reason": d.reason, "tier": d.tier or BY_AGE}
