"""Read two labels for each message: of two bundles, or of two labelled files."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from batch.errors import InputError
from batch.formats.csv_table import find_column
from batch.formats.input import Input
from batch.formats.labelled import LabelledFile, LabelledRow
from batch.formats.open_table import open_table
from batch.model.classifier import Classifier
from batch.model.decision import Decision, Predictions
from batch.reading.source import Source
from batch.run.run_manifest import find_bounds, read_manifest_if_good
from batch.run.windows import read_windows
from batch.writing.output import STANDARD_OUTPUT

log = logging.getLogger("batch")

NEAR = 0.1  # a label is near another one if the probability is not further from it than this


@dataclass(frozen=True)
class Side:
    """What one model says of a message."""

    label: str
    score: float | None
    margin: float | None  # how far the probability is from another label; None: not known


@dataclass(frozen=True)
class Pair:
    """One message and both labels. Numbers count from 1."""

    number: int  # among the good records
    line: int
    offset: int  # of the first byte
    text: str
    before: Side
    after: Side
    others: tuple[str, ...]  # values of the other columns that were asked for

    @property
    def is_near(self) -> bool | None:
        """True if neither model was sure of its label; None if that is not known."""
        margins = self.before.margin, self.after.margin
        if margins[0] is None or margins[1] is None:
            return None
        return max(margins[0], margins[1]) <= NEAR


class BundlePairs:
    """Labels a file with two classifiers.

    Attributes:
        bad: how many records could not be read, so far.
    """

    def __init__(
        self,
        source: Source,
        given: Input,
        others: Sequence[str],
        classifiers: tuple[Classifier, Classifier],
    ):
        self.name, self.bad = source.name, 0
        self._table = open_table(source, given, STANDARD_OUTPUT, (), [])
        for warning in self._table.choice_warnings:
            log.warning("WARNING: %s: %s", self.name, warning)
        names = self._table.column_names
        self._others = [find_column(self.name, names, other) for other in others]
        self._classifiers = classifiers

    def __iter__(self) -> Iterator[Pair]:
        number = 0
        for window in read_windows(self._table, 0):
            good = window.good
            self.bad += len(window.records) - len(good)
            texts = window.messages
            sides = [list(self._label(one, texts)) for one in self._classifiers]
            columns = [self._table.values(good, at) for at in self._others]
            others = zip(*columns, strict=True) if columns else [()] * len(good)
            for record, text, before, after, values in zip(
                good, texts, *sides, others, strict=True
            ):
                number += 1
                shown = tuple(value or "" for value in values)
                yield Pair(number, record.line, record.offset, text, before, after, shown)

    def _label(self, classifier: Classifier, texts: list[str]) -> Iterator[Side]:
        found = classifier.classify(texts)
        margins = find_margins(classifier.decision, found)
        rows = zip(found.labels, found.scores.tolist(), margins.tolist(), strict=True)
        return (Side(*row) for row in rows)


def find_margins(decision: Decision, found: Predictions) -> np.ndarray:
    """How far each message's probability is from another label, ``(N,)``."""
    if decision.has_threshold:
        bounds = np.array(decision.unsure_band or (decision.threshold,))
        return np.abs(found.scores[:, None] - bounds).min(axis=1, initial=1.0)
    ordered = np.sort(found.probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2]


class FilePairs:
    """Reads two labelled files of the same input, side by side. Lines are those of the first."""

    def __init__(self, files: tuple[LabelledFile, LabelledFile]):
        self._files = files
        self.name = files[0].name
        self._bounds = [_find_bounds(file.name) for file in files]

    @property
    def bad(self) -> int:
        return sum(file.bad for file in self._files)

    def __iter__(self) -> Iterator[Pair]:
        """
        Raises:
            InputError: the files have not the same texts in the same order.
        """
        names = " and ".join(file.name for file in self._files)
        hint = "are they of the same input?"
        for before, after in zip_longest(*self._files):
            if before is None or after is None:
                raise InputError(f"{names} have different numbers of rows; {hint}")
            if before.text != after.text:
                raise InputError(
                    f"{names}: line {before.line} of the one and line {after.line} of the other "
                    f"have different texts; {hint}"
                )
            sides = map(self._make_side, (before, after), self._bounds)
            place = (before.number, before.line, before.offset, before.text)
            yield Pair(*place, next(sides), next(sides), before.others)

    @staticmethod
    def _make_side(row: LabelledRow, bounds: Sequence[float]) -> Side:
        margin = None
        if row.score is not None and bounds:
            margin = min(abs(row.score - bound) for bound in bounds)
        return Side(row.label, row.score, margin)


def _find_bounds(name: str) -> list[float]:
    return find_bounds(read_manifest_if_good(name) if Path(name).is_file() else None)
