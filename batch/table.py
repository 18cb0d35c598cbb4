"""The table in a CSV stream: its header, its text column, the columns that we append."""

from collections.abc import Iterator
from dataclasses import dataclass

from batch.classifier import Predictions
from batch.dialect import Dialect
from batch.errors import InputError, UsageError
from batch.records import Record, RecordReader

# Tried in this order, whatever their case, when no --text-column is given.
TEXT_NAMES = ("text", "message", "sms", "body", "content", "msg", "v2")
COLUMNS = ("label", "score", "tokens", "truncated")
DEFAULT_COLUMNS = ("label", "score")


@dataclass(frozen=True)
class Header:
    record: Record
    names: list[str]
    text_column: int  # 0-based


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


def read_header(
    name: str, reader: RecordReader, wanted: str | None, columns: tuple[str, ...]
) -> Header:
    """Read the first record and find the text column; the reader then expects its width.

    Raises:
        InputError: no header, no or more than one such column, or one of ours is there.
    """
    records = reader.read_records(1)
    if not records:
        raise InputError(f"{name}: the file is empty; its first line must name the columns")
    record = records[0]
    if record.problem:
        raise InputError(f"{name}: line {record.line}: the header {record.problem}")
    names = [field.decode("utf-8", "replace") for field in record.fields]
    column = find_text_column(name, names, wanted, reader.dialect)
    check_ours(name, names, names[column], columns)
    reader.expect(len(names), column)
    return Header(record, names, column)


def check_ours(
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

    Raises:
        InputError: it is not there, or there twice; the sentence lists the columns.
    """
    listed = list_columns(names)
    if wanted is not None:
        found = [index for index, column in enumerate(names) if column == wanted]
        if len(found) == 1:
            return found[0]
        problem = f"is there {len(found)} times" if found else "is not there"
        raise InputError(f"{name}: the text column {show(wanted)} {problem}; columns: {listed}")
    lowered = [column.strip().lower() for column in names]
    for candidate in TEXT_NAMES:
        if lowered.count(candidate) > 1:
            raise InputError(
                f"{name}: more than one column is called {candidate!r}; columns: {listed}"
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


def show(value: str) -> str:
    """A name from the input for a message: quoted, control characters escaped, at most 60 long."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def list_columns(names: list[str]) -> str:
    """Column names for a message. A long one is not shown: it may be a message itself."""
    shown = [show(name) if len(name) <= 40 else f"({len(name)} characters)" for name in names[:30]]
    return ", ".join([*shown, f"and {len(names) - 30} more"] if names[30:] else shown)


def format_values(
    columns: tuple[str, ...], predictions: Predictions, labels: dict[str, bytes]
) -> Iterator[tuple[bytes, ...]]:
    """Our values of each row; ``labels`` are as the output's format writes them."""
    values = {
        "label": lambda: [labels[label] for label in predictions.labels],
        "score": lambda: [b"%.6f" % score for score in predictions.scores.tolist()],
        "tokens": lambda: [b"%d" % count for count in predictions.tokens.tolist()],
        "truncated": lambda: [b"true" if cut else b"false" for cut in predictions.truncated],
    }
    return zip(*(values[name]() for name in columns), strict=True)


def encode_field(value: str, dialect: Dialect) -> bytes:
    """One of our values as a field of ``dialect``, quoted where it must be."""
    data = value.encode("utf-8")
    special = dialect.delimiter + (dialect.quote or b"") + (dialect.escape or b"") + b"\r\n"
    if not any(byte in special for byte in data):
        return data
    if dialect.quote is None:
        raise UsageError(f"the label {value!r} cannot be written without a quote character")
    if dialect.escape:
        for byte in (dialect.escape, dialect.quote):
            data = data.replace(byte, dialect.escape + byte)
    else:
        data = data.replace(dialect.quote, dialect.quote * 2)
    return dialect.quote + data + dialect.quote
