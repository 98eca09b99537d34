"""GET /member/status, /member/deliverability, /v1/standing: a member about itself, readable while suspended too."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from enroll.services import Services
from enroll.sessions import Actor
from relay import warming
from relay.base.clock import DAY, iso, utc_day
from relay.base.config import Tier
from relay.base.storage import allowances, stats
from relay.base.web.calls import KEY_OR_SIGN_IN, Calls
from relay.base.web.models import Moment
from relay.directory import DomainEntry, MemberEntry
from relay.replies import NOT_FOUND, Refused
from relay.standing import Shown, outlook, shown, standing_of

DAYS = 14
_FORMER = Field(description="A former name, until 1.0.", deprecated=True)


class Used(TypedDict):
    """An allowance; `limit` and `left` are null where there is none."""

    limit: int | None
    used: int
    left: int | None


class Outlook(TypedDict):
    """Recipients a day, today and from the next UTC day on: `unused` if fewer than `enough` go out, `clean` if at least
    so many do and it stays clean, `bad` if bounces or complaints are far over the line."""

    today: int
    enough: int
    unused: int
    clean: int
    bad: int
    formula: str


class Window(TypedDict):
    """A domain's warming tier and what is left of it, over 60 minutes and 24 hours."""

    domain: str
    tier: str
    verifiedAt: Moment | None
    hour: Used
    day: Used
    tomorrow: Outlook | None


class MemberStatus(TypedDict):
    """The member, and the allowance of each domain that may send."""

    handle: str
    did: str
    status: str
    reason: str
    domains: list[Window]
    labels: list[str]


class Deliverability(TypedDict):
    """Sums of 14 UTC days, today the last one. `sent` counts accepted recipients; null limits: there is none."""

    did: str
    status: str
    sent14d: int
    bounced14d: int
    complaints14d: int
    bounceRate: float
    dailySends: list[int]
    hourlyLimit: int | None
    dailyLimit: int | None
    # The same by their former names, until 1.0.
    sent_14d: Annotated[int, _FORMER]
    bounced_14d: Annotated[int, _FORMER]
    complaints_14d: Annotated[int, _FORMER]
    bounce_rate: Annotated[float, _FORMER]
    daily_sends: Annotated[list[int], _FORMER]
    hourly_limit: Annotated[int | None, _FORMER]
    daily_limit: Annotated[int | None, _FORMER]
    labels: list[str]
    standing: Shown


_calls = Calls("Standing", KEY_OR_SIGN_IN)


class OfMember:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services, self._directory = services, services.directory

    @_calls.get("/v1/standing", "The stage, and the numbers it follows from")
    async def standing(self, who: Actor) -> Shown:
        member, _ = self._of(who)
        return await self._standing(member)

    async def _standing(self, member: MemberEntry) -> Shown:
        config, now = self._services.config, self._services.clock.now()
        async with self._services.storage.read() as tx:
            found = await standing_of(tx, config, member.id, member.status, now)
        return shown(found, config, member.reason)

    @_calls.get("/member/status", "The member, and what is left of its allowances")
    async def status(self, who: Actor) -> MemberStatus:
        member, domains = self._of(who)
        now = self._services.clock.now()
        async with self._services.storage.read() as tx:
            spent = await allowances.entries(tx, [d.id for d in domains], now - DAY) if domains else {}
        shown = [
            _window(d, self._tier(d, now), warming.used(spent.get(d.id, []), now), self._outlook(d, now))
            for d in domains
        ]
        return {
            "handle": member.handle, "did": member.did, "status": member.status, "reason": member.reason,
            "domains": shown, "labels": [],
        }

    @_calls.get("/member/deliverability", "Sums of 14 days")
    async def deliverability(self, who: Actor) -> Deliverability:
        member, domains = self._of(who)
        now = self._services.clock.now()
        days = [utc_day(now - back * DAY) for back in reversed(range(DAYS))]
        async with self._services.storage.read() as tx:
            found = {t.day: t for t in await stats.daily(tx, member.id, days[0], names=who.domains)}
        sends = [found[day].accepted if day in found else 0 for day in days]
        sent, bounced = sum(sends), sum(t.bounced for t in found.values())
        tiers = [self._tier(d, now) for d in domains]
        complaints = sum(t.complaints for t in found.values())
        rate = round(min(1.0, bounced / sent), 4) if sent else 0.0
        # null: at least one domain has no limit.
        hourly = _sum([t.per_hour if t else None for t in tiers])
        daily = _sum([t.per_day if t else None for t in tiers])
        return {
            "did": member.did, "status": member.status, "sent14d": sent, "bounced14d": bounced,
            "complaints14d": complaints, "bounceRate": rate, "dailySends": sends, "hourlyLimit": hourly,
            "dailyLimit": daily, "sent_14d": sent, "bounced_14d": bounced, "complaints_14d": complaints,
            "bounce_rate": rate, "daily_sends": sends, "hourly_limit": hourly, "daily_limit": daily, "labels": [],
            "standing": await self._standing(member),
        }

    def _of(self, who: Actor) -> tuple[MemberEntry, list[DomainEntry]]:
        """The member, and those of its verified domains that the key, if there is one, is for."""
        member = self._directory.member(who.member.id)
        if member is None:
            raise Refused(NOT_FOUND)
        return member, [d for d in self._directory.domains_of_member(member.id) if who.may_use(d.name)]

    def _outlook(self, domain: DomainEntry, now: float) -> Outlook | None:
        slowed = self._directory.slowed(domain.member_id)
        found = outlook(domain, self._services.config, now, slowed=slowed)
        return None if found is None else {
            "today": found.today, "enough": found.enough, "unused": found.unused, "clean": found.clean,
            "bad": found.bad, "formula": found.formula,
        }

    def _tier(self, domain: DomainEntry, now: float) -> Tier | None:
        return warming.tier_of(
            domain.tier, domain.first_verified_at, self._services.config.warming.tiers, now,
            slowed=self._directory.slowed(domain.member_id), conduct=domain.conduct,
        )


def _window(
    domain: DomainEntry, tier: Tier | None, used: tuple[int, int], tomorrow: Outlook | None
) -> Window:
    hour, day = used
    first = domain.first_verified_at
    return {
        "domain": domain.name, "tier": tier.name if tier else warming.UNLIMITED,
        "verifiedAt": iso(first) if first is not None else None,
        "hour": _used(hour, tier.per_hour if tier else None), "day": _used(day, tier.per_day if tier else None),
        "tomorrow": tomorrow,
    }


def _used(used: int, limit: int | None) -> Used:
    return {"limit": limit, "used": used, "left": max(0, limit - used) if limit is not None else None}


def _sum(limits: list[int | None]) -> int | None:
    return None if any(limit is None for limit in limits) else sum(limit or 0 for limit in limits)
