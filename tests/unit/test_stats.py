"""A domain's figures: what a week, a bounce and a complaint make of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enroll import stats
from relay.base.storage.stats import Day

NOW = datetime(2026, 5, 31, 12, 0, tzinfo=UTC).timestamp()


def day(ago: int, accepted: int = 0, delivered: int = 0, bounced: int = 0, complaints: int = 0, domain: int = 1) -> Day:
    when = (datetime(2026, 5, 31, tzinfo=UTC) - timedelta(days=ago)).strftime("%Y-%m-%d")
    return Day(domain, when, 1, accepted, delivered, 0, bounced, complaints)


def test_a_domain_that_sent_nothing_has_no_rates_and_no_reputation():
    found = stats.figures([], NOW, 30)
    assert (found.volume_7d, found.volume_delta, found.delivery_rate, found.bounce_rate) == (0, None, None, None)
    assert (found.reputation, found.reputation_bucket, found.periods) == (None, None, [])


@pytest.mark.parametrize(
    ("this", "before", "says"),
    [(112, 100, "+12%"), (97, 100, "-3%"), (4, 4, "+0%"), (5, 0, "new"), (0, 9, None), (0, 0, None), (2, 3, "-33%")],
)
def test_the_change_is_a_signed_whole_percent(this, before, says):
    assert stats.volume_delta(this, before) == says


def test_the_two_weeks_end_today_and_touch():
    found = stats.figures([day(0, 3), day(6, 4), day(7, 5), day(13, 5), day(14, 100)], NOW, 30)
    assert found.volume_7d == 7
    assert found.volume_delta == "-30%"


def test_days_without_activity_are_left_out_and_the_window_is_respected():
    found = stats.figures([day(0, 1), day(1), day(2, 2), day(3, 4)], NOW, 3)
    assert [(p.period, p.sent) for p in found.periods] == [("2026-05-29", 2), ("2026-05-31", 1)]


def test_rates_have_one_decimal_over_thirty_days():
    found = stats.figures([day(0, 300, delivered=299, bounced=1), day(30, 1000, bounced=1000)], NOW, 365)
    assert (found.delivery_rate, found.bounce_rate) == (99.7, 0.3)


@given(*[st.integers(min_value=0, max_value=10**6)] * 3)
def test_shares_of_one_whole_add_up_and_none_is_more_than_all(sent, delivered, bounced):
    found = stats.shares(sent, delivered, bounced)
    if found is None:
        assert sent == delivered == bounced == 0
        return
    assert round(10 * (found.delivered + found.bounced + found.rest)) == 1000
    assert all(0 <= share <= 100 for share in (found.delivered, found.bounced, found.rest))
    assert abs(found.bounced - 100 * bounced / max(sent, delivered + bounced)) <= 0.051
    assert abs(found.delivered - 100 * delivered / max(sent, delivered + bounced)) <= 0.101


@pytest.mark.parametrize(
    ("sent", "delivered", "bounced", "complaints", "score", "word"),
    [
        (100, 100, 0, 0, 100, "excellent"),
        (100, 99, 1, 0, 92, "excellent"),
        (100, 97, 3, 0, 76, "good"),
        (1000, 1000, 0, 1, 60, "fair"),
        (100, 90, 10, 0, 20, "poor"),
        (10, 0, 10, 0, 0, "poor"),
        (10, 0, 0, 1, 0, "poor"),
    ],
)
def test_bounces_and_complaints_cost_reputation(sent, delivered, bounced, complaints, score, word):
    assert stats.reputation(sent, delivered, bounced, complaints) == score
    assert stats.bucket(score) == word


@pytest.mark.parametrize(("asked", "days"), [(None, 30), (0, 1), (-5, 1), (7, 7), (9999, 365)])
def test_days_are_clamped_never_refused(asked, days):
    assert stats.clamp_days(asked) == days


def test_the_daily_list_has_a_place_for_every_day():
    assert stats.daily([day(0, 3), day(2, 4), day(2, 1, domain=2), day(9, 9)], NOW, 4) == [0, 5, 0, 3]
