"""The text column of a table, and the columns that we add: their names and their cells."""

from collections.abc import Callable, Sequence

from batch.errors import InputError, UsageError
from batch.messages import list_columns, show
from batch.model.decision import REASONS, Predictions
from batch.reading.dialect import Dialect

# Without --text-column, the first of these names that a column has, in any case.
TEXT_NAMES = ("text", "message", "sms", "body", "content", "msg", "v2")
COLUMNS = ("label", "score", "probability", "tokens", "truncated", "reason")
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
    texts = dict.fromkeys([*labels, *(REASONS if "reason" in columns else ())])
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


def find_text_column(
    name: str, names: list[str], wanted: str | None, dialect: Dialect | None = None
) -> int:
    """0-based index of the column that holds the messages.

    Args:
        name: of the input, for messages.
        names: of all columns.
        wanted: a name or, if no column has it, a number from 1; None: the first usual name.
        dialect: of a CSV input, for a hint at another delimiter.

    Raises:
        InputError: the column is not there, or there twice; the message lists the columns.
    """
    listed = list_columns(names)
    if wanted is not None:
        found = [index for index, column in enumerate(names) if column == wanted]
        if not found and wanted.isdecimal() and 1 <= int(wanted) <= len(names):
            return int(wanted) - 1
        if len(found) == 1:
            return found[0]
        problem = f"is there {len(found)} times" if found else "is not there"
        hint = "; give its number, from 1" if found else ""
        raise InputError(
            f"{name}: the text column {show(wanted)} {problem}; columns: {listed}{hint}"
        )
    lowered = [column.strip().lower() for column in names]
    for candidate in TEXT_NAMES:
        if lowered.count(candidate) > 1:
            same = [name for name, low in zip(names, lowered, strict=True) if low == candidate]
            is_twice = len(set(same)) == 1  # so only a number tells them apart
            raise InputError(
                f"{name}: more than one column is called {candidate!r}; columns: {listed}; "
                f"{'give the number of one' if is_twice else 'name one'} with --text-column"
            )
        if candidate in lowered:
            return lowered.index(candidate)
    hint = ""
    marks = "\t;|,".replace(dialect.delimiter.decode("latin-1"), "") if dialect else ""
    others = [mark for mark in marks if mark in names[0]]
    if len(names) == 1 and others:
        hint = f"; is the delimiter {show(others[0])}? type: --delimiter {show(others[0])}"
    raise InputError(
        f"{name}: no text column found; columns: {listed}; name it with --text-column{hint}"
    )


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
    }
    return [make[kind_of(name)]() for name in columns]
