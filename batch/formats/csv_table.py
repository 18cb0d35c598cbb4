"""CSV as a table: its header, and rows that are a record's own bytes and our columns."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from batch.errors import InputError, UsageError
from batch.formats.advice import HEAD_BYTES, CsvAdvice
from batch.formats.columns import check_column_names, encode_texts, format_columns
from batch.formats.input import Input
from batch.formats.layout import CSV, DEFAULT_LAYOUT, Layout
from batch.formats.preamble import read_preamble
from batch.formats.text_choice import TextChoice, choose_text_column, find_text_column, look_at
from batch.formats.text_table import TextTable
from batch.messages import list_columns, show
from batch.model.decision import Predictions
from batch.reading.dialect import Dialect
from batch.reading.encoding import UTF_8, Encoding
from batch.reading.foreign import describe_json
from batch.reading.record import Record
from batch.reading.records import UTF8_BOM, RecordReader
from batch.reading.source import Source, reading


@dataclass(frozen=True)
class Header:
    """The first record, and what it says of the others. Without a header it is a row itself."""

    record: Record
    names: list[str]  # of the W columns; without a header, "column 1" to "column W"
    text_column: int  # 0-based
    text_name: str  # as messages show it
    dropped: tuple[int, ...] = ()  # columns that ours replace, 0-based
    warnings: tuple[str, ...] = ()  # of a choice that was a guess


class CsvTable(TextTable):
    """A CSV file; a row of the output is a record's own bytes, then our columns.

    With ``--columns label,score``, the record ``1,"You won"`` becomes
    ``1,"You won",spam,0.987654``.

    Args:
        source: the opened input.
        input_: what the user says of it.
        columns: names of our columns, as :func:`~batch.formats.columns.expand_columns` has them.
        labels: all that may stand in them.
        compress: as for :class:`TextTable`.

    Raises:
        InputError: as :func:`read_header`.
        UsageError: a label or a column's name cannot be written, see :func:`encode_field`.
    """

    format = CSV

    def __init__(
        self,
        source: Source,
        input_: Input,
        columns: tuple[str, ...],
        labels: Sequence[str],
        compress: Callable[[bytes], bytes] | None = None,
    ):
        layout = input_.layout
        super().__init__(source, layout, input_.dialect, compress)
        self._columns = columns
        name, wanted = source.name, input_.text_column
        with reading(name):
            preamble = read_preamble(name, self._stream, input_.dialect, layout)
            if preamble.raw:
                self.dialect = preamble.dialect
                self._read_from(len(preamble.raw), 2)
            if preamble.has_sep:
                mark = self.dialect.delimiter.decode("latin-1")
                self.notes = (f"delimiter: {show(mark)}, named by line 1",)
            self._advice = CsvAdvice(
                name, self._stream.peek(HEAD_BYTES), self.dialect, layout, wanted, preamble
            )
            sample = [] if wanted else self._sample()
            self._start = preamble.raw or self._reader.bom
            self._header = header = read_header(
                name, self._reader, wanted, columns, layout, sample, self._advice
            )
        self.choice_warnings = header.warnings
        encode = partial(encode_field, dialect=self.dialect, encoding=layout.encoding)
        self._texts = encode_texts(columns, labels, encode)
        self._names = [encode(column) for column in columns] if layout.has_header else []
        # If the last line has no end, its row gets the one of the first line.
        self._line_end = header.record.line_end or b"\n"
        text = header.record.fields[header.text_column]
        if layout.encoding.codec != "utf-8":
            text = layout.encoding.decode(text).encode()
        self._header_texts = (text, UTF8_BOM + text)
        self.text_name = header.text_name
        self.text_in_output = _find_in_output(header, layout)

    def go_to(self, offset: int, line: int) -> None:
        """See :meth:`Table.go_to`."""
        super().go_to(offset, line)
        self._expect()

    def _expect(self) -> None:
        self._reader.expect(len(self._header.names), self._header.text_column)

    def read(self, n: int) -> list[Record]:
        """See :meth:`Table.read`."""
        records = super().read(n)
        encoding = self._layout.encoding
        if self._utf8:
            self._utf8.look_at(records)
        if encoding.codec == "utf-8":
            return records
        return [
            record._replace(text=encoding.decode(record.text).encode()) if record.text else record
            for record in records
        ]

    def advise(self, record: Record) -> str | None:
        """See :meth:`Table.advise`."""
        return self._advice.for_record(record, len(self._header.names))

    @property
    def column_names(self) -> list[str]:
        return self._header.names

    def values(self, records: Sequence[Record], column: int) -> list[str | None]:
        """See :meth:`Table.values`."""
        decode = self._layout.encoding.decode
        return [decode(record.fields[column]) for record in records]

    def repeated_headers(self, records: Sequence[Record]) -> list[Record]:
        """See :meth:`Table.repeated_headers`; a byte order mark may stand before a header."""
        if not self._layout.has_header:
            return []
        texts = self._header_texts  # few records have one of them, so few are split
        return [record for record in records if record.text in texts and self._is_header(record)]

    def _is_header(self, record: Record) -> bool:
        first, *rest = record.fields
        return [first.removeprefix(UTF8_BOM), *rest] == self._header.record.fields

    def header(self) -> bytes:
        """See :meth:`Table.header`."""
        if not self._layout.has_header:
            return self.pack(self._start)
        raw = self.own_bytes(self._header.record)
        kept = [raw] if len(self._header.dropped) < len(self._header.names) else []
        return self.pack(
            self._start + self.dialect.delimiter.join([*kept, *self._names]) + self._line_end
        )

    def rows(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """See :meth:`Table.rows`."""
        ends = [record.line_end or self._line_end for record in records]
        mark = self.dialect.delimiter
        cells = format_columns(self._columns, predictions, self._texts, mark)
        rows = zip(self._drop(records), *cells, ends, strict=True)
        return self.pack(b"".join(chain.from_iterable(rows)))

    def own_bytes(self, record: Record) -> bytes:
        """See :meth:`Table.own_bytes`."""
        return self._drop([record])[0]

    def _drop(self, records: Sequence[Record]) -> list[bytes]:
        """The records' own bytes, without the columns that ours replace."""
        dropped = self._header.dropped
        if not dropped:
            return [record.raw for record in records]
        return [drop_fields(record.raw, self.dialect, dropped) for record in records]


def _find_in_output(header: Header, layout: Layout) -> str:
    """The text column's name or, if that is not unique or not shown, its number in the output."""
    name = header.names[header.text_column]
    if layout.has_header and header.names.count(name) == 1 and name.strip() == header.text_name:
        return name
    return str(header.text_column + 1 - sum(at < header.text_column for at in header.dropped))


def read_header(
    name: str,
    reader: RecordReader,
    wanted: str | None,
    columns: tuple[str, ...],
    layout: Layout = DEFAULT_LAYOUT,
    sample: Sequence[Record] = (),
    advice: CsvAdvice | None = None,
) -> Header:
    """Find the text column by the first record; the reader then expects records of its width.

    Without a header, the first record is also the next one that ``reader`` returns.

    Args:
        name: of the input, for messages.
        reader: at the start of the input.
        wanted: the text column as the user named it, or None.
        columns: names of our columns.
        sample: the first records, as :func:`~batch.formats.text_table.sample_records` has them;
            without --text-column their values decide which column is the text.
        advice: on the input; None: a header that does not fit the records is not looked for.

    Raises:
        InputError: the first record is missing or bad, there is not exactly one text column, one
            of our columns is there already, or the records have another width.
    """
    record = reader.peek()
    if record is None:
        hint = "; its first line must name the columns" if layout.has_header else ""
        raise InputError(f"{name}: the file is empty{hint}")
    if what := describe_json(name, record.raw):
        raise InputError(f"{name}: {what}")
    if record.raw.startswith((b'{"', b"{ ")):
        raise InputError(f"{name}: looks like JSON Lines; type: --format jsonl")
    if record.problem:
        what = "header" if layout.has_header else "first record"
        found = advice and advice.for_record(record)
        rest = f"; {found}" if found else ""
        raise InputError(f"{name}: line {record.line}: the {what}: {record.problem}{rest}")
    decode = layout.encoding.decode
    names = [decode(field) for field in record.fields]
    width = len(names)
    dropped: tuple[int, ...] = ()
    rows = [record.fields for record in sample[1 if layout.has_header else 0 :]]

    def values(column: int) -> list[str]:
        return [decode(row[column]) for row in rows if len(row) == width]

    def advise() -> str | None:
        return advice.for_header(names) if advice else None

    if layout.has_header:
        reader.read_records(1)
        choice = find_text_column(name, names, wanted, values, advise)
    else:

        def example() -> int:  # the column that looks most like messages
            return 1 + max(range(width), key=lambda at: look_at(at, "", values(at)).score)

        choice = TextChoice(find_numbered_column(name, width, wanted, advise, example))
        if wanted is None:
            choice = choose_text_column(name, [look_at(0, "1", values(0))])
    if advice:
        advice.check_width(width)
    at = choice.column
    if layout.has_header:
        check_column_names(name, names, names[at], columns, layout.overwrite)
        dropped = tuple(index for index, field in enumerate(names) if field in columns)
    else:
        names = [f"column {number}" for number in range(1, width + 1)]
    reader.expect(width, at)
    shown = names[at].strip() if choice.may_show else f"column {at + 1} of {width}"
    return Header(record, names, at, shown, dropped, choice.warnings)


def find_column(name: str, names: list[str], wanted: str, hint: str = "") -> int:
    """Index of the one column that is called ``wanted``.

    Args:
        name: of the file, for messages.
        hint: what to type, for the end of the message.

    Raises:
        InputError: there is none, or more than one.
    """
    found = [index for index, column in enumerate(names) if column == wanted]
    if len(found) != 1:
        problem = "is there more than once" if found else "is not there"
        raise InputError(
            f"{name}: the column {show(wanted)} {problem}; columns: {list_columns(names)}{hint}"
        )
    return found[0]


def find_numbered_column(
    name: str,
    width: int,
    wanted: str | None,
    advise: Callable[[], str | None] = lambda: None,
    example: Callable[[], int] = lambda: 1,
) -> int:
    """Index of the text column in a table without a header.

    Args:
        width: number of columns.
        wanted: number of the text column, from 1; may be None if there is one column.
        advise: why there is no such column, and what to type, if the input shows it.
        example: number of the column that may be it, for the error.

    Raises:
        InputError: ``wanted`` is not a number from 1 to ``width``.
    """
    if wanted is None and width == 1:
        return 0
    if wanted is not None and wanted.isdecimal() and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    if why := advise():
        raise InputError(f"{name}: no text column found; {why}")
    given = "" if wanted is None else f", not {show(wanted)}"
    raise InputError(
        f"{name}: without a header the text column is a number from 1 to {width}{given}; "
        f"type for example: --no-header --text-column {example()}"
    )


def drop_fields(raw: bytes, dialect: Dialect, dropped: Collection[int]) -> bytes:
    """A good record without some of its fields, by 0-based index; the others byte for byte.

    >>> drop_fields(b'1,"a, b",ham', Dialect(), [2])
    b'1,"a, b"'
    """
    fields = dialect.split_raw(raw)
    return dialect.delimiter.join(
        [field for index, field in enumerate(fields) if index not in dropped]
    )


def encode_field(value: str, dialect: Dialect, encoding: Encoding = UTF_8) -> bytes:
    """One of our values as a field of ``dialect``, in quotes where it needs them.

    >>> encode_field('7" records, new', Dialect())
    b'"7"" records, new"'

    Raises:
        UsageError: the encoding lacks a character, or the field needs quotes and there are none.
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
