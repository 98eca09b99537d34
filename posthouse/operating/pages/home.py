"""/operator: how the relay is doing, at a glance, and what to do about it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from posthouse.operating import sites
from posthouse.operating.pages.access import Access, asked, number, older
from relay.base.clock import DAY
from relay.base.storage import accounts, audit, incidents, operator_queries, refusals, reports, standing
from relay.base.storage.audit import Entry
from relay.replies import TABLE

_SITES = 15
_STAGES = 20


class Home:
    """The handler."""

    def __init__(self, access: Access) -> None:
        self._access, self._core = access, access.core

    def routes(self) -> list[web.RouteDef]:
        """The overview, all that the doctor found, the audit log."""
        return [
            web.get("/operator", self.show), web.get("/operator/doctor", self.doctor),
            web.get("/operator/audit", self.audit),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """All of it; the doctor's findings are at most half a minute old."""
        visitor = await self._access.operator(request)
        core, now = self._core, self._core.clock.now()
        async with core.storage.read() as tx:
            health = await operator_queries.health(tx, now)
            people = await reports.population(tx)
            refused = await refusals.counted(tx, now - DAY)
            stages = await standing.rows(tx)
            opened = await incidents.listing(tx, state=incidents.OPEN, limit=_STAGES)
            worst = [
                (row, stage) for member_id, stage in sorted(stages.items(), key=lambda s: -s[1].stage_at)[:_STAGES]
                if (row := await accounts.by_id(tx, member_id)) is not None and row.status != "deleted"
            ]
        found = await self._access.findings()
        return self._access.page(
            "operator_overview.html", visitor, request, health=health, people=people,
            waiting=await sites.waiting(core, _SITES), worst=worst, incidents=opened,
            refused=[(door, _said(door, rule), rule, n) for door, rule, n in refused],
            findings=sorted(found["findings"], key=lambda f: _ORDER.get(f["status"], 0)),
        )

    async def doctor(self, request: web.Request) -> web.Response:
        """Every finding, good ones too."""
        visitor = await self._access.operator(request)
        found = await self._access.findings()
        return self._access.page("operator_doctor.html", visitor, request, findings=found["findings"])

    async def audit(self, request: web.Request) -> web.Response:
        """Who changed what, the newest first."""
        visitor = await self._access.operator(request)
        given, size = asked(request, "search"), self._access.size
        async with self._core.storage.read() as tx:
            found = await audit.search(
                tx, given["search"], before=number(request.query.get("before", "")), limit=size + 1
            )
        return self._access.page(
            "operator_audit.html", visitor, request, given=given, rows=[(e, _changes(e)) for e in found[:size]],
            older=older(found, size, given), days=self._core.config.retention.audit_days,
        )


def _changes(entry: Entry) -> list[tuple[str, Any, Any]]:
    """What is another than it was: its name, before, after."""
    names = [*entry.before, *(name for name in entry.after if name not in entry.before)]
    both = [(name, entry.before.get(name), entry.after.get(name)) for name in names]
    return [one for one in both if one[1] != one[2]]


_ORDER = {"fail": 0, "warn": 1, "ok": 2}
_REPLIES = {reply.name: reply for reply in TABLE}


def _said(door: str, rule: str) -> str:
    """The code with which a rule is said at a door."""
    reply = _REPLIES.get(rule)
    if reply is None:
        return rule
    return f"{reply.http} {reply.code}" if door == "http" else f"{reply.smtp} {reply.enhanced}"
