"""What two models make of the same messages, counted pair by pair in bounded memory."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from batch.compare.pairs import Pair
from batch.errors import InputError
from batch.messages import count, list_columns, show
from batch.report.intervals import mcnemar, wilson
from batch.report.timeline import Timeline, parse_time

BINS = 20  # of the scores, for the figure
MOST_SHOWN = 200  # changed rows on the page
MOST_LABELS = 1000
SAMPLE = 500  # characters of a message that are shown


@dataclass
class Agreement:
    """How often each model has the label that a column of the input has."""

    column: str
    rows: int = 0  # that have a value there
    right: list[int] = field(default_factory=lambda: [0, 0])  # before, after
    alone: list[int] = field(default_factory=lambda: [0, 0])  # right, and the other is wrong

    def add(self, truth: str, before: str, after: str) -> None:
        if not truth:
            return
        self.rows += 1
        good = [label == truth for label in (before, after)]
        for at in range(2):
            self.right[at] += good[at]
            self.alone[at] += good[at] and not good[1 - at]

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test: could chance alone have made the difference?"""
        return mcnemar(*self.alone)

    def interval(self, at: int) -> tuple[float, float]:
        return wilson(self.right[at], self.rows)


@dataclass
class Comparison:
    """Everything that the page shows."""

    name: str
    models: tuple[str, str]  # as the user typed them
    shows_text: bool = False
    date_column: str | None = None
    agreement: Agreement | None = None
    rows: int = 0
    bad: int = 0
    labels: tuple[Counter, Counter] = field(default_factory=lambda: (Counter(), Counter()))
    changes: Counter = field(default_factory=Counter)  # (before, after)
    near: int = 0  # changed rows of which neither model was sure
    knows_near: bool = True
    scored: int = 0
    moved: float = 0.0  # sum of the distances
    furthest: float = 0.0
    furthest_line: int = 0
    grid: np.ndarray = field(default_factory=lambda: np.zeros((2, BINS, BINS), np.int64))
    timeline: Timeline = field(default_factory=Timeline)
    undated: int = 0
    changed: list[Pair] = field(default_factory=list)  # the first ones, which the page shows

    @property
    def total(self) -> int:
        """How many labels change."""
        return sum(self.changes.values())

    def add(self, pair: Pair) -> bool:
        """Count one message; whether its label changes."""
        before, after = pair.before, pair.after
        is_changed = before.label != after.label
        self.rows += 1
        for labels, side in zip(self.labels, (before, after), strict=True):
            labels[side.label] += 1
            if len(labels) > MOST_LABELS:
                raise InputError(
                    f"{self.name}: has more than {MOST_LABELS:,} different labels; is 'label' the "
                    "column that spam-batch wrote?"
                )
        others = list(pair.others)
        if self.agreement:
            self.agreement.add(others.pop(0).strip(), before.label, after.label)
        if self.date_column is not None:
            when = parse_time(others.pop(0))
            self.undated += when is None
            if when is not None:
                self.timeline.add(when, is_changed)
        if before.score is not None and after.score is not None:
            self._add_scores(pair.line, before.score, after.score, is_changed)
        if is_changed:
            self.changes[before.label, after.label] += 1
            self.knows_near &= pair.is_near is not None
            self.near += bool(pair.is_near)
            if len(self.changed) < MOST_SHOWN:
                self.changed.append(replace(pair, text=self.shown_text(pair), others=()))
        return is_changed

    def shown_text(self, pair: Pair) -> str:
        """With ``--show-text`` the start of the text, else nothing."""
        return pair.text[:SAMPLE] if self.shows_text else ""

    def _add_scores(self, line: int, before: float, after: float, is_changed: bool) -> None:
        move = abs(after - before)
        self.scored += 1
        self.moved += move
        if move > self.furthest:
            self.furthest, self.furthest_line = move, line
        bins = [min(int(score * BINS), BINS - 1) for score in (before, after)]
        self.grid[int(is_changed), bins[0], bins[1]] += 1

    def check(self) -> None:
        """Refuse a comparison with nothing in it, or with a column that holds no labels.

        Raises:
            InputError: no rows; or no value of ``--truth`` is one of the labels.
        """
        if not self.rows:
            raise InputError(f"{self.name}: has no rows to compare")
        found = self.agreement
        if found and not any(found.right):
            given = sorted({*self.labels[0], *self.labels[1]})
            raise InputError(
                f"{self.name}: no value of {show(found.column)} is the label of its row; labels: "
                f"{list_columns(given)}; name the column of the true labels with --truth"
            )

    def lines(self) -> list[str]:
        """The lines for the user."""
        rows = count(self.rows, "row")
        share = 100 * self.total / self.rows
        lines = [f"{rows}, {self.total:,} with another label ({share:.2f} %)"]
        for (before, after), number in self.changes.most_common():
            lines.append(f"  {before} to {after}: {number:,}")
        if self.total and self.knows_near:
            lines.append(f"near the threshold: {self.near:,} of {self.total:,}")
        if self.scored:
            line = f"scores: moved by {self.moved / self.scored:.4f} on average"
            if self.furthest:
                line += f", by {self.furthest:.4f} at most, on line {self.furthest_line}"
            lines.append(line)
        if found := self.agreement:
            for at, name in enumerate(("before", "after")):
                low, high = found.interval(at)
                lines.append(
                    f"{name}: {found.right[at]:,} of {found.rows:,} as {found.column} says, "
                    f"{found.right[at] / found.rows:.2%} ({low:.2%} to {high:.2%})"
                )
            lines.append(
                f"right alone: {found.alone[0]:,} before, {found.alone[1]:,} after; McNemar's "
                f"test: p = {found.p_value:.3g}"
            )
        if self.bad:
            lines.append(f"left out: {count(self.bad, 'record')}, which cannot be read")
        return lines
