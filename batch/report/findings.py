"""What a report shows of a labelled file, collected row by row in bounded memory."""

import hashlib
import heapq
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from batch.report.timeline import Timeline

BINS = 40  # of the scores' histogram, of equal width


LEAST_SURE = 20  # rows shown


SAMPLE = 500  # characters of a message that are kept to be shown


_NO_LETTERS = re.compile(r"[\W\d_]+")


@dataclass(frozen=True)
class Row:
    """A row that the report points at."""

    line: int
    label: str
    score: float
    text: str | None  # its beginning, if it may be shown


@dataclass
class Campaign:
    rows: int
    first: int  # line
    last: int
    low: float  # score
    high: float
    text: str | None


class Campaigns:
    """Counts of messages that are the same but for case, digits and punctuation.

    At most ``most`` of them are held. Where there are more, the rarest half is forgotten, so a
    count may be too low, but never by more than ``missed``.
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
            self._forget()
        self._held[key] = Campaign(1, line, line, score, score, sample)

    def _forget(self) -> None:
        counts = sorted(entry.rows for entry in self._held.values())
        bound = counts[len(counts) // 2]
        self._held = {key: entry for key, entry in self._held.items() if entry.rows > bound}
        self.missed += bound

    def found(self) -> list[Campaign]:
        """Those of two rows and more, the largest first."""
        several = [entry for entry in self._held.values() if entry.rows > 1]
        return sorted(several, key=lambda entry: (-entry.rows, entry.first))


@dataclass
class Findings:
    """What was seen. The positive label's rows apart from the others where there are two."""

    name: str
    positive: str
    has_scores: bool
    date_column: str | None
    shows_text: bool
    rows: int = 0
    labels: Counter = field(default_factory=Counter)
    bad: int = 0
    first_bad: str = ""
    undated: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros((2, BINS), np.int64))
    campaigns: Campaigns = field(default_factory=Campaigns)
    _near: tuple[list, list] = field(default_factory=lambda: ([], []))  # others, positive

    def add(self, label: str, score: float | None, text: str, line: int) -> None:
        self.rows += 1
        self.labels[label] += 1
        is_positive = label == self.positive
        sample = text[:SAMPLE] if self.shows_text else None
        if is_positive:
            self.campaigns.add(text, line, score or 0.0, sample)
        if score is None:
            return
        self.histogram[int(is_positive), min(int(score * BINS), BINS - 1)] += 1
        entry = (-score if is_positive else score, -line, Row(line, label, score, sample))
        push = heapq.heappush if len(self._near[is_positive]) < LEAST_SURE else heapq.heappushpop
        push(self._near[is_positive], entry)

    @property
    def knows_positive(self) -> bool:
        """False where the score may be that of the label given, which says nothing of others."""
        return self.positive in self.labels or len(self.labels) <= 1

    @property
    def boundary(self) -> float | None:
        """Where the positive label begins, as far as the rows tell."""
        highest = max((score for score, _, _ in self._near[0]), default=None)
        lowest = min((-score for score, _, _ in self._near[1]), default=None)
        if highest is None or lowest is None:
            return None
        return (highest + lowest) / 2

    def least_sure(self) -> list[Row]:
        boundary = 0.5 if self.boundary is None else self.boundary
        rows = [row for near in self._near for _, _, row in near]
        return sorted(rows, key=lambda row: (abs(row.score - boundary), row.line))[:LEAST_SURE]


def normalize(text: str) -> str:
    """The letters of a message, their case and width apart.

    >>> normalize("WIN £1000 now!!") == normalize("win 250 Now")
    True
    """
    return _NO_LETTERS.sub("", unicodedata.normalize("NFKC", text).casefold())
