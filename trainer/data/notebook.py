"""The notebook's own way with data: its reading, its balancing, its split."""

from pathlib import Path

import pandas as pd

from batch.errors import InputError, MissingInputError
from trainer.recipe import Recipe


def read_as_notebook(path: Path) -> pd.DataFrame:
    """Columns ``label`` and ``text`` of the SMS Spam Collection, as the notebook reads them.

    Its ``read_csv`` takes quotes for quotes, which glues two pairs of lines together: 5,572 rows
    of 5,574 lines. Everything else is read by ``trainer/data/reading.py``.

    Raises:
        MissingInputError: the file cannot be read.
        InputError: pandas cannot parse it.
    """
    try:
        return pd.read_csv(
            path, sep="\t", header=None, names=["label", "text"], dtype=str,
            keep_default_na=False, encoding="utf-8",
        )  # fmt: skip
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # pandas' ParserError is one
        raise InputError(f"{path}: {str(error).strip()}") from None


def balance(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Cut every class down to the size of the smallest, by sampling.

    For two classes this is the notebook's ``create_balanced_dataset``: the
    larger class sampled, then the smaller whole.
    """
    counts = frame["label"].value_counts()
    size = counts.min()
    parts = []
    for label in sorted(counts.index, key=lambda name: (-counts[name], name)):
        rows = frame[frame["label"] == label]
        parts.append(rows if len(rows) == size else rows.sample(size, random_state=seed))
    return pd.concat(parts)


def split(frame: pd.DataFrame, recipe: Recipe) -> dict[str, pd.DataFrame]:
    """Shuffle and cut into ``train``, ``validation`` and ``test``, as the notebook does.

    Raises:
        InputError: a part would be empty.
    """
    shuffled = frame.sample(frac=1, random_state=recipe.split_seed).reset_index(drop=True)
    train_end = int(len(shuffled) * recipe.train_fraction)
    validation_end = train_end + int(len(shuffled) * recipe.validation_fraction)
    parts = {
        "train": shuffled[:train_end],
        "validation": shuffled[train_end:validation_end],
        "test": shuffled[validation_end:],
    }
    for name, part in parts.items():
        if part.empty:
            raise InputError(f"{len(frame)} messages are too few: the {name} set would be empty")
    missing = set(frame["label"]) - set(parts["train"]["label"])
    if missing:
        raise InputError(f"no training message is labelled {sorted(missing)[0]!r}; give more data")
    return parts
