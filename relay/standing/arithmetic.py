"""The arithmetic of standing. Pure: counts and thresholds in, a judgement with its numbers out.

A share is never judged as such but by the lower bound of its 95 % Wilson interval (Wilson 1927): the smallest share
that a series like this one leaves credible. One bounce in thirteen has a lower bound of 1.4 %, eighty in a thousand
one of 6.5 %, though their shares are nearly the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from relay.base.config import Config

Stage = Literal["good", "notice", "slowed", "suspended"]
GOOD: Stage = "good"
NOTICE: Stage = "notice"
SLOWED: Stage = "slowed"
SUSPENDED: Stage = "suspended"
STAGES: tuple[Stage, ...] = (GOOD, NOTICE, SLOWED, SUSPENDED)
Z = 1.959963984540054
"""The 97.5 % point of the normal distribution: 95 % between it and its mirror image."""
_FEWEST_MAX = 2**40


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a member's recipients in the window. `late`: bounced after they had been delivered; `excused`:
    bounces for which the relay itself was blamed, no part of anything else here."""

    delivered: int = 0
    bounced: int = 0
    late: int = 0
    complaints: int = 0
    excused: int = 0

    @property
    def finished(self) -> int:
        """Recipients judged by. A late bounce is the same recipient as its delivery, if that is in the window."""
        return self.bounced + max(self.delivered, self.late)

    @property
    def bounces(self) -> int:
        """All that bounced, at once or late."""
        return self.bounced + self.late


@dataclass(frozen=True, slots=True)
class Measure:
    """One share. `k` of `n`; shares from 0 to 1; `left`: how many more, and nothing else, would reach `threshold`;
    0: reached, None: they can't alone."""

    k: int
    n: int
    share: float
    lower: float
    threshold: float
    left: int | None

    @property
    def reached(self) -> float:
        """The lower bound as a part of the threshold: 1 suspends."""
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
    s = config.standing
    n = counts.finished
    bounces = _measure(counts.bounces, n, s.bounce_share, grows=True, least=0, volume=s.min_volume)
    k = min(counts.complaints, n)
    complaints = _measure(k, n, s.complaint_share, grows=False, least=s.min_complaints, volume=s.min_volume)
    enough = n >= s.min_volume
    worst = 0.0
    if enough:
        worst = max(bounces.reached, complaints.reached if k >= s.min_complaints else 0.0)
    stage = GOOD
    for name, at in ((NOTICE, s.notice_at), (SLOWED, s.slow_at), (SUSPENDED, 1.0)):
        if worst >= at:
            stage = name
    return Judgement(stage, enough, bounces, complaints)


def _measure(k: int, n: int, threshold: float, *, grows: bool, least: int, volume: int) -> Measure:
    """`grows`: one more of these is one more finished recipient too; `least`: fewer of them are never judged."""

    def over(more: int) -> bool:
        total = n + more if grows else n
        return k + more >= least and total >= volume and wilson_lower(k + more, total) >= threshold

    left = _fewest(over, most=None if grows else n - k)
    return Measure(k, n, k / n if n else 0.0, wilson_lower(k, n), threshold, left)


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
