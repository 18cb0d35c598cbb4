"""Read the records of a CSV stream, byte for byte and strictly.

``batch/reading/dialect.py`` has the rules for a good record. A bad record is one physical line;
the next record begins on the next line, so a bad record never makes its neighbours bad.

Blank lines (no byte before the line end) are not records: they are skipped and counted. Only
where one column is expected, a blank line is a record with one empty field. Whitespace, NUL
bytes and bytes that are not valid UTF-8 are text like any other. The result does not depend on
``block_size`` or on how many bytes the stream returns at a time.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate, count, repeat
from operator import add

from batch.reading.byte_stream import ByteStream, read_some
from batch.reading.dialect import LINE_BREAK, Dialect, count_lines, find_line_ends
from batch.reading.grammar import RecordGrammar
from batch.reading.record import Record, make_record

UTF8_BOM = b"\xef\xbb\xbf"
WINDOW_BYTES = 32 * 1024  # of lines that are parsed in one step if all of them are simple
KEPT_OF_LONG_LINE = 4096  # bytes of an over-long line that its record keeps, at most


class RecordReader:
    """Iterates over the records of a binary stream.

    >>> import io
    >>> reader = RecordReader(io.BytesIO(b'id,text\\n1,"a, b"\\n2,c,d\\n'))
    >>> reader.expect(columns=len(next(reader).fields), text_column=1)
    >>> [(record.line, record.text, record.problem) for record in reader]
    [(2, b'a, b', None), (3, None, 'has 3 fields, expected 2')]

    It holds a few blocks in memory, and up to four times ``max_record_bytes`` for long records.

    Args:
        stream: the bytes.
        dialect: the special bytes.
        block_size: bytes asked of the stream at a time.
        columns: how many fields a record must have; None if any number is good.
        text_column: 0-based index of the field that ``Record.text`` holds; needs ``columns``.
        max_record_bytes: a longer record is bad. Its line end does not count.
        offset: of the first byte of ``stream`` in the whole input; a byte order mark may be at 0.
        line: number of the physical line that starts at ``offset``.

    Attributes:
        blank_lines: how many blank lines were skipped before the next record.

    Raises:
        ValueError: a size, column, offset or line is out of range.
    """

    def __init__(
        self,
        stream: ByteStream,
        dialect: Dialect | None = None,
        *,
        block_size: int = 1 << 18,
        columns: int | None = None,
        text_column: int | None = None,
        max_record_bytes: int = 64 * 1024 * 1024,
        offset: int = 0,
        line: int = 1,
    ) -> None:
        if min(block_size, max_record_bytes, line) < 1 or offset < 0:
            raise ValueError(
                "block_size, max_record_bytes and line must be at least 1, and offset 0, "
                f"not {block_size}, {max_record_bytes}, {line} and {offset}"
            )
        self.dialect, self.max_record_bytes = dialect or Dialect(), max_record_bytes
        self._kept = min(KEPT_OF_LONG_LINE, max_record_bytes)
        self.blank_lines = 0
        self._stream, self._block_size = stream, block_size
        self._data, self._pos = b"", 0  # bytes read, and how many of them were parsed
        self._base, self._line = offset, line  # offset of _data[0], line number at _pos
        self._at_eof = False
        self._error: Exception | None = None  # of the stream; raised after the records before it
        self._bom: bytes | None = None if offset == 0 else b""
        self._pending: list[Record] = []  # parsed from _data, blank lines included
        self._next = 0  # index in _pending
        self._blanks_pending = False
        self._scanned = 0
        self._grammar = RecordGrammar(self.dialect, None, None, max_record_bytes)
        self.expect(columns, text_column)

    def expect(self, columns: int | None, text_column: int | None = None) -> None:
        """Set ``columns`` and ``text_column`` for the next record and those after it.

        Raises:
            ValueError: fewer than one column, or a text column that is not one of them.
        """
        if columns is not None and columns < 1:
            raise ValueError(f"columns must be at least 1, not {columns}")
        if text_column is not None and not 0 <= text_column < (columns or 0):
            raise ValueError(f"text_column must be below columns ({columns}), not {text_column}")
        if self._next < len(self._pending):  # parsed by the old rules, so it is parsed again
            first = self._pending[self._next]
            self._pos, self._line = first.offset - self._base, first.line
            assert self._pos >= 0, "an over-long line is not kept"
        self._pending, self._next = [], 0
        self._scanned += self._grammar.bytes_scanned
        self._columns, self._text_column = columns, text_column
        self._grammar = RecordGrammar(self.dialect, columns, text_column, self.max_record_bytes)

    @property
    def bom(self) -> bytes:
        """The UTF-8 byte order mark, which is not part of the first record, or ``b""``."""
        if self._bom is None:
            while len(self._data) < len(UTF8_BOM) and self._fill():
                pass
            self._bom = UTF8_BOM if self._data.startswith(UTF8_BOM) else b""
            self._pos = len(self._bom)
        return self._bom

    @property
    def offset(self) -> int:
        """Offset in the stream of the next record; another reader can start there."""
        if self._next < len(self._pending):
            return self._pending[self._next].offset
        return self._base + self._pos

    @property
    def line(self) -> int:
        """Number of the physical line that starts at ``offset``."""
        return self._pending[self._next].line if self._next < len(self._pending) else self._line

    @property
    def bytes_scanned(self) -> int:
        """How many bytes were looked at or moved so far; each counts as often as that was done."""
        return self._scanned + self._grammar.bytes_scanned

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        for record in self.read_records(1):
            return record
        raise StopIteration

    def read_records(self, n: int) -> list[Record]:
        """The next ``n`` records; fewer only before the end or an error of the stream, then none.

        Raises:
            Exception: what ``stream.read`` raised, after the records before it were returned.
            BlockingIOError: the stream is non-blocking and has no bytes yet.
        """
        records: list[Record] = []
        while len(records) < n and (self._next < len(self._pending) or self._parse()):
            if self._blanks_pending:
                record = self._pending[self._next]
                self._next += 1
                if record.raw:
                    records.append(record)
                else:
                    self.blank_lines += 1
            else:
                taken = self._pending[self._next : self._next + n - len(records)]
                self._next += len(taken)
                records += taken
        if not records and n > 0 and self._error:
            raise self._error
        return records

    def peek(self) -> Record | None:
        """The next record, which stays the next one, or None; raises as :meth:`read_records`."""
        records = self.read_records(1)
        self._next -= len(records)
        return records[0] if records else None

    def _fill(self) -> bool:
        """Read until the unparsed part, which is copied, has doubled; False if nothing is added."""
        chunks = [self._data[self._pos :]]
        unparsed, added = len(chunks[0]), 0
        wanted = max(1, min(unparsed, self.max_record_bytes))
        self._scanned += unparsed
        while added < wanted and not (self._at_eof or self._error):
            try:
                chunk = read_some(self._stream, self._block_size)
            except Exception as error:
                self._error = error
            else:
                self._at_eof = not chunk
                chunks.append(chunk)
                added += len(chunk)
        self._base += self._pos
        self._data, self._pos = b"".join(chunks), 0
        return added > 0

    def _is_decided(self, found: re.Match[bytes]) -> bool:
        """False for a CR at the end of what was read, since its LF may follow."""
        return found.group() != b"\r" or found.end() < len(self._data) or self._at_eof

    def _parse(self) -> bool:
        """Make records pending; False at the end of the stream, or at its error."""
        self._pending, self._next, self._blanks_pending = [], 0, False
        _ = self.bom  # is read before the first record, and is not part of it
        while True:
            end = self._find_window()
            if end is not None:
                self._parse_window(end)
                if self._pending:
                    return True
            elif self._is_over_long():
                return self._skip_long_line()
            if not self._fill() and (self._error or self._pos == len(self._data)):
                return False

    def _find_window(self) -> int | None:
        """End of a window: the whole physical lines that come next. None to read more first."""
        data, start = self._data, self._pos
        end = min(len(data), start + WINDOW_BYTES)
        self._scanned += end - start
        while (last := max(data.rfind(b"\n", start, end), data.rfind(b"\r", start, end))) >= 0:
            found = LINE_BREAK.match(data, last)
            if found and self._is_decided(found):
                return found.end()
            end = last
        found = LINE_BREAK.search(data, end)
        self._scanned += (found.end() if found else len(data)) - end
        if found and self._is_decided(found):
            return found.end()
        return len(data) if self._at_eof and len(data) > start else None

    def _parse_window(self, end: int) -> None:
        window = self._data[self._pos : end]
        raws = window.splitlines()  # bytes split at LF, CRLF and CR, and at nothing else
        ends = find_line_ends(window, raws)
        lengths = map(add, map(len, raws), map(len, ends))
        starts = list(accumulate(lengths, initial=self._base + self._pos))
        self._blanks_pending = self._columns != 1 and b"" in raws
        find = self._find_plain_texts if self.dialect.is_plain(window) else self._find_texts
        texts = find(raws) if max(map(len, raws)) <= self.max_record_bytes else None
        if texts is None:
            self._parse_lines(raws, ends, starts)
        else:
            rest = (texts, repeat(None), repeat(self.dialect))
            rows = zip(raws, ends, count(self._line), starts, *rest)
            self._pending = list(map(make_record, rows))
            self._pos, self._line = end, self._line + len(raws)

    def _find_plain_texts(self, raws: list[bytes]) -> Iterable[bytes | None] | None:
        """The texts of lines without a quote or escape, or None if a line's width is wrong."""
        columns, text, delimiter = self._columns, self._text_column, self.dialect.delimiter
        if columns is not None and {raw.count(delimiter) for raw in raws} != {columns - 1}:
            return None
        if text is None:
            return repeat(None)
        return [raw.split(delimiter, text + 1)[text] for raw in raws]

    def _find_texts(self, raws: list[bytes]) -> Iterable[bytes | None] | None:
        """The texts of lines, or None if one of them is not a whole record."""
        matches = self._grammar.match_lines(raws)
        if matches is None or self._text_column is None:
            return None if matches is None else repeat(None)
        return self.dialect.values([match[1] for match in matches])

    def _parse_lines(self, raws: list[bytes], ends: list[bytes], starts: list[int]) -> None:
        """Make records pending, line by line, where some are long, blank or bad."""
        dialect, grammar, text_column = self.dialect, self._grammar, self._text_column
        next_start, next_line = starts[0], self._line
        for line, raw, line_end, start in zip(count(self._line), raws, ends, starts):
            if start < next_start:
                continue  # part of the record that the last attempt found
            problem = text = None
            next_start, next_line = start + len(raw) + len(line_end), line + 1
            if len(raw) > self.max_record_bytes:
                problem = _describe_long(len(raw), self.max_record_bytes)
                raw = raw[: self._kept]
            elif dialect.is_plain(raw):
                fields = raw.count(dialect.delimiter) + 1
                if raw or self._columns == 1:  # not a blank line
                    problem = grammar.find_width_problem(fields, line, line)
                    if text_column is not None and not problem:
                        text = raw.split(dialect.delimiter, text_column + 1)[text_column]
            elif match := grammar.match_line(raw):
                if text_column is not None:
                    text = dialect.value(match[1])
            else:
                index = start - self._base
                found = grammar.attempt(self._data, index, line, self._at_eof, self._base)
                if found is None:
                    next_start, next_line = start, line
                    break
                problem, match = found.problem, found.match
                if not problem:
                    raw = self._data[index : found.end]
                    ending = LINE_BREAK.match(self._data, found.end)
                    line_end = ending.group() if ending else b""
                    next_start = start + len(raw) + len(line_end)
                    next_line = line + 1 + count_lines(raw)
                    if text_column is not None:
                        text = dialect.value(match[1]) if match else dialect.split(raw)[text_column]
            self._pending.append(make_record((raw, line_end, line, start, text, problem, dialect)))
        self._pos, self._line = next_start - self._base, next_line

    def _is_over_long(self) -> bool:
        stop = self._pos + self.max_record_bytes + 1
        return len(self._data) >= stop and not LINE_BREAK.search(self._data, self._pos, stop)

    def _skip_long_line(self) -> bool:
        """Read an over-long line to its end, and make its start pending as a bad record."""
        start, length = self._base + self._pos, 0
        raw = self._data[self._pos : self._pos + self._kept]
        while True:
            found = LINE_BREAK.search(self._data, self._pos)
            end = found.start() if found else len(self._data)
            self._scanned += end - self._pos
            length += end - self._pos
            self._pos = end
            if (found and self._is_decided(found)) or self._at_eof:
                break
            if not self._fill() and self._error:
                self._data, self._base, self._pos = b"", start, 0
                return False
        line_end = found.group() if found else b""
        problem = _describe_long(length, self.max_record_bytes)
        self._pending = [Record(raw, line_end, self._line, start, None, problem, self.dialect)]
        self._pos, self._line = self._pos + len(line_end), self._line + 1
        return True


def _describe_long(length: int, longest: int) -> str:
    return f"is {length} bytes long, at most {longest} are allowed"
