"""Which column of a labelled file is the label; its delimiter and header where nothing says so."""

import io
import re
import shlex
from dataclasses import replace

from batch.errors import InputError
from batch.formats.input import Input
from batch.formats.layout import CSV
from batch.formats.open_table import find_format, inner_ending
from batch.formats.preamble import read_preamble
from batch.formats.table import Table
from batch.messages import TEXT_NAMES, list_columns, show
from batch.reading.foreign import make_command
from batch.reading.input_stream import InputStream
from batch.reading.opening import open_source
from batch.reading.records import UTF8_BOM, RecordReader
from trainer.data.labels import POSITIVE_NAMES

LABEL_NAMES = ("label", "class", "category", "target", "v1")
HEAD_BYTES = 1 << 16  # looked at to find the delimiter and whether there is a header


def complete_input(
    given: Input, label_column: str | None, finds_delimiter: bool
) -> tuple[Input, str | None]:
    """The input with the delimiter that its first line has, and the label column.

    A CSV file whose first record has two fields, neither of them a usual column name, has no
    header: it is ``label<delimiter>text``, as the SMS Spam Collection is.
    """
    columns = label_column, given.text_column
    if find_format(given.name, given.layout) != CSV:
        return given, columns[0]
    given, head, has_preamble = _read_head(given)
    _refuse_fasttext(given.name, head)
    if finds_delimiter and not has_preamble:
        tab = replace(given, dialect=replace(given.dialect, delimiter=b"\t"))
        has_tab = b"\t" in head.split(b"\n")[0]
        # A tab within a column's name does not make it the delimiter.
        if inner_ending(given.name) == ".tsv" or (has_tab and not _has_label(head, given, columns)):
            given = tab
    if columns == (None, None):
        fields = _first_fields(head, given)
        names = {field.strip().lower() for field in fields}
        if not given.layout.has_header and len(fields) == 2:
            return replace(given, text_column="2"), "1"
        if len(fields) == 2 and not names & {*LABEL_NAMES, *TEXT_NAMES}:
            _check_no_header(head, given)
            layout = replace(given.layout, has_header=False)
            return replace(given, layout=layout, text_column="2"), "1"
    return given, columns[0]


def _refuse_fasttext(name: str, head: bytes) -> None:
    """Refuse lines of ``__label__spam You won``, with the command that makes a table of them."""
    if not head.removeprefix(UTF8_BOM).startswith(b"__label__"):
        return
    what = f"{name}: is in fastText's form, a line of __label__NAME and the text"
    for number, line in enumerate(head.splitlines(), start=1):
        if re.match(rb"\W*__label__\S+\s+__label__", line):
            raise InputError(f"{what}, but line {number} has several labels; leave one in each")
    command = r"sed 's/^[^_]*__label__\([^[:space:]]*\)[[:space:]]*/\1\t/'"
    raise InputError(
        f"{what}; type: {make_command(command, name, '.tsv')}, and then --no-header --no-quote"
    )


def _has_label(head: bytes, given: Input, columns: tuple[str | None, str | None]) -> bool:
    """Whether the first line, cut at the delimiter, has a label column and another one."""
    fields = [field.strip() for field in _first_fields(head, given)]
    if columns[0] is not None:
        return len(fields) > 1 and columns[0] in fields
    return len(fields) > 1 and any(field.lower() in LABEL_NAMES for field in fields)


def _read_head(given: Input) -> tuple[Input, bytes, bool]:
    """The first records as UTF-8; a line ``sep=`` above them has named the delimiter."""
    with open_source(given.name) as source:
        stream = InputStream(given.name, source.stream, given.layout.encoding)
        preamble = read_preamble(given.name, stream, given.dialect, given.layout)
        head = b""
        while len(head) < HEAD_BYTES and (more := stream.read(HEAD_BYTES - len(head))):
            head += more
    return replace(given, dialect=preamble.dialect), head, bool(preamble.raw)


def _first_fields(head: bytes, given: Input) -> list[str]:
    reader = RecordReader(io.BytesIO(head), given.dialect)
    record = next(iter(reader.read_records(1)), None)
    if record is None or record.problem:
        return []
    return [given.layout.encoding.decode(field) for field in record.fields]


def _check_no_header(head: bytes, given: Input) -> None:
    """Refuse a first record whose label no other has: it may be a header of other names.

    Raises:
        InputError: it may be.
    """
    reader = RecordReader(io.BytesIO(head), given.dialect, columns=2)
    labels = [record.fields[0] for record in reader.read_records(100) if not record.problem]
    if len(set(labels)) > 2 and labels.count(labels[0]) == 1:
        raise InputError(
            f"{given.name}: no other record has the first one's label; if it is a header, name "
            "its columns with --label-column and --text-column; if not, type --no-header"
        )


def find_label_column(name: str, table: Table, wanted: str | None) -> int:
    """The number of the label column, from 0.

    Raises:
        InputError: it is not there, there twice, or is the text column.
    """
    names, text = table.column_names, table.text_name
    column = _find_usual(name, names) if wanted is None else _find_named(name, names, wanted)
    if text == names[column].strip():
        raise InputError(
            f"{name}: the column {show(names[column])} cannot be both label and text; "
            "name two with --label-column and --text-column"
        )
    return column


def _find_named(name: str, names: list[str], wanted: str) -> int:
    found = [number for number, column in enumerate(names) if column == wanted]
    if len(found) == 1:
        return found[0]
    if not found and wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1
    problem = f"is there {len(found)} times; give its number, from 1" if found else "is not there"
    raise InputError(
        f"{name}: the label column {show(wanted)} {problem}; columns: {list_columns(names)}"
    )


def _find_usual(name: str, names: list[str]) -> int:
    lowered = [column.strip().lower() for column in names]
    for candidate in LABEL_NAMES:
        if lowered.count(candidate) == 1:
            return lowered.index(candidate)
        if candidate in lowered:
            numbers = [str(at + 1) for at, column in enumerate(lowered) if column == candidate]
            raise InputError(
                f"{name}: the columns {' and '.join(numbers)} are called {candidate!r}; choose "
                f"one, for example: --label-column {numbers[0]}"
            )
    likely = [column for column in names if _names_a_class(column)]  # one that holds 0 and 1
    example = f", for example: --label-column {shlex.quote(likely[0])}" if likely else ""
    raise InputError(
        f"{name}: no label column found; columns: {list_columns(names)}; "
        f"name it with --label-column{example}"
    )


def _names_a_class(column: str) -> bool:
    return column.strip().lower().removeprefix("is_") in POSITIVE_NAMES and not column.isdecimal()
