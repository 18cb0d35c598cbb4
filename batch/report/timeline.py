"""Parse the dates in dumps, and count rows by the hour, day, week, month or year."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"\d{9,10}(\.\d*)?|\d{12,13}")  # seconds, milliseconds since 1970
_RFC_2822 = re.compile(r"([A-Za-z]{3}, *)?\d{1,2} [A-Za-z]{3} \d{4} ")
_SLASHES = re.compile(r"\d{4}/\d\d/\d\d")
_EPOCH = datetime(1970, 1, 1)
YEARS = range(1900, 2200)
_STORED = (1, 24, 24 * 7)  # hours in a bucket, at each level
MOST_STORED = 20_000  # buckets
MOST_SHOWN = 92  # buckets; about three months of days
UNITS = ("hour", "day", "week", "month", "year")
_STEPS = {  # from the start of one unit into the next one, and not into the one after that
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=32),
    "year": timedelta(days=367),
}
_FORMS = {"hour": "%Y-%m-%d %H:00", "month": "%Y-%m", "year": "%Y"}


@dataclass(frozen=True)
class Bucket:
    """The rows of one hour, day, week, month or year."""

    start: datetime
    name: str
    rows: int
    positive: int


def parse_time(value: str) -> datetime | None:
    """A time without its zone; None if the value is not a time.

    It may be ISO 8601, also with slashes or without a time; seconds or milliseconds since 1970,
    read as UTC; or RFC 2822 as in e-mail. ``02/03/2026`` is refused, because it may be March or
    February, and so are years that no message is from.

    >>> parse_time("2026-11-22T10:00:00+02:00")
    datetime.datetime(2026, 11, 22, 10, 0)
    """
    value = value.strip()
    try:
        if _NUMBER.fullmatch(value):
            number = float(value)
            found = datetime.fromtimestamp(number / 1000 if number >= 1e11 else number, UTC)
        elif _RFC_2822.match(value):
            found = parsedate_to_datetime(value)
        elif _SLASHES.match(value):
            found = datetime.fromisoformat(value.replace("/", "-", 2))
        else:
            found = datetime.fromisoformat(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return found.replace(tzinfo=None) if found.year in YEARS else None


class Timeline:
    """Counts of rows, all and positive, by time, in bounded memory."""

    def __init__(self) -> None:
        self._level = 0
        self._held: dict[int, list[int]] = {}  # bucket number -> [rows, positive]

    def add(self, when: datetime, is_positive: bool) -> None:
        hour = (when - _EPOCH) // timedelta(hours=1)
        count = self._held.setdefault(hour // _STORED[self._level], [0, 0])
        count[0] += 1
        count[1] += is_positive
        if len(self._held) > MOST_STORED and self._level + 1 < len(_STORED):
            self._merge()

    def _merge(self) -> None:
        fine, self._level = self._held, self._level + 1
        ratio, self._held = _STORED[self._level] // _STORED[self._level - 1], {}
        for number, (rows, positive) in fine.items():
            count = self._held.setdefault(number // ratio, [0, 0])
            count[0] += rows
            count[1] += positive

    def buckets(self) -> tuple[str, list[Bucket], int]:
        """The unit, its buckets without a gap, and the number of rows outside of them.

        A few dates far from the others would squeeze all other rows into one bar. So half a
        percent of the rows at each end is left out if the rest takes less than a third of the
        time.
        """
        hours = _STORED[self._level]
        counts = {
            _EPOCH + timedelta(hours=number * hours): tuple(count)
            for number, count in sorted(self._held.items())
        }
        if not counts:
            return UNITS[0], [], 0
        first, last = self._core(counts)
        inside = {when: count for when, count in counts.items() if first <= when <= last}
        outside = sum(rows for rows, _ in counts.values()) - sum(r for r, _ in inside.values())
        unit = next(
            (
                unit
                for unit in UNITS[self._level :]
                if len(_starts(unit, first, last)) <= MOST_SHOWN
            ),
            UNITS[-1],
        )
        return unit, _fill(unit, first, last, inside), outside

    def _core(self, counts: dict) -> tuple[datetime, datetime]:
        times, total = list(counts), sum(rows for rows, _ in counts.values())
        ends = []
        for ordered in (times, times[::-1]):
            seen = 0
            for when in ordered:
                seen += counts[when][0]
                if seen > total * 0.005:
                    ends.append(when)
                    break
        is_far = 3 * (ends[1] - ends[0]) < times[-1] - times[0]
        return (ends[0], ends[1]) if is_far else (times[0], times[-1])


def _fill(unit: str, first: datetime, last: datetime, counts: dict) -> list[Bucket]:
    totals = {start: [0, 0] for start in _starts(unit, first, last)}
    for when, (rows, positive) in counts.items():
        total = totals[_floor(unit, when)]
        total[0] += rows
        total[1] += positive
    form = _FORMS.get(unit, "%Y-%m-%d")
    return [Bucket(start, start.strftime(form), *total) for start, total in totals.items()]


def _starts(unit: str, first: datetime, last: datetime) -> list[datetime]:
    """Where the buckets from ``first`` to ``last`` begin; stops after too many of them."""
    starts: list[datetime] = []
    at = _floor(unit, first)
    while at <= last and (len(starts) <= MOST_SHOWN or unit == UNITS[-1]):
        starts.append(at)
        at = _floor(unit, at + _STEPS[unit])
    return starts


def _floor(unit: str, when: datetime) -> datetime:
    if unit == "hour":
        return when.replace(minute=0, second=0, microsecond=0)
    day = datetime(when.year, when.month, when.day)
    if unit == "day":
        return day
    if unit == "week":
        return day - timedelta(days=day.weekday())
    return datetime(when.year, when.month if unit == "month" else 1, 1)
