"""Splits, and the grouped split: a message and its near copies are in the same set.

Messages that are equal after normalising case, digits and punctuation are one group
(a campaign sent with another phone number, a chain letter). All messages of a group go
to the same set. Without ``recipe.balance`` no message is left out, which keeps the
natural mix of classes.
"""

import logging
import re
import unicodedata

import numpy as np
import pandas as pd

from batch.errors import InputError
from batch.messages import show
from trainer.data.notebook import balance, split
from trainer.data.sets import SPLITS
from trainer.recipe import Recipe

log = logging.getLogger("trainer")

HELD_OUT = ("validation", "test")  # the sets that no model has learned

LITTLE_USED = 0.1  # a smaller share of the messages in the sets is worth a warning
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
                f"{len(groups)} different messages (case, digits and punctuation aside) are too "
                f"few: the {name} set would be empty; give more data, or type --split book to "
                "split at random"
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


def make_split(frame: pd.DataFrame, recipe: Recipe) -> dict[str, pd.DataFrame]:
    """Split into the three sets of a recipe.

    Raises:
        InputError: too few messages.
    """
    if recipe.split == "grouped":
        parts = split_grouped(frame, recipe)
        check_no_leak(parts)
        _warn_of_missing(parts)
    else:
        parts = split(balance(frame, recipe.split_seed) if recipe.balance else frame, recipe)
    if recipe.balance:
        _log_balance(frame["label"], sum(map(len, parts.values())))
    return parts


def _warn_of_missing(parts: dict[str, pd.DataFrame]) -> None:
    for name in HELD_OUT:
        missing = sorted(set(parts["train"]["label"]) - set(parts[name]["label"]))
        if missing:
            log.warning(
                "WARNING: no %s message is labelled %s, whose messages are few or near copies of "
                "each other; give more data, or type --split book to split at random",
                name, show(missing[0]),
            )  # fmt: skip


def _log_balance(labels: pd.Series, used: int) -> None:
    counts = labels.value_counts()
    smallest = f"{counts.min():,} labelled {show(counts.idxmin())}"
    if used < LITTLE_USED * len(labels):
        log.warning(
            "WARNING: balancing uses only %s of %s messages, because there are only %s; "
            "--no-balance uses all",
            f"{used:,}", f"{len(labels):,}", smallest,
        )  # fmt: skip
    elif used < len(labels):
        log.info(
            "Balanced to the smallest class, %s: %s of %s messages are used; --no-balance uses all",
            smallest, f"{used:,}", f"{len(labels):,}",
        )  # fmt: skip
