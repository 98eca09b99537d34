"""/operator: how the relay is doing, at a glance, and what to do about it."""

from __future__ import annotations

from aiohttp import web

from posthouse.operating import sites
from posthouse.operating.pages.access import Access
from relay.base.clock import DAY
from relay.base.storage import accounts, incidents, operator_queries, refusals, reports, standing
from relay.replies import TABLE

_SITES = 15
_STAGES = 20


class Home:
    """The handler."""

    def __init__(self, access: Access) -> None:
        self._access, self._core = access, access.core

    def routes(self) -> list[web.RouteDef]:
        """The overview, and the doctor by itself: its examinations ask the network."""
        return [web.get("/operator", self.show), web.get("/operator/doctor", self.doctor)]

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


_ORDER = {"fail": 0, "warn": 1, "ok": 2}
_REPLIES = {reply.name: reply for reply in TABLE}


def _said(door: str, rule: str) -> str:
    """The code with which a rule is said at a door."""
    reply = _REPLIES.get(rule)
    if reply is None:
        return rule
    return f"{reply.http} {reply.code}" if door == "http" else f"{reply.smtp} {reply.enhanced}"
