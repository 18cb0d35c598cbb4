"""The table in a CSV stream: its header, its text column, the columns that we append."""

from collections.abc import Callable, Sequence

from batch.errors import InputError, UsageError
from batch.messages import list_columns, show
from batch.model.decision import REASONS, Predictions
from batch.reading.dialect import Dialect

# Tried in this order, whatever their case, when no --text-column is given.
TEXT_NAMES = ("text", "message", "sms", "body", "content", "msg", "v2")
COLUMNS = ("label", "score", "probability", "tokens", "truncated", "reason")
CLASS_COLUMN = "probability_"  # and the class's name; no other column of ours begins so


def parse_columns(value: str) -> tuple[str, ...]:
    """The columns to append, from a comma-separated list.

    Raises:
        UsageError: an unknown or repeated one.
    """
    names = tuple(name.strip() for name in value.split(","))
    for name in names:
        if name not in COLUMNS:
            raise UsageError(f"--columns: there is no {name!r}; choose from {', '.join(COLUMNS)}")
    if len(set(names)) < len(names):
        raise UsageError(f"--columns: {value!r} names a column twice")
    return names


def expand_columns(columns: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The columns' names in the output: ``probability`` is one for each class, in their order.

    >>> expand_columns(("label", "probability"), ["ham", "spam"])
    ('label', 'probability_ham', 'probability_spam')
    """
    names: list[str] = []
    for name in columns:
        is_all = name == "probability"
        names += [CLASS_COLUMN + label for label in classes] if is_all else [name]
    return tuple(names)


def kind_of(name: str) -> str:
    """Which of :data:`COLUMNS` a column of ours is."""
    return "probability" if name.startswith(CLASS_COLUMN) else name


def encode_texts(
    columns: Sequence[str], labels: Sequence[str], encode: Callable[[str], bytes]
) -> dict[str, bytes]:
    """The texts that can stand in our columns, as a format writes them."""
    texts = dict.fromkeys([*labels, *(REASONS if "reason" in columns else ())])
    return {text: encode(text) for text in texts}


def check_column_names(
    name: str, names: list[str], text_name: str, columns: tuple[str, ...], overwrite: bool = False
) -> None:
    """Look for columns that are called as those of ours that were asked for.

    Raises:
        InputError: one would stand twice, or the messages would be overwritten.
    """
    for ours in columns:
        if ours in names and not overwrite:
            raise InputError(
                f"{name}: there is a column {ours!r} already; it would stand twice; "
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
    """Index of the column that holds the messages: ``wanted``, else the first obvious name.

    ``wanted`` is a name, or if no column is called so, a number from 1.

    Raises:
        InputError: it is not there, or there twice; the sentence lists the columns.
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
            is_twice = len(set(same)) == 1  # a name would not tell them apart
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
    """Our columns, each cell with ``mark`` before it; ``texts`` are those of encode_texts."""
    score, count = (mark.replace(b"%", b"%%") + form for form in (b"%.6f", b"%d"))
    marked = {text: mark + field for text, field in texts.items()}
    cut = {False: mark + b"false", True: mark + b"true"}
    make = {
        "label": lambda: [marked[label] for label in predictions.labels],
        "score": lambda: [score % value for value in predictions.scores.tolist()],
        "probability": lambda: [score % value for value in next(of_class).tolist()],
        "tokens": lambda: [count % value for value in predictions.tokens.tolist()],
        "truncated": lambda: [cut[flag] for flag in predictions.truncated.tolist()],
        "reason": lambda: [marked[reason] for reason in predictions.reasons],
    }
    of_class = iter(predictions.probabilities.T)  # their columns have the classes' order
    return [make[kind_of(name)]() for name in columns]
