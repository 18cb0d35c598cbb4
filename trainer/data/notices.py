"""Notices: messages of ours of kinds that the SMS Spam Collection does not have.

The collection is of 2006 to 2012. It has almost no one-time codes, deliveries, bookings and
bank notices, so a model of it alone calls them spam. ``notices.csv`` has such messages, and
frauds that imitate them. We wrote them; see docs/training.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from batch.reading.fingerprint import hash_file
from trainer.data.reading import (
    DEFAULT_OPTIONS,
    LabelledData,
    ReadOptions,
    read_labelled,
    read_messages,
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
    """Whether this training takes them: the collection alone, and not as the notebook reads it."""
    return recipe.notices and recipe.split != "book" and reads_sms(data, options)


def read_with_notices(
    data: Sequence[DataFile], options: ReadOptions, recipe: Recipe
) -> LabelledData:
    """The messages of the SMS Spam Collection, and our notices.

    Raises:
        SpamBatchError: see :func:`trainer.data.reading.read_labelled`.
    """
    messages = read_messages(data, options, recipe)
    return messages.join(read_labelled([NOTICES], replace(DEFAULT_OPTIONS, labels=options.labels)))
