"""GET /member/status, /member/deliverability, /v1/standing: a member about itself, readable while suspended too."""

from __future__ import annotations

from aiohttp import web

from relay import warming
from relay.base.clock import DAY, iso, utc_day
from relay.base.config import Tier
from relay.base.storage import allowances, reports
from relay.base.web import answer
from relay.directory import DomainEntry, MemberEntry
from relay.replies import NOT_FOUND, Refused
from relay.sendapi.authenticate import query
from relay.sendapi.responses import Deliverability, MemberStatus, Used, Window
from relay.sendapi.send import Sender
from relay.standing import Shown, shown, standing_of

DAYS = 14


class Member:
    """The handlers."""

    def __init__(self, sender: Sender) -> None:
        self._services, self._door = sender.services, sender.door

    def routes(self) -> list[web.RouteDef]:
        """The three routes."""
        return [
            web.get("/member/status", self.status),
            web.get("/member/deliverability", self.deliverability),
            web.get("/v1/standing", self.standing),
        ]

    async def standing(self, request: web.Request) -> web.Response:
        """The stage, and everything that it follows from."""
        query(request)
        member, _, _ = self._who(request)
        return answer(await self._standing(member))

    async def _standing(self, member: MemberEntry) -> Shown:
        config, now = self._services.config, self._services.clock.now()
        async with self._services.storage.read() as tx:
            found = await standing_of(tx, config, member.id, member.status, now)
        return shown(found, config, member.reason)

    async def status(self, request: web.Request) -> web.Response:
        """Handle, DID, status and reason, and of each domain the tier with what is used and left."""
        query(request)
        member, domains, _ = self._who(request)
        now = self._services.clock.now()
        async with self._services.storage.read() as tx:
            spent = await allowances.entries(tx, [d.id for d in domains], now - DAY) if domains else {}
        told = [_window(d, self._tier(d, now), warming.used(spent.get(d.id, []), now)) for d in domains]
        found: MemberStatus = {
            "handle": member.handle, "did": member.did, "status": member.status, "reason": member.reason,
            "domains": told, "labels": [],
        }
        return answer(found)

    async def deliverability(self, request: web.Request) -> web.Response:
        """Sums of 14 UTC days, today the last one. `sent` counts accepted recipients; bounces are a share of it."""
        query(request)
        member, domains, names = self._who(request)
        now = self._services.clock.now()
        days = [utc_day(now - back * DAY) for back in reversed(range(DAYS))]
        async with self._services.storage.read() as tx:
            found = {t.day: t for t in await reports.daily(tx, member.id, days[0], names=names)}
        sends = [found[day].accepted if day in found else 0 for day in days]
        sent, bounced = sum(sends), sum(t.bounced for t in found.values())
        tiers = [self._tier(d, now) for d in domains]
        told: Deliverability = {
            "did": member.did, "status": member.status, "sent_14d": sent, "bounced_14d": bounced,
            "complaints_14d": sum(t.complaints for t in found.values()),
            "bounce_rate": round(min(1.0, bounced / sent), 4) if sent else 0.0, "daily_sends": sends,
            # null: at least one domain has no limit.
            "hourly_limit": _sum([t.per_hour if t else None for t in tiers]),
            "daily_limit": _sum([t.per_day if t else None for t in tiers]), "labels": [],
            "standing": await self._standing(member),
        }
        return answer(told)

    def _who(self, request: web.Request) -> tuple[MemberEntry, list[DomainEntry], frozenset[str] | None]:
        """The member, the verified domains, and the names that the key is limited to."""
        login = self._door.caller(request, "read").login
        member = self._services.directory.member(login.member_id)
        if member is None:
            raise Refused(NOT_FOUND)
        return member, self._services.directory.domains_of(login), login.domains

    def _tier(self, domain: DomainEntry, now: float) -> Tier | None:
        return self._services.policy.tier(domain, now)


def _window(domain: DomainEntry, tier: Tier | None, used: tuple[int, int]) -> Window:
    hour, day = used
    first = domain.first_verified_at
    return {
        "domain": domain.name, "tier": tier.name if tier else warming.UNLIMITED,
        "verifiedAt": iso(first) if first is not None else None,
        "hour": _used(hour, tier.per_hour if tier else None), "day": _used(day, tier.per_day if tier else None),
    }


def _used(used: int, limit: int | None) -> Used:
    return {"limit": limit, "used": used, "left": max(0, limit - used) if limit is not None else None}


def _sum(limits: list[int | None]) -> int | None:
    return None if any(limit is None for limit in limits) else sum(limit or 0 for limit in limits)
