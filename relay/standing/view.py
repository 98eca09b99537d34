"""One member's standing: its stage, its numbers, how far the end is. For pages and APIs, the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from relay.base.clock import HOUR, iso
from relay.base.config import Config
from relay.base.storage import Tx, accounts
from relay.base.storage import standing as rows
from relay.base.storage.standing import Tally
from relay.standing import texts
from relay.standing.arithmetic import GOOD, SUSPENDED, Counts, Judgement, Measure, judge


@dataclass(frozen=True, slots=True)
class Standing:
    """`stage` is the one in force; what the window alone asks for is in `judgement`. `since`: of the stage;
    `counted_from`: the beginning of the window, if the member was released within it. Unix seconds."""

    stage: str
    since: float | None
    counted_from: float | None
    counts: Counts
    judgement: Judgement

    @property
    def names(self) -> tuple[tuple[str, Measure], ...]:
        """The two measures with their names."""
        return ("bounces", self.judgement.bounces), ("complaints", self.judgement.complaints)


def window_start(config: Config, now: float) -> float:
    """The beginning of the window that ends now."""
    return now - config.standing.window_hours * HOUR


async def counts_of(tx: Tx, since: float, member_ids: Sequence[int] | None = None) -> dict[int, Counts]:
    """What has been counted of each member (or of these) in the slices that begin after `since`."""
    sums, tallies = await rows.sums(tx, since, member_ids), await rows.tallies(tx, since, member_ids)
    counted = {}
    for member_id in sums.keys() | tallies.keys():
        delivered, bounced, late, excused = sums.get(member_id, (0, 0, 0, 0))
        counted[member_id] = Counts(delivered, bounced, late, excused, tallies.get(member_id, Tally()))
    return counted


async def standing_of(tx: Tx, config: Config, member_id: int, status: str, now: float) -> Standing:
    """The standing of one member; `status` is the membership's, which the operator may have set too."""
    since = window_start(config, now)
    row = (await rows.rows(tx, [member_id])).get(member_id)
    counts = (await counts_of(tx, since, [member_id])).get(member_id, Counts())
    stage = row.stage if row is not None else GOOD
    # Of the two, the status is what refuses mail: the operator's word, and a release not yet counted.
    if status == "suspended":
        stage = SUSPENDED
    elif stage == SUSPENDED:
        stage = GOOD
    stage_at = row.stage_at if row is not None else None
    if stage != (row.stage if row is not None else GOOD) and (member := await accounts.by_id(tx, member_id)):
        stage_at = member.status_at
    anew = row.counted_from if row is not None and row.counted_from > since else None
    return Standing(stage, stage_at, anew, counts, judge(counts, config))


_Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Share(TypedDict):
    """One measure: `count` different recipients of `of`, at `domains` domains; `refused`: of them, those refused in the
    relay's own deliveries. The stages begin where `lowerBound` reaches the other three; for the last one the failures
    must be at enough domains too, or enough of them refused."""

    count: int
    of: int
    share: float
    lowerBound: float
    noticeAt: float
    slowAt: float
    suspendAt: float
    domains: int
    domainsNeeded: int
    refused: int
    refusedNeeded: int | None
    left: int | None


class Shown(TypedDict):
    """A standing as members see it."""

    stage: Literal["good", "notice", "slowed", "suspended"]
    meaning: str
    reason: str
    since: _Moment | None
    windowHours: float
    countedFrom: _Moment | None
    finished: int
    delivered: int
    bounced: int
    lateBounced: int
    complained: int
    excused: int
    minVolume: int
    judged: bool
    bounces: Share
    complaints: Share
    formula: str
    advice: str


def shown(standing: Standing, config: Config, reason: str) -> Shown:
    """As JSON. `reason` is the membership's."""
    c = standing.counts
    return {
        "stage": standing.stage,  # type: ignore[typeddict-item]  # one of STAGES
        "meaning": texts.MEANING[standing.stage], "reason": reason,
        "since": iso(standing.since) if standing.since is not None else None,
        "windowHours": config.standing.window_hours,
        "countedFrom": iso(standing.counted_from) if standing.counted_from is not None else None,
        "finished": c.finished, "delivered": c.delivered, "bounced": c.bounced, "lateBounced": c.late,
        "complained": c.failures.complaints, "excused": c.excused, "minVolume": config.standing.min_volume,
        "judged": standing.judgement.enough,
        "bounces": _measure(standing.judgement.bounces, config, config.standing.suspend_refused),
        "complaints": _measure(standing.judgement.complaints, config, None),
        "formula": texts.formula(config), "advice": texts.advice(standing.judgement),
    }


def _measure(m: Measure, config: Config, refused: int | None) -> Share:
    s = config.standing
    return {
        "count": m.k, "of": m.n, "share": round(m.share, 6), "lowerBound": round(m.lower, 6),
        "noticeAt": round(m.threshold * s.notice_at, 6), "slowAt": round(m.threshold * s.slow_at, 6),
        "suspendAt": m.threshold, "domains": m.domains, "domainsNeeded": s.suspend_domains, "refused": m.refused,
        "refusedNeeded": refused, "left": m.left,
    }
