"""The columns that we add to a table: their names and their cells."""

from collections.abc import Callable, Sequence

import numpy as np

from batch.errors import InputError, UsageError
from batch.model.bundle import Bundle
from batch.model.decision import FAST, REASONS, SLOW, STAGES, Predictions

COLUMNS = ("label", "score", "probability", "tokens", "truncated", "reason", "stage")
STAGE = "stage"  # the column that only a cascade has
CLASS_COLUMN = "probability_"  # then the class; no other column of ours begins like this


def parse_columns(value: str) -> tuple[str, ...]:
    """The columns to append, from a comma-separated list.

    Raises:
        UsageError: a name is unknown or repeated.
    """
    names = tuple(name.strip() for name in value.split(","))
    for name in names:
        if name not in COLUMNS:
            raise UsageError(f"--columns: there is no {name!r}; choose from {', '.join(COLUMNS)}")
    if len(set(names)) < len(names):
        raise UsageError(f"--columns: {value!r} names a column twice")
    return names


def check_stage(columns: Sequence[str], bundle: Bundle) -> None:
    """Refuse the column ``stage`` where there is one model only.

    Raises:
        UsageError: the bundle is no cascade.
    """
    if STAGE in columns and not bundle.proof:
        raise UsageError(
            f"--columns: {STAGE} tells which model of a cascade decided, and {bundle.folder} is "
            "no cascade; leave it out"
        )


def expand_columns(columns: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns in the output: ``probability`` becomes one for each class.

    >>> expand_columns(("label", "probability"), ["ham", "spam"])
    ('label', 'probability_ham', 'probability_spam')
    """
    names: list[str] = []
    for name in columns:
        is_all = name == "probability"
        names += [CLASS_COLUMN + label for label in classes] if is_all else [name]
    return tuple(names)


def kind_of(name: str) -> str:
    """Which of :data:`COLUMNS` a column in the output is."""
    return "probability" if name.startswith(CLASS_COLUMN) else name


def encode_texts(
    columns: Sequence[str], labels: Sequence[str], encode: Callable[[str], bytes]
) -> dict[str, bytes]:
    """Every text that may stand in our columns -> its bytes, as ``encode`` writes it."""
    reasons, stages = (REASONS if "reason" in columns else ()), (STAGES if STAGE in columns else ())
    texts = dict.fromkeys([*labels, *reasons, *stages])
    return {text: encode(text) for text in texts}


def check_column_names(
    name: str, names: list[str], text_name: str, columns: tuple[str, ...], overwrite: bool = False
) -> None:
    """Refuse an input with columns that have the names of ours.

    Raises:
        InputError: a name would be there twice, or the messages would be overwritten.
    """
    for column in columns:
        if column in names and not overwrite:
            raise InputError(
                f"{name}: there is a column {column!r} already; it would be there twice; "
                "choose others with --columns, or give --overwrite-columns"
            )
    if text_name in columns:
        raise InputError(
            f"{name}: the text column {text_name!r} would be overwritten; "
            "choose others with --columns, or rename it"
        )


def _known(asked: np.ndarray | None) -> np.ndarray:
    assert asked is not None, "check_stage refuses the column without a cascade"
    return asked


def format_columns(
    columns: tuple[str, ...],
    predictions: Predictions,
    texts: dict[str, bytes],
    mark: bytes = b"",
) -> list[list[bytes]]:
    """The cells of our columns.

    Args:
        columns: their names, C of them.
        predictions: of N records.
        texts: as :func:`encode_texts` returns them.
        mark: bytes to put before each cell.

    Returns:
        C lists of N cells.
    """
    score, count = (mark.replace(b"%", b"%%") + form for form in (b"%.6f", b"%d"))
    marked = {text: mark + field for text, field in texts.items()}
    cut = {False: mark + b"false", True: mark + b"true"}
    of_class = iter(predictions.probabilities.T)  # in the order of the classes, as our columns
    make = {
        "label": lambda: [marked[label] for label in predictions.labels],
        "score": lambda: [score % value for value in predictions.scores.tolist()],
        "probability": lambda: [score % value for value in next(of_class).tolist()],
        "tokens": lambda: [count % value for value in predictions.tokens.tolist()],
        "truncated": lambda: [cut[flag] for flag in predictions.truncated.tolist()],
        "reason": lambda: [marked[reason] for reason in predictions.reasons],
        "stage": lambda: [
            marked[SLOW if asked else FAST] for asked in _known(predictions.asked).tolist()
        ],
    }
    return [make[kind_of(name)]() for name in columns]
