"""Read a labelled file, balance it, split it."""

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from batch.errors import InputError, MissingInputError, UsageError
from batch.messages import list_columns
from trainer.recipe import Recipe

LABEL_NAMES = ("label", "class", "category", "target", "v1")
TEXT_NAMES = ("text", "message", "sms", "body", "content", "msg", "v2")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Columns:
    """Where label and text stand; ``None``: found by name, or by position without a header."""

    label: str | None = None
    text: str | None = None
    delimiter: str | None = None


def read_labelled(path: Path, columns: Columns = Columns()) -> pd.DataFrame:
    """Read a CSV or TSV into columns ``label`` and ``text``, both of type str.

    A first record with the name of a label or text column is a header, and so is
    any that has not two fields; without a header the file is
    ``label<delimiter>text``, as the SMS Spam Collection is. The delimiter is a
    tab when the first line has one, else a comma. Quotes are read as pandas
    reads them by default, which glues two pairs of lines of the SMS file
    together, as it does in the notebook: 5,572 rows of 5,574 lines.

    Raises:
        MissingInputError: the file cannot be read.
        InputError: no such column, too many fields, an empty label, fewer than two classes.
        UsageError: a delimiter that cannot be one.
    """
    try:
        with open(path, "rb") as file:
            first_line = file.readline(1 << 20).decode("utf-8-sig", errors="replace").strip("\r\n")
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    if not first_line:
        raise InputError(f"{path}: the file is empty or starts with a blank line")
    delimiter = columns.delimiter or ("\t" if "\t" in first_line else ",")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError(f"--delimiter {delimiter!r} must be one character, and no quote")
    header = _read_fields(path, delimiter, header=None, nrows=1).iloc[0].tolist()
    names = {name.strip().lower() for name in header}
    has_header = bool(
        columns.label or columns.text or len(header) != 2 or names & {*LABEL_NAMES, *TEXT_NAMES}
    )
    label, text = 0, 1
    if has_header:
        label = _find_column(header, columns.label, LABEL_NAMES, "label")
        text = _find_column(header, columns.text, TEXT_NAMES, "text")
        if label == text:
            raise InputError(f"{path}: the column {header[label]!r} cannot be both label and text")
    frame = _read_fields(path, delimiter, header=0 if has_header else None)
    if frame.empty:
        raise InputError(f"{path}: there is no record after the header")
    first = frame.iloc[:, 0]
    if not has_header and first.nunique() > 2 and (first == header[0]).sum() == 1:
        raise InputError(
            f"{path}: no other record has the first one's label; if it is a header, name its "
            "columns with --label-column and --text-column"
        )
    frame = frame.iloc[:, [label, text]].set_axis(["label", "text"], axis=1)
    check_labels(frame, path)
    return frame


def _read_fields(path: Path, delimiter: str, **options) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            # pandas cuts a first record with too many fields, and only warns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                sep=delimiter,
                dtype=str,
                index_col=False,
                keep_default_na=False,  # a message that says "NA" or nothing is a message
                encoding_errors="replace",
                encoding="utf-8-sig",
                **options,
            )
    except pd.errors.ParserWarning:
        raise InputError(
            f"{path}: the first record has more fields than the header; "
            f"put a text with {delimiter!r} in it between quotes"
        ) from None
    except ValueError as error:  # pandas' ParserError is one
        raise InputError(f"{path}: {str(error).strip()}") from None


def _find_column(header: list[str], wanted: str | None, names: tuple[str, ...], what: str) -> int:
    if wanted is not None:
        if header.count(wanted) == 1:
            return header.index(wanted)
        problem = "appears twice" if wanted in header else "is not there"
        raise InputError(f"the {what} column {wanted!r} {problem}; columns: {list_columns(header)}")
    lowered = [name.strip().lower() for name in header]
    for name in names:
        if lowered.count(name) == 1:
            return lowered.index(name)
    raise InputError(
        f"no {what} column found; columns: {list_columns(header)}; name it with --{what}-column"
    )


def check_labels(frame: pd.DataFrame, path: Path) -> None:
    """Refuse labels from which no classifier can be trained.

    Raises:
        InputError: an empty label, a single class, labels that differ in case only.
    """
    empty = frame.index[frame["label"].str.strip() == ""]
    if len(empty):
        raise InputError(f"{path}: record {empty[0] + 1} has an empty label ({len(empty)} such)")
    labels = sorted(frame["label"].unique())
    if len(labels) < 2:
        raise InputError(f"{path}: every label is {labels[0]!r}; two classes are needed")
    folded: dict[str, str] = {}
    for name in labels:
        other = folded.setdefault(name.strip().casefold(), name)
        if other != name:
            raise InputError(
                f"{path}: the labels {other!r} and {name!r} differ in case or spaces only; "
                "make them one"
            )
    if len(labels) > 1000:
        raise InputError(
            f"{path}: {len(labels):,} different labels; is the label column the right one?"
        )


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


def write_split(folder: Path, parts: dict[str, pd.DataFrame]) -> None:
    """Write ``train.csv``, ``validation.csv`` and ``test.csv``; every field quoted.

    Quoting all fields keeps a bare carriage return in a message whole, which
    Python's csv module before 3.11.9 would leave unquoted.
    """
    for name, part in parts.items():
        part.to_csv(folder / f"{name}.csv", index=False, quoting=csv.QUOTE_ALL, encoding="utf-8")


def read_split(folder: Path, name: str) -> pd.DataFrame:
    """Read back one of the three files of :func:`write_split`.

    Raises:
        MissingInputError: there is none. InputError: it is not as it was written.
    """
    path = folder / f"{name}.csv"
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # pandas' ParserError is one
        raise InputError(f"{path}: {str(error).strip()}") from None
    if not {"label", "text"} <= set(frame.columns):
        raise InputError(f"{path}: it has not the columns label and text")
    return frame


def default_positive_label(labels: list[str]) -> str | None:
    """``spam`` if there is one, else the last of two labels, else None."""
    if "spam" in labels:
        return "spam"
    return labels[1] if len(labels) == 2 else None
