"""Dates as dumps have them, and the unit that a span of time is shown in."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.report.timeline import MOST_SHOWN, MOST_STORED, Timeline, parse_time

NOON = datetime(2026, 11, 22, 12)
DATES = st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31))


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-11-22T12:00:00", NOON),
        (" 2026-11-22 12:00:00.5 ", NOON + timedelta(seconds=0.5)),
        ("2026-11-22T12:00:00+02:00", NOON),  # as it is written
        ("2026-11-22", datetime(2026, 11, 22)),
        ("2026/11/22 12:00", NOON),
        ("20261122", datetime(2026, 11, 22)),
        ("Sun, 22 Nov 2026 12:00:00 +0100", NOON),
        ("22 Nov 2026 12:00:00 GMT", NOON),
        ("1795348800", NOON),
        ("1795348800000", NOON),
        ("1712010512345", datetime(2024, 4, 1, 22, 28, 32, 345000)),  # no basic ISO
        *((value, None) for value in (
            "", "02/03/2026", "yesterday", "2026-13-01", "0001-01-01", "9999-12-31", "12", "1e9",
            "99 Nov 2026 ", "é",
        )),
    ],
)  # fmt: skip
def test_times(value, time):
    assert parse_time(value) == time


def fill(times) -> Timeline:
    timeline = Timeline()
    for number, when in enumerate(times):
        timeline.add(when, number % 3 == 0)
    return timeline


@pytest.mark.parametrize(
    ("step", "count", "unit", "names"),
    [
        (timedelta(minutes=20), 72, "hour", ("2026-11-22 12:00", "2026-11-23 11:00")),
        (timedelta(hours=5), 100, "day", ("2026-11-22", "2026-12-13")),
        (timedelta(days=3), 100, "week", ("2026-11-16", "2027-09-13")),
        (timedelta(days=30), 80, "month", ("2026-11", "2033-05")),
        (timedelta(days=400), 100, "year", ("2026", "2135")),
    ],
)
def test_the_unit_that_fits(step, count, unit, names):
    found, buckets, outside = fill(NOON + step * n for n in range(count)).buckets()
    assert (found, outside) == (unit, 0)
    assert (buckets[0].name, buckets[-1].name) == names
    assert sum(bucket.rows for bucket in buckets) == count
    assert sum(bucket.positive for bucket in buckets) == -(-count // 3)


def test_a_date_far_off_is_left_out():
    times = [NOON + timedelta(hours=n) for n in range(1000)]
    unit, buckets, outside = fill([*times, datetime(1970, 1, 1), datetime(2100, 1, 1)]).buckets()
    assert (unit, outside) == ("day", 10)  # half a percent at each end
    assert sum(bucket.rows for bucket in buckets) == 992
    assert fill([]).buckets() == ("hour", [], 0)


@given(st.lists(DATES, max_size=60))
def test_every_row_is_counted_once(times):
    unit, buckets, outside = fill(times).buckets()
    assert sum(bucket.rows for bucket in buckets) + outside == len(times)
    starts = [bucket.start for bucket in buckets]
    assert starts == sorted(set(starts))
    assert len(buckets) <= (300 if unit == "year" else MOST_SHOWN)


def test_what_is_held_has_a_bound():
    timeline, start = Timeline(), datetime(1900, 1, 1)
    for number in range(100_000):
        timeline.add(start + timedelta(days=number), True)
    assert len(timeline._held) <= MOST_STORED
    unit, buckets, outside = timeline.buckets()
    assert (unit, outside, sum(bucket.rows for bucket in buckets)) == ("year", 0, 100_000)
