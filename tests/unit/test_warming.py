"""Warming is pure: entries and a time in, a judgement out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import warming
from relay.base.config import Config, Tier

NOW = 1_780_000_000.0
TIERS = Config().warming.tiers
WEEK1 = TIERS[0]


@pytest.mark.parametrize(
    ("days", "name"),
    [(0, "week 1"), (6.99, "week 1"), (7, "week 2"), (13.9, "week 2"), (14, "established"), (900, "established")],
)
def test_the_tier_follows_the_age_since_first_verified(days: float, name: str) -> None:
    tier = warming.tier_of(None, NOW - days * 86400, TIERS, NOW)
    assert tier is not None
    assert tier.name == name


def test_a_pinned_tier_wins_and_unlimited_has_none() -> None:
    pinned = warming.tier_of("week 2", NOW - 900 * 86400, TIERS, NOW)
    assert pinned is not None
    assert pinned.name == "week 2"
    assert warming.tier_of("unlimited", NOW, TIERS, NOW) is None


def test_the_next_slot_is_when_the_oldest_entry_leaves_the_hour() -> None:
    entries = [(NOW - 3000 + i, 1) for i in range(5)]
    judged = warming.judge(entries, WEEK1, NOW, 1)
    assert not judged.fits
    assert judged.hour == 5
    assert judged.next_at == NOW - 3000 + 3600


def test_the_day_can_be_the_longer_wait() -> None:
    entries = [(NOW - 80000 + i, 1) for i in range(20)]
    judged = warming.judge(entries, WEEK1, NOW, 1)
    assert judged.next_at == NOW - 80000 + 86400


def test_more_recipients_than_the_tier_never_fit_and_the_refusal_says_so() -> None:
    judged = warming.judge([], WEEK1, NOW, 6)
    assert not judged.fits
    assert judged.next_at is None
    verdict = warming.refusal(judged, WEEK1, "example.test", 6, 1)
    assert (verdict.passes_at, verdict.reply.smtp, verdict.reply.enhanced, verdict.reply.http) == (
        None, 452, "4.5.3", 422
    )
    assert verdict.text() == 'Too many recipients: warming tier "week 1" takes at most 5 a message'
    assert verdict.json("")["detail"]["fits"] == 5


def test_the_day_can_be_what_a_message_never_fits_in() -> None:
    tier = Tier(name="odd", per_hour=100, per_day=50)
    verdict = warming.refusal(warming.judge([], tier, NOW, 51), tier, "example.test", 51, 1)
    assert (verdict.reply.name, verdict.wanted) == ("tier_too_small", "50")


def test_the_refusal_reads_like_the_contract_says() -> None:
    entries = [(NOW - 10, 5)]
    verdict = warming.refusal(warming.judge(entries, WEEK1, NOW, 1), WEEK1, "example.test", 1, 7)
    line = verdict.referred("abc").smtp_lines("https://relay.example")[0]
    assert line.startswith('451 4.7.1 Warming tier "week 1": 5 of 5 this hour')
    assert ", next slot 2026-05-28T21:26:30Z; https://relay.example/r/abc" in line
    assert verdict.json("")["detail"]["nextSlot"] == verdict.json("")["detail"]["passesAt"] == "2026-05-28T21:26:30Z"


def test_high_tiers_are_dated_by_the_end_of_the_minute() -> None:
    high = Tier(name="x", per_hour=1000, per_day=9000)
    assert warming.entry_time(high, NOW + 1, 1000) % 60 == 0
    assert warming.entry_time(high, NOW + 1, 1000) >= NOW + 1
    assert warming.entry_time(WEEK1, NOW + 1, 1000) == NOW + 1


@given(
    st.lists(st.tuples(st.floats(NOW - 90000, NOW), st.integers(1, 4)), max_size=30).map(sorted), st.integers(1, 5)
)
def test_at_the_named_slot_it_fits_and_not_a_moment_before(entries: list[tuple[float, int]], want: int) -> None:
    judged = warming.judge(entries, WEEK1, NOW, want)
    if judged.fits or judged.next_at is None:
        return
    assert warming.judge(entries, WEEK1, judged.next_at, want).fits
    assert not warming.judge(entries, WEEK1, judged.next_at - 0.01, want).fits


def test_a_slowed_member_sends_at_the_next_lower_tier() -> None:
    def slowed(pinned: str | None, days: float) -> str:
        tier = warming.tier_of(pinned, NOW - days * 86400, TIERS, NOW, slowed=True)
        assert tier is not None
        return tier.name

    assert [slowed(None, days) for days in (400, 10, 1)] == ["week 2", "week 1", "week 1"]
    assert (slowed("established", 1), slowed("unlimited", 1)) == ("week 2", "established")
