"""Charts of daily counters: what is in them is what was counted, and stays inside the picture."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from enroll.pages import charts
from enroll.stats import Period

NOW = datetime(2026, 5, 31, 12, 0, tzinfo=UTC).timestamp()
COUNT = st.integers(min_value=0, max_value=10**6)


def days(*active: Period) -> list[Period]:
    return charts.days_of(active, NOW, 30)


def test_days_without_activity_are_there_and_the_window_ends_today() -> None:
    found = days(Period("2026-05-31", 4, 3, 1, 0), Period("2026-04-01", 9, 9, 0, 0))
    assert (len(found), found[0].period, found[-1].period) == (30, "2026-05-02", "2026-05-31")
    assert [p.sent for p in found if p.sent] == [4]


def test_nothing_sent_makes_no_picture() -> None:
    assert [charts.volume(days()), charts.rates(days()), charts.readers(days())] == [None, None, None]


def test_a_column_is_as_high_as_what_was_sent() -> None:
    chart = charts.volume(days(Period("2026-05-30", 20, 10, 5, 0), Period("2026-05-31", 10, 10, 0, 0)))
    assert chart is not None
    assert (chart.summary, chart.top) == ("30 sent, 20 delivered, 5 bounced in 30 days", "20")
    assert [(b.x, b.y, b.height, b.kind) for b in chart.bars] == [
        (280, 50.0, 50.0, "delivered"), (280, 25.0, 25.0, "bounced"), (280, 0.0, 25.0, "waiting"),
        (290, 50.0, 50.0, "delivered"),
    ]
    assert chart.rows == (("2026-05-31", "10", "10", "0", "0"), ("2026-05-30", "20", "10", "5", "0"))


def test_rates_are_those_of_the_week_before_each_day_and_break_off_without_any() -> None:
    chart = charts.rates(days(Period("2026-05-05", 4, 3, 1, 0), Period("2026-05-31", 4, 4, 0, 0)))
    assert chart is not None
    assert chart.summary == "latest: 100.0 % delivered, 0.0 % bounced, over 7 days each"
    delivered = [line.points for line in chart.lines if line.kind == "delivered"]
    assert [len(points.split()) for points in delivered] == [7, 2]
    assert delivered[0].startswith("34,25.0 ")


@given(st.lists(st.tuples(COUNT, COUNT, COUNT, COUNT, COUNT), min_size=1, max_size=30))
def test_whatever_was_counted_stays_inside(rows: list[tuple[int, ...]]) -> None:
    found = days(*(
        Period(f"2026-05-{i + 2:02}", sent, delivered, bounced, 0, opens, clicks)
        for i, (sent, delivered, bounced, opens, clicks) in enumerate(rows)
    ))
    for chart in (charts.volume(found), charts.rates(found), charts.readers(found)):
        if chart is None:
            continue
        for bar in chart.bars:
            assert 0 <= bar.y <= 100 - 1.5 + 0.1 or bar.y == 0
            assert bar.y + bar.height <= 104.5
            assert 0 <= bar.x <= chart.width - bar.width
        for line in chart.lines:
            assert all(0 <= float(y) <= 100 for _, y in (p.split(",") for p in line.points.split()))
