"""Properties of the record reader: bytes conserved, tables returned, one answer whatever the reads.

``read_plainly`` is a second reader, a byte at a time and with no regard for cost; ours must
find the same records in anything. The csv module is the judge of tables that it wrote.
Cost is counted in bytes scanned, not by the clock.
"""

import csv
import io
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from batch.reading.dialect import Dialect
from batch.reading.record import Record
from batch.reading.records import UTF8_BOM, RecordReader

ESCAPED = Dialect(escape=b"\\")
UNQUOTED = Dialect(quote=None, escape=b"\\")
DIALECTS = [
    Dialect(),
    Dialect(b"\t"),
    Dialect(b";", b"'"),
    ESCAPED,
    UNQUOTED,
    Dialect(quote=None),
    Dialect(b"|", b"^", b"-"),  # each special in a regular expression
]
BREAK = re.compile(rb"\r\n|\r|\n")


class Trickle(io.RawIOBase):
    """A stream whose reads are short: 1, 2, 3, 1, 2, 3, ... bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.step = data, 0, 0

    def read(self, n: int = -1) -> bytes:
        self.step = self.step % 3 + 1
        chunk = self.data[self.at : self.at + min(n, self.step)]
        self.at += len(chunk)
        return chunk


def read_one(data, at, dialect, columns, longest):
    """The end and the fields of the good record at ``at``, or None."""
    start, fields = at, []
    while True:
        value = b""
        if dialect.quote and data[at : at + 1] == dialect.quote:
            opened = at = at + 1
            while True:
                byte, after = data[at : at + 1], data[at + 1 : at + 2]
                if not byte or (byte == dialect.escape and not after):
                    return None
                if byte == dialect.quote and after != dialect.quote:
                    break
                pair = byte in (dialect.quote, dialect.escape)
                value += after if pair else byte
                at += 2 if pair else 1
            if is_swallowing(data[: start + longest], opened, at, len(fields), dialect, columns):
                return None
            at += 1
        else:
            while (byte := data[at : at + 1]) and byte not in (dialect.delimiter, b"\r", b"\n"):
                if byte == dialect.quote:
                    return None
                if byte == dialect.escape:
                    byte = data[at + 1 : at + 3]
                    byte = byte if byte == b"\r\n" else byte[:1]
                    if not byte or (dialect.quote and byte[0] in b"\r\n"):
                        return None
                    at += 1
                value += byte
                at += len(byte)
        fields.append(value)
        byte = data[at : at + 1]
        if byte in (b"", b"\r", b"\n"):
            good = columns in (None, len(fields)) and at - start <= longest
            return (at, fields) if good else None
        if byte != dialect.delimiter:
            return None
        at += 1


def is_swallowing(data, opened, closed, fields, dialect, columns):
    """True if the quoted field is lines that are records, were its two quotes text."""
    if columns is None or columns < 2 or dialect.trusts_quotes:
        return False
    first, *inner = BREAK.split(data[opened:closed])
    last = (inner.pop() if inner else b"") + BREAK.split(data[closed:])[0]
    is_record = fields + 1 + first.count(dialect.delimiter) == columns
    is_record = is_record and last.count(dialect.delimiter) + 1 == columns
    enough = len(inner) >= ({2: 5, 3: 4}.get(columns, 3) if is_record else 16)
    return enough and all(read_one(line, 0, dialect, columns, 1 << 30) for line in inner)


def read_plainly(data, dialect, columns, longest):
    """(offset, line, size, line end, fields or None) of each record, and the blank lines."""
    at, line, blanks, records = 3 * data.startswith(UTF8_BOM), 1, 0, []
    while at < len(data):
        found = BREAK.search(data, at)
        end, fields = found.start() if found else len(data), None
        if end == at and columns != 1:
            at, line, blanks = found.end(), line + 1, blanks + 1
            continue
        if end - at <= longest and (good := read_one(data, at, dialect, columns, longest)):
            end, fields = good
        ending = BREAK.match(data, end)
        line_end = ending.group() if ending else b""
        records.append((at, line, end - at, line_end, fields))
        at, line = end + len(line_end), line + len(BREAK.findall(data[at:end])) + 1
    return records, blanks


def assert_conserved(data: bytes, reader: RecordReader, records: list[Record]) -> None:
    """Every byte is the mark's, a record's own, or of a blank line that was counted."""
    at, gaps = len(reader.bom), []
    for record in records:
        gaps.append(data[at : record.offset])
        size = len(record.raw)
        if record.problem and (long := re.match(r"is (\d+) bytes long", record.problem)):
            size = int(long[1])
        assert data[record.offset : record.offset + size].startswith(record.raw)
        at = record.offset + size + len(record.line_end)
        assert data[record.offset + size : at] == record.line_end
    gaps.append(data[at:])
    assert data[: len(reader.bom)] == reader.bom
    assert not b"".join(gaps).strip(b"\r\n")
    assert reader.blank_lines == sum(len(BREAK.findall(gap)) for gap in gaps)
    assert reader.offset == len(data)


messy = st.lists(
    st.sampled_from(
        [b"a", b"bc", b",", b'"', b'""', b"\n", b"\r",
         b"\r\n", b"\\", b"\\\n", b"\0", b"\xff", b" "]
    )
    | st.sampled_from([UTF8_BOM, b"a,b\n", b'a,"b\n', b'"x\ny",', b"a,a\na,a\na,a\n"]),
    max_size=30,
).map(b"".join)  # fmt: skip


def translate(data: bytes, dialect: Dialect) -> bytes:
    """The same mess with the dialect's own special bytes."""
    ours = dialect.delimiter + (dialect.quote or b'"') + (dialect.escape or b"\\")
    return data.translate(bytes.maketrans(b',"\\', ours))


@given(
    messy | st.binary(max_size=60),
    st.sampled_from(DIALECTS),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([1 << 20, 1, 5, 12]),
    st.sampled_from([1, 2, 3, 7, 64, 1 << 20]),
)
@example(b'a,"b\na,b\na,b\na,b\n"', Dialect(), 2, 1 << 20, 1)
@example(b"\xef\xbb\xbf\r", Dialect(), None, 1 << 20, 1)
def test_anything_is_read_as_the_plain_reader_does(data, dialect, columns, longest, block_size):
    data = translate(data, dialect)
    expected, blanks = read_plainly(data, dialect, columns, longest)
    problems = None
    for stream in (io.BytesIO(data), Trickle(data)):
        text_column = None if columns is None else columns - 1
        reader = RecordReader(
            stream,
            dialect,
            block_size=block_size,
            columns=columns,
            text_column=text_column,
            max_record_bytes=longest,
        )
        records = []
        while some := reader.read_records(3):
            records += some
        fields = [None if record.problem else record.fields for record in records]
        found = zip(records, fields, strict=True)
        assert (
            [(r.offset, r.line, r.line_end, values) for r, values in found]
            == [(r.offset, r.line, r.line_end, f) for r, f in zip(records, fields, strict=True)]
            == [(offset, line, line_end, fields) for offset, line, _, line_end, fields in expected]
        )
        assert reader.blank_lines == blanks
        assert_conserved(data, reader, records)
        for record, values in zip(records, fields, strict=True):
            good = values is not None and text_column is not None
            assert record.text == (values[text_column] if good else None)
        problems = problems or [record.problem for record in records]
        assert problems == [record.problem for record in records]


@given(messy, st.sampled_from(DIALECTS), st.sampled_from([None, 1, 2]), st.sampled_from([5, 999]))
def test_block_size_changes_nothing(data, dialect, columns, longest):
    data = translate(data, dialect)

    def read(block_size: int) -> list[Record]:
        reader = RecordReader(
            io.BytesIO(data),
            dialect,
            block_size=block_size,
            columns=columns,
            max_record_bytes=longest,
        )
        return list(reader)

    whole = read(1 << 20)
    for block_size in (1, 2, 3, 5, 8, 13, 64):
        assert read(block_size) == whole


@given(messy, st.sampled_from(DIALECTS), st.sampled_from([None, 1, 2]), st.integers(1, 9))
def test_a_reader_started_where_another_stopped_goes_on_alike(data, dialect, columns, n):
    data = translate(data, dialect)
    first = RecordReader(io.BytesIO(data), dialect, columns=columns, block_size=16)
    before = first.read_records(n)
    assume(len(before) == n)
    second = RecordReader(
        io.BytesIO(data[first.offset :]),
        dialect,
        columns=columns,
        offset=first.offset,
        line=first.line,
    )
    assert list(second) == list(first)
    assert second.offset == first.offset == len(data)


cells = st.text(st.sampled_from("ab ,;\t\"'\r\n\0é\u2028\\"), max_size=8)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), max_size=12)
)


@given(
    tables,
    st.sampled_from([(",", '"'), (";", "'"), ("\t", '"')]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from([None, "\\"]),
    st.sampled_from([1, 5, 1 << 18]),
)
def test_tables_written_by_the_csv_module_come_back(
    table, special, line_end, quoting, escape, block_size
):
    delimiter, quote = special
    # csv.writer before 3.11.9 leaves a CR or LF bare that is not part of the line end.
    if quoting == csv.QUOTE_MINIMAL:
        other = {"\n": "\r", "\r": "\n"}.get(line_end, "")
        table = [[cell.replace(other, " ") if other else cell for cell in row] for row in table]
    buffer = io.StringIO(newline="")
    csv.writer(
        buffer,
        delimiter=delimiter,
        quotechar=quote,
        quoting=quoting,
        lineterminator=line_end,
        escapechar=escape,
        doublequote=escape is None,
    ).writerows(table)
    data = buffer.getvalue().encode()
    dialect = Dialect(delimiter.encode(), quote.encode(), escape and escape.encode())
    # No width, so that a message of whole records is not taken for an unclosed quote.
    reader = RecordReader(io.BytesIO(data), dialect, block_size=block_size)
    records = list(reader)
    theirs = [[cell.encode() for cell in row] for row in table]
    assert [record.problem for record in records] == [None] * len(theirs)
    assert [record.fields for record in records] == theirs
    assert b"".join(record.raw + record.line_end for record in records) == data


@given(
    st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=8),
    st.sampled_from([b'x,"y', b'"', b'x"y,z', b'x,"y"z', b"x", b"x,y,z", b'"x,y', b'x,"y,""z""']),
    st.integers(0, 8),
)
def test_a_bad_line_costs_no_neighbour(rows, bad, where):
    # Without line breaks and with quotes around: each row is one line and begins with a quote.
    lines = [
        b",".join(
            b'"%b"' % re.sub(rb"[\r\n]", b" ", cell.encode()).replace(b'"', b'""') for cell in row
        )
        for row in rows
    ]
    where = min(where, len(lines))
    data = b"\n".join([*lines[:where], bad, *lines[where:]]) + b"\n"
    records = list(RecordReader(io.BytesIO(data), columns=2))
    neighbours = [record for record in records if record.line != where + 1]
    # A quote opened on the bad line may find one to close it only on the next line, where text,
    # or nothing else, follows: a record of two fields, as in `x,"y` + `"",""`, is a good one.
    if all(record.raw in (bad, *lines) for record in records):
        assert [record.raw for record in neighbours] == lines
        assert not any(record.problem for record in neighbours)
        assert [r.problem is not None for r in records if r.line == where + 1] == [True]
    else:
        assert bad.count(b'"') % 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_split_of_a_good_record_is_the_plain_readers(dialect):
    raw = translate(b'a,,"b,""c""",d', dialect) if dialect.quote else translate(b"a,,b", dialect)
    assert dialect.split(raw) == read_one(raw, 0, dialect, None, 99)[1]


LINES = 5_000
FEW = {"max_record_bytes": 4096}


@pytest.mark.parametrize(
    ("data", "options", "bad"),
    [
        (b'1,"abc\n' * 100_000, {}, 100_000),  # each closed, and broken, by the next
        (b'1,"a""b\n' * LINES, {}, LINES),
        ((b'1,"abc\n' + b"2,def\n" * 999) * 100, {}, 100),  # one in a thousand
        ((b'1,"abc\n' + b'2,"def"\n' * 999) * 100, {}, 100),
        ((b'1,"abc\n' + b"2,def\n" * 99 + b'3,x"\n') * 200, {}, 400),  # lines swallowed
        (b'1,"abc\n' + b"2,def\n" * LINES, {}, 1),
        (b'1,"abc\n' + b"2,def\n" * LINES, FEW, 1),
        (b'"\n' * LINES, {}, LINES),
        (b'"""\n' * LINES, {}, LINES),
        (b'",x,\n' * LINES, {}, LINES),
        (b'"\n' + b'"",\n' * LINES, {}, 1),  # every line runs on, whichever way it is read
        (b'"' * 1_000_000, {}, 1),
        (b'a,"' + b'""b' * 300_000, {}, 1),
        (b'"",' * LINES, {}, 1),
        (b'1,"abc\\"\\\n' * LINES, {"dialect": ESCAPED}, LINES),
        (b'",abc\\\n,",abc\\\n' * LINES, {"dialect": ESCAPED, "columns": None}, 2 * LINES),
        (b"x\\\n" * LINES, {"dialect": UNQUOTED}, LINES),  # a chain to the end of the file
        (b"x\\\n" * LINES, {"dialect": UNQUOTED, **FEW}, LINES),
        (b"x\\\r" * LINES + b",,,", {"dialect": UNQUOTED}, LINES + 1),
    ],
)
@pytest.mark.parametrize("block_size", [512, 1 << 18])
def test_hostile_input_is_read_in_linear_time(data, options, bad, block_size):
    reader = RecordReader(io.BytesIO(data), block_size=block_size, **{"columns": 2, **options})
    problems = 0
    while records := reader.read_records(1000):
        problems += sum(record.problem is not None for record in records)
    assert problems == bad
    assert reader.bytes_scanned < 7 * len(data)
