"""Allowance by conduct: thirty made-up senders, and the lines between growing, holding and shrinking."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest

from relay.base.config import Config
from relay.standing.conduct import Numbers, after, start, tomorrow

CONFIG = Config()
LAST, FLOOR, CEILING = 500, 50, 50_000
DAYS = 90


@dataclass(frozen=True)
class Sender:
    """What it wants to send on its `n`-th day, and what becomes of it."""

    name: str
    first: float
    growth: float = 1.0  # of its demand a day
    most: float = 200_000
    bounces: float = 0.005
    complaints: float = 0.0
    weekdays: bool = False
    bursts: bool = False

    def wants(self, day: int) -> int:
        if (self.weekdays and day % 7 > 4) or (self.bursts and day % 3):
            return 0
        return int(min(self.most, self.first * self.growth**day))


GOOD = [
    Sender("tiny", 5), Sender("small", 100), Sender("just so", 300), Sender("at the line", 500), Sender("over it", 501),
    Sender("thousand", 1000), Sender("ten thousand", 10_000), Sender("huge", 200_000),
    Sender("grows slowly", 50, 1.02), Sender("grows", 50, 1.1), Sender("grows fast", 50, 1.5),
    Sender("doubles", 5, 2.0),
    Sender("on weekdays", 5000, weekdays=True), Sender("in bursts", 5000, bursts=True),
    Sender("some bounces", 2000, bounces=0.015), Sender("more bounces", 20_000, bounces=0.02),
    Sender("few complaints", 20_000, complaints=0.0001), Sender("some complaints", 50_000, complaints=0.0003),
    Sender("shrinks", 5000, 0.97), Sender("stops growing", 100, 1.2, most=3000),
]
BAD = [
    Sender("list bought", 20_000, bounces=0.3), Sender("old list", 5000, bounces=0.1),
    Sender("ten percent", 800, bounces=0.1),
    Sender("eight", 20_000, bounces=0.08), Sender("five", 20_000, bounces=0.05), Sender("four", 20_000, bounces=0.04),
    Sender("three", 20_000, bounces=0.03), Sender("complained of", 20_000, complaints=0.01),
    Sender("much complained of", 20_000, bounces=0.02, complaints=0.005),
    Sender("both", 20_000, bounces=0.06, complaints=0.004),
]


def course(sender: Sender) -> list[tuple[int, int, int]]:
    """(allowance, wanted, sent) of each day."""
    per_day, numbers, out = start(CONFIG), [], []
    for day in range(DAYS):
        wanted = sender.wants(day)
        sent = min(wanted, per_day)
        bounced = round(sent * sender.bounces)
        numbers.append(Numbers(sent, sent - bounced, bounced, round(sent * sender.complaints)))
        out.append((per_day, wanted, sent))
        week = sum(numbers[-7:], Numbers())
        per_day, _ = after(per_day, numbers[-1], week, CONFIG)
    return out


def test_there_are_thirty() -> None:
    assert len({s.name for s in (*GOOD, *BAD)}) == 30


@pytest.mark.parametrize("sender", GOOD, ids=lambda s: s.name)
def test_no_good_one_is_held_more_than_a_day_at_a_level_it_has_outgrown(sender: Sender) -> None:
    days = course(sender)
    for (had, wanted, _), (has, _, _) in pairwise(days):
        assert FLOOR <= has <= CEILING
        assert has >= had, "nothing is taken from it"
        if wanted > had:
            assert has == min(CEILING, -(-had * 3 // 2))
    if sender.most <= CEILING or sender.wants(DAYS - 1) <= CEILING:
        assert days[-1][2] == days[-1][1], "in the end it sends all it wants"


@pytest.mark.parametrize("sender", BAD, ids=lambda s: s.name)
def test_no_bad_one_passes_the_last_fixed_tier(sender: Sender) -> None:
    days = course(sender)
    assert max(had for had, _, _ in days) <= LAST
    assert min(had for had, _, _ in days) >= FLOOR


def numbers(used: int, *, bounced: int = 0, complaints: int = 0, finished: int | None = None) -> Numbers:
    finished = used if finished is None else finished
    return Numbers(used, finished - bounced, bounced, complaints)


@pytest.mark.parametrize(
    ("per_day", "day", "wanted"),
    [
        (500, numbers(0), (500, "held")),
        (500, numbers(299), (500, "held")),
        (500, numbers(300), (750, "grew")),
        (500, numbers(500, finished=249), (500, "held")),  # of most of it nothing is known
        (501, numbers(501), (752, "grew")),
        (40_000, numbers(40_000), (50_000, "grew")),
        (50_000, numbers(50_000), (50_000, "held")),
        (60_000, numbers(0), (50_000, "held")),  # the operator has lowered the ceiling
        (900, numbers(900, bounced=23), (900, "held")),  # 2.6 %: not clean, and not credibly bad
        (900, numbers(900, bounced=35), (600, "shrank")),
        (900, numbers(900, bounced=48), (400, "shrank")),
        (900, numbers(900, bounced=90), (266, "shrank")),
        (60, numbers(60, bounced=30), (50, "shrank")),
        (40, numbers(60, bounced=30), (40, "shrank")),  # never up to the floor
        (500, numbers(49, bounced=49), (500, "held")),  # too few to judge
        (2000, numbers(2000, complaints=1), (3000, "grew")),
        (2000, numbers(2000, complaints=3), (1333, "shrank")),
    ],
)
def test_the_lines(per_day: int, day: Numbers, wanted: tuple[int, str]) -> None:
    assert after(per_day, day, day, CONFIG) == wanted


def test_a_fault_of_the_relay_takes_nothing() -> None:
    day = numbers(900, bounced=400)
    assert after(900, day, day, CONFIG, faulted=True) == (900, "held")
    assert after(900, numbers(900, bounced=400, complaints=9), day, CONFIG, faulted=True)[1] == "shrank"


def test_tomorrow_is_what_the_arithmetic_says() -> None:
    t = tomorrow(750, CONFIG)
    assert (t.today, t.unused, t.enough, t.clean, t.bad) == (750, 750, 450, 1125, 222)
    for part in ("60 %", "1.5", "50000", "2.5 %", "0.04 %", "down to 50"):
        assert part in t.formula
