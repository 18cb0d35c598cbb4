"""Splits, and the grouped split: a message and its near copies are in the same set.

Messages that are equal after normalising case, digits and punctuation are one group
(a campaign sent with another phone number, a chain letter). All messages of a group go
to the same set. Without ``recipe.balance`` no message is left out, which keeps the
natural mix of classes.
"""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from batch.errors import InputError, MissingInputError
from trainer.data.labelled_file import (
    LABEL_NAMES,
    SPLITS,
    TEXT_NAMES,
    Columns,
    balance,
    check_labels,
    read_labelled,
    split,
)
from trainer.recipe import Recipe

HELD_OUT = ("validation", "test")  # the sets that no model has learned

_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"[^\W_]+")


def group_key(text: str) -> str:
    """The normalised text that a message has in common with its near copies.

    Case is folded, every run of digits becomes 0, and all other characters that are not
    letters only separate words. A message without letters and digits is its own key.

    >>> group_key("WINNER!! Call 0900-123 now"), group_key(":-)")
    ('winner call 0 0 now', ':-)')
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_WORD.findall(_DIGITS.sub("0", folded))) or folded.strip()


def read_lines(path: Path) -> pd.DataFrame:
    """Columns ``label`` and ``text`` of a file with one ``label<tab>text`` in each line.

    Quotes have no meaning, so the SMS Spam Collection has 5,574 messages;
    :func:`trainer.data.labelled_file.read_labelled` joins two pairs of them. The text is
    everything from the first tab to the end of the line.

    Raises:
        MissingInputError: the file cannot be read.
        InputError: no line, a line without a tab, or unusable labels (see ``check_labels``).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    # Not splitlines(): it would split at characters of a message, such as U+2028.
    lines = content.decode("utf-8-sig", errors="replace").removesuffix("\n").split("\n")
    if lines == [""]:
        raise InputError(f"{path}: the file is empty")
    rows = []
    for number, line in enumerate(lines, start=1):
        label, tab, text = line.removesuffix("\r").partition("\t")
        if not tab:
            raise InputError(f"{path}: line {number} has no tab between label and text")
        rows.append((label, text))
    frame = pd.DataFrame(rows, columns=["label", "text"], dtype=str)
    check_labels(frame, path)
    return frame


def split_grouped(frame: pd.DataFrame, recipe: Recipe) -> dict[str, pd.DataFrame]:
    """Split into ``train``, ``validation`` and ``test``, with every group in only one of them.

    The groups of each label are shuffled by ``recipe.split_seed`` and put in a row. A group goes
    to the set whose part of the row has the group's middle, so a set differs from its fraction
    by at most half a group at each end. A group with several labels counts under its most
    frequent one. Copies within a set stay, because real mail has them, too.

    With ``recipe.balance`` the classes of each set are then cut to equal size. Balancing before
    the split would make them only nearly equal. Without it the sets keep the natural mix.

    Raises:
        InputError: a set would be empty, or the training set would miss a label.
    """
    random = np.random.RandomState(recipe.split_seed)  # the same stream in every NumPy
    keys = frame["text"].map(group_key)
    ends = np.array([recipe.train_fraction, recipe.train_fraction + recipe.validation_fraction])
    groups = _list_groups(keys, frame["label"])
    side: dict[str, int] = {}  # key: index into SPLITS
    for _, stratum in groups.groupby("label"):
        stratum = stratum.iloc[random.permutation(len(stratum))]
        sizes = stratum["size"].to_numpy()
        middles = (sizes.cumsum() - sizes / 2) / sizes.sum()
        side.update(zip(stratum["key"], np.searchsorted(ends, middles, side="right"), strict=True))
    sides = keys.map(side)
    parts = {}
    for number, name in enumerate(SPLITS):
        part = frame[sides == number]
        if part.empty:
            raise InputError(
                f"{len(groups)} different messages are too few: the {name} set would be empty"
            )
        if recipe.balance:
            part = balance(part, recipe.split_seed)
        parts[name] = part.sample(frac=1, random_state=recipe.split_seed).reset_index(drop=True)
    missing = sorted(set(frame["label"]) - set(parts["train"]["label"]))
    if missing:
        raise InputError(f"no training message is labelled {missing[0]!r}; give more data")
    return parts


def _list_groups(keys: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """``key``, most frequent ``label`` (the first of equals) and ``size``, sorted by key."""
    pairs = pd.DataFrame({"key": keys, "label": labels})
    counts = pairs.groupby(["key", "label"]).size().reset_index(name="count")
    counts = counts.sort_values(["key", "count", "label"], ascending=[True, False, True])
    groups = counts.drop_duplicates("key").set_index("key")
    groups["size"] = counts.groupby("key")["count"].sum()
    return groups.reset_index()


def check_no_leak(parts: dict[str, pd.DataFrame]) -> None:
    """Refuse sets that have a message, or its near copy, in common.

    Raises:
        InputError: the two sets, and the number of such messages.
    """
    keys = {name: part["text"].map(group_key) for name, part in parts.items()}
    names = list(parts)
    for number, name in enumerate(names):
        for earlier in names[:number]:
            count = int(keys[name].isin(set(keys[earlier])).sum())
            if count:
                raise InputError(
                    f"{count} of {len(keys[name])} messages of the {name} set are also in the "
                    f"{earlier} set (case, digits and punctuation aside)"
                )


def read_messages(path: Path, columns: Columns, recipe: Recipe) -> pd.DataFrame:
    """Columns ``label`` and ``text`` of a file, read as the recipe's split needs it.

    For ``grouped`` a file of ``label<tab>text`` lines is read by :func:`read_lines`; all other
    files are read by :func:`trainer.data.labelled_file.read_labelled`.
    """
    if recipe.split == "grouped" and columns == Columns() and _has_bare_lines(path):
        return read_lines(path)
    return read_labelled(path, columns)


def _has_bare_lines(path: Path) -> bool:
    """True if the first line is ``label<tab>text`` and not a header."""
    try:
        with open(path, "rb") as file:
            first = file.readline(1 << 20).decode("utf-8-sig", errors="replace")
    except OSError:
        return False  # read_labelled raises the error
    fields = [name.strip().lower() for name in first.split("\t")]
    return len(fields) == 2 and not {*fields} & {*LABEL_NAMES, *TEXT_NAMES}


def make_split(frame: pd.DataFrame, recipe: Recipe) -> dict[str, pd.DataFrame]:
    """Split into the three sets of a recipe.

    Raises:
        InputError: too few messages.
    """
    if recipe.split == "grouped":
        parts = split_grouped(frame, recipe)
        check_no_leak(parts)
        return parts
    return split(balance(frame, recipe.split_seed) if recipe.balance else frame, recipe)
