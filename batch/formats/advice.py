"""What to type when a CSV input is not as it is read: an option, or a command that mends it.

Each piece of advice is tried on the first lines of the input before it is given. No sentence
here shows a value of the input.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from batch.errors import InputError
from batch.formats.layout import Layout
from batch.formats.preamble import Preamble
from batch.messages import TEXT_NAMES, count, look_like_names, show
from batch.reading.dialect import Dialect, count_lines
from batch.reading.foreign import make_command
from batch.reading.record import Record
from batch.reading.records import UTF8_BOM, RecordReader

HEAD_BYTES = 64 << 10  # of the input, in which advice is tried
SAMPLE = 100  # records after the header that show its width
LEAST_SAMPLE = 2  # of them
_SHELL = {b",": ",", b";": "';'", b"\t": "'\\t'", b"|": "'|'"}  # delimiters, as a shell takes them
_NUL = "it has NUL bytes, as a file has after a crash or on a full disk; to leave them out"
_CTRL_Z = "it has the byte 1A (Ctrl-Z), by which DOS ends a file; to leave it out"
# What psql and mysql print for a person: a line of dashes under the header, and a number of rows.
_DRAWN = re.compile(rb"^[-+|: ]*---[-+|: ]*\r?\n", re.MULTILINE)
_FOOT = re.compile(rb"^(?:\([0-9]+ rows?\)|[0-9]+ rows? in set.*)\r?(?:\n|\Z)", re.MULTILINE)
_NO_FOOT = r"/^([0-9]* rows*)\r*$/d; /^[0-9]* rows* in set/d"
_NO_FRAME = r"/^[-+|: ]*---[-+|: ]*\r*$/d; s/^ *| *//; s/^ *//; s/ *|\r*$//; s/ *| */|/g"


def read_again(data: bytes, dialect: Dialect, columns: int | None = None) -> list[Record]:
    """The records of ``data``, all of which is in memory."""
    longest = len(data) + 1
    stream = io.BytesIO(data)
    return list(RecordReader(stream, dialect, columns=columns, max_record_bytes=longest))


class CsvAdvice:
    """Advice for one CSV input.

    Args:
        name: of the input.
        head: its first :data:`HEAD_BYTES`; fewer if it is shorter.
        dialect: by which it is read.
        layout: likewise.
        wanted: the text column as the user named it, or None.
        preamble: what stands above ``head``.
        has_no_header_option: the command takes ``--no-header``.
    """

    def __init__(
        self,
        name: str,
        head: bytes,
        dialect: Dialect,
        layout: Layout,
        wanted: str | None,
        preamble: Preamble | None = None,
        has_no_header_option: bool = True,
    ):
        if len(head) >= HEAD_BYTES:  # whole lines only
            head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1]
        self._name, self._head, self._dialect = name, head.removeprefix(UTF8_BOM), dialect
        self._layout, self._wanted = layout, wanted
        self._above = 1 if preamble and preamble.raw else 0  # lines above the head
        self._has_sep = preamble is not None and preamble.has_sep
        self._has_no_header_option = has_no_header_option

    def for_record(self, record: Record, columns: int | None = None) -> str | None:
        """What to type so that a bad record is good; None if nothing was found.

        Args:
            columns: how many fields a good record has; None if the bad one is the first.
        """
        if len(record.raw) > HEAD_BYTES:
            return None
        data, line = self._head, record.line - self._above
        if line > count_lines(data):
            data = data if data.endswith((b"\n", b"\r")) else data + b"\n"
            line = count_lines(data) + 1
            data += record.raw + b"\n"
        least, best = _count_bad(read_again(data, self._dialect, columns)), None
        for advice, mended, dialect in self._try_all(data):
            width = _find_width(mended, dialect)
            same_delimiter = dialect.delimiter == self._dialect.delimiter
            if width < 2 or (same_delimiter and columns not in (None, width)):
                continue
            if not same_delimiter and not self._has_text_column(mended, dialect):
                continue
            found = read_again(mended, dialect, width)
            if _count_bad(found) < least and _is_good(found, line):
                least, best = _count_bad(found), advice
        return best

    def for_header(self, names: Sequence[str]) -> str | None:
        """Why the first record has no text column, and what to type; None if it is not clear."""
        dialect, layout, lines = self._dialect, self._layout, self._head.splitlines() or [b""]
        if layout.has_header and len(names) == 1 and self._is_quoted_whole(lines[0]):
            return self._unquote_lines()
        tries = chain(
            self._try_drawn(self._head),
            self._try_delimiters(self._head),
            self._try_repairs(self._head),
        )
        # Without a header any table has a column of some number: it must read better than as it is.
        is_any = not layout.has_header and self._wanted is None
        bad = _count_bad(read_again(self._head, dialect, len(names)))
        for advice, data, other in tries:
            records = read_again(data, other)
            width = len(records[0].fields) if records and not records[0].problem else 0
            same = [r for r in records if not r.problem and len(r.fields) == width]
            if width < 2 or 2 * len(same) < len(records):
                continue
            if is_any and _count_bad(read_again(data, other, width)) >= bad:
                continue
            is_split = layout.has_header and len(names) == 1 and other != dialect
            if is_split or self._has_text_column(data, other):
                return advice
        if not layout.has_header:
            return None
        if later := self._advise_later_header():
            return f"line {self._above + 1} does not name the columns; {later}"
        if not look_like_names(names) and self._has_no_header_option:
            first = f"line {self._above + 1}"
            why = f"{first} looks like a record, not like the names of the columns"
            return f"{why}; type: --no-header{self._guess_column(read_again(self._head, dialect))}"
        return None

    def check_width(self, columns: int) -> None:
        """Refuse a first record whose width is that of none of the records after it.

        Raises:
            InputError: all of the next :data:`SAMPLE` records have another width.
        """
        dialect, lines = self._dialect, self._head.splitlines()
        if columns == 1 and lines[LEAST_SAMPLE:] and all(map(self._is_quoted_whole, lines)):
            inner = [line[1:-1].replace(b'""', b'"') for line in lines]
            records = read_again(b"\n".join(inner), dialect)
            if len({0 if r.problem else len(r.fields) for r in records}) == 1:
                raise InputError(f"{self._name}: {self._unquote_lines()}")
        if any(not r.problem for r in read_again(self._head, dialect, columns)[1 : SAMPLE + 1]):
            return
        records = [r for r in read_again(self._head, dialect)[1 : SAMPLE + 1] if not r.problem]
        if len(records) < LEAST_SAMPLE:
            return
        widths = Counter(len(record.fields) for record in records)
        (theirs, often), *others = widths.most_common()
        has = f"{often:,} of them have" if others else "they have"
        raise InputError(
            f"{self._name}: line {self._above + 1} has {count(columns, 'field')}, unlike all of "
            f"the next {len(records):,} records; {has} {theirs}; "
            f"{self._advise_width(records, columns, theirs)}"
        )

    def _advise_width(self, records: Sequence[Record], columns: int, theirs: int) -> str:
        """What to type where line 1 has ``columns`` fields and the records have ``theirs``."""
        if advice := self.for_record(records[0], columns):
            return advice
        if self._layout.has_header and (later := self._advise_later_header()):
            return later
        if repair := self._repair_header(records, columns, theirs):
            return repair
        command = self._leave_out(records[0].line)
        without = ""
        if self._has_no_header_option:
            column = self._guess_column([r for r in records if len(r.fields) == theirs])
            without = f", and then --no-header{column}"
        return f"to leave out line {self._above + 1}, type: {command}{without}"

    def _repair_header(self, records: Sequence[Record], columns: int, theirs: int) -> str | None:
        """The command for a header that lacks one name, or ends with a delimiter too many."""
        mark, at = _SHELL.get(self._dialect.delimiter, "").strip("'"), self._above + 1
        if not (self._layout.has_header and mark):
            return None
        same = [record.fields for record in records if len(record.fields) == theirs]
        if theirs == columns + 1 and not any(fields[-1] for fields in same):
            why = f"each record ends with a delimiter, and line {at} does not"
            command = rf"sed '{at}s/\(\r*\)$/{mark}\1/'"
        elif theirs == columns - 1 and self._head.splitlines()[0].endswith(mark.encode()):
            why = f"line {at} ends with a delimiter, and the records do not"
            command = rf"sed '{at}s/{mark}\(\r*\)$/\1/'"
        else:
            return None
        return f"{why}; type: {make_command(command, self._name)}"

    def _unquote_lines(self) -> str:
        command = r"""sed 's/^"//; s/"\(\r*\)$/\1/; s/""/"/g'"""
        return "each line stands in quotes as a whole; type: " + make_command(command, self._name)

    def _is_quoted_whole(self, line: bytes) -> bool:
        quote = self._dialect.quote
        return line[:1] == line[-1:] == quote == b'"' and self._dialect.delimiter in line

    def _advise_later_header(self) -> str | None:
        """The command for an input whose header has other lines above it."""
        records = read_again(self._head, self._dialect)[: SAMPLE + 1]
        for record, following in zip(records[1:], [*records[2:], None], strict=False):
            if record.problem or (following and following.problem):
                continue
            names = [self._layout.encoding.decode(field) for field in record.fields]
            if following and len(following.fields) != len(names):
                continue
            if look_like_names(names) and self._is_wanted(names, by_number=False):
                command = self._leave_out(record.line)
                return f"line {record.line + self._above} does; type: {command}"
        return None

    def _leave_out(self, line: int) -> str:
        """The command for the input without the lines of the head before ``line``."""
        if self._above:
            return make_command(f"sed {self._above + 1},{self._above + line - 1}d", self._name)
        return make_command(f"tail -n +{line}", self._name)

    def _guess_column(self, records: Sequence[Record]) -> str:
        """``--text-column`` with the number of the column that has the most words."""
        good = [record.fields for record in records if not record.problem]
        width = len(good[0]) if good else 1
        rows = [fields for fields in good if len(fields) == width]
        if width == 1:
            return ""
        words = [sum(len(fields[at].split()) for fields in rows) for at in range(width)]
        return f" --text-column {words.index(max(words)) + 1}"

    def _try_all(self, data: bytes) -> Iterator[tuple[str, bytes, Dialect]]:
        """Advice, and data and dialect if it were followed."""
        dialect = self._dialect
        yield from self._try_drawn(data)
        yield from self._try_delimiters(data)
        if dialect.quote == b'"':
            if not self._has_real_quotes(data):
                unquoted = replace(dialect, quote=None)
                yield "if quotes are text, type: --no-quote", data, unquoted
            if dialect.escape is None and b'\\"' in data:
                escaped = replace(dialect, escape=b"\\")
                yield "a backslash stands before a quote; type: --escape '\\'", data, escaped
            if dialect.escape is None and re.search(rb"\\[\r\n]", data):
                why = "a backslash stands before a line break; type: --escape '\\' --no-quote"
                yield why, data, replace(dialect, escape=b"\\", quote=None)
        elif dialect.quote is None and dialect.escape is None:
            why = "a backslash stands before a line break or a delimiter; type: --escape '\\'"
            yield why, data, replace(dialect, escape=b"\\")
        if dialect.escape:
            yield "leave out --escape", data, replace(dialect, escape=None)
        yield from self._try_repairs(data)

    def _try_delimiters(self, data: bytes) -> Iterator[tuple[str, bytes, Dialect]]:
        for mark, typed in ({} if self._has_sep else _SHELL).items():
            if mark not in (self._dialect.delimiter + self._dialect.specials) and mark in data:
                why = f"the delimiter {show(mark.decode())} fits; type: --delimiter {typed}"
                yield why, data, replace(self._dialect, delimiter=mark)

    def _try_drawn(self, data: bytes) -> Iterator[tuple[str, bytes, Dialect]]:
        if self._layout.encoding.is_transcoded or self._above:
            return
        inner = _FOOT.sub(b"", data)
        if _DRAWN.search(data):
            command = make_command(f"sed '{_NO_FOOT}; {_NO_FRAME}'", self._name)
            why = f"it is a table drawn for a person; type: {command}, and then --delimiter '|'"
            inner = re.sub(rb"(?m)^ *\|? *| *\|\r*$", b"", _DRAWN.sub(b"", inner))
            inner = re.sub(rb" *\| *", b"|", inner)
            yield f"{why} --no-quote", inner, replace(self._dialect, delimiter=b"|", quote=None)
        elif inner != data:
            command = make_command(f"sed '{_NO_FOOT}'", self._name)
            yield f"a line tells the number of rows; type: {command}", inner, self._dialect

    def _try_repairs(self, data: bytes) -> Iterator[tuple[str, bytes, Dialect]]:
        dialect, codec = self._dialect, self._layout.encoding
        if codec.name == "utf-8" and b"\n" + UTF8_BOM in data:
            command = make_command(r"sed 's/^\xEF\xBB\xBF//'", self._name)
            why = "a byte order mark stands before a line, as in files joined with cat"
            yield f"{why}; type: {command}", data.replace(b"\n" + UTF8_BOM, b"\n"), dialect
        if dialect.quote != b'"' or codec.is_transcoded:
            return
        for byte, escaped, what in ((b"\0", "000", _NUL), (b"\x1a", "032", _CTRL_Z)):
            if byte in data:
                command = make_command(rf"tr -d '\{escaped}' <", self._name)
                yield f"{what}, type: {command}", data.replace(byte, b""), dialect
        if codec.name == "utf-8" and "“".encode() in data:
            command = make_command("""sed 's/“/"/g; s/”/"/g'""", self._name)
            why = f"the fields stand in curly quotes, which CSV does not know; type: {command}"
            yield why, re.sub("“|”".encode(), b'"', data), dialect
        mark = dialect.delimiter
        mended = re.sub(re.escape(mark) + b' *"', mark + b'"', data)  # as sed does it
        # Not where sed would also change a message, inside a quoted field.
        if mark in _SHELL and data != mended == _close_up(data, mark):
            shown = "\\t" if mark == b"\t" else mark.decode()
            command = make_command(f"""sed 's/{shown} *"/{shown}"/g'""", self._name)
            yield (
                f"a space stands between a delimiter and a quote; type: {command}",
                mended,
                dialect,
            )

    def _has_real_quotes(self, data: bytes) -> bool:
        """True if most records that have quotes have them around whole fields."""
        with_quotes = [raw for raw in data.splitlines() if b'"' in raw]
        mark = re.escape(self._dialect.delimiter)
        whole = re.compile(b'(?:^|%b)"[^"]*"(?=%b|$)' % (mark, mark))
        real = [raw for raw in with_quotes if not whole.sub(b"", raw).count(b'"')]
        return 2 * len(real) > len(with_quotes)

    def _has_text_column(self, data: bytes, dialect: Dialect) -> bool:
        first = next(iter(read_again(data, dialect)), None)
        if first is None or first.problem:
            return False
        names = [self._layout.encoding.decode(field) for field in first.fields]
        return self._is_wanted(names)

    def _is_wanted(self, names: Sequence[str], by_number: bool = True) -> bool:
        """True if one of the columns is the one asked for, or has a usual name."""
        wanted = self._wanted
        if not self._layout.has_header:
            return wanted is None or (wanted.isdecimal() and 1 <= int(wanted) <= len(names))
        if wanted is None or (not by_number and wanted.isdecimal()):
            return any(name.strip().lower() in TEXT_NAMES for name in names)
        return wanted in names or (
            by_number and wanted.isdecimal() and 1 <= int(wanted) <= len(names)
        )


def _close_up(data: bytes, mark: bytes) -> bytes:
    """Without the spaces between a delimiter and a field in quotes; no field is changed inside."""
    field, mark = b'("[^"]*(?:""[^"]*)*")', re.escape(mark)
    fields = re.compile(rb"((?:\A|[\r\n])%b)|(%b) *%b" % (field, mark, field))
    return fields.sub(lambda found: found[1] or found[3] + found[4], data)


def _find_width(data: bytes, dialect: Dialect) -> int:
    first = next(iter(read_again(data, dialect)), None)
    return 0 if first is None or first.problem else len(first.fields)


def _count_bad(records: Sequence[Record]) -> int:
    return sum(record.problem is not None for record in records)


def _is_good(records: Sequence[Record], line: int) -> bool:
    """True if the record that has the line is good."""
    holding = [record for record in records if record.line <= line]
    return bool(holding) and holding[-1].problem is None
