"""The table in a CSV stream: its header, its text column, the columns that we append."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from batch.model.decision import Predictions
from batch.model.decision import REASONS
from batch.reading.dialect import Dialect
from batch.reading.encoding import UTF_8, Encoding
from batch.errors import InputError, UsageError
from batch.reading.records import Record, RecordReader

# Tried in this order, whatever their case, when no --text-column is given.
TEXT_NAMES = ("text", "message", "sms", "body", "content", "msg", "v2")
COLUMNS = ("label", "score", "probability", "tokens", "truncated", "reason")
CLASS_COLUMN = "probability_"  # and the class's name; no other column of ours begins so


MAX_RECORD_BYTES = 64 << 20


@dataclass(frozen=True)
class Layout:
    """How an input is read and its rows are written, its dialect apart."""

    format: str | None = None  # csv, jsonl or parquet; None: by the input's name
    encoding: Encoding = UTF_8
    has_header: bool = True
    overwrite: bool = False  # take out columns that are called as ours
    max_record_bytes: int = MAX_RECORD_BYTES  # a longer record is bad


DEFAULT_LAYOUT = Layout()


@dataclass(frozen=True)
class Header:
    """The first record and what it says of the others; without a header it is one of them."""

    record: Record
    names: list[str]
    text_column: int  # 0-based
    dropped: tuple[int, ...] = ()  # columns that ours replace, 0-based


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


def read_header(
    name: str,
    reader: RecordReader,
    wanted: str | None,
    columns: tuple[str, ...],
    layout: Layout = DEFAULT_LAYOUT,
) -> Header:
    """Read the first record and find the text column; the reader then expects its width.

    Raises:
        InputError: no header, no or more than one such column, or one of ours is there.
    """
    records = reader.read_records(1)
    if not records:
        hint = "; its first line must name the columns" if layout.has_header else ""
        raise InputError(f"{name}: the file is empty{hint}")
    record = records[0]
    if record.raw.startswith((b'{"', b"{ ")):
        raise InputError(f"{name}: looks like JSON Lines; type: --format jsonl")
    if record.problem:
        what = "header" if layout.has_header else "first record"
        raise InputError(f"{name}: line {record.line}: the {what}: {record.problem}")
    names = [layout.encoding.decode(field) for field in record.fields]
    if layout.has_header:
        column = find_text_column(name, names, wanted, reader.dialect)
        check_ours(name, names, names[column], columns, layout.overwrite)
        dropped = tuple(index for index, field in enumerate(names) if field in columns)
    else:
        column, dropped = find_numbered_column(name, len(names), wanted), ()
        names = [f"column {number}" for number in range(1, len(names) + 1)]
    reader.expect(len(names), column)
    return Header(record, names, column, dropped)


def find_numbered_column(name: str, width: int, wanted: str | None) -> int:
    """Index of the text column of a table without a header: ``wanted`` is a number from 1.

    Raises:
        InputError: it is none, or there are not so many columns.
    """
    if wanted is None and width == 1:
        return 0
    if wanted is not None and wanted.isdecimal() and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    given = "" if wanted is None else f", not {show(wanted)}"
    raise InputError(
        f"{name}: without a header the text column is a number from 1 to {width}{given}; "
        "type for example: --no-header --text-column 1"
    )


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


def show(value: str) -> str:
    """A name from the input for a message: quoted, control characters escaped, at most 60 long."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def list_columns(names: list[str]) -> str:
    """Column names for a message. A long one is not shown: it may be a message itself."""
    shown = [show(name) if len(name) <= 40 else f"({len(name)} characters)" for name in names[:30]]
    return ", ".join([*shown, f"and {len(names) - 30} more"] if names[30:] else shown)


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


def drop_fields(raw: bytes, dialect: Dialect, dropped: Collection[int]) -> bytes:
    """A good record less some of its fields; the others byte for byte.

    >>> drop_fields(b'1,"a, b",ham', Dialect(), [2])
    b'1,"a, b"'
    """
    fields = dialect.split_raw(raw)
    return dialect.delimiter.join(
        [field for index, field in enumerate(fields) if index not in dropped]
    )


def encode_field(value: str, dialect: Dialect, encoding: Encoding = UTF_8) -> bytes:
    """One of our values as a field of ``dialect``, quoted where it must be.

    Raises:
        UsageError: it cannot be written in the encoding, or needs quotes and there are none.
    """
    data = encoding.encode(value)
    special = dialect.delimiter + (dialect.quote or b"") + (dialect.escape or b"") + b"\r\n"
    if not any(byte in special for byte in data):
        return data
    if dialect.quote is None:
        raise UsageError(f"{value!r} cannot be written without a quote character")
    if dialect.escape:
        for byte in (dialect.escape, dialect.quote):
            data = data.replace(byte, dialect.escape + byte)
    else:
        data = data.replace(dialect.quote, dialect.quote * 2)
    return dialect.quote + data + dialect.quote
