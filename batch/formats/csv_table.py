"""An input of text as a table: its records, and the rows that they become. CSV is here."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from batch.model.decision import Predictions
from batch.reading.dialect import Dialect
from batch.reading.records import Record, RecordReader
from batch.reading.source import Source, reading
from batch.reading.input_stream import InputStream
from batch.formats.layout import DEFAULT_LAYOUT, Layout
from batch.formats.csv_table import Header, drop_fields, encode_field, read_header
from batch.formats.columns import encode_texts, format_columns


class TextTable:
    """A source that is read as text, and rows that are written as the source is encoded.

    A format is a subclass, or another class with these methods and attributes.

    Args:
        compress: makes one member of a piece of the output; None if it is not compressed.

    Attributes:
        text_name: the text column, as a message names it.
        text_in_output: the text column, as one would type it to read the output again.
        settings: option -> value, what a run that goes on must have in common.
        offset, line: where the next record stands.
        blank_lines: skipped since the reading began, or was begun again.
        size: of the whole, in what ``offset`` counts, if that is known.
    """

    text_name: str
    text_in_output: str

    def __init__(
        self,
        source: Source,
        layout: Layout,
        compress: Callable[[bytes], bytes] | None = None,
    ):
        self._source, self._layout, self._compress = source, layout, compress
        self.settings = {
            "--encoding": layout.encoding.name,
            "--overwrite-columns": str(layout.overwrite),
            "--max-record-bytes": str(layout.max_record_bytes),
        }
        self._open(0)

    def _open(self, offset: int) -> None:
        encoding = self._layout.encoding
        self._stream = InputStream(self._source.name, self._source.stream, encoding, offset)

    def _make_reader(self, **options):
        raise NotImplementedError

    @property
    def size(self) -> int | None:
        is_read_as_it_is = not self._stream.compression and not self._stream.encoding.is_transcoded
        return self._source.size if is_read_as_it_is else None

    @property
    def offset(self) -> int:
        return self._reader.offset

    @property
    def line(self) -> int:
        return self._reader.line

    @property
    def blank_lines(self) -> int:
        return self._reader.blank_lines

    def go_to(self, offset: int, line: int) -> None:
        """Read on from there, where another run's reading had ended."""
        self._open(offset)
        self._reader = self._make_reader(offset=offset, line=line)

    def read(self, n: int) -> list[Record]:
        """The next ``n`` records, fewer only before the end or a fault, then none.

        Raises:
            InputError: the input was cut while it is read, or its compressed form is damaged.
            StorageError: it can no longer be read.
        """
        with reading(self._source.name):
            return self._reader.read_records(n)

    def _pack(self, data: bytes) -> bytes:
        """Whole rows as they stand in the output."""
        data = self._stream.restore(data)
        return self._compress(data) if self._compress and data else data

    @staticmethod
    def finish(part):
        """The file to publish, made of the part file that holds all rows: for text, that file."""
        return part


class CsvTable(TextTable):
    """Writes a record's own bytes, then our columns."""

    def __init__(
        self,
        source: Source,
        dialect: Dialect,
        text_column: str | None,
        columns: tuple[str, ...],
        labels: Sequence[str],
        layout: Layout = DEFAULT_LAYOUT,
        compress: Callable[[bytes], bytes] | None = None,
    ):
        """
        Raises:
            InputError: no header, or no text column; see ``read_header``.
        """
        super().__init__(source, layout, compress)
        self._dialect, self._columns = dialect, columns
        self._header: Header | None = None
        self._reader = self._make_reader()
        with reading(source.name):
            self._bom = self._reader.bom
            self._header = header = read_header(
                source.name, self._reader, text_column, columns, layout
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
        self.settings |= {
            "--delimiter": dialect.delimiter.decode("latin-1"),
            "--quote": (dialect.quote or b"").decode("latin-1"),
            "--escape": (dialect.escape or b"").decode("latin-1"),
            "--trust-quotes": str(dialect.trusts_quotes),
            "--no-header": str(not layout.has_header),
            "--text-column": header.names[header.text_column],
            "--columns": ",".join(columns),
        }

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
        raw = self._drop([self._header.record])[0]
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
