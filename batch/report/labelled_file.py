"""Read a labelled file once and keep what the report shows of it, in bounded memory."""

import hashlib
import heapq
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from batch.reading.dialect import Dialect
from batch.reading.encoding import UTF_8, Encoding
from batch.errors import InputError, UsageError
from batch.formats.open_table import CSV, SHOWN, find_format
from batch.writing.output import check_not_input, check_ours, is_stream, open_stream, resolve_target
from batch.writing.atomic import create_file, storage_errors, sync_folder, write_all
from batch.reading.records import RecordReader
from batch.reading.source import Source, reading
from batch.reading.opening import open_source
from batch.reading.input_stream import InputStream
from batch.formats.layout import DEFAULT_LAYOUT
from batch.messages import list_columns, show
from batch.formats.csv_table import read_header
from batch.report.timeline import Timeline, parse_time

WINDOW = 1024  # records read at once
BINS = 40  # of the scores' histogram, of equal width
MOST_LABELS = 1000
LEAST_SURE = 20  # rows shown
SAMPLE = 500  # characters of a message that are kept to be shown
_NO_LETTERS = re.compile(r"[\W\d_]+")


@dataclass(frozen=True)
class Request:
    """What to report on, and how."""

    source: str  # a path, or - for standard input
    out: str
    dialect: Dialect
    encoding: Encoding = UTF_8
    text_column: str | None = None
    date_column: str | None = None
    positive_label: str | None = None  # None: spam
    show_text: bool = False


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


def read_labelled(request: Request) -> Findings:
    """
    Raises:
        UsageError: it is no CSV.
        InputError: it is not what ``spam-batch classify`` writes.
        MissingInputError: it cannot be read.
    """
    format_ = find_format(request.source, DEFAULT_LAYOUT)
    if format_ != CSV:
        raise UsageError(f"{request.source} is {SHOWN[format_]}; spam-batch report reads CSV")
    with open_source(request.source) as source, reading(source.name):
        return _read(request, source)


def _read(request: Request, source: Source) -> Findings:
    name, decode = source.name, request.encoding.decode
    stream = InputStream(name, source.stream, request.encoding)
    reader = RecordReader(stream, request.dialect)
    header = read_header(name, reader, request.text_column, ())
    names = [decode(field) for field in header.record.fields]
    label_at = _find_column(name, names, "label", "; label it first with: spam-batch classify")
    score_at = _find_column(name, names, "score") if "score" in names else None
    wanted = request.date_column
    date_at = None if wanted is None else _find_column(name, names, wanted)
    found = Findings(
        name, request.positive_label or "spam", score_at is not None, wanted, request.show_text
    )
    while records := reader.read_records(WINDOW):
        for record in records:
            if record.problem:
                found.bad += 1
                found.first_bad = found.first_bad or f"line {record.line} {record.problem}"
                continue
            fields = record.fields
            label = decode(fields[label_at])
            score = None if score_at is None else _read_score(name, record.line, fields[score_at])
            found.add(label, score, decode(record.text), record.line)
            if date_at is not None:
                when = parse_time(decode(fields[date_at]))
                found.undated += when is None
                if when is not None:
                    found.timeline.add(when, label == found.positive)
        if len(found.labels) > MOST_LABELS:
            raise InputError(
                f"{name}: has more than {MOST_LABELS:,} different labels; is 'label' the column "
                "that spam-batch wrote?"
            )
    if request.positive_label and request.positive_label not in found.labels:
        listed = list_columns(sorted(found.labels))
        raise InputError(
            f"{name}: no row is labelled {show(request.positive_label)}; labels: {listed}"
        )
    return found


def _find_column(name: str, names: list[str], wanted: str, hint: str = "") -> int:
    found = [index for index, column in enumerate(names) if column == wanted]
    if len(found) != 1:
        problem = "is there more than once" if found else "is not there"
        raise InputError(
            f"{name}: the column {show(wanted)} {problem}; columns: {list_columns(names)}{hint}"
        )
    return found[0]


def _read_score(name: str, line: int, value: bytes) -> float:
    try:
        score = float(value)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:  # nor is "nan"
        raise InputError(f"{name}: line {line}: the score is not a number from 0 to 1")
    return score


def write_report(request: Request) -> Findings:
    """Write the page to ``request.out``, which appears when it is whole.

    Raises:
        SpamBatchError: it cannot be read, or not be written.
    """
    from batch.report.page import START, draw_page

    if is_stream(request.out):
        found = read_labelled(request)
        with open_stream(request.out) as file:
            write_all(file, draw_page(found).encode("utf-8"))
        return found
    target = resolve_target(request.out)
    check_not_input(request.out, [request.source])
    check_ours(target, START.encode(), "is not a report of spam-batch; give another --out")
    found = read_labelled(request)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with storage_errors(request.out):
        _write_file(part, target, draw_page(found).encode("utf-8"))
    return found


def _write_file(part: Path, target: Path, data: bytes) -> None:
    with create_file(part, 0o666) as file:
        try:
            write_all(file, data)
            os.fsync(file.fileno())
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    sync_folder(target.parent)
