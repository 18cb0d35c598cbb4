"""The data of a report, collected row by row in bounded memory."""

import hashlib
import heapq
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from batch.report.timeline import Timeline

BINS = 40  # of the histogram of scores, of equal width
LEAST_SURE = 20  # rows that are shown
SAMPLE = 500  # characters of a message that are shown
_NO_LETTERS = re.compile(r"[\W\d_]+")


@dataclass(frozen=True)
class ShownRow:
    """A row that the report lists."""

    line: int
    label: str
    score: float
    text: str | None  # its beginning, with --show-text


@dataclass
class Campaign:
    """Rows with the same normalized text."""

    rows: int
    first: int  # line
    last: int  # line
    low: float  # score
    high: float  # score
    text: str | None  # of the first row, with --show-text


class Campaigns:
    """Counts of messages that differ only in case, digits and punctuation.

    At most ``most`` different ones are counted at once. If there are more, the rarest half is
    dropped, so a count may be too low, by at most ``missed``.
    """

    def __init__(self, most: int = 50_000):
        self.most, self.missed = most, 0
        self._held: dict[bytes, Campaign] = {}

    def add(self, text: str, line: int, score: float, sample: str | None) -> None:
        key = hashlib.blake2b(normalize(text).encode("utf-8", "replace"), digest_size=16).digest()
        if found := self._held.get(key):
            found.rows, found.last = found.rows + 1, line
            found.low, found.high = min(found.low, score), max(found.high, score)
            return
        if len(self._held) >= self.most:
            self._drop_rarest()
        self._held[key] = Campaign(1, line, line, score, score, sample)

    def _drop_rarest(self) -> None:
        counts = sorted(entry.rows for entry in self._held.values())
        bound = counts[len(counts) // 2]
        self._held = {key: entry for key, entry in self._held.items() if entry.rows > bound}
        self.missed += bound

    def found(self) -> list[Campaign]:
        """The campaigns of at least two rows, the largest first."""
        several = [entry for entry in self._held.values() if entry.rows > 1]
        return sorted(several, key=lambda entry: (-entry.rows, entry.first))


@dataclass
class Findings:
    """Everything that the report shows of a labelled file."""

    name: str
    positive: str
    has_scores: bool
    date_column: str | None
    shows_text: bool
    rows: int = 0
    labels: Counter = field(default_factory=Counter)
    bad: int = 0
    first_bad: str = ""
    undated: int = 0  # rows without a date that can be read
    timeline: Timeline = field(default_factory=Timeline)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros((2, BINS), np.int64))
    campaigns: Campaigns = field(default_factory=Campaigns)
    _near: tuple[list, list] = field(default_factory=lambda: ([], []))  # heaps: others, positive

    def add(self, label: str, score: float | None, text: str, line: int) -> None:
        """Count one row."""
        self.rows += 1
        self.labels[label] += 1
        is_positive = label == self.positive
        sample = text[:SAMPLE] if self.shows_text else None
        if is_positive:
            self.campaigns.add(text, line, score or 0.0, sample)
        if score is None:
            return
        self.histogram[int(is_positive), min(int(score * BINS), BINS - 1)] += 1
        entry = (-score if is_positive else score, -line, ShownRow(line, label, score, sample))
        push = heapq.heappush if len(self._near[is_positive]) < LEAST_SURE else heapq.heappushpop
        push(self._near[is_positive], entry)

    @property
    def knows_positive(self) -> bool:
        """False if each score may be that of the label given, so that scores cannot be compared."""
        return self.positive in self.labels or len(self.labels) <= 1

    @property
    def boundary(self) -> float | None:
        """Between the highest score of another label and the lowest of the positive one."""
        highest = max((score for score, _, _ in self._near[0]), default=None)
        lowest = min((-score for score, _, _ in self._near[1]), default=None)
        if highest is None or lowest is None:
            return None
        return (highest + lowest) / 2

    def least_sure(self) -> list[ShownRow]:
        """The rows with scores nearest to the boundary."""
        boundary = 0.5 if self.boundary is None else self.boundary
        rows = [row for near in self._near for _, _, row in near]
        return sorted(rows, key=lambda row: (abs(row.score - boundary), row.line))[:LEAST_SURE]


def normalize(text: str) -> str:
    """The letters of a message, without their case and width.

    >>> normalize("WIN £1000 now!!") == normalize("win 250 Now")
    True
    """
    return _NO_LETTERS.sub("", unicodedata.normalize("NFKC", text).casefold())
