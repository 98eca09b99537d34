"""A destination is treated as it likes to be: slower when it says so, faster while all goes well."""

import pytest

from relay.delivery.pacing import Pacer, PacingSettings
from relay.outcome import Outcome, Reply, Stage, from_failure, from_reply


class Hands:
    """A clock whose hands the test moves."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


def said(text: str, stage: Stage = "dot") -> Outcome:
    return from_reply(Reply(int(text[:3]), (text[4:].encode(),)), stage)


OK = said("250 2.0.0 ok")


def fill(pacer: Pacer, destination: str = "b.test") -> int:
    """Open as many lanes as may be; how many."""
    lanes = 0
    while lanes < 1000 and pacer.start(destination):
        lanes += 1
    return lanes


def test_success_opens_up_to_the_ceiling() -> None:
    pacer = Pacer(Hands(), PacingSettings(start_lanes=2, max_lanes=6))
    assert fill(pacer) == 2
    for _ in range(200):
        pacer.heard("b.test", OK)
    assert fill(pacer) == 4
    assert pacer.lanes("b.test") == (6, 6)


@pytest.mark.parametrize("text", ["421 4.3.2 closing", "451 4.7.1 too fast", "452 4.4.5 congested"])
def test_too_much_halves_and_pauses(text: str) -> None:
    hands = Hands()
    pacer = Pacer(hands, PacingSettings(start_lanes=8, pause_seconds=10))
    assert fill(pacer) == 8
    for _ in range(8):  # all eight lanes hear it: one sign
        pacer.heard("b.test", said(text))
        assert not pacer.may_continue("b.test")
        pacer.ended("b.test")
    assert not pacer.start("b.test")
    assert pacer.wait("b.test") == 10
    assert pacer.wait("other.test") == 0
    assert pacer.start("other.test")
    hands.at += 10
    assert pacer.wait("b.test") == 0
    assert fill(pacer) == 4


def test_pauses_grow_until_something_works() -> None:
    hands = Hands()
    pacer = Pacer(hands, PacingSettings(pause_seconds=10, max_pause_seconds=35))
    pauses = []
    for _ in range(4):
        pacer.heard("b.test", from_failure("refused", "connect"))
        pauses.append(pacer.wait("b.test"))
        hands.at += pauses[-1]
    assert pauses == [10, 20, 35, 35]
    assert fill(pacer) == 1  # never less than one
    pacer.heard("b.test", OK)
    pacer.heard("b.test", from_failure("refused", "connect"))
    assert pacer.wait("b.test") == 10


def test_a_bounce_says_the_host_is_well() -> None:
    pacer = Pacer(Hands(), PacingSettings(start_lanes=1))
    pacer.heard("b.test", said("550 5.1.1 nobody", "rcpt"))
    assert fill(pacer) == 2


def test_greylisting_stops_nobody_else() -> None:
    pacer = Pacer(Hands(), PacingSettings(start_lanes=8))
    for _ in range(100):
        pacer.heard("b.test", said("450 4.7.1 greylisted", "rcpt"))
    assert pacer.wait("b.test") == 0
    assert fill(pacer) == 4


def test_rate_after_a_complaint_and_its_recovery() -> None:
    hands = Hands()
    pacer = Pacer(hands, PacingSettings(pause_seconds=1, slowed_rate=2, burst=1, free_rate=3))
    pacer.heard("b.test", said("421 4.7.0 slow down"))
    hands.at += 1
    assert pacer.start("b.test")
    assert not pacer.may_continue("b.test")
    assert pacer.wait("b.test") == pytest.approx(0.5)
    hands.at += 0.5
    assert pacer.may_continue("b.test")
    for _ in range(20):
        pacer.heard("b.test", OK)
    assert pacer.wait("b.test") == 0
    assert all(pacer.may_continue("b.test") for _ in range(100))


def test_a_given_ceiling_of_the_rate_holds() -> None:
    hands = Hands()
    pacer = Pacer(hands, PacingSettings(max_rate=10, burst=3))
    assert pacer.start("b.test")
    carried = 1
    for _ in range(100):
        while pacer.may_continue("b.test"):
            carried += 1
            pacer.heard("b.test", OK)
        hands.at += 0.1
    assert 100 <= carried <= 104


def test_memory_is_bounded_and_open_lanes_are_kept() -> None:
    pacer = Pacer(Hands(), PacingSettings(max_destinations=50))
    assert pacer.start("busy.test")
    for i in range(500):
        pacer.heard(f"{i}.test", OK)
    assert len(pacer) == 50
    assert pacer.lanes("busy.test")[0] == 1
    pacer.ended("busy.test")
    pacer.ended("busy.test")
    assert pacer.lanes("busy.test")[0] == 0
