"""A labelled file read again, whatever its format: labels, scores, texts and other columns."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batch.errors import InputError
from batch.formats.csv_table import find_column
from batch.formats.input import Input
from batch.formats.open_table import open_table
from batch.formats.table import Table
from batch.reading.record import Record
from batch.reading.source import Source
from batch.writing.output import STANDARD_OUTPUT

log = logging.getLogger("batch")

WINDOW = 1024  # records read at once
_HINT = "; label it first with: spam-batch classify"


@dataclass(frozen=True)
class LabelledRow:
    """One row. Numbers count from 1."""

    number: int  # among the good records
    line: int
    offset: int  # of the first byte
    label: str
    score: float | None  # None: there is none
    text: str
    others: tuple[str, ...]  # values of the other columns that were asked for; "" for none


class LabelledFile:
    """Rows of a labelled file.

    Args:
        source: the opened file.
        given: how it is read, and its text column.
        others: further columns whose values are wanted.

    Attributes:
        bad: how many records could not be read, so far.
        has_scores: the file has a column ``score``.

    Raises:
        InputError: a column is not there, or there twice.
    """

    def __init__(self, source: Source, given: Input, others: Sequence[str] = ()):
        self.name = source.name
        self.table: Table = open_table(source, given, STANDARD_OUTPUT, (), [])
        for warning in self.table.choice_warnings:
            log.warning("WARNING: %s: %s", self.name, warning)
        names = self.table.column_names
        self.has_scores = "score" in names
        self.bad = 0
        self._label = find_column(self.name, names, "label", _HINT)
        self._score = find_column(self.name, names, "score") if self.has_scores else None
        self._others = [find_column(self.name, names, other) for other in others]

    def __iter__(self) -> Iterator[LabelledRow]:
        """Each good row, in order.

        Raises:
            InputError: a score is not a number from 0 to 1.
        """
        number = 0
        while records := self.table.read(WINDOW):
            good = [record for record in records if not record.problem]
            self.bad += len(records) - len(good)
            columns = [self._values(good, at) for at in (self._label, *self._others)]
            scores: list = [None] * len(good)
            if self._score is not None:
                found = self._values(good, self._score)
                scores = [self._parse(*pair) for pair in zip(good, found, strict=True)]
            for record, score, label, *others in zip(good, scores, *columns, strict=True):
                number += 1
                text = record.message
                place = (number, record.line, record.offset)
                yield LabelledRow(*place, label, score, text, tuple(others))

    def _values(self, records: Sequence[Record], at: int) -> list[str]:
        return [value or "" for value in self.table.values(records, at)]

    def _parse(self, record: Record, value: str) -> float | None:
        return parse_score(self.name, record.line, value) if value else None


def parse_score(name: str, line: int, value: str | bytes) -> float:
    """A score of the file ``name``.

    Raises:
        InputError: it is not a number from 0 to 1.
    """
    try:
        score = float(value)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:  # also refuses nan
        raise InputError(f"{name}: line {line}: the score is not a number from 0 to 1")
    return score
