"""What the pages say about sending: tiers, windows, what happens next. Pure over rows and the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enroll.domains import Domain
from relay import warming
from relay.base.config import Config, Tier
from relay.base.storage.reports import DetailRow

STATES = {
    "queued": "waiting for its first try",
    "deferred": "tried, will be tried again",
    "sent": "taken by the other side",
    "bounced": "refused for good",
    "suppressed": "on your suppression list",
    "cancelled": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Window:
    """One allowance window. `limit` None: without end."""

    name: str
    used: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """Recipients that still fit."""
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def percent(self) -> int:
        """How much of it is used, 0 to 100; a bar is never empty once something is used."""
        if not self.limit or not self.used:
            return 0
        return max(1, min(100, round(100 * self.used / self.limit)))


@dataclass(frozen=True, slots=True)
class Allowance:
    """A domain's tier and windows. `next_at` is the next free slot when nothing fits now (Unix seconds)."""

    tier: str
    windows: tuple[Window, Window]
    next_at: float | None


def allowance(
    domain: Domain, entries: Sequence[warming.Entry], config: Config, now: float, *, slowed: bool
) -> Allowance:
    """What `domain` has used and has left, from its entries of the last 24 hours, oldest first. `slowed`: its member
    is."""
    tier = warming.tier_of(domain.tier, domain.first_verified_at, config.warming.tiers, now, slowed=slowed)
    hour, day = warming.used(entries, now)
    if tier is None:
        return Allowance(warming.UNLIMITED, (Window("hour", hour, None), Window("day", day, None)), None)
    judged = warming.judge(entries, tier, now, 1)
    return Allowance(
        tier.name, (Window("hour", hour, tier.per_hour), Window("day", day, tier.per_day)),
        None if judged.fits else judged.next_at,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A tier as the help page tells it: from which day to which; `until` None: no end."""

    tier: Tier
    since: int
    until: int | None


def steps(config: Config) -> list[Step]:
    """The warming tiers in order."""
    found, since = [], 0
    for tier in config.warming.tiers:
        found.append(Step(tier, since, tier.until_day or None))
        since = tier.until_day
    return found


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a recipient: a sentence, and the time it names."""

    says: str
    at: float | None = None
    gives_up_at: float | None = None


def what_next(person: DetailRow) -> Next:
    """What happens to this recipient next, or why nothing does."""
    if person.held:
        return Next("Held back by the operator. It goes on when it is released.")
    if person.state == "queued":
        return Next("The first try is due", person.next_at, person.expires_at)
    if person.state == "deferred":
        return Next("The next try is due", person.next_at, person.expires_at)
    if person.state == "sent":
        return Next("Nothing more to do: the other side has taken it. If it can't be found, look in the spam folder.")
    if person.state == "bounced":
        return Next("It is not tried again. A report went to the domain's mailbox. Mend the cause and send it anew.")
    if person.state == "suppressed":
        return Next("It is not sent: the recipient is on your suppression list. Remove it from your own list too.")
    return Next("It was cancelled and is not sent.")
