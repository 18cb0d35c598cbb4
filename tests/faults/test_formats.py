"""What an input may hold: F48 to F72 of the checklist, by whole commands."""

import gzip
import io
import os
import threading
from functools import partial

import pytest

import batch.formats.text_table
from batch.reading.records import RecordReader

ROWS = b"".join(b'%d,"message, ""%d""",x\n' % (row, row) for row in range(40))
TABLE = b"id,text,x\n" + ROWS
NOT_UTF_8 = (
    "WARNING: 3 texts have bytes that are not UTF-8 and are read as U+FFFD, first in line 2;"
    " other texts are UTF-8, so these are damaged, or of another source"
)


@pytest.fixture
def check(label, score_of):
    """Each of the rows, given with the text in it, comes out with what its text gets."""

    def run(rows: list[tuple[bytes, str]], header: bytes = b"id,text", said: str = "") -> None:
        data = b"\n".join([header, *(raw for raw, _ in rows), b""])
        labelled = [raw + b"," + score_of(text) for raw, text in rows]
        wanted = b"\n".join([header + b",label,score", *labelled, b""])
        assert label(data) == (0, said, wanted)

    return run


def test_F48_a_byte_order_mark_is_kept_once(label, score_of):
    exit_code, _, found = label(b"\xef\xbb\xbftext,id\na,1\n")
    assert (exit_code, found) == (
        0,
        b"\xef\xbb\xbftext,id,label,score\na,1," + score_of("a") + b"\n",
    )


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_F49_utf_16_is_never_labelled_as_something_else(label, order, mark, score_of):
    data = (mark + 'id,text\n1,é👍\n2,"a\nb"\n').encode(order)
    asked = order if not mark else order[:6]
    message = f"in.csv: looks like {asked}; type: --encoding {asked}"
    assert label(data) == (65, message, None)
    exit_code, _, found = label(data, "--encoding", asked)
    rows = b"".join(
        raw.encode() + b"," + score_of(text) + b"\n"
        for raw, text in (("1,é👍", "é👍"), ('2,"a\nb"', "a\nb"))
    )
    wanted = mark + "id,text,label,score\n" + rows.decode()
    assert (exit_code, found) == (0, wanted.encode(order))


def test_F50_bytes_that_are_no_utf_8_are_kept_and_seen_as_replaced(check):
    rows = [
        (b"1,caf\xe9", "caf\ufffd"),
        (b"2,\xf0\x9f\x91", "\ufffd"),
        (b"3,\xed\xa0\x80", "\ufffd" * 3),
        (b"4,\xc0\xaf", "\ufffd" * 2),
    ]
    check(rows, said=NOT_UTF_8)


def test_F51_bytes_in_another_column_and_in_the_header(check):
    check([(b"\xff\xfe,a", "a")], header=b"caf\xe9,text")


def test_F52_nul_bytes_do_not_cut_a_text(check):
    check([(b"\0,a\0b\0", "a\0b\0"), (b'1,"\0"', "\0")], header=b"i\0d,text")


@pytest.mark.parametrize("size", [131_073, 200_000, 50_000_000])
def test_F53_large_fields(size, check):
    check([(b"1," + b"a" * size, "a" * size), (b"2,b", "b")])


def test_F53_a_large_header(label, score_of):
    data = b"text," + b"x" * 50_000_000 + b"\na,b\n"
    exit_code, said, found = label(data)
    assert (exit_code, said, found.endswith(b"\na,b," + score_of("a") + b"\n")) == (0, "", True)
    os.unlink("out.csv")
    assert label(data, "--max-record-bytes", 1000) == (
        65, "in.csv: line 1: the header: is 50000005 bytes long, at most 1000 are allowed", None
    )  # fmt: skip


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_F57_an_over_long_line_is_rejected_alone(label, tmp_path, pack, score_of):
    data = b"id,text\n1,a\n2," + b"b" * 100_000 + b"\n3,c\n"
    exit_code, _, found = label(pack(data), "--max-record-bytes", 5000, "--max-rejects", 1)
    wanted = b"id,text,label,score\n1,a," + score_of("a") + b"\n3,c," + score_of("c") + b"\n"
    assert (exit_code, found) == (3, wanted)
    rejects = (tmp_path / "out.rejects.csv").read_bytes().split(b"\n")[1]
    assert rejects.startswith(b'3,12,"is 100002 bytes long, at most 5000 are allowed","2,bbb')


@pytest.mark.parametrize(
    ("header", "args", "message"),
    [
        (b"id,note", (), "no text column found; columns: 'id', 'note'; name it with --text-column"),
        (
            b"id,Text",
            ("--text-column", "text"),
            "the text column 'text' is not there; columns: 'id', 'Text'",
        ),
        (
            b"id,text",
            ("--text-column", 3),
            "the text column '3' is not there; columns: 'id', 'text'",
        ),
        (
            b"id,a\x1b[31m\xff",
            (),
            "no text column found; columns: 'id', 'a\\x1b[31m\ufffd'; name it with --text-column",
        ),
        (
            b"id,message,message",
            (),
            "more than one column could be the text: 'message' (no text), 'message' (no text); "
            "name one, for example: --text-column 2",
        ),
        (
            b"id,message,message",
            ("--text-column", "message"),
            "the text column 'message' is there 2 times, as column 2 and 3; "
            "give one of these numbers",
        ),
        (
            b"id;text",
            (),
            "no text column found; the delimiter ';' fits; type: --delimiter ';'",
        ),
        (
            b"id,text,label",
            (),
            "there is a column 'label' already; it would be there twice; choose others with "
            "--columns, or give --overwrite-columns",
        ),
    ],
    ids=["F59 missing", "F59 case", "F59 number", "F62", "F60 twice", "F60 named", "F64", "F61"],
)
def test_a_header_is_refused_before_the_model_is_loaded(label, monkeypatch, header, args, message):
    monkeypatch.setattr(
        "batch.model.classifier.Classifier.load", lambda *_, **__: pytest.fail("loaded")
    )
    assert label(header + b"\n1,a\n", *args) == (65, f"in.csv: {message}", None)


def test_F60_a_column_by_its_number(label, score_of):
    data = b"id,message,message\n1,a,b\n"
    wanted = b"id,message,message,label,score\n1,a,b," + score_of("b") + b"\n"
    assert label(data, "--text-column", 3) == (0, "", wanted)


def test_F62_odd_names_pass_through(check):
    header = b',"a\nb",\x1b,text,\xff,"""",,'
    check([(b",,,a,,,,", "a")], header=header)


def test_F63_line_ends_of_all_kinds(label, score_of):
    rows = [b"1,a\n", b"2,b\r\n", b"3,c\r", b'4,"d\r\ne\rf\ng"\r\n', b"5,h"]
    texts = ["a", "b", "c", "d\r\ne\rf\ng", "h"]
    exit_code, _, found = label(b"id,text\r\n" + b"".join(rows))
    wanted = [b"id,text,label,score\r\n"]
    for raw, text in zip(rows, texts, strict=True):
        own = raw.rstrip(b"\r\n")
        wanted.append(own + b"," + score_of(text) + (raw[len(own) :] or b"\r\n"))
    assert (exit_code, found) == (0, b"".join(wanted))


def test_F65_blank_lines_are_skipped_and_those_of_spaces_are_not(label, score_of, check):
    data = b"\n\nid,text\n\r\n1,a\n\n\n2,b\n\n"
    wanted = b"id,text,label,score\n1,a," + score_of("a") + b"\n2,b," + score_of("b") + b"\n"
    assert label(data) == (0, "", wanted)
    assert label(b"id,text\n \n")[:2] == (
        65,
        "in.csv: line 2, byte offset 8: has 1 field, expected 2; to set bad records aside, type "
        "--max-rejects 10, or 1%",
    )
    check([(b"", ""), (b" ", " "), (b"", "")], header=b"text")


NASTY = {
    "in.csv": TABLE + b'\n41,"a\r\nb",\r42,c\xff\xf0\x9f,"\n\n\n43,\0,""\r\n\n44,last,x',
    "in.jsonl": '{"text": "é"}\r\n\n{"id": 1}\n[1]\r{"text":"\\ud83d\\ude00"} \n{"text"'.encode(),
    "in.tsv": b'text\tid\na,b\t1\n"a\tb"\t2\n3\n',
}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_F66_the_same_bytes_at_every_block_size(label, monkeypatch, tmp_path, name, pack):
    out, rejects = f"o{name}", tmp_path / f"o{name.removesuffix('.csv')}.rejects.csv"
    args = ("--max-rejects", 9)
    data = pack(NASTY[name])
    whole = (label(data, *args, name=name, out=out), rejects.read_bytes())
    assert whole[0][0] == 3
    for size in (*range(1, 65), 1000):
        small = partial(RecordReader, block_size=size)
        monkeypatch.setattr(batch.formats.text_table, "RecordReader", small)
        assert (label(data, *args, name=name, out=out), rejects.read_bytes()) == whole


def test_F66_utf_16_at_every_block_size(label, monkeypatch):
    data = (TABLE.decode() + "41,é👍\U00010000,x\n").encode("utf-16")
    whole = label(data, "--encoding", "utf-16")
    assert whole[0] == 0
    for size in (*range(1, 20), 1000):
        monkeypatch.setattr(
            batch.formats.text_table, "RecordReader", partial(RecordReader, block_size=size)
        )
        assert label(data, "--encoding", "utf-16") == whole


def test_F70_a_fifo(label, tmp_path):
    wanted = label(TABLE)[2]
    for number, data in enumerate((TABLE, gzip.compress(TABLE), TABLE.decode().encode("utf-16"))):
        fifo = f"fifo{number}"
        os.mkfifo(fifo)
        writer = threading.Thread(target=(tmp_path / fifo).write_bytes, args=(data,))
        writer.start()
        encoding = ("--encoding", "utf-16") if number == 2 else ()
        exit_code, _, found = label(None, *encoding, name=fifo, out=f"{fifo}.csv")
        writer.join()
        assert exit_code == 0
        assert (found.decode("utf-16").encode() if encoding else found) == wanted


def test_F71_a_pattern_that_the_shell_left_alone(label):
    assert label(None, name="none*.csv") == (
        66, "cannot read none*.csv: No such file or directory", None
    )  # fmt: skip


def test_F72_offsets_beyond_four_gigabytes(tmp_path):
    """A sparse file: its first record is one line of 5 GiB, which reading skips over."""
    base, line = 5 << 30, 3 << 31
    reader = RecordReader(io.BytesIO(b"1,a\n2\n"), columns=2, offset=base, line=line)
    good, bad = reader.read_records(5)
    assert (good.offset, good.line, bad.offset, bad.line) == (base, line, base + 4, line + 1)
    assert (reader.offset, reader.line) == (base + 6, line + 2)
    from batch.reading.opening import open_source

    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(base)
        file.seek(base)
        file.write(b"a,b\n")
    with open_source(str(path)) as source:
        assert source.stream(base).read(10) == b"a,b\n"
        assert source.size == base + 4
    path.unlink()  # or pytest keeps 5 GiB of nothing
