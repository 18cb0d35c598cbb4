"""Parquet as a table: the output has the input's columns and schema, and ours behind them.

While messages are labelled, only the text column is read. The part file holds our values as
text, one line for each labelled row, with the number of the row. At the end the output is made
of the input and the part file, a slice of rows at a time. So a run can resume although a Parquet
file cannot be continued.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from batch.errors import BrokenInputError, InputError
from batch.formats.columns import check_column_names, encode_texts, format_columns, kind_of
from batch.formats.input import Input
from batch.formats.layout import PARQUET
from batch.formats.parquet_types import (
    BYTES,
    STRINGS,
    holds,
    make_decode_command,
    make_undo_command,
    refuse_type,
)
from batch.formats.text_choice import SAMPLE, find_text_column
from batch.messages import show
from batch.model.decision import Predictions
from batch.reading.codepage import Utf8Check
from batch.reading.dialect import Dialect
from batch.reading.record import Record
from batch.reading.source import BinaryFile
from batch.writing.atomic import create_file

SLICE_ROWS = 1 << 16  # rows of a row group that we write, at most
SLICE_BYTES = 32 << 20  # bytes of it, at most, by the sizes in the input's metadata
_NO_DIALECT = Dialect()  # a record must have one; only CSV uses it
CODECS = ("NONE", "SNAPPY", "GZIP", "BROTLI", "LZ4", "ZSTD")


class ParquetTable:
    """The rows of a Parquet file; :class:`Table` describes the methods.

    Of a record, ``line`` is the number of its row, from 1; ``offset`` is that number less 1;
    ``raw`` is the text alone.

    Args:
        file: open for reading, and seekable.
        input_: what the user says of it.
        columns: names of our columns.
        labels: all that may stand in them.

    Raises:
        InputError: the file is not Parquet, has no text column of strings, or has one of our
            columns already.
    """

    format = PARQUET
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        file: BinaryFile,
        input_: Input,
        columns: tuple[str, ...],
        labels: Sequence[str],
    ):
        name, text_column, overwrite = input_.name, input_.text_column, input_.layout.overwrite
        self._name, self._columns = name, columns
        numbers = count()
        self._numbers = encode_texts(columns, labels, lambda _: b"%d" % next(numbers))
        self.offset, self.blank_lines = 0, 0
        self._values: dict[int, list[str | None]] = {}  # of other columns, by their number
        from pyarrow import parquet

        with self._reading():
            self._file = parquet.ParquetFile(file, page_checksum_verification=True)
        names = self._file.schema_arrow.names
        choice = find_text_column(name, names, text_column, self._sample)
        self.choice_warnings, self._may_show = choice.warnings, choice.may_show
        at, self.text_key = choice.column, names[choice.column]
        self.text_name = self.text_in_output = self.text_key
        self._shown = show(self.text_key)
        if not choice.may_show:
            self.text_name = self._shown = f"column {at + 1} of {len(names)}"
            self.text_in_output = str(at + 1 - sum(other in columns for other in names[:at]))
        if names.count(self.text_key) > 1:
            called = self._shown if choice.may_show else f"as {self._shown}"
            raise InputError(f"{name}: more than one column is called {called}")
        check_column_names(name, names, self.text_key, columns, overwrite)
        self._check_type()
        self.size = self._file.metadata.num_rows
        self.go_to(0, 1)

    @property
    def line(self) -> int:
        return self.offset + 1

    def _holds_strings(self, at: int) -> bool:
        """True if a column holds strings or bytes."""
        return holds(self._file.schema_arrow.field(at).type, STRINGS + BYTES)

    def _sample(self, at: int) -> list[str]:
        """The first values of a column; none if they are no strings."""
        import pyarrow

        name = self._file.schema_arrow.names[at]
        if not self._holds_strings(at) or not self._file.metadata.num_rows:
            return []
        with self._reading():
            batch = next(self._file.iter_batches(SAMPLE, columns=[name], use_threads=False))
            same = [i for i, other in enumerate(self._file.schema_arrow.names) if other == name]
            column = batch.column(same.index(at))
            if pyarrow.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            values = column.cast(pyarrow.large_binary()).to_pylist()
        return [value.decode("utf-8", "replace") for value in values if value is not None]

    def _check_type(self) -> None:
        """Refuse a text column that holds neither strings nor bytes."""
        found = self._file.schema_arrow.field(self._file.schema_arrow.names.index(self.text_key))
        self._utf8 = Utf8Check()
        if not holds(found.type, STRINGS + BYTES):
            key = self.text_key if self._may_show else None
            refuse_type(self._name, self._shown.removeprefix("column "), found.type, key)

    def go_to(self, offset: int, line: int) -> None:
        """See :meth:`Table.go_to`; whole row groups before that row are not read."""
        metadata, first, start = self._file.metadata, 0, 0
        while first < metadata.num_row_groups:
            rows = metadata.row_group(first).num_rows
            if start + rows > offset:
                break
            first, start = first + 1, start + rows
        self._texts = self._read_texts(range(first, metadata.num_row_groups))
        self._batch: list[bytes | None] = []
        self._next = 0
        self.offset = start
        while self.offset < offset and (records := self.read(offset - self.offset)):
            del records

    def _read_texts(self, row_groups: range) -> Iterator[list[bytes | None]]:
        import pyarrow

        with self._reading():
            for batch in self._file.iter_batches(
                self._slice_rows(), row_groups, [self.text_key], use_threads=False
            ):
                column = batch.column(batch.schema.names.index(self.text_key))
                if pyarrow.types.is_dictionary(column.type):
                    column = column.dictionary_decode()
                # As binary, since a column of strings may hold bytes that are not valid UTF-8.
                yield column.cast(pyarrow.large_binary()).to_pylist()

    def read(self, n: int) -> list[Record]:
        """The next ``n`` records; fewer only at the end.

        Raises:
            InputError: the file is damaged.
        """
        records: list[Record] = []
        while len(records) < n:
            if self._next == len(self._batch):
                self._batch, self._next = next(self._texts, []), 0
                if not self._batch:
                    break
            texts = self._batch[self._next : self._next + n - len(records)]
            self._next += len(texts)
            for row, text in enumerate(texts, self.offset):
                problem = f"has null as its {self._shown}" if text is None else None
                record = Record(text or b"", b"", row + 1, row, text, problem, _NO_DIALECT)
                records.append(record)
            self.offset += len(texts)
        self._utf8.look_at(records)
        return records

    def advise(self, record: Record) -> str | None:
        """Nothing: a row is bad only because its text is null."""

    def warnings(self) -> list[str]:
        """See :meth:`Table.warnings`."""
        key = self.text_key if self._may_show else None
        undo = make_undo_command(self._name, key)
        return self._utf8.warnings(make_decode_command(self._name, key), undo, "row")

    @property
    def column_names(self) -> list[str]:
        return self._file.schema_arrow.names

    def values(self, records: Sequence[Record], column: int) -> list[str | None]:
        """See :meth:`Table.values`. The whole column is read at the first call."""
        if column not in self._values:
            with self._reading():
                found = self._file.read([self.column_names[column]]).column(0).to_pylist()
            self._values[column] = [None if value is None else str(value) for value in found]
        return [self._values[column][record.offset] for record in records]

    def repeated_headers(self, records: Sequence[Record]) -> list[Record]:
        """None: without a header no record repeats it."""
        return []

    def header(self) -> bytes:
        """Nothing: the part file holds rows only."""
        return b""

    def own_bytes(self, record: Record) -> bytes:
        """The text alone: the other columns are not read while messages are labelled."""
        return record.raw

    def rows(self, records: Sequence[Record], predictions: Predictions) -> bytes:
        """Lines of the part file for N good records: the row's offset, then our values.

        A label or a reason is stored as its number in ``_numbers``, as ``b"17,1,0.987654"``.
        """
        values = zip(*format_columns(self._columns, predictions, self._numbers), strict=True)
        return b"".join(
            b"%d,%b\n" % (record.offset, b",".join(row))
            for record, row in zip(records, values, strict=True)
        )

    def _slice_rows(self) -> int:
        metadata = self._file.metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        size = sum(group.total_byte_size for group in groups)
        return max(1, min(SLICE_ROWS, SLICE_BYTES * self.size // max(size, 1)))

    def finish(self, part: Path) -> Path:
        """Write the output beside the part file and sync it.

        Raises:
            InputError: the input is damaged.
            OSError: the output cannot be written.
        """
        from pyarrow import parquet

        output = part.with_name(part.name.removesuffix(".part") + ".whole.part")
        output.unlink(missing_ok=True)  # of a killed run
        kept = [
            i for i, name in enumerate(self._file.schema_arrow.names) if name not in self._columns
        ]
        schema = self._make_schema(kept)
        try:
            # Buffered, since pyarrow does not check how much an unbuffered file has written.
            with open(part, "rb") as lines, io.BufferedWriter(create_file(output, 0o666)) as file:
                cells = (line.rstrip(b"\n").split(b",") for line in lines)
                with parquet.ParquetWriter(
                    file, schema, compression=self._find_codec(), write_page_checksum=True
                ) as writer:
                    for batch in self._label_slices(kept, schema, cells):
                        writer.write_batch(batch)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            output.unlink(missing_ok=True)
            raise
        return output

    def _make_schema(self, kept: list[int]) -> Any:
        import pyarrow

        kinds = {
            "label": pyarrow.string(),
            "score": pyarrow.float64(),
            "probability": pyarrow.float64(),
            "tokens": pyarrow.int64(),
            "truncated": pyarrow.bool_(),
            "reason": pyarrow.string(),
            "stage": pyarrow.string(),
        }
        before = self._file.schema_arrow
        fields = [before.field(index) for index in kept]
        added = [pyarrow.field(name, kinds[kind_of(name)]) for name in self._columns]
        return pyarrow.schema([*fields, *added], before.metadata)

    def _find_codec(self) -> str:
        """The compression of the input if pyarrow can write it, else Snappy."""
        metadata = self._file.metadata
        if metadata.num_row_groups and metadata.num_columns:
            found = metadata.row_group(0).column(0).compression.replace("UNCOMPRESSED", "NONE")
            return found if found in CODECS else "SNAPPY"
        return "SNAPPY"

    def _label_slices(
        self, kept: list[int], schema: Any, lines: Iterator[list[bytes]]
    ) -> Iterator[Any]:
        """The labelled rows of the input with our values, a record batch at a time.

        Args:
            kept: indexes of the input's columns that the output has.
            schema: of the output.
            lines: of the part file, split into cells.
        """
        import pyarrow

        texts = list(self._numbers)
        parse: dict[str, Callable[[bytes], object]] = {
            "label": lambda cell: texts[int(cell)],
            "score": float,
            "probability": float,
            "tokens": int,
            "truncated": lambda cell: cell == b"true",
            "reason": lambda cell: texts[int(cell)],
            "stage": lambda cell: texts[int(cell)],
        }
        start, line = 0, next(lines, None)
        slices = self._file.iter_batches(self._slice_rows(), use_threads=False)
        while (batch := self._next_slice(slices)) is not None:
            stop = start + batch.num_rows
            cells: list[list[bytes]] = []
            while line is not None and int(line[0]) < stop:
                cells.append(line)
                line = next(lines, None)
            rows = [int(cell[0]) - start for cell in cells]
            if len(rows) < batch.num_rows:
                batch = batch.take(pyarrow.array(rows, pyarrow.int64()))
            added = [
                pyarrow.array(
                    [parse[kind_of(name)](cell[number]) for cell in cells], schema.field(name).type
                )
                for number, name in enumerate(self._columns, 1)
            ]
            arrays = [*(batch.column(index) for index in kept), *added]
            yield pyarrow.RecordBatch.from_arrays(arrays, schema=schema)
            start = stop

    def _next_slice(self, slices: Iterator[Any]) -> Any:
        with self._reading():
            return next(slices, None)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what pyarrow raises for a damaged file into a BrokenInputError."""
        from pyarrow import ArrowException

        try:
            yield
        except (ArrowException, OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            problem = "is not Parquet, or is damaged or cut off"
            raise BrokenInputError(f"{self._name}: {problem}") from None
