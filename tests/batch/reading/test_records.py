"""The record reader: good records, the whole text of each problem, odd streams, linear cost."""

import io
from pathlib import Path

import pytest

from batch.reading.dialect import Dialect
from batch.reading.record import Record
from batch.reading.records import UTF8_BOM, RecordReader

DATA = Path(__file__).parents[2] / "data"
DUMP = Dialect(b"\t", quote=None, escape=b"\\")
ESCAPED = Dialect(escape=b"\\")


def read(data: bytes, dialect: Dialect | None = None, **options) -> list[Record]:
    return list(RecordReader(io.BytesIO(data), dialect, **options))


def read_file(name: str, dialect: Dialect | None = None) -> list[Record]:
    with open(DATA / name, "rb") as stream:
        reader = RecordReader(stream, dialect, block_size=7)
        header = next(reader)
        reader.expect(len(header.fields), text_column=1)
        return [header, *reader]


def find_problems(records: list[Record]) -> list[tuple[int, str]]:
    return [(record.line, record.problem) for record in records if record.problem]


def test_stray_quotes_cost_their_own_line_only():
    records = read_file("stray_quotes.csv")
    assert find_problems(records) == [
        (
            3,
            "quote opened at byte 3 of line 3 is closed at byte 12 of line 3, where text follows "
            "it, expected ',' or the end of the line",
        ),
        (
            5,
            "quote at byte 11 of line 5 stands inside a field that does not begin with one, "
            "expected the field in quotes and the quote doubled",
        ),
        (
            6,
            "quote opened at byte 3 of line 6 is closed at byte 10 of line 6, where text follows "
            "it, expected ',' or the end of the line",
        ),
        (7, "has 3 fields, expected 2"),
        (8, "has 1 field, expected 2"),
        (9, "quote opened at byte 3 of line 9 is never closed"),
    ]
    texts = [record.text for record in records if record.text]
    assert texts == [b"fine", b"fine too", b"fine as well"]
    bad = [record for record in records if record.problem]
    assert len(bad) == 6
    for record in bad:
        with pytest.raises(ValueError) as error:
            _ = record.fields
        assert str(error.value) == f"a bad record has no fields: it {record.problem}"


def test_line_ends_may_be_mixed_and_stand_inside_quotes():
    with open(DATA / "mixed_line_ends.csv", "rb") as stream:
        reader = RecordReader(stream, Dialect(b";"), block_size=1)
        assert reader.bom == b"\xef\xbb\xbf"
        records = [next(reader)]
        reader.expect(2, text_column=1)
        records += reader
    assert [(r.line, r.offset, r.raw, r.line_end) for r in records] == [
        (1, 3, b"id;message", b"\r\n"),
        (2, 15, b"1;LF next", b"\n"),
        (3, 25, b"2;CR next", b"\r"),
        (4, 35, b'3;"CR\rand LF\nand CRLF\r\ninside"', b"\r\n"),
        (10, 70, b" ", b"\n"),
        (11, 72, b"4;no line end", b""),
    ]
    assert records[3].text == b"CR\rand LF\nand CRLF\r\ninside"
    assert find_problems(records) == [(10, "has 1 field, expected 2")]
    assert reader.blank_lines == 2


def test_a_dump_without_quotes_may_escape_line_breaks():
    records = read_file("escaped_dump.tsv", DUMP)
    assert [record.text for record in records if not record.problem] == [
        None,  # the header, read before the text column was known
        b"a line\nand another\\",
        b"a tab:\t.",
        b'a "quote" is text',
        b"so lines 5 and 6 have too many fields",
    ]
    assert find_problems(records) == [(6, "has 3 fields over lines 6 to 7, expected 2")]


def test_an_unclosed_quote_that_a_later_one_closes_costs_its_own_line_only():
    records = read_file("unclosed_quote.csv")
    assert find_problems(records) == [
        (
            2,
            "quote opened at byte 3 of line 2 is closed at byte 3 of line 6, where text follows "
            "it, expected ',' or the end of the line",
        ),
    ]
    texts = [b"fine"] * 3 + [b"a stray quote closes it,", b"two lines,\nlegitimate"]
    assert [record.text for record in records[2:]] == texts


def test_odd_bytes_pass_through():
    records = read_file("odd_bytes.csv")
    assert [record.text for record in records[1:]] == [b"\0nul\0", b"latin-1 caf\xe9", b"\xff\xfe"]
    raws = b"".join(record.raw + record.line_end for record in records)
    assert raws == (DATA / "odd_bytes.csv").read_bytes()


@pytest.mark.parametrize(
    ("data", "options", "line", "problem"),
    [
        (b'1,"a\n2,b', {}, 1, "quote opened at byte 3 of line 1 is never closed"),
        (b'1,2\n3,"""', {}, 2, "quote opened at byte 3 of line 2 is never closed"),
        (
            b'1,"a\n2,b\n3,cdefgh',
            {"max_record_bytes": 12},
            1,
            "quote opened at byte 3 of line 1 is not closed within 12 bytes",
        ),
        (b'1,"a\nb","c', {}, 1, "quote opened at byte 4 of line 2 is never closed"),
        (
            b'1,"a\nb"c',
            {},
            1,
            "quote opened at byte 3 of line 1 is closed at byte 2 of line 2, where text follows "
            "it, expected ',' or the end of the line",
        ),
        (
            b'1,"a\n2,b\n3,c\n4,d\n5,e\n6,f\n7,g"',
            {},
            1,
            "quote opened at byte 3 of line 1 is closed at byte 4 of line 7, but all 5 lines "
            "between are whole records of 2 fields, so it is taken as never closed (--trust-quotes "
            "takes it as one field)",
        ),
        (b'1,"a\nb",c', {}, 1, "has 3 fields over lines 1 to 2, expected 2"),
        (
            b'1,"a\nb"' + b"c" * 9,
            {"max_record_bytes": 14},
            1,
            "quote opened at byte 3 of line 1 is closed at byte 2 of line 2, where text follows "
            "it, expected ',' or the end of the line",
        ),
        (
            b'1,"a\nb",' + b"c" * 9,
            {"max_record_bytes": 14},
            1,
            "continues over line breaks to more than 14 bytes",
        ),
        (b"1," + b"c" * 9, {"max_record_bytes": 10}, 1, "is 11 bytes long, at most 10 are allowed"),
        (
            b"1,a\\\nb",
            {"dialect": ESCAPED},
            1,
            "escape at byte 4 of line 1 stands before a line break outside quotes, which only a "
            "dialect without quotes allows",
        ),
        (
            b"1,a\\",
            {"dialect": ESCAPED},
            1,
            "escape is the last byte of the input, expected a byte after it",
        ),
        (
            b"1\ta\\\n\\",
            {"dialect": DUMP},
            1,
            "escape is the last byte of the input, expected a byte after it",
        ),
        (
            b"1\ta\\\nb\\\n\\\n\n",
            {"dialect": DUMP, "max_record_bytes": 7},
            1,
            "continues over line breaks to more than 7 bytes",
        ),
        (b"1;2\n1,2", {"dialect": Dialect(b";")}, 2, "has 1 field, expected 2"),
    ],
)
@pytest.mark.parametrize("block_size", [1, 1 << 18])
def test_a_problem_says_what_was_found_and_where(data, options, line, problem, block_size):
    records = read(data, columns=2, block_size=block_size, **options)
    assert find_problems(records)[0] == (line, problem)


def test_swallowed_lines_must_all_be_whole_records():
    for text in (
        b"a\n2,b\n3,c\n\n5,e\n6,f\n7,g",  # a blank line between: somebody's mail
        b"a\n2,b\n3,c\n4,d\n5,e\n6,g",  # too few
        b"a\n2,b\n3,c\n4,d\n5,e\n6,f\ng",  # the last is no record
        b"a,a\n2,b\n3,c\n4,d\n5,e\n6,f\n7,g",  # the first is none
    ):
        assert [record.fields for record in read(b'1,"%b"\n' % text, columns=2)] == [[b"1", text]]
    many = b'1,"a,a\n' + b"2,b\n" * 16 + b'g"\n'
    assert len(read(many, columns=2)) == 18
    assert len(read(many.replace(b"2,b\n", b"", 1), columns=2)) == 1
    swallowing = b'1,"a\n2,b\n3,c\n4,d\n5,e\n6,f\n7,g"\n'
    assert len(read(swallowing, columns=2)) == 7
    trusted = read(swallowing, columns=2, dialect=Dialect(trusts_quotes=True))
    assert [record.fields for record in trusted] == [[b"1", swallowing[3:-2]]]
    wide = b'1,"a,x\n2,b,x\n3,c,x\n4,d,x\n5,e",x\n'  # four lines of three fields, three inner
    assert len(read(wide, columns=3)) == 1
    assert len(read(wide.replace(b"3,c,x", b"3,c,x\n3,c,x"), columns=3)) == 6
    assert len(read(b'1,"a,x,y\n2,b,x,y\n3,c,x,y\n4,d,x,y\n5,e",x,y\n', columns=4)) == 5
    quoted = b'1,"a\n2,""\n3,"" \n4,d\n5,e"\n'
    assert [record.problem for record in read(quoted, columns=2)] == [None]
    assert len(read(b'1,"a\n2,""\n3,c\n' + b'4,""\n' * 2000 + b'5"\n', columns=2)) == 2004


def test_blank_lines_are_records_of_a_single_column_only():
    reader = RecordReader(io.BytesIO(b"\nhello\n\r\n\nyou\n"), columns=1, text_column=0)
    assert [record.text for record in reader] == [b"", b"hello", b"", b"", b"you"]
    assert reader.blank_lines == 0
    reader = RecordReader(io.BytesIO(b"\na,b\n\r\n\nc,d\n\n"), columns=2)
    assert [record.line for record in reader] == [2, 5]
    assert reader.blank_lines == 4


def test_blank_lines_are_counted_up_to_the_last_record_returned():
    reader = RecordReader(io.BytesIO(b"\na,b\n\nc,d\n"), columns=2)
    assert (next(reader).raw, reader.blank_lines, reader.offset, reader.line) == (b"a,b", 1, 5, 3)
    assert (next(reader).raw, reader.blank_lines, reader.offset, reader.line) == (b"c,d", 2, 10, 5)


def test_expectations_hold_from_the_next_record_on():
    reader = RecordReader(io.BytesIO(b'a\n\n\n1\n"2"\n3,4\n'))
    assert next(reader).fields == [b"a"]
    reader.expect(1, text_column=0)
    assert [record.text for record in reader.read_records(5)] == [b"", b"", b"1", b"2", None]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n\r", b"\xef\xbb\xbf\n"])
def test_nothing_is_no_record(data):
    reader = RecordReader(io.BytesIO(data))
    assert reader.read_records(10) == []
    assert reader.offset == len(data)


def test_the_byte_order_mark_is_one_at_the_start_of_the_input_only():
    mark = b"\xef\xbb\xbf"
    assert [record.raw for record in read(mark + b'"a"\n' + mark + b"b\n")] == [b'"a"', mark + b"b"]
    reader = RecordReader(io.BytesIO(mark + b"a\n"), offset=100, line=7)
    assert (reader.bom, next(reader).raw) == (b"", mark + b"a")


def test_a_reader_can_start_beyond_4_gib():
    far = 5 << 30
    records = read(b'a,b\n"c\nd",e\nf,g', offset=far, line=1 << 33, columns=2, text_column=0)
    places = [(record.offset - far, record.line - (1 << 33)) for record in records]
    assert places == [(0, 0), (4, 1), (12, 3)]


def test_dialect_options_are_checked():
    for options, message in [
        ({"delimiter": b""}, "delimiter must be one byte that is not a line break, not b''"),
        ({"delimiter": None}, "delimiter must be one byte that is not a line break, not None"),
        ({"quote": b"\n"}, r"quote must be one byte that is not a line break, not b'\n'"),
        ({"quote": "'"}, 'quote must be one byte that is not a line break, not "\'"'),
        ({"escape": b"ab"}, "escape must be one byte that is not a line break, not b'ab'"),
        ({"escape": b'"'}, "escape and quote are both b'\"'; they must differ"),
        ({"quote": b","}, "quote and delimiter are both b','; they must differ"),
    ]:
        with pytest.raises(ValueError) as raised:
            Dialect(**options)
        assert str(raised.value) == message


def test_reader_options_are_checked():
    sizes = "block_size, max_record_bytes and line must be at least 1, and offset 0, not "
    for options, message in [
        ({"block_size": 0}, sizes + "0, 67108864, 1 and 0"),
        ({"max_record_bytes": 0, "line": 0, "offset": -1}, sizes + "262144, 0, 0 and -1"),
        ({"columns": 0}, "columns must be at least 1, not 0"),
        ({"columns": 2, "text_column": 2}, "text_column must be below columns (2), not 2"),
        ({"text_column": 0}, "text_column must be below columns (None), not 0"),
        ({"columns": 2, "text_column": -1}, "text_column must be below columns (2), not -1"),
    ]:
        with pytest.raises(ValueError) as raised:
            RecordReader(io.BytesIO(), **options)
        assert str(raised.value) == message


def test_peeking_moves_nothing():
    reader = RecordReader(io.BytesIO(b'\xef\xbb\xbf\n1,a\n"2",b\n3,c'))
    assert reader.peek() == reader.peek()
    assert (reader.bom, reader.offset, reader.line, reader.blank_lines) == (UTF8_BOM, 4, 2, 1)
    reader.expect(2, text_column=1)
    assert [record.text for record in reader.read_records(1)] == [b"a"]
    assert (reader.offset, reader.line, reader.blank_lines) == (8, 3, 1)
    assert reader.read_records(0) == []
    assert reader.peek().text == b"b"
    assert [record.text for record in reader.read_records(5)] == [b"b", b"c"]
    assert reader.peek() is None
    assert reader.read_records(5) == []
