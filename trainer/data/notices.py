"""Notices: messages of ours of kinds that the SMS Spam Collection does not have.

The collection is of 2006 to 2012. It has almost no one-time codes, deliveries, bookings and
bank notices, so a model of it alone calls them spam. ``notices.csv`` has such messages, and
frauds that imitate them. We wrote them; see docs/training.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd

from batch.reading.fingerprint import hash_file
from trainer.data.reading import (
    DEFAULT_OPTIONS,
    LabelledData,
    ReadOptions,
    read_labelled,
    reads_sms,
)
from trainer.fetch.assets import DataFile
from trainer.recipe import Recipe

NOTICES = Path(__file__).with_name("notices.csv")


@cache
def notices_file() -> DataFile:
    """Our notices as a file of labelled messages."""
    lines = NOTICES.read_bytes().count(b"\n")
    return DataFile(
        NOTICES, "notices of spam-batch", "spam-batch", hash_file(NOTICES), lines, False
    )


def adds_notices(data: Sequence[DataFile], options: ReadOptions, recipe: Recipe) -> bool:
    """Whether this training takes them: all of the collection, not as the notebook reads it."""
    takes = recipe.notices and not recipe.balance and recipe.split != "book"
    return takes and reads_sms(data, options)


def read_notices(options: ReadOptions) -> LabelledData:
    """Our notices, of the labels that the options name."""
    return read_labelled([NOTICES], replace(DEFAULT_OPTIONS, labels=options.labels))


def add_notices(
    parts: dict[str, pd.DataFrame], notices: pd.DataFrame, recipe: Recipe
) -> dict[str, pd.DataFrame]:
    """The three sets, with the notices in the training set.

    The held-out sets stay as the data has them: scores, threshold and the mix that a run is
    compared with are those of the data.
    """
    both = pd.concat([parts["train"], notices])
    train = both.sample(frac=1, random_state=recipe.split_seed).reset_index(drop=True)
    return {**parts, "train": train}
