"""The arithmetic of standing: who is judged, by what, and how far the end is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.config import Config
from relay.base.events import BOUNCED, DEFERRED
from relay.base.storage.standing import Failed
from relay.standing import Counts, judge, words
from relay.standing.arithmetic import Stage, wilson_lower
from relay.standing.feed import read

CONFIG = Config()


@pytest.mark.parametrize(
    ("k", "n", "lower"),
    # Wilson's score interval, to four places.
    [(0, 10, 0.0), (1, 13, 0.0137), (40, 500, 0.0593), (5, 100, 0.0215), (80, 1000, 0.0647), (10, 10, 0.7225)],
)
def test_the_lower_bound_is_that_of_the_books(k: int, n: int, lower: float) -> None:
    assert wilson_lower(k, n) == pytest.approx(lower, abs=5e-5)


@given(st.integers(0, 3000), st.integers(1, 3000))
def test_the_lower_bound_lies_under_the_share_and_rises_with_each_bounce(k: int, n: int) -> None:
    k = min(k, n)
    assert 0.0 <= wilson_lower(k, n) <= k / n
    assert wilson_lower(k, n) <= wilson_lower(k + 1, n + 1)
    assert wilson_lower(k, n + 1) <= wilson_lower(k, n)


@pytest.mark.parametrize(
    ("counts", "stage"),
    [
        (Counts(delivered=12, bounced=1), "good"),
        (Counts(delivered=0, bounced=49), "good"),  # too few to judge, whatever they say
        (Counts(delivered=460, bounced=40), "suspended"),
        (Counts(delivered=500, late=40), "suspended"),  # the same recipients, heard of later
        (Counts(delivered=475, bounced=25), "notice"),
        (Counts(delivered=470, bounced=30), "slowed"),
        (Counts(delivered=100, bounced=0, excused=4000), "good"),
        (Counts(delivered=60, complaints=1), "good"),  # one is nobody's habit
        (Counts(delivered=1000, complaints=3), "suspended"),
        (Counts(delivered=10_000, complaints=8), "notice"),
    ],
)
def test_stages(counts: Counts, stage: Stage) -> None:
    assert judge(counts, CONFIG).stage == stage


@given(st.integers(0, 2000), st.integers(0, 300), st.integers(0, 100), st.integers(0, 30))
def test_what_is_left_is_exact(delivered: int, bounced: int, late: int, complaints: int) -> None:
    counts = Counts(delivered, bounced, late, complaints)
    left = judge(counts, CONFIG).bounces.left
    assert left is not None

    def suspended(more: int) -> bool:
        then = Counts(delivered, bounced + more, late)
        return judge(then, CONFIG).stage == "suspended"

    assert suspended(left)
    assert left == 0 or not suspended(left - 1)
    some = judge(counts, CONFIG).complaints.left
    if some:
        assert judge(Counts(delivered, bounced, late, complaints + some), CONFIG).stage == "suspended"


def failed(reply: str, type_: str = BOUNCED, member: int = 1, *, counts: bool = True, **data: object) -> Failed:
    facts = {"recipient": "bob@sink.test", "host": "mx.sink.test", "reply": reply, **data}
    return Failed(member, 1200.0, type_, facts, counts)


def test_blame_of_the_relay_is_excused_and_seen() -> None:
    counted, seen = read(
        [
            failed("550 5.1.1 no such user", ownFault=False, **{"class": "mailbox_unknown"}),
            failed("550 5.7.1 listed", ownFault=True, **{"class": "reputation"}),
            failed("550 5.1.1 gone", ownFault=False, late=True, **{"class": "mailbox_unknown"}),
            failed("550 5.7.1 listed", ownFault=True, counts=False, **{"class": "reputation"}),  # a test message
            failed("421 4.7.0 our address is listed: client host 192.0.2.1 blocked by zen.spamhaus.org", DEFERRED),
            failed("450 4.2.1 mailbox busy", DEFERRED),
            failed("451 4.7.1 greylisted, come again", DEFERRED),
            failed("TLS handshake failed", DEFERRED),  # our words for a host's trouble
        ],
        keep=2,
    )
    assert counted == {(1, 1200.0): {"bounced": 1, "excused": 1, "late": 1}}
    [one] = seen
    assert (one.kind, one.count, len(one.examples)) == ("reputation", 3, 2)


def test_the_sentences_hold_the_members_own_numbers() -> None:
    judgement = judge(Counts(delivered=460, bounced=40), CONFIG)
    assert words.reason(judgement, CONFIG) == (
        "40 bounces of 500 finished recipients in 24 hours (8 %; lower bound 5.9 %, allowed 5 %)"
    )
    bounces, complaints = words.said(judgement, CONFIG)
    assert bounces.reckoning.startswith("(0.0800 + 0.0038 − 1.96·√(0.0001472 + 0.0000038)) / 1.0077 = 5.9 %")
    assert (bounces.gone, bounces.left) == (100, "The limit is reached.")
    assert complaints.left == "2 more complaints, and nothing else, would stop your sending."
    subject, text = words.letter("suspended", "alice", judgement, CONFIG, 0.0)
    assert subject == "Sending of alice is suspended"
    assert "/account#standing" in text
