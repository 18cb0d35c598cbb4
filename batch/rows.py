"""A CSV input as a table: its header, its records in windows, and the rows that they become."""

from collections.abc import Sequence
from itertools import chain

from batch.classifier import Predictions
from batch.dialect import Dialect
from batch.records import Record, RecordReader
from batch.source import Source, reading
from batch.table import encode_field, read_header


class CsvTable:
    """Reads a CSV source and writes its rows: a record's own bytes, then our columns.

    Another format is another class with these methods and attributes.

    Attributes:
        text_name: the text column, as a message names it.
        settings: option -> value, what a run that goes on must have in common.
        offset, line: where the next record stands.
        blank_lines: skipped since the reading began, or was begun again.
    """

    def __init__(
        self,
        source: Source,
        dialect: Dialect,
        text_column: str | None,
        columns: tuple[str, ...],
        labels: Sequence[str],
    ):
        """
        Raises:
            InputError: no header, or no text column; see ``read_header``.
        """
        self._source, self._dialect, self._columns = source, dialect, columns
        self._reader = RecordReader(source.stream(), dialect)
        with reading(source.name):
            self._bom = self._reader.bom
            self._header = read_header(source.name, self._reader, text_column, columns)
        self._labels = {label: encode_field(label, dialect) for label in labels}
        # A last line without an end gets the header's.
        self._line_end = self._header.record.line_end or b"\n"
        self.text_name = self._header.names[self._header.text_column].strip()
        self.settings = {
            "--delimiter": dialect.delimiter.decode("latin-1"),
            "--text-column": self._header.names[self._header.text_column],
            "--columns": ",".join(columns),
        }

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
        header = self._header
        self._reader = RecordReader(
            self._source.stream(offset), self._dialect, offset=offset, line=line,
            columns=len(header.names), text_column=header.text_column,
        )  # fmt: skip

    def read(self, n: int) -> list[Record]:
        """The next ``n`` records, fewer only at the end.

        Raises:
            InputError: the input was cut while it is read.
            StorageError: it can no longer be read.
        """
        records: list[Record] = []
        with reading(self._source.name):  # which gives what it has before it raises
            while len(records) < n and (more := self._reader.read_records(n - len(records))):
                records += more
        return records

    def header(self) -> bytes:
        names = [name.encode("ascii") for name in self._columns]
        first = self._dialect.delimiter.join([self._header.record.raw, *names])
        return self._bom + first + self._line_end

    def rows(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """The output rows of good records."""
        raws = [record.raw for record in records]
        ends = [record.line_end or self._line_end for record in records]
        rows = zip(raws, *self._cells(predictions), ends, strict=True)
        return b"".join(chain.from_iterable(rows))

    def _cells(self, predictions: Predictions) -> list[list[bytes]]:
        """Our columns, each cell with the delimiter before it."""
        mark = self._dialect.delimiter
        score, count = (mark.replace(b"%", b"%%") + form for form in (b"%.6f", b"%d"))
        labels = {label: mark + field for label, field in self._labels.items()}
        cut = {False: mark + b"false", True: mark + b"true"}
        make = {
            "label": lambda: [labels[label] for label in predictions.labels],
            "score": lambda: [score % value for value in predictions.scores.tolist()],
            "tokens": lambda: [count % value for value in predictions.tokens.tolist()],
            "truncated": lambda: [cut[flag] for flag in predictions.truncated.tolist()],
        }
        return [make[name]() for name in self._columns]

    @staticmethod
    def finish(part):
        """The file to publish, made of the part file that holds all rows: for CSV, that file."""
        return part
