"""What an input may hold and be wrapped in: section C of the checklist, by whole commands.

Run in this process, with the stub for a model, so that each case takes milliseconds.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import threading
import tracemalloc
import zlib
from functools import partial

import pytest
from click.testing import CliRunner

import batch.formats.text_table
from batch.cli.commands import main
from batch.reading.compression import _load_zstd
from batch.reading.records import RecordReader

ROWS = b"".join(b'%d,"message, ""%d""",x\n' % (row, row) for row in range(40))
TABLE = b"id,text,x\n" + ROWS
ADDED = b",label,score"
NOT_UTF_8 = (
    "WARNING: 3 texts have bytes that are not UTF-8 and are read as U+FFFD, first in line 2;"
    " other texts are UTF-8, so these are damaged, or of another source"
)


@pytest.fixture
def label(tmp_path, stub, stub_bundle, monkeypatch):
    """Labels bytes; returns the exit status, the last line that was said, and the output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.run.windows.WINDOW", 8)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", stub.StubClassifier.load)

    def run(data: bytes | None, *args, name="in.csv", out="out.csv"):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        command = ["classify", name, "--out", out, "--bundle", str(stub_bundle)]
        result = CliRunner().invoke(main, [*command, *map(str, args), "--restart", "--quiet"])
        assert "Traceback" not in result.output
        if data is not None:
            assert (tmp_path / name).read_bytes() == data
        path = tmp_path / out
        found = path.read_bytes() if path.is_file() else None
        said = result.stderr.splitlines()[-1:] or [""]
        return result.exit_code, said[0].removeprefix("spam-batch: error: "), found

    return run


def score_of(text: str) -> bytes:
    sum_ = zlib.crc32(text.encode("utf-8", "surrogatepass")) % 10**6
    return b"%b,%.6f" % (b"spam" if sum_ >= 500_000 else b"ham", sum_ / 10**6)


def check(
    label,
    rows: list[tuple[bytes, str]],
    header=b"id,text",
    end=b"\n",
    said: str = "",
    **options,
) -> None:
    """Each of the rows, given with the text in it, comes out with what its text gets."""
    data = end.join([header, *(raw for raw, _ in rows)]) + end
    labelled = [raw + b"," + score_of(text) for raw, text in rows]
    wanted = end.join([header + ADDED, *labelled]) + end
    assert label(data, **options) == (0, said, wanted)


WRAPPED = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: _load_zstd().compress(data),
}


@pytest.mark.parametrize("kind", WRAPPED)
@pytest.mark.parametrize("cut", [*range(1, 9), 0.5])
def test_F42_a_compressed_file_that_is_cut(label, kind, cut):
    data = WRAPPED[kind](TABLE)
    end = int(len(data) * cut) if cut == 0.5 else len(data) - cut
    exit_code, said, found = label(data[:end])
    assert (exit_code, found) == (65, None)
    assert said.startswith(f"in.csv: the {kind} data ends too early, the file is cut off, after ")


def test_F42_the_rows_so_far_are_stated(label):
    data = gzip.compress(TABLE)[:-1]
    assert label(data) == (
        65,
        f"in.csv: the gzip data ends too early, the file is cut off, after {len(TABLE):,} "
        "decompressed bytes; records read before it: 40",
        None,
    )


@pytest.mark.parametrize("at", [-8, -5, -4, -1])
def test_F43_a_checksum_or_length_that_is_wrong(label, at):
    data = bytearray(gzip.compress(TABLE))
    data[at] ^= 0x40
    exit_code, said, found = label(bytes(data))
    assert (exit_code, found) == (65, None)
    assert said.startswith("in.csv: the gzip data is damaged, after ")


@pytest.mark.parametrize("kind", WRAPPED)
def test_F44_many_members_are_one_file(label, kind):
    pack = WRAPPED[kind]
    wanted = label(TABLE)
    assert wanted[0] == 0
    for cuts in ((200, 300), (0, 1), (5, 5)):
        parts = (TABLE[: cuts[0]], TABLE[cuts[0] : cuts[1]], TABLE[cuts[1] :])
        assert label(b"".join(map(pack, parts))) == wanted


@pytest.mark.parametrize("kind", WRAPPED)
def test_F45_zeros_are_good_and_garbage_is_not(label, kind):
    data = WRAPPED[kind](TABLE)
    assert label(data + bytes(10_000)) == label(TABLE)
    os.unlink("out.csv")
    for garbage in (b"\r\n", bytes(100) + b"x", b"id,text\n"):
        exit_code, said, found = label(data + garbage)
        assert (exit_code, found) == (65, None)
        assert said == (
            f"in.csv: the {kind} data is followed by something else, after {len(TABLE):,} "
            "decompressed bytes; records read before it: 40"
        )


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2"])
def test_F46_a_bomb_is_an_over_long_record(label, kind):
    size = 100 << 20
    data = WRAPPED[kind](b"text\n" + bytes(size) + b"\nafter\n")
    assert len(data) < size / 500
    tracemalloc.start()
    try:
        exit_code, _, found = label(data, "--max-record-bytes", 1 << 20, "--max-rejects", 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (exit_code, found) == (3, b"text,label,score\nafter," + score_of("after") + b"\n")
    assert peak < 32 << 20


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz", "in.zst", "in.parquet.csv", "in"])
def test_F46_the_name_does_not_tell_how_it_is_compressed(label, name):
    assert label(bz2.compress(TABLE), name=name) == label(TABLE)


def test_F48_a_byte_order_mark_is_kept_once(label):
    exit_code, _, found = label(b"\xef\xbb\xbftext,id\na,1\n")
    assert (exit_code, found) == (
        0,
        b"\xef\xbb\xbftext,id,label,score\na,1," + score_of("a") + b"\n",
    )


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_F49_utf_16_is_never_labelled_as_something_else(label, order, mark):
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


def test_F50_bytes_that_are_no_utf_8_are_kept_and_seen_as_replaced(label):
    rows = [
        (b"1,caf\xe9", "caf\ufffd"),
        (b"2,\xf0\x9f\x91", "\ufffd"),
        (b"3,\xed\xa0\x80", "\ufffd" * 3),
        (b"4,\xc0\xaf", "\ufffd" * 2),
    ]
    check(label, rows, said=NOT_UTF_8)


def test_F51_bytes_in_another_column_and_in_the_header(label):
    check(label, [(b"\xff\xfe,a", "a")], header=b"caf\xe9,text")


def test_F52_nul_bytes_do_not_cut_a_text(label):
    check(label, [(b"\0,a\0b\0", "a\0b\0"), (b'1,"\0"', "\0")], header=b"i\0d,text")


@pytest.mark.parametrize("size", [131_073, 200_000, 50_000_000])
def test_F53_large_fields(label, size):
    check(label, [(b"1," + b"a" * size, "a" * size), (b"2,b", "b")])


def test_F53_a_large_header(label):
    data = b"text," + b"x" * 50_000_000 + b"\na,b\n"
    exit_code, said, found = label(data)
    assert (exit_code, said, found.endswith(b"\na,b," + score_of("a") + b"\n")) == (0, "", True)
    os.unlink("out.csv")
    assert label(data, "--max-record-bytes", 1000) == (
        65, "in.csv: line 1: the header: is 50000005 bytes long, at most 1000 are allowed", None
    )  # fmt: skip


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_F57_an_over_long_line_is_rejected_alone(label, tmp_path, pack):
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


def test_F60_a_column_by_its_number(label):
    data = b"id,message,message\n1,a,b\n"
    wanted = b"id,message,message,label,score\n1,a,b," + score_of("b") + b"\n"
    assert label(data, "--text-column", 3) == (0, "", wanted)


def test_F62_odd_names_pass_through(label):
    header = b',"a\nb",\x1b,text,\xff,"""",,'
    check(label, [(b",,,a,,,,", "a")], header=header)


def test_F63_line_ends_of_all_kinds(label):
    rows = [b"1,a\n", b"2,b\r\n", b"3,c\r", b'4,"d\r\ne\rf\ng"\r\n', b"5,h"]
    texts = ["a", "b", "c", "d\r\ne\rf\ng", "h"]
    exit_code, _, found = label(b"id,text\r\n" + b"".join(rows))
    wanted = [b"id,text,label,score\r\n"]
    for raw, text in zip(rows, texts, strict=True):
        own = raw.rstrip(b"\r\n")
        wanted.append(own + b"," + score_of(text) + (raw[len(own) :] or b"\r\n"))
    assert (exit_code, found) == (0, b"".join(wanted))


def test_F65_blank_lines_are_skipped_and_those_of_spaces_are_not(label):
    data = b"\n\nid,text\n\r\n1,a\n\n\n2,b\n\n"
    wanted = b"id,text,label,score\n1,a," + score_of("a") + b"\n2,b," + score_of("b") + b"\n"
    assert label(data) == (0, "", wanted)
    assert label(b"id,text\n \n")[:2] == (
        65,
        "in.csv: line 2, byte offset 8: has 1 field, expected 2; to set bad records aside, type "
        "--max-rejects 10, or 1%",
    )
    check(label, [(b"", ""), (b" ", " "), (b"", "")], header=b"text")


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


def test_F72_offsets_beyond_four_gigabytes(label, tmp_path):
    """A sparse file: its first record is one line of 5 GiB, which reading skips over."""
    base, line = 5 << 30, 3 << 31
    reader = RecordReader(io.BytesIO(b"1,a\n2\n"), columns=2, offset=base, line=line)
    good, bad = reader.read_records(5)
    assert (good.offset, good.line, bad.offset, bad.line) == (base, line, base + 4, line + 1)
    assert (reader.offset, reader.line) == (base + 6, line + 2)
    from batch.reading.opening import open_source

    with open("sparse", "wb") as file:
        file.truncate(base)
        file.seek(base)
        file.write(b"a,b\n")
    with open_source("sparse") as source:
        assert source.stream(base).read(10) == b"a,b\n"
        assert source.size == base + 4


# Rebuilt from what such lists are known for, not copied from any.
ODD_TEXTS = [
    "", " ", "\t", "\u00a0", "\u3000", "\u200b", "\u2060\ufeff", "\ufffe", "\uffff",
    "undefined", "null", "NULL", "None", "nil", "true", "NaN", "Infinity", "-0", "0x0", "1e309",
    "1/0", "1.0.0", "1,000.00", "'", '"', '""', "''", '"\'"\'', "\\", "\\\\", "\\n", "%s%n%x",
    "{0}", "${HOME}", "$(id)", "`id`", "; DROP TABLE x", "' OR 1=1 --", "<script>alert(1)</script>",
    "&lt;&amp;", "=1+1", "+1", "-1", "@SUM(A1)", "|cmd", "../../etc/passwd", "C:\\con",
    "http://a/?b=c", "<|endoftext|>", "<|endoftext|>" * 50, "\x00", "\x01\x02\x1a\x1b[2J\x7f",
    "\x80\x85\x9f",
    "\u2028\u2029", "\r", "\n", "\r\n\r\n", "a\rb", "a\nb", "\v\f", "Ω≈ç√∫", "田中さん",
    "사회과학원", "パーティー", "😍👍🏽👨‍👩‍👧🏳️‍🌈", "𝒯𝓱𝓮", "🄰🅑", "ｔｈｅ", "שלום", "مرحبا",
    "\u202etxet\u202c", "a\u0300" * 500,
    "Z͑ͫ̓a̶l̷g̸o", "ß" * 300, "İıſ", "ﬁ", "ǆ", "\U0010ffff", "\ue000", "(╯°□°）╯︵ ┻━┻", "1" * 5000,
    "a" * 5000,
    " " * 5000, "!?" * 3000, "\n" * 1000, "é\u0301" * 1000, "," * 1000, '"' * 1001, "'\"`" * 500,
]  # fmt: skip


def test_F73_odd_texts_come_back_from_csv(label):
    buffer = io.StringIO(newline="")
    table = [[str(number), text] for number, text in enumerate(ODD_TEXTS)]
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([["id", "text"], *table])
    data = buffer.getvalue().encode()
    exit_code, said, found = label(data, "--columns", "score,label")
    assert (exit_code, said) == (0, "")
    reader = RecordReader(io.BytesIO(found))
    rows = [[field.decode() for field in record.fields] for record in reader][1:]
    assert [row[:2] for row in rows] == table
    for (_, text, score, name), (_, same) in zip(rows, table, strict=True):
        assert f"{name},{score}".encode() == score_of(same), ascii(text)


@pytest.mark.parametrize("escaped", [True, False])
def test_F73_odd_texts_come_back_from_json_lines(label, escaped):
    lines = [json.dumps({"id": 1, "text": text}, ensure_ascii=escaped) for text in ODD_TEXTS]
    data = "\n".join([*lines, '{"text": "\\ud800"}']).encode()
    exit_code, said, found = label(data, name="in.jsonl", out="out.jsonl")
    assert (exit_code, said) == (0, "")
    rows = [json.loads(line) for line in found.split(b"\n")[:-1]]
    assert [row["text"] for row in rows] == [*ODD_TEXTS, "\ud800"]
    for row in rows[:-1]:
        assert b"%b,%.6f" % (row["label"].encode(), row["score"]) == score_of(row["text"])


def test_F73_odd_texts_come_back_from_parquet(label):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.table({"text": ODD_TEXTS}), buffer)
    exit_code, said, found = label(buffer.getvalue(), name="in.parquet", out="out.parquet")
    assert (exit_code, said) == (0, "")
    for row in parquet.read_table(io.BytesIO(found)).to_pylist():
        assert b"%b,%.6f" % (row["label"].encode(), row["score"]) == score_of(row["text"])


# Tables of the kinds that parsers are compared by, each with the fields that it holds.
SHAPES = {
    "commas in quotes": (b'a,text\n1,"2, 3"\n', [["1", "2, 3"]]),
    "empty fields": (b'a,text\n,""\n"",\n', [["", ""], ["", ""]]),
    "escaped quotes": (b'a,text\n1,"ha ""ha"" ha"\n', [["1", 'ha "ha" ha']]),
    "json in a field": (b'a,text\n1,"{""type"": ""P"", ""c"": [1, 2]}"\n',
                        [["1", '{"type": "P", "c": [1, 2]}']]),
    "line breaks": (b'a,text\n1,"x\ny"\n2,"x\r\ny"\n', [["1", "x\ny"], ["2", "x\r\ny"]]),
    "quotes and line breaks": (b'a,text\n1,"x\n""y"""\n', [["1", 'x\n"y"']]),
    "crlf": (b"a,text\r\n1,2\r\n", [["1", "2"]]),
    "utf-8": ("a,text\n1,ʤ☃\n".encode(), [["1", "ʤ☃"]]),
    "spaces around": (b"a,text\n 1 , 2 \n", [[" 1 ", " 2 "]]),
    "quotes around all": (b'"a","text"\n"1","2"\n', [["1", "2"]]),
    "one column": (b'text\n1\n""\n', [["1"], [""]]),
    "many columns": (b"text" + b",a" * 999 + b"\n1" + b",2" * 999 + b"\n", [["1"] + ["2"] * 999]),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_tables_that_parsers_are_compared_by(label, shape):
    data, fields = SHAPES[shape]
    exit_code, _, found = label(data)
    assert exit_code == 0
    rows = [record.fields for record in RecordReader(io.BytesIO(found))][1:]
    assert [[field.decode() for field in row[:-2]] for row in rows] == fields


@pytest.mark.parametrize("unit", ["a", " ", "a ", "\n", "é", "́", "'s", "1", "!", "\u3000a"])
def test_F74_one_unit_a_million_times(label, bpe_file, unit):
    """The real tokenizer, since it is what could blow up."""
    from batch.model.tokenizer import Tokenizer

    text = unit * (1_000_000 // len(unit.encode()))
    ids = Tokenizer.load(bpe_file).encode(text, 1024)
    assert 1 <= len(ids) <= 1024


def test_any_damage_is_told_or_harmless(label):
    """Flips of single bits in a gzip file: the rows of the whole file, or none."""
    wanted, data = label(TABLE), gzip.compress(TABLE)
    chance = random.Random(0)
    for _ in range(50):
        os.unlink("out.csv")
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        exit_code, said, found = label(bytes(broken))
        if exit_code:
            assert (exit_code, found) == (65, None)
            assert said.startswith("in.csv: ")
        else:
            assert found == wanted[2]
        label(TABLE)
