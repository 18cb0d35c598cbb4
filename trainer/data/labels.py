"""Labels as they stand in files, made into classes; what cannot be a class is refused."""

import logging
import math
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from batch.errors import InputError, UsageError
from batch.messages import count, show
from trainer.recipe import Recipe

log = logging.getLogger("trainer")

# Values that exports write for "no value", in small letters and without quotes and brackets.
MISSING = frozenset(
    {"", "?", "null", "nan", "none", "nil", "\\n", "na", "n/a", "#n/a", "nat", "undefined"}
)
# Names of the class that is looked for, in small letters, the most usual first.
POSITIVE_NAMES = (
    "spam", "junk", "smishing", "phishing", "scam", "fraud", "toxic", "abuse", "positive", "yes",
    "true", "1", "1.0",
)  # fmt: skip
LONGEST_LABEL = 64  # characters; a longer value may be a message, and is not shown
MOST_LABELS = 1000
MOST_OF_A_FEW = 20  # labels of few records; if more than every second is new, they are texts
SHOWN_LABELS = 10
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NO_LABEL = re.compile(r"[-=+_*|#]{3,}|#[A-Z0-9/]+[!?]")  # a line of dashes; Excel's errors
_BETWEEN = re.compile(r"\s*[|,;/]\s*")  # stands between the labels of one cell


@dataclass(frozen=True)
class LabelRules:
    """What a user says of the labels."""

    only: tuple[str, ...] | None = None  # the classes to keep; None: all
    min_class: int | None = None  # fewest messages of a class; None: one for each set

    def floor(self, recipe: Recipe) -> int:
        """The fewest messages of a class: by default enough for one in each set."""
        if self.min_class is not None:
            return self.min_class
        held_out = 1 - recipe.train_fraction - recipe.validation_fraction
        smallest = min(recipe.train_fraction, recipe.validation_fraction, held_out)
        return math.ceil(round(1 / smallest, 6))

    def to_dict(self) -> dict:
        return {"only": list(self.only) if self.only else None, "min_class": self.min_class}

    @classmethod
    def from_dict(cls, values: dict) -> "LabelRules":
        only = values["only"]
        return cls(tuple(only) if only else None, values["min_class"])


DEFAULT_RULES = LabelRules()


def parse_labels(value: str) -> tuple[str, ...]:
    """``--labels``: a comma-separated list of at least two classes.

    Raises:
        UsageError: fewer than two, an empty one, or one twice.
    """
    names = tuple(name.strip() for name in value.split(","))
    if len(names) < 2 or "" in names or len(set(names)) < len(names):
        raise UsageError(
            f"--labels {value!r} must name two or more different classes; "
            "type for example: --labels ham,spam"
        )
    return names


def clean_labels(
    rows: pd.DataFrame, files: Sequence[str], rules: LabelRules = DEFAULT_RULES
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows with labels that are classes, and how many rows were dropped, by reason.

    Args:
        rows: ``label`` (None: missing), ``text``, ``file`` (its number in ``files``), ``line``.

    Raises:
        InputError: a label is missing, nested, or differs from another in case only.
        UsageError: ``rules.only`` has a class that no record has.
    """
    stripped = rows["label"].map(lambda label: "" if label is None else label.strip())
    changed = int((stripped != rows["label"].map(lambda label: label or "")).sum())
    if changed:
        log.info("spaces around %s were removed", count(changed, "label"))
    rows = rows.assign(label=_merge_numbers(stripped))
    dropped = {}
    if rules.only:
        rows, dropped = _keep_only(rows, rules.only)
    else:
        _check_missing(rows, files)
    _check_many(rows, files)
    _check_nested(rows, files)
    _check_case(rows, files)
    _warn_of_several(rows, files)
    return rows, dropped


def _merge_numbers(labels: pd.Series) -> pd.Series:
    """Labels that are equal numbers (``0``, ``0.0``, ``0e0``) become one, the shortest spelling."""
    spellings: dict[float, set[str]] = {}
    for label in labels.unique():
        if len(label) <= LONGEST_LABEL and _NUMBER.fullmatch(label):
            spellings.setdefault(float(label), set()).add(label)
    renamed = {}
    for same in spellings.values():
        first, *others = sorted(same, key=lambda label: (len(label), label))
        if others:
            log.info("the labels %s are equal numbers; all became %s",
                     ", ".join([first, *others]), first)  # fmt: skip
        renamed |= dict.fromkeys(others, first)
    return labels.replace(renamed) if renamed else labels


def _keep_only(rows: pd.DataFrame, only: tuple[str, ...]) -> tuple[pd.DataFrame, dict[str, int]]:
    there = set(rows["label"])
    for name in only:
        if name not in there:
            raise UsageError(
                f"--labels: no record is labelled {name!r}; labels: {list_labels(rows['label'])}"
            )
    kept = rows[rows["label"].isin(only)]
    left = len(rows) - len(kept)
    return kept, {"not among --labels": left} if left else {}


def is_missing(label: str) -> bool:
    """True for what stands for no label, such as ``NULL``, ``[null]``, ``''`` and ``-----``.

    >>> [is_missing(label) for label in ("NaN", "#REF!", "-----", "-", "spam")]
    [True, True, True, False, False]
    """
    plain = _fold(label).strip("\"'()<>[] ")
    return plain in MISSING or _NO_LABEL.fullmatch(label) is not None


def _check_missing(rows: pd.DataFrame, files: Sequence[str]) -> None:
    missing = rows[rows["label"].map(is_missing)]
    if missing.empty:
        return
    first = missing.iloc[0]
    value = first["label"]
    same = int((rows["label"] == value).sum())
    what = f"the label is {value!a}, which stands for no label" if value else "the label is empty"
    raise InputError(
        f"{files[first['file']]}: line {first['line']}: {what} "
        f"({count(same, 'such record')}); label them, or leave them out by naming the classes: "
        f"{suggest_labels(rows['label'])}"
    )


def _check_many(rows: pd.DataFrame, files: Sequence[str]) -> None:
    number = rows["label"].nunique()
    if number > MOST_LABELS or number > max(MOST_OF_A_FEW, len(rows) // 2):
        raise InputError(
            f"{files[0]}: {number:,} different labels; is the label column the right one? name it "
            "with --label-column"
        )
    long = rows[rows["label"].str.len() > LONGEST_LABEL]
    if len(long):
        first = long.iloc[0]
        raise InputError(
            f"{files[first['file']]}: line {first['line']}: the label has "
            f"{len(first['label']):,} characters ({count(len(long), 'label')} of more than "
            f"{LONGEST_LABEL}); is the label column the right one? name it with --label-column"
        )


def _check_case(rows: pd.DataFrame, files: Sequence[str]) -> None:
    """Refuse labels that look alike, since one of them is a slip of somebody's hand."""
    folded: dict[str, str] = {}
    for name in sorted(rows["label"].unique()):
        other = folded.setdefault(_fold(name), name)
        if other != name:
            counts = rows["label"].value_counts()
            rare = min(name, other, key=lambda label: counts[label])
            first = rows[rows["label"] == rare].iloc[0]
            how = "case" if name.casefold() == other.casefold() else "what cannot be seen"
            raise InputError(
                f"{files[first['file']]}: the labels {other!a} ({counts[other]:,}) and {name!a} "
                f"({counts[name]:,}) differ in {how} only; make them one; {rare!a} stands first "
                f"on line {first['line']}"
            )


def _fold(label: str) -> str:
    """A label without case and without what cannot be seen: marks of direction, joiners."""
    seen = (c for c in label if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", "".join(seen)).casefold().strip()


def _check_nested(rows: pd.DataFrame, files: Sequence[str]) -> None:
    """Refuse labels that are lists or objects of JSON or Python."""
    nested = rows[rows["label"].str.fullmatch(r"\[.*\]|\{.*\}", flags=re.DOTALL)]
    if len(nested) > len(rows) // 2:
        first = nested.iloc[0]
        what, marks = ("lists", "brackets") if first["label"][0] == "[" else ("objects", "braces")
        raise InputError(
            f"{files[first['file']]}: line {first['line']}: the labels are {what} "
            f"({count(len(nested), 'such record')}), such as {first['label']!r}; write one label a "
            f"record, without {marks}"
        )


def _warn_of_several(rows: pd.DataFrame, files: Sequence[str]) -> None:
    """Warn of cells with several labels, such as ``a|b``, where ``a`` is a label of its own."""
    there = set(rows["label"])
    parts = {label: set(_BETWEEN.split(label)) for label in there}
    several = [label for label in there if parts[label] != {label} and parts[label] & there]
    if not several:
        return
    found, others = (rows[rows["label"].isin(several) == is_in] for is_in in (True, False))
    advice = "write one label a record"
    if others["label"].nunique() > 1:
        advice = f"to leave such records out, type: {suggest_labels(others['label'])}"
    first = found.iloc[0]
    log.warning(
        "WARNING: %s: line %d: the label is %s, as if one record had several (%s); each such "
        "label is a class of its own; %s",
        files[first["file"]], first["line"], show(first["label"]),
        count(len(found), "such record"), advice,
    )  # fmt: skip


def resolve_conflicts(rows: pd.DataFrame, files: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """Drop records whose text a later file labels otherwise; returns how many.

    A text with two labels within one file is logged as a warning, and all its records stay.
    """
    by_text = rows.groupby("text", sort=False)["label"].nunique()
    texts = by_text.index[by_text > 1]
    if not len(texts):
        return rows, 0
    conflicting = rows[rows["text"].isin(texts)]
    last = conflicting.groupby("text")["file"].transform("max")
    final = conflicting[conflicting["file"] == last]
    labels = final.groupby("text")["label"].agg(set)
    earlier = conflicting[conflicting["file"] != last]
    is_other = [row.label not in labels[row.text] for row in earlier.itertuples()]
    replaced = earlier[is_other]
    if len(replaced):
        first = replaced.iloc[0]
        log.info(
            "%s of an earlier file has another label in a later one, which counts; the first: "
            "%s, line %d",
            count(len(replaced), "record"), files[first["file"]], first["line"],
        )  # fmt: skip
    for number, own in final.groupby("file"):
        twice = own.groupby("text")["label"].nunique()
        twice = twice.index[twice > 1]
        if len(twice):
            lines = own[own["text"] == own[own["text"].isin(twice)]["text"].iloc[0]]["line"]
            log.warning(
                "WARNING: %s: %s with two labels; the first on lines %s; all were kept",
                files[number], count(len(twice), "text"), " and ".join(map(str, lines[:2])),
            )  # fmt: skip
    return rows.drop(replaced.index), len(replaced)


def check_classes(labels: pd.Series, floor: int, name: str) -> None:
    """Refuse labels from which no classifier can be trained.

    Raises:
        InputError: a single class, or a class with fewer than ``floor`` messages.
    """
    counts = labels.value_counts()
    if len(counts) < 2:
        only = next(iter(counts.index))
        raise InputError(f"{name}: every label is {show(only)}; two classes are needed")
    rare = counts[counts < floor]
    if len(rare):
        rarest = min(rare.index, key=lambda label: (rare[label], label))
        others = counts[counts >= floor].index
        advice = "label more, or type --min-class 1 to train on it as it is"
        if len(others) >= 2:
            advice = (
                f"label more; or leave it out: {suggest_labels(labels[labels.isin(others)])}; "
                f"or keep it as it is: --min-class {rare[rarest]}"
            )
        raise InputError(
            f"{name}: {count(int(rare[rarest]), 'message')} labelled {show(rarest)}, fewer than "
            f"the {floor} that a class needs to be in each set (mistyped?); {advice}"
        )


def default_positive_label(labels: list[str]) -> str | None:
    """The class that scores are of: ``spam`` in any case, else a usual name, else the second of
    two in alphabetical order, with a warning; None if there are more and none is usual."""
    folded = {label.casefold(): label for label in labels}
    for name in POSITIVE_NAMES:
        if name in folded:
            return folded[name]
    if len(labels) != 2:
        return None
    log.warning(
        "WARNING: neither %s nor %s is a usual name of the positive class; taken is %s, the "
        "second in alphabetical order; to choose, type --positive-label",
        *map(show, labels), show(labels[1]),
    )  # fmt: skip
    return labels[1]


def find_positive_label(wanted: str | None, labels: list[str]) -> str | None:
    """The class that ``--positive-label`` names, in any case if that names one class only.

    Raises:
        UsageError: no class is called so.
    """
    if wanted is None:
        return default_positive_label(labels)
    if wanted in labels:
        return wanted
    same = [label for label in labels if label.casefold() == wanted.casefold()]
    if len(same) == 1:
        return same[0]
    raise UsageError(
        f"--positive-label {wanted!r} is not among the labels: {list_labels(pd.Series(labels))}"
    )


def list_labels(labels: pd.Series) -> str:
    """The most frequent labels for a message; one that may be a message is not shown."""
    counts = Counter(label for label in labels if len(label) <= LONGEST_LABEL)
    shown = [show(label) for label, _ in counts.most_common(SHOWN_LABELS)]
    more = labels.nunique() - len(shown)
    return ", ".join([*shown, f"and {more:,} more"] if more else shown)


def suggest_labels(labels: pd.Series) -> str:
    """The option that keeps the frequent labels, to be typed."""
    good = Counter(
        label for label in labels
        if not is_missing(label) and "," not in label and len(label) <= LONGEST_LABEL
    )  # fmt: skip
    names = sorted(label for label, _ in good.most_common(SHOWN_LABELS))
    if len(names) < 2:  # what stands for no label elsewhere may be meant here
        short = {label for label in labels if label and len(label) <= LONGEST_LABEL}
        names = sorted(label for label in short if "," not in label)
    listed = ",".join(names) if 1 < len(names) <= SHOWN_LABELS else "NAME,NAME"
    return f"--labels {shlex.quote(listed)}"
