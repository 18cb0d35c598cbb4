"""An input of text as a table: its records, and the rows that they become. CSV is here."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from batch.errors import InputError, UsageError
from batch.formats.columns import check_column_names, encode_texts, find_text_column, format_columns
from batch.formats.input import Input
from batch.formats.layout import CSV, DEFAULT_LAYOUT, Layout
from batch.formats.text_table import TextTable
from batch.messages import show
from batch.model.decision import Predictions
from batch.reading.dialect import Dialect
from batch.reading.encoding import UTF_8, Encoding
from batch.reading.records import Record, RecordReader
from batch.reading.source import Source, reading


@dataclass(frozen=True)
class Header:
    """The first record and what it says of the others; without a header it is one of them."""

    record: Record
    names: list[str]
    text_column: int  # 0-based
    dropped: tuple[int, ...] = ()  # columns that ours replace, 0-based


class CsvTable(TextTable):
    """Writes a record's own bytes, then our columns."""

    format = CSV

    def __init__(
        self,
        source: Source,
        input_: Input,
        columns: tuple[str, ...],
        labels: Sequence[str],
        compress: Callable[[bytes], bytes] | None = None,
    ):
        """
        Raises:
            InputError: no header, or no text column; see ``read_header``.
        """
        dialect, layout = input_.dialect, input_.layout
        super().__init__(source, layout, compress)
        self._dialect, self._columns = dialect, columns
        self._header: Header | None = None
        self._reader = self._make_reader()
        with reading(source.name):
            self._bom = self._reader.bom
            self._header = header = read_header(
                source.name, self._reader, input_.text_column, columns, layout
            )
        self._first: list[Record] = []  # read as if it was a header
        if not layout.has_header:
            text = header.record.fields[header.text_column]
            self._first = [header.record._replace(text=text)]
        encode = partial(encode_field, dialect=dialect, encoding=layout.encoding)
        self._texts = encode_texts(columns, labels, encode)
        self._names = [encode(column) for column in columns] if layout.has_header else []
        # A last line without an end gets the first one's.
        self._line_end = header.record.line_end or b"\n"
        self.text_name = header.names[header.text_column].strip()
        self.text_in_output = _find_in_output(header, layout)

    def _make_reader(self, **options) -> RecordReader:
        if header := self._header:
            options |= {"columns": len(header.names), "text_column": header.text_column}
        longest = self._layout.max_record_bytes
        return RecordReader(self._stream, self._dialect, max_record_bytes=longest, **options)

    @property
    def offset(self) -> int:
        return self._first[0].offset if self._first else self._reader.offset

    @property
    def line(self) -> int:
        return self._first[0].line if self._first else self._reader.line

    def go_to(self, offset: int, line: int) -> None:
        self._first = []
        super().go_to(offset, line)

    def read(self, n: int) -> list[Record]:
        records, self._first = self._first[:n], self._first[n:]
        records = records or super().read(n)
        encoding = self._layout.encoding
        if encoding.codec == "utf-8":
            return records
        return [
            record._replace(text=encoding.decode(record.text).encode()) if record.text else record
            for record in records
        ]

    def header(self) -> bytes:
        if not self._layout.has_header:
            return self._pack(self._bom)
        raw = self.own_bytes(self._header.record)
        kept = [raw] if len(self._header.dropped) < len(self._header.names) else []
        return self._pack(
            self._bom + self._dialect.delimiter.join([*kept, *self._names]) + self._line_end
        )

    def rows(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """The output rows of good records."""
        ends = [record.line_end or self._line_end for record in records]
        mark = self._dialect.delimiter
        cells = format_columns(self._columns, predictions, self._texts, mark)
        rows = zip(self._drop(records), *cells, ends, strict=True)
        return self._pack(b"".join(chain.from_iterable(rows)))

    def own_bytes(self, record: Record) -> bytes:
        """See :meth:`Table.own_bytes`."""
        return self._drop([record])[0]

    def _drop(self, records: Sequence[Record]) -> list[bytes]:
        """The records' own bytes, less the columns that ours replace."""
        dropped = self._header.dropped
        if not dropped:
            return [record.raw for record in records]
        return [drop_fields(record.raw, self._dialect, dropped) for record in records]


def _find_in_output(header: Header, layout: Layout) -> str:
    """The text column's name, or where that is not unique, its number in the output."""
    name = header.names[header.text_column]
    if layout.has_header and header.names.count(name) == 1:
        return name
    return str(header.text_column + 1 - sum(at < header.text_column for at in header.dropped))


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
        check_column_names(name, names, names[column], columns, layout.overwrite)
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
