"""A table that is read and written as text: what CSV and JSON Lines share."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from batch.formats.layout import Layout
from batch.formats.text_choice import SAMPLE
from batch.reading.codepage import UNDO_TWICE, CheckedStream
from batch.reading.dialect import Dialect
from batch.reading.foreign import make_command
from batch.reading.input_stream import InputStream
from batch.reading.record import Record
from batch.reading.records import RecordReader
from batch.reading.source import Source, reading

SAMPLE_BYTES = 64 * 1024  # of the start of an input, by which its text column is chosen
MOST_SAMPLE_BYTES = 16 * 1024 * 1024  # where the first records are longer


def sample_records(stream: InputStream, dialect: Dialect, longest: int) -> list[Record]:
    """The first good records of a stream that nothing was read of; it loses no byte.

    Args:
        longest: bytes of a record, at most.

    Returns:
        a header and :data:`SAMPLE` records, at most.
    """
    size = SAMPLE_BYTES
    while True:
        head = stream.peek(size)
        records = RecordReader(io.BytesIO(head), dialect, max_record_bytes=longest).read_records(
            SAMPLE + 1
        )
        if len(head) == size and records:  # the last one may be cut off
            last = records[-1]
            if last.offset + len(last.raw) + len(last.line_end) >= size:
                records.pop()
        if len(head) < size or len(records) > 1 or size >= MOST_SAMPLE_BYTES:
            return [record for record in records if not record.problem]
        size *= 4


class TextTable:
    """A :class:`Table` that is read as text; its rows are written in the encoding of the input.

    Every piece of a compressed output is one whole member. A decompressor joins the members, so
    a run that resumes where a piece ends writes the same bytes.

    Args:
        source: the opened input.
        layout: how it is laid out.
        dialect: its special bytes.
        compress: makes one compressed member of a piece; None: the output is not compressed.

    Attributes:
        dialect: of the records; a line above the header may have changed the delimiter.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        source: Source,
        layout: Layout,
        dialect: Dialect,
        compress: Callable[[bytes], bytes] | None = None,
    ):
        self._source, self._layout, self.dialect = source, layout, dialect
        self._compress = compress
        self._open(0, 1)

    def _open(self, offset: int, line: int) -> None:
        encoding = self._layout.encoding
        self._stream = InputStream(self._source.name, self._source.stream, encoding, offset)
        self._utf8 = CheckedStream(self._stream) if encoding.name == "utf-8" else None
        self._read_from(offset, line)

    def _read_from(self, offset: int, line: int) -> None:
        longest, stream = self._layout.max_record_bytes, self._utf8 or self._stream
        self._reader = RecordReader(
            stream, self.dialect, max_record_bytes=longest, offset=offset, line=line
        )

    def _sample(self) -> list[Record]:
        return sample_records(self._stream, self.dialect, self._layout.max_record_bytes)

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
        """See :meth:`Table.go_to`."""
        self._open(offset, line)

    def read(self, n: int) -> list[Record]:
        """See :meth:`Table.read`."""
        with reading(self._source.name):
            return self._reader.read_records(n)

    def read_again(self, raw: bytes, bad: Record) -> Record:
        """What a bad record is once its bytes are ``raw``; still bad unless they are one record."""
        reader, longest = self._reader, self._layout.max_record_bytes
        self._reader = RecordReader(
            io.BytesIO(raw), self.dialect, max_record_bytes=longest, offset=bad.offset,
            line=bad.line,
        )  # fmt: skip
        try:
            self._expect()
            found = self.read(2)
        finally:
            self._reader = reader
        if len(found) == 1:
            return found[0]._replace(line_end=bad.line_end)
        problem = "is more than one record" if found else "is empty"
        return bad._replace(raw=raw, text=None, problem=problem)

    def _expect(self) -> None:
        """Tell a new reader what a record must have: nothing that it knows by itself."""

    def advise(self, record: Record) -> str | None:
        """Nothing, unless the format knows better; see :meth:`Table.advise`."""

    def warnings(self) -> list[str]:
        """See :meth:`Table.warnings`."""
        undo = make_command(UNDO_TWICE, self._source.name)
        return self._utf8.warnings(self._advise_cp1252(), undo) if self._utf8 else []

    def _advise_cp1252(self) -> str:
        return "--encoding cp1252"

    def repeated_headers(self, records: Sequence[Record]) -> list[Record]:
        """None: without a header no record repeats it."""
        return []

    def pack(self, data: bytes) -> bytes:
        """Whole rows as they stand in the output: encoded and compressed."""
        data = self._stream.restore(data)
        return self._compress(data) if self._compress and data else data

    @staticmethod
    def finish(part: Path) -> Path:
        """The part file itself, which is the whole output."""
        return part
