"""How good the labels of a file are, by a random sample of it that a person has labelled.

The sample has the same number of rows of each label that the model gave, and not of each row.
So each label is a stratum: what was found in it counts for all rows of the file with that label.
The rows that were chosen for another reason are not counted.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from batch.errors import InputError
from batch.formats.input import Input
from batch.formats.labelled import LabelledFile
from batch.messages import count, list_columns, show
from batch.model.decision import UNSURE
from batch.reading.dialect import Dialect
from batch.reading.opening import open_source
from batch.report.intervals import wilson
from batch.review.selection import RANDOM

Interval = tuple[float, float]
_NUMBER = re.compile(r"[0-9]{1,18}")
_DIALECT = Dialect(trusts_quotes=True)  # a browser has written every quote


@dataclass(frozen=True)
class Figure:
    """An estimate of a share with its 95 % interval; ``value`` is None if it is not defined."""

    value: float | None
    low: float
    high: float
    checked: int  # rows that it rests on

    def __str__(self) -> str:
        if self.value is None:
            return f"not defined ({count(self.checked, 'row')})"
        return f"{self.value:.2%} ({self.low:.2%} to {self.high:.2%}; {self.checked:,} rows)"


@dataclass
class Sample:
    """What a person found in the random rows, and how many rows the file has of each label."""

    rows: Counter[str]  # of the file, by the label that the model gave
    found: Counter[tuple[str, str]] = field(default_factory=Counter)  # predicted, true -> rows
    others: int = 0  # corrections that are not of the random sample

    @property
    def strata(self) -> list[str]:
        """The labels that the model gave, except ``unsure``."""
        return sorted(label for label in self.rows if label != UNSURE)

    @property
    def classes(self) -> list[str]:
        """All labels that rows have or were given by a person."""
        return sorted({*self.strata, *(true for _, true in self.found)})

    def checked(self, label: str) -> int:
        """How many rows of a stratum a person has labelled."""
        return sum(number for (given, _), number in self.found.items() if given == label)

    def _share(self, label: str, true: str) -> tuple[float, Interval]:
        """Of the rows labelled ``label``, the share that is ``true``."""
        n, hits = self.checked(label), self.found[label, true]
        if not n:
            return 0.0, (0.0, 1.0)
        share = hits / n
        return share, (share, share) if n == self.rows[label] else wilson(hits, n)

    def _total(self, terms: Sequence[tuple[str, str]]) -> tuple[float, Interval]:
        """How many rows of the file have one of these pairs of labels.

        The interval of a sum of independent shares is made of theirs by the method of variance
        estimates recovery: Zou and Donner 2008 (Statistics in Medicine 27, 1693-1702).
        """
        total = below = above = 0.0
        for label, true in terms:
            rows, (share, (low, high)) = self.rows[label], self._share(label, true)
            total += rows * share
            below += (rows * (share - low)) ** 2
            above += (rows * (high - share)) ** 2
        return total, (max(0.0, total - math.sqrt(below)), total + math.sqrt(above))

    def accuracy(self) -> Figure:
        """Of all rows with a label, the share whose label is right."""
        whole = sum(self.rows[label] for label in self.strata)
        total, (low, high) = self._total([(label, label) for label in self.strata])
        checked = sum(map(self.checked, self.strata))
        return Figure(total / whole, low / whole, min(1.0, high / whole), checked)

    def precision(self, label: str) -> Figure:
        """Of the rows with this label, the share that has it rightly."""
        n = self.checked(label)
        share, (low, high) = self._share(label, label)
        return Figure(share if n else None, low, high, n)

    def recall(self, true: str) -> Figure:
        """Of the rows that should have this label, the share that has it.

        The lower end takes the lower end of the hits and the upper end of the misses, and the
        upper end the other two, so the interval is rather too wide than too narrow.
        """
        hits, (low, high) = self._total([(true, true)] if true in self.strata else [])
        others = [(label, true) for label in self.strata if label != true]
        missed, (few, many) = self._total(others)
        many = min(many, sum(self.rows[label] for label, _ in others))
        n = sum(self.found[label, true] for label in self.strata)
        return Figure(
            hits / (hits + missed) if hits + missed else None,
            low / (low + many) if low + many else 0.0,
            high / (high + few) if high + few else 1.0,
            n,
        )

    def lines(self) -> list[str]:
        """The lines for the user."""
        checked = sum(map(self.checked, self.strata))
        parts = ", ".join(
            f"{self.checked(label):,} of {self.rows[label]:,} {label}" for label in self.strata
        )
        lines = [f"n = {checked:,} random rows: {parts}", f"accuracy: {self.accuracy()}"]
        for name in self.classes:
            if name in self.strata:
                lines.append(f"precision of {name}: {self.precision(name)}")
            lines.append(f"recall of {name}: {self.recall(name)}")
        if self.rows[UNSURE]:
            lines.append(f"left out: {count(self.rows[UNSURE], 'row')} labelled {UNSURE}")
        if self.others:
            lines.append(
                f"not counted: {count(self.others, 'correction')} of rows that were not chosen at "
                "random"
            )
        return lines


def read_sample(labeled: Input, corrections: str) -> Sample:
    """Count the rows of a labelled file, and the corrections of its random rows.

    Raises:
        InputError: the corrections are not of this file, or have none of a label.
    """
    rows: dict[int, str] = {}
    wanted = _read_corrections(corrections)
    labels: Counter[str] = Counter()
    with open_source(labeled.name) as source:
        for row in LabelledFile(source, labeled):
            labels[row.label] += 1
            if row.number in wanted:
                rows[row.number] = row.label
    sample = Sample(labels)
    for number, (predicted, true, is_random) in wanted.items():
        if rows.get(number) != predicted:
            raise InputError(
                f"{corrections}: row {number} is not labelled {show(predicted)} in {labeled.name}; "
                "are the corrections of this file?"
            )
        if is_random and predicted != UNSURE:
            sample.found[predicted, true] += 1
        else:
            sample.others += 1
    if not sample.strata:
        raise InputError(f"{labeled.name}: has no row with another label than {UNSURE}")
    for label in sample.strata:
        if not sample.checked(label):
            raise InputError(
                f"{corrections}: no random row labelled {show(label)} was corrected; label some "
                "more on the page of spam-batch review"
            )
    return sample


def _read_corrections(name: str) -> dict[int, tuple[str, str, bool]]:
    """Row -> label that the model gave, label that a person gave, whether it was a random row."""
    found: dict[int, tuple[str, str, bool]] = {}
    columns = ("predicted", "row", "why")
    with open_source(name) as source:
        file = LabelledFile(source, Input(name, _DIALECT, text_column="text"), columns)
        for each in file:
            predicted, row, why = each.others
            is_number = _NUMBER.fullmatch(row) is not None
            if not is_number or int(row) in found:
                problem = "is there twice" if is_number else "is not a number"
                raise InputError(f"{name}: line {each.line}: the row {show(row)} {problem}")
            found[int(row)] = predicted, each.label, RANDOM in why.split()
        if file.bad:
            raise InputError(f"{name}: {count(file.bad, 'record')} cannot be read; save it again")
    if not found:
        raise InputError(f"{name}: has no corrections; columns: {list_columns(list(columns))}")
    return found
