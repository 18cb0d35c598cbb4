"""One strict attempt to read a CSV record; batch/reading/dialect.py has the rules.

A failed attempt may have looked far ahead, and the whole file still takes linear time. If a
byte is inside quotes when its line starts outside quotes, it is outside when its line starts
inside, and the other way round. So two attempts can both run past the end of a line only if the
later one began on the line where the earlier one ended: no line is read more than twice.
"""

import re
from typing import NamedTuple, cast

from batch.reading.dialect import LINE_BREAK, Dialect, byte_class, count_lines, find_closing_quote

_CR, _LF = b"\r\n"
# One pattern reads a line up to this length; beyond, re's backtracking stack could grow with it.
_PATTERN_BYTES = 4096
# How many lines of a message must look like records before its quotes are taken for stray ones.
# With few fields, lines look like records by chance more often, so more of them are needed.
_LEAST_INNER_LINES = {2: 5, 3: 4}
_LEAST_OF_WIDE = 3
_MANY_INNER_LINES = 16  # enough, whatever the first and the last line look like


class Attempt(NamedTuple):
    """How far an attempt got in the data: the record's end, or where its ``problem`` is."""

    end: int
    problem: str | None
    match: re.Match[bytes] | None = None  # group 1 is the text's field


class _View(NamedTuple):
    """The data that one attempt reads, and the bounds within which it reads."""

    data: bytes
    start: int  # of the record
    line: int  # number of the physical line that begins at start
    at_eof: bool  # nothing follows data
    limit: int  # start and the longest record
    reach: int  # limit or the end of data: the record's own bytes stand before it

    def place(self, index: int) -> str:
        """Where ``data[index]`` is, in words."""
        data, start = self.data, self.start
        first = max(data.rfind(b"\n", start, index), data.rfind(b"\r", start, index), start - 1)
        return f"byte {index - first} of line {self.line + count_lines(data, start, index)}"


class RecordGrammar:
    """What a good record is, and how to read one.

    Args:
        dialect: the special bytes.
        columns: how many fields a record must have; None if any number is good.
        text_column: 0-based index of the field that the matches capture; needs ``columns``.
        max_bytes: of the longest record, its line end apart.

    Attributes:
        bytes_scanned: by all attempts and their checks, each byte as often as it was read.
    """

    def __init__(
        self, dialect: Dialect, columns: int | None, text_column: int | None, max_bytes: int
    ) -> None:
        self.dialect, self.columns, self.max_bytes = dialect, columns, max_bytes
        self.bytes_scanned = 0
        self._quote = dialect.quote or b""
        self._delimiter_shown = repr(dialect.delimiter.decode("latin-1"))
        self._next_special = re.compile(byte_class(b"\r\n" + dialect.specials)).search
        self._pattern = re.compile(_record_pattern(dialect, columns, text_column))
        self._least_inner = _LEAST_INNER_LINES.get(columns or 0, _LEAST_OF_WIDE)
        # What a failed attempt leaves for the next one: the offset where that begins, the offset
        # from which it must read, and the number of fields and of lines up to there.
        self._chain = (-1, -1, 0, 0)

    def match_line(self, raw: bytes) -> re.Match[bytes] | None:
        """A match if a line of ordinary length is a whole record; group 1 is the text's field."""
        return self._pattern.fullmatch(raw) if len(raw) <= _PATTERN_BYTES else None

    def match_lines(self, raws: list[bytes]) -> list[re.Match[bytes]] | None:
        """:meth:`match_line` of each, or None if one of them has no match."""
        if max(map(len, raws)) > _PATTERN_BYTES:
            return None
        matches = list(map(self._pattern.fullmatch, raws))
        return None if None in matches else cast("list[re.Match[bytes]]", matches)

    def find_width_problem(self, fields: int, first_line: int, last_line: int) -> str | None:
        """What is wrong with a record of so many fields, or ``None``."""
        if self.columns is None or fields == self.columns:
            return None
        lines = f" over lines {first_line} to {last_line}" if last_line > first_line else ""
        return f"has {fields} field{'' if fields == 1 else 's'}{lines}, expected {self.columns}"

    def attempt(
        self, data: bytes, start: int, line: int, at_eof: bool, base: int
    ) -> Attempt | None:
        """Read one record at ``data[start]``, the start of physical line ``line``.

        The answer does not depend on how much of the stream has been read, as the attempt looks
        at ``max_bytes`` and the byte after them at most. None if it needs more of the stream.

        Args:
            base: offset of ``data`` in the stream.
        """
        if self.dialect.quote is None:
            result = self._walk_unquoted(data, start, line, at_eof, base)
        else:
            result = self._match_lines(data, start) or self._walk_quoted(data, start, line, at_eof)
            self.bytes_scanned += (result.end if result else len(data)) - start
        undecided = result and not at_eof and data[result.end : result.end + 2] == b"\r"
        return None if undecided else result  # the LF of the CR may follow

    def _match_lines(self, data: bytes, start: int) -> Attempt | None:
        """A good record of a few short lines, at a tenth of the cost of walking over it."""
        match = self._pattern.match(data, start, start + min(self.max_bytes, _PATTERN_BYTES))
        self.bytes_scanned += match.end() - start if match else 0
        if match is None or match.end() + 1 >= len(data) or data[match.end()] not in (_CR, _LF):
            return None
        if count_lines(data, start, match.end()) > self._least_inner:
            return None  # _walk_quoted looks whether two stray quotes made it
        return Attempt(match.end(), None, match)

    def _walk_quoted(self, data: bytes, start: int, line: int, at_eof: bool) -> Attempt | None:
        """Read a record from one special byte to the next, in a dialect with quotes."""
        (delimiter,), (quote,) = self.dialect.delimiter, self._quote
        limit = start + self.max_bytes
        view = _View(data, start, line, at_eof, limit, min(limit, len(data)))
        fields, at, at_field_start = 1, start, True
        while True:
            if at_field_start and at < view.reach and data[at] == quote:
                stop = self._read_quoted_field(view, at, fields)
            else:
                stop = self._read_bare(view, at)
                if isinstance(stop, int):
                    fields += data.count(self.dialect.delimiter, at, stop)
            if not isinstance(stop, int):
                return stop
            if stop == len(data) or data[stop] in (_CR, _LF):
                break
            if data[stop] == delimiter:
                fields, at = fields + 1, stop + 1
            elif data[stop] == quote:
                at, at_field_start = stop, True
            else:  # the escape, and the byte that it escapes
                at, at_field_start = stop + 2, False
        last_line = line + count_lines(data, start, stop)
        return Attempt(stop, self.find_width_problem(fields, line, last_line))

    def _read_quoted_field(self, view: _View, at: int, fields: int) -> int | Attempt | None:
        """Read field number ``fields``, whose opening quote is at ``at``.

        Returns:
            The index behind its closing quote, where a delimiter, a line break or the end of the
            input stands; or what is wrong; or None to read on.
        """
        data, place = view.data, view.place
        close = find_closing_quote(data, at + 1, view.reach, self._quote, self.dialect.escape)
        end = close + 1
        if close >= 0 and end == len(data) and not view.at_eof:
            return None  # the next byte may double it
        if close < 0 or data.startswith(self._quote, end):
            if len(data) > view.limit:
                within = f"not closed within {self.max_bytes} bytes"
                return Attempt(view.reach, f"quote opened at {place(at)} is {within}")
            if not view.at_eof:
                return None
            return Attempt(view.reach, f"quote opened at {place(at)} is never closed")
        if end < len(data) and data[end] not in (self.dialect.delimiter[0], _CR, _LF):
            return Attempt(
                end,
                f"quote opened at {place(at)} is closed at {place(close)}, where text "
                f"follows it, expected {self._delimiter_shown} or the end of the line",
            )
        inner = self._count_swallowed(view, at, close, fields)
        if inner:
            return Attempt(
                end,
                f"quote opened at {place(at)} is closed at {place(close)}, but all "
                f"{inner} lines between are whole records of {self.columns} fields, "
                "so it is taken as never closed (--trust-quotes takes it as one field)",
            )
        return end if inner == 0 else None

    def _read_bare(self, view: _View, at: int) -> int | Attempt | None:
        """Read from ``at``, outside quotes, to the next byte that is neither text nor delimiter.

        Returns:
            The index of a line break, of a quote that opens a field or of an escape, or the end
            of the input; or what is wrong; or None to read on.
        """
        data, limit = view.data, view.limit
        found = self._next_special(data, at, limit + 1)
        end = found.start() if found else view.reach
        at_end = found is None or data[end] in (_CR, _LF)
        if len(data) > limit and (found is None or (end == limit and not at_end)):
            return Attempt(view.reach, self._too_long())
        if found is None and not view.at_eof:
            return None
        if at_end:
            return end
        if data[end] == self._quote[0]:
            if end == at or data[end - 1] != self.dialect.delimiter[0]:
                return Attempt(
                    end,
                    f"quote at {view.place(end)} stands inside a field that does not begin with "
                    "one, expected the field in quotes and the quote doubled",
                )
            return end
        if end + 1 == len(data):
            return Attempt(end, _ESCAPE_AT_END) if view.at_eof else None
        if data[end + 1] in (_CR, _LF):
            return Attempt(
                end,
                f"escape at {view.place(end)} stands before a line break outside quotes, which "
                "only a dialect without quotes allows",
            )
        return end

    def _walk_unquoted(
        self, data: bytes, start: int, line: int, at_eof: bool, base: int
    ) -> Attempt | None:
        # After a failure, lines chained by escaped line breaks are attempted again from each of
        # them. The next attempt continues where this one stopped, so they are scanned once.
        delimiter, limit = self.dialect.delimiter, start + self.max_bytes
        at, fields, last_line = start, 1, line
        if self._chain[0] == base + start:
            at, fields, last_line = self._chain[1] - base, *self._chain[2:]
        begun = at
        problem: str | None
        while True:
            found = self._next_special(data, at, limit + 1)
            end = found.start() if found else min(limit, len(data))
            at_end = found is None or data[end] in (_CR, _LF)
            if len(data) > limit and (found is None or (end + 1 >= limit and not at_end)):
                problem = self._too_long()
                break
            if not at_eof and (found is None or (end + 2 >= len(data) and not at_end)):
                return None  # the escaped byte, or the LF of an escaped CRLF, may be missing
            fields += data.count(delimiter, at, end)
            at = end
            if at_end:
                problem = self.find_width_problem(fields, line, last_line)
                break
            if end + 1 == len(data):
                problem = _ESCAPE_AT_END
                break
            escaped = LINE_BREAK.match(data, end + 1)
            last_line += escaped is not None
            at = escaped.end() if escaped else end + 2
        self.bytes_scanned += end - begun
        first_break = LINE_BREAK.search(data, start, at) if problem else None
        if first_break:
            head = data[start : first_break.end()]
            dropped = self.dialect.drop_escaped(head).count(delimiter)
            self._chain = (base + first_break.end(), base + at, fields - dropped, last_line)
        return Attempt(end, problem)

    def _count_swallowed(self, view: _View, start: int, close: int, fields: int) -> int | None:
        """How many whole records lie between two quotes, if those are stray; else 0.

        The quotes are at ``start`` and ``close``, and enclose field number ``fields``.
        None if the answer depends on more of the stream.
        """
        if self.dialect.trusts_quotes or (self.columns or 0) < 2:
            return 0
        data, delimiter, inner, first = view.data, self.dialect.delimiter, -1, start
        for found in LINE_BREAK.finditer(data, start, close):
            if inner < 0:
                begins = fields + data.count(delimiter, start, found.start()) == self.columns
            elif not self._is_whole(data[first : found.start()]):
                self.bytes_scanned += found.end() - start
                return 0
            inner, first = inner + 1, found.end()
        self.bytes_scanned += close - start
        if inner >= _MANY_INNER_LINES:
            return inner
        if inner < self._least_inner or not begins:
            return 0
        last = LINE_BREAK.search(data, close, view.reach)
        if last is None and view.reach == len(data) and not view.at_eof:
            return None
        end = last.start() if last else view.reach
        self.bytes_scanned += end - close
        return inner if data.count(delimiter, first, end) + 1 == self.columns else 0

    def _is_whole(self, line: bytes) -> bool:
        if self.dialect.is_plain(line):
            return line.count(self.dialect.delimiter) + 1 == self.columns
        if len(line) <= _PATTERN_BYTES:
            return self._pattern.fullmatch(line) is not None
        result = self._walk_quoted(line, 0, 1, True)
        return result is not None and result.problem is None

    def _too_long(self) -> str:
        return f"continues over line breaks to more than {self.max_bytes} bytes"


_ESCAPE_AT_END = "escape is the last byte of the input, expected a byte after it"


def _record_pattern(dialect: Dialect, columns: int | None, text_column: int | None) -> bytes:
    """A pattern of one record. It never backtracks, as no field can match in two ways."""
    escape, delimiter = re.escape(dialect.escape or b""), re.escape(dialect.delimiter)
    inside = b"[^" + re.escape(dialect.specials) + b"]*+"
    bare = b"[^\\r\\n" + re.escape(dialect.delimiter + dialect.specials) + b"]*+"
    one = bare + (b"(?:" + escape + b"[^\\r\\n]" + bare + b")*+" if escape else b"")
    if dialect.quote:
        quote = re.escape(dialect.quote)
        pair = quote * 2 + (b"|" + escape + b"." if escape else b"")
        one = quote + inside + b"(?:(?:" + pair + b")" + inside + b")*+" + quote + b"|" + one
    one = b"(?:" + one + b")"
    if columns is None:
        return b"(?s)%b(?:%b%b)*" % (one, delimiter, one)
    before = text_column or 0
    text = b"(?:%b%b){%d}(%b)" % (one, delimiter, before, one)
    return b"(?s)%b(?:%b%b){%d}" % (text, delimiter, one, columns - before - 1)
