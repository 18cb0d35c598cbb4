"""Which rows of a labelled file are worth a look, chosen in one pass and in bounded memory."""

import csv
import heapq
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from batch.errors import InputError, UsageError
from batch.formats.labelled import LabelledRow
from batch.messages import show
from batch.model.decision import UNSURE
from batch.report.findings import Campaigns, normalize

RANDOM, CHANGED, LEAST_SURE, CAMPAIGN = WHYS = ("random", "changed", "unsure", "campaign")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"  # keys that stand for a label


@dataclass(frozen=True)
class Wanted:
    """How many rows of each kind, and which random ones."""

    random: int = 200  # spread evenly over the labels
    unsure: int = 100
    campaigns: int = 50
    changed: dict[int, tuple[str, str]] = field(default_factory=dict)  # row -> labels before, after
    seed: int = 0


@dataclass
class Chosen:
    """One row on the page."""

    row: LabelledRow
    whys: list[str]
    weight: float | None = None  # of a random row: how many rows of the file it stands for
    repeats: int = 1  # rows with the same text, but for case, digits and punctuation


class Selection:
    """Rows are added one by one, and then chosen.

    Args:
        bounds: scores at which the label changes.
    """

    def __init__(self, wanted: Wanted, bounds: Sequence[float]):
        self._wanted, self._bounds = wanted, bounds or (0.5,)
        self._random = random.Random(wanted.seed)
        self.labels: Counter[str] = Counter()
        self._samples: dict[str, list[LabelledRow]] = {}  # label -> a reservoir of its rows
        self._near: list[tuple[float, int, LabelledRow]] = []  # a heap, the surest first
        self._campaigns = Campaigns()
        self._changed: list[LabelledRow] = []

    def add(self, row: LabelledRow) -> None:
        """Look at one row."""
        wanted = self._wanted
        self.labels[row.label] += 1
        self._sample(row)
        if row.score is not None and wanted.unsure:
            margin = min(abs(row.score - bound) for bound in self._bounds)
            entry = (-margin, -row.number, row)
            # Four times as many, because rows of one text are shown once.
            full = len(self._near) >= 4 * wanted.unsure
            (heapq.heappushpop if full else heapq.heappush)(self._near, entry)
        sample: Any = row
        self._campaigns.add(row.text, row.line, row.score or 0.0, sample)
        if row.number in wanted.changed:
            if row.label not in wanted.changed[row.number]:
                raise InputError(
                    f"--changed: row {row.number} has another label than in that list; was it "
                    "made of this file?"
                )
            self._changed.append(row)

    def _sample(self, row: LabelledRow) -> None:
        """Reservoir sampling, algorithm R: Vitter 1985 (ACM TOMS 11, 37-57)."""
        kept = self._samples.setdefault(row.label, [])
        if len(kept) < self._wanted.random:
            kept.append(row)
        elif (at := self._random.randrange(self.labels[row.label])) < len(kept):
            kept[at] = row

    def choose(self) -> list[Chosen]:
        """The rows, each once: the random ones in random order, then the others."""
        if len(self._changed) < len(self._wanted.changed):
            missing = max(self._wanted.changed)
            raise InputError(
                f"--changed: names row {missing}, and the file has {self.labels.total():,} rows; "
                "was it made of this file?"
            )
        found: dict[int, Chosen] = {}
        for row, weight in self._choose_random():
            found[row.number] = Chosen(row, [RANDOM], weight)
        several = self._campaigns.found()[: self._wanted.campaigns]
        rows: Any = [campaign.text for campaign in several]  # rows, as add put them in
        for why, more in (
            (CHANGED, self._changed), (LEAST_SURE, self._least_sure()), (CAMPAIGN, rows)
        ):  # fmt: skip
            for row in more:
                found.setdefault(row.number, Chosen(row, [])).whys.append(why)
        for row, campaign in zip(rows, several, strict=True):
            found[row.number].repeats = campaign.rows
        return list(found.values())

    def _choose_random(self) -> list[tuple[LabelledRow, float]]:
        """The same number of rows of each label as far as it has them, and their weights."""
        left, chosen = self._wanted.random, []
        ordered = sorted(self._samples.items(), key=lambda item: len(item[1]))
        for at, (label, rows) in enumerate(ordered):
            number = min(len(rows), left // (len(ordered) - at))
            left -= number
            for row in self._random.sample(rows, number):
                chosen.append((row, self.labels[label] / number))
        self._random.shuffle(chosen)  # so that those who stop early have a random sample, too
        return chosen

    def _least_sure(self) -> list[LabelledRow]:
        texts: dict[str, LabelledRow] = {}
        for _, _, row in sorted(self._near, key=lambda entry: (-entry[0], -entry[1])):
            texts.setdefault(normalize(row.text) or row.text, row)
        return list(texts.values())[: self._wanted.unsure]


def choose_letters(labels: Iterable[str]) -> dict[str, str]:
    """A key for each label: its first letter or digit that no label before it has.

    >>> choose_letters(["ham", "spam", "scam"])
    {'ham': 'h', 'spam': 's', 'scam': 'c'}

    Raises:
        UsageError: there are more labels than keys.
    """
    found: dict[str, str] = {}
    names = [label for label in labels if label != UNSURE]
    if len(names) > len(LETTERS):
        raise UsageError(
            f"there are {len(names)} labels, and a page has keys for {len(LETTERS)} at most; "
            "review a file with fewer labels"
        )
    for label in names:
        own = [letter for letter in label.lower() if letter in LETTERS]
        found[label] = next(key for key in [*own, *LETTERS] if key not in found.values())
    return found


def read_changed(name: str) -> dict[int, tuple[str, str]]:
    """The rows that ``spam-batch compare --changed`` has written: row -> labels before, after.

    Raises:
        InputError: the file has another form, or cannot be read.
    """
    try:
        with open(name, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
            return {int(row["row"]): (row["before"], row["after"]) for row in rows}
    except OSError as error:
        raise InputError(f"--changed: cannot read {name}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise InputError(
            f"--changed: {show(name)} is not a list of spam-batch; make one with: spam-batch "
            "compare --changed"
        ) from None
