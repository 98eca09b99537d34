"""The arithmetic of standing. Pure: counts and thresholds in, a judgement with its numbers out.

A share is never judged as such but by the lower bound of its 95 % Wilson interval (Wilson 1927): the smallest share
that a series like this one leaves credible. One bounce in thirteen has a lower bound of 1.4 %, eighty in a thousand
one of 6.5 %, though their shares are nearly the same.

A failure is a recipient, however often it is told of; and nobody is suspended on the word of one place: the failures
must be at several recipient domains, or be many that this relay was refused itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from relay.base.config import Config
from relay.base.config.standing import Standing as Settings
from relay.base.storage.standing import Tally

Stage = Literal["good", "notice", "slowed", "suspended"]
GOOD: Stage = "good"
NOTICE: Stage = "notice"
SLOWED: Stage = "slowed"
SUSPENDED: Stage = "suspended"
STAGES: tuple[Stage, ...] = (GOOD, NOTICE, SLOWED, SUSPENDED)
Z = 1.959963984540054
"""The 97.5 % point of the normal distribution: 95 % between it and its mirror image."""
_FEWEST_MAX = 2**40
_NOBODY = Tally()


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a member's mail in the window. `late`: bounced after it had been delivered; `excused`: bounces
    for which the relay itself was blamed, no part of anything else here; `failures`: the different recipients that
    bounced or complained."""

    delivered: int = 0
    bounced: int = 0
    late: int = 0
    excused: int = 0
    failures: Tally = _NOBODY

    @property
    def finished(self) -> int:
        """Recipients judged by. A late bounce is the same recipient as its delivery, if that is in the window."""
        return self.bounced + max(self.delivered, self.late)


@dataclass(frozen=True, slots=True)
class Measure:
    """One share. `k` of `n`; shares from 0 to 1; the failures are at `domains` recipient domains, and `refused` of
    them were refused in our own conversations. `left`: how many more, each at another domain, and nothing else, would
    suspend; 0: they do, None: they can't alone."""

    k: int
    n: int
    share: float
    lower: float
    threshold: float
    domains: int
    refused: int
    wide: bool
    left: int | None

    @property
    def reached(self) -> float:
        """The lower bound as a part of the threshold: 1 suspends, where the failures are `wide` enough."""
        return self.lower / self.threshold


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where the window alone would put a member. `enough`: as many recipients have finished as it takes to judge."""

    stage: Stage
    enough: bool
    bounces: Measure
    complaints: Measure


def wilson_lower(k: int, n: int) -> float:
    """The lower end of the 95 % Wilson interval of `k` in `n`; 0 for none of none. 0 ≤ k ≤ n."""
    if n <= 0 or k <= 0:
        return 0.0
    p, z2 = k / n, Z * Z
    centre = p + z2 / (2 * n)
    margin = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, (centre - margin) / (1 + z2 / n))


def judge(counts: Counts, config: Config) -> Judgement:
    """The stage that these counts ask for, with everything it follows from."""
    s, n, f = config.standing, counts.finished, counts.failures
    enough = n >= s.min_volume
    # Of each: how many more, each of another domain, make the failures wide enough.
    missing = max(0, s.suspend_domains - f.bounce_domains)
    bounces = _measure(
        f.bounces, n, s.bounce_share, grows=True, least=0, volume=s.min_volume, domains=f.bounce_domains,
        refused=f.refused, missing=min(missing, max(0, s.suspend_refused - f.refused)),
    )
    complaints = _measure(
        f.complaints, n, s.complaint_share, grows=False, least=s.min_complaints, volume=s.min_volume,
        domains=f.complaint_domains, refused=0, missing=max(0, s.suspend_domains - f.complaint_domains),
    )
    stages = [_stage(bounces, s, enough), _stage(complaints, s, enough and complaints.k >= s.min_complaints)]
    return Judgement(max(stages, key=STAGES.index), enough, bounces, complaints)


def _stage(m: Measure, settings: Settings, judged: bool) -> Stage:
    """Where one measure alone would put a member."""
    stage = GOOD
    for name, at in ((NOTICE, settings.notice_at), (SLOWED, settings.slow_at), (SUSPENDED, 1.0)):
        if judged and m.reached >= at and (name != SUSPENDED or m.wide):
            stage = name
    return stage


def _measure(
    failed: int, n: int, threshold: float, *, grows: bool, least: int, volume: int, domains: int, refused: int,
    missing: int,
) -> Measure:
    """`grows`: one more of these is one more finished recipient too; `least`: fewer of them are never judged;
    `missing`: so many more make them wide enough."""
    k = min(failed, n)

    def over(more: int) -> bool:
        total = n + more if grows else n
        return (
            more >= missing and k + more >= least and total >= volume
            and wilson_lower(k + more, total) >= threshold
        )

    left = _fewest(over, most=None if grows else n - k)
    return Measure(
        k=k, n=n, share=k / n if n else 0.0, lower=wilson_lower(k, n), threshold=threshold, domains=domains,
        refused=refused, wide=missing == 0, left=left,
    )


def _fewest(over: Callable[[int], bool], most: int | None) -> int | None:
    """The smallest number, up to `most`, for which `over` says yes; it says yes to all larger ones too."""
    high = 1
    while not over(high if most is None else min(high, most)):
        if (most is not None and high >= most) or high > _FEWEST_MAX:
            return None
        high *= 2
    high = high if most is None else min(high, most)
    low = 0
    while low < high:
        middle = (low + high) // 2
        if over(middle):
            high = middle
        else:
            low = middle + 1
    return low
