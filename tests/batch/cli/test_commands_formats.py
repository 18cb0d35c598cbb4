"""What is read and written, through the command line: the same rows in every wrapping."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.model.classifier import Classifier
from batch.reading.compression import COMPRESSIONS, _load_zstd
from batch.reading.input_stream import InputStream

ROWS = [["id", "text", "x"]] + [[str(i), f'message, "{i * 7919 % 100}" £', "é"] for i in range(40)]


def to_csv(rows=ROWS, **options) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **options).writerows(rows)
    return buffer.getvalue()


PLAIN = to_csv().encode()


@pytest.fixture
def run(bundle, tmp_path, monkeypatch, classifier):
    """Runs ``spam-batch classify`` in an empty folder, in windows of 16 rows.

    Returns the exit status, what was said, and the bytes of ``out``.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.run.windows.WINDOW", 16)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)

    def run(name: str, data: bytes | None, *args, out="out.csv", **options):
        if data is not None and name != "-":
            (tmp_path / name).write_bytes(data)
        args = ["classify", name, "--out", out, "--bundle", str(bundle), *map(str, args)]
        result = CliRunner().invoke(main, [*args, "--quiet"], **options)
        path = tmp_path / out
        found = path.read_bytes() if path.is_file() else result.stdout_bytes or None
        return result.exit_code, result.stderr, found

    return run


def labelled(run, name, data, *args, warning="", **options) -> bytes:
    exit_code, said, found = run(name, data, *args, **options)
    assert (exit_code, said) == (0, f"WARNING: {warning}\n" if warning else "")
    return found


def refused(run, name, data, *args, **options) -> tuple[int, str]:
    exit_code, said, found = run(name, data, *args, **options)
    assert found is None
    last = said.splitlines()[-1]  # before it, what is kept for a run that goes on
    return exit_code, last.removeprefix("spam-batch: error: ")


def decompress(data: bytes) -> bytes:
    stream = InputStream("out", lambda _: io.BytesIO(data))
    return b"".join(iter(lambda: stream.read(1 << 16), b""))


@pytest.fixture
def plain(run) -> bytes:
    return labelled(run, "plain.csv", PLAIN, out="plain.out.csv")


WRAPPINGS = {
    "gzip": gzip.compress,
    "three members": lambda data: b"".join(map(gzip.compress, (data[:9], data[9:99], data[99:]))),
    "zeros behind": lambda data: gzip.compress(data) + bytes(1024),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: _load_zstd().compress(data),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", ["in.csv", "-"])
def test_compressed_input_by_content(run, plain, wrapping, name):
    data = WRAPPINGS[wrapping](PLAIN)
    assert labelled(run, name, data, input=data) == plain


@pytest.mark.parametrize("kind", COMPRESSIONS, ids=lambda kind: kind.name)
def test_compressed_output_by_name(run, plain, kind):
    found = labelled(run, "in.csv", PLAIN, out="out.csv" + kind.ending)
    assert found.startswith(kind.marks)
    assert decompress(found) == plain
    assert run("in.csv", PLAIN, out="out.csv" + kind.ending)[2] == found


class Stumbling:
    """A classifier that fails at its ``at``-th batch."""

    def __init__(self, classifier: Classifier, at: int):
        self._classifier, self._left = classifier, at

    def __getattr__(self, name):
        return getattr(self._classifier, name)

    def classify_prepared(self, prepared):
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return self._classifier.classify_prepared(prepared)


def as_jsonl(_) -> bytes:
    return b"".join(
        json.dumps(dict(zip(ROWS[0], row, strict=True))).encode() + b"\n" for row in ROWS[1:]
    )


def as_parquet(_) -> bytes:
    columns = dict(zip(ROWS[0], zip(*ROWS[1:], strict=True), strict=True))
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: list(cells) for name, cells in columns.items()}), buffer,
        row_group_size=10)  # fmt: skip
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "pack", "args", "out"),
    [
        ("in.csv", bytes, (), "out.csv.gz"),
        ("in.csv", bytes, (), "out.csv.zst"),
        ("in.csv.gz", gzip.compress, (), "out.csv.xz"),
        ("in.csv", WRAPPINGS["three members"], (), "out.csv"),
        ("in.csv", WRAPPINGS["zstd"], (), "out.csv.bz2"),
        ("in.csv", lambda data: data.decode().encode("utf-16"), ("--encoding", "utf-16"), "o.csv"),
        ("in.csv", lambda data: gzip.compress(data.decode().encode("utf-16-be")),
         ("--encoding", "utf-16-be"), "out.csv.gz"),
        ("in.csv", lambda data: data.decode().encode("cp1252"), ("--encoding", "cp1252"), "o.csv"),
        ("in.csv", bytes, ("--no-header", "--text-column", "2"), "out.csv"),
        ("in.jsonl", as_jsonl, (), "out.jsonl"),
        ("in.jsonl", lambda data: gzip.compress(as_jsonl(data)), (), "out.jsonl.zst"),
        ("in.parquet", as_parquet, (), "out.parquet"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    run, tmp_path, monkeypatch, classifier, name, pack, args, out, at
):
    data = pack(PLAIN)
    whole = labelled(run, name, data, *args, out=out)
    (tmp_path / out).unlink()
    stumbling = Stumbling(classifier, at)
    with monkeypatch.context() as patch:
        patch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: stumbling)
        assert run(name, None, *args, out=out)[::2] == (130, None)
    assert labelled(run, name, None, *args, out=out) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        (name, out, f"{out}.run.json")
    )


def test_a_cut_file_says_how_far_it_was_read(run):
    data = gzip.compress(PLAIN[:900]) + gzip.compress(PLAIN[900:])[:-9]
    exit_code, said = refused(run, "in.csv.gz", data)
    assert (exit_code, said) == (
        65,
        f"in.csv.gz: the gzip data ends too early, the file is cut off, after {len(PLAIN):,} "
        f"decompressed bytes; records read before it: 40",
    )


def test_nothing_is_kept_of_a_cut_file_so_that_the_whole_one_is_labelled(run, plain, tmp_path):
    (tmp_path / "plain.csv").unlink()
    (tmp_path / "plain.out.csv").unlink()
    (tmp_path / "plain.out.csv.run.json").unlink()
    data = gzip.compress(PLAIN)
    assert refused(run, "in.csv", data[:-4])[0] == 65
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    assert labelled(run, "in.csv", data) == plain


def test_nothing_is_kept_of_damaged_parquet(run, tmp_path):
    """Another column than the messages' is read at the end only."""
    data = bytearray(as_parquet(0))
    chunk = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(2).column(2)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + 9] = b"\xff" * 9
    assert refused(run, "in.parquet", bytes(data), out="out.parquet") == (
        65, "in.parquet: is not Parquet, or is damaged or cut off"
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_a_cut_header(run):
    assert refused(run, "in.csv.gz", gzip.compress(PLAIN)[:15]) == (
        65,
        "in.csv.gz: the gzip data ends too early, the file is cut off, after 0 decompressed bytes",
    )


def test_utf_16_unasked(run):
    data = PLAIN.decode().encode("utf-16")
    assert refused(run, "in.csv", data) == (
        65, "in.csv: looks like utf-16; type: --encoding utf-16"
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"])
def test_transcoded_in_and_back(run, plain, encoding):
    for mark in ("", "\ufeff"):
        data = (mark + PLAIN.decode()).encode(encoding)
        if mark and encoding in ("utf-16", "utf-32"):
            continue  # which write one by themselves
        found = labelled(run, "in.csv", data, "--encoding", encoding)
        assert found == (mark + plain.decode()).encode(encoding)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-15"])
def test_the_model_sees_the_right_text(run, plain, encoding):
    data = PLAIN.decode().replace("£", "é").encode(encoding)
    wanted = labelled(run, "in.csv", PLAIN.replace("£".encode(), "é".encode()))
    found = labelled(run, "in.csv", data, "--encoding", encoding)
    assert found.decode(encoding) == wanted.decode()
    warning = (
        "40 texts have bytes that are not UTF-8 and are read as U+FFFD, first in line 2; each "
        "byte is a letter in cp1252; type: --encoding cp1252"
    )
    assert labelled(run, "in.csv", data, warning=warning) != found


def test_bytes_that_are_no_utf_16(run):
    data = PLAIN.decode().encode("utf-16-le") + b"\x00\xdc"
    exit_code, said = refused(run, "in.csv", data, "--encoding", "utf-16-le")
    assert (exit_code, said) == (
        65,
        f"in.csv: byte offset {len(data) - 2}: not valid utf-16-le; type the right --encoding, "
        "or repair the input; records read before it: 40",
    )


def test_no_header(run):
    table = to_csv(ROWS[1:3]).encode()
    args = ("--no-header", "--columns", "tokens")
    wanted = b"".join(line + b",8\r\n" for line in table.splitlines())
    assert labelled(run, "in.csv", table, *args, "--text-column", 2).count(b"\r\n") == 2
    assert labelled(run, "-", b"a\r\nb", *args, input=b"a\r\nb", out="-") == b"a,1\r\nb,1\r\n"
    assert len(labelled(run, "in.csv", table, *args, "--text-column", 2)) == len(wanted)


@pytest.mark.parametrize(
    ("data", "args", "message"),
    [
        (b"1,a\n", (), "without a header the text column is a number from 1 to 2; "),
        (b"1,a\n", (3,), "without a header the text column is a number from 1 to 2, not '3'; "),
        (b"1,a\n", (0,), "without a header the text column is a number from 1 to 2, not '0'; "),
        (b"1,a\n", ("a",), "without a header the text column is a number from 1 to 2, not 'a'; "),
    ],
)
def test_no_header_and_no_such_column(run, data, args, message):
    column = [option for value in args for option in ("--text-column", value)]
    assert refused(run, "in.csv", data, "--no-header", *column) == (
        65, f"in.csv: {message}type for example: --no-header --text-column 1"
    )  # fmt: skip


def test_no_header_and_a_bad_first_line(run):
    assert refused(run, "in.csv", b'1,"a\n', "--no-header", "--text-column", 2) == (
        65, "in.csv: line 1: the first record: quote opened at byte 3 of line 1 is never closed; "
        "if quotes are text, type: --no-quote"
    )  # fmt: skip
    assert refused(run, "in.csv", b"", "--no-header") == (65, "in.csv: the file is empty")


def test_columns_by_number_where_names_do_not_tell(run):
    data = b"id,message,message\n1,a,Do you have time\n"
    found = labelled(run, "in.csv", data, "--text-column", 3)
    assert found == b"id,message,message,label,score\n1,a,Do you have time,ham,0.017986\n"
    assert labelled(run, "in.csv", b"3,2,1\n" + b"a,b,Do you have time\n", "--text-column", 1) == (
        b"3,2,1,label,score\na,b,Do you have time,ham,0.017986\n"
    )  # a name, if there is one


@pytest.mark.parametrize("columns", ["label,score", "score,label,tokens,truncated", "label"])
def test_our_own_output_labelled_again(run, columns):
    args = ("--columns", columns)
    once = labelled(run, "in.csv", PLAIN, *args)
    exit_code, said, _ = run("again.csv", once, *args)
    assert (exit_code, said) == (
        65,
        f"spam-batch: error: again.csv: there is a column {columns.split(',')[0]!r} already; it "
        "would be there twice; choose others with --columns, or give --overwrite-columns\n",
    )
    assert labelled(run, "again.csv", once, *args, "--overwrite-columns") == once


def test_columns_are_taken_out_wherever_they_stand(run):
    data = b'"label",id,"text",score,x\r\n"a, ""b",1,"Do you have time","\r\n", y\r\n,,,,\r\n'
    found = labelled(run, "in.csv", data, "--overwrite-columns")
    assert found.startswith(
        b'id,"text",x,label,score\r\n1,"Do you have time", y,ham,0.017986\r\n,,,'
    )
    assert refused(
        run, "in.csv", data, "--overwrite-columns", "--text-column", "label", out="other.csv"
    ) == (
        65,
        "in.csv: the text column 'label' would be overwritten; choose others with --columns, "
        "or rename it",
    )


def test_other_quotes_and_escapes(run):
    found = labelled(run, "in.csv", b"id;text\n1;'a;''b'\n", "--delimiter", ";", "--quote", "'")
    assert found.startswith(b"id;text;label;score\n1;'a;''b';")
    found = labelled(run, "in.csv", b'id,text\n"1,"a"\n', "--no-quote")
    assert found.startswith(b'id,text,label,score\n"1,"a",')
    data = b"id\ttext\n1\ta\\\tb\\\nc\n"
    found = labelled(run, "in.tsv", data, "--no-quote", "--escape", "\\", out="out.tsv")
    assert found.startswith(b"id\ttext\tlabel\tscore\n1\ta\\\tb\\\nc\t")
    data = b'id,text\n1,"a\\"b"\n'
    assert labelled(run, "in.csv", data, "--escape", "\\").startswith(
        b'id,text,label,score\n1,"a\\"b",'
    )


def test_a_message_whose_lines_are_records(run):
    message = b'2,"Hi, Anna\n' + b"Yours, Bob\n" * 16 + b'Bye"'
    data = b"id,text\n1,ok\n" + message + b"\n3,ok\n"
    said = (
        "in.csv: line 3, byte offset 13: quote opened at byte 3 of line 3 is closed at byte 4 of "
    )
    said += "line 20, but all 16 lines between are whole records of 2 fields, so it is taken as "
    said += "never closed (--trust-quotes takes it as one field); to set bad records aside, type "
    assert refused(run, "in.csv", data) == (65, f"{said}--max-rejects 10, or 1%")
    found = labelled(run, "in.csv", data, "--trust-quotes", "--restart")
    assert found.count(b"\n") == data.count(b"\n") and message + b"," in found


def test_a_tsv_file_that_is_compressed(run):
    data = gzip.compress(b"id\ttext\n1\ta, b\n")
    found = labelled(run, "in.tsv.gz", data, out="out.tsv")
    assert found == b"id\ttext\tlabel\tscore\n1\ta, b\tspam\t0.998499\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--quote", ""), "--quote: '' is not one character"),
        (("--quote", "ab"), "--quote: 'ab' is not one character"),
        (("--quote", "q"), "--quote: 'q' also occurs in the columns that we add"),
        (("--quote", ","), "--delimiter: quote and delimiter are both b','; they must differ"),
        (("--escape", '"'), "--escape: escape and quote are both b'\"'; they must differ"),
        (("--escape", "1"), "--escape: '1' also occurs in the columns that we add"),
        (("--no-quote", "--quote", "'"), "--no-quote: --quote is given too; choose one"),
        (
            ("--delimiter", "¦", "--encoding", "ascii"),
            "--delimiter: '¦' cannot be written in ascii",
        ),
        (
            ("--no-header", "--overwrite-columns"),
            "--overwrite-columns: without a header no column has a name",
        ),
    ],
)
def test_options_that_do_not_work(run, args, message):
    exit_code, said = refused(run, "in.csv", PLAIN, *args)
    assert (exit_code, said) == (2, f"Error: {message}")


def test_a_delimiter_beyond_ascii(run):
    data = "id¦text\n1¦a, b\n".encode("latin-1")
    found = labelled(run, "in.csv", data, "--encoding", "latin-1", "--delimiter", "¦")
    assert found.decode("latin-1") == "id¦text¦label¦score\n1¦a, b¦spam¦0.998499\n"


def test_a_label_that_the_encoding_does_not_have(run, make_bundle, monkeypatch):
    bundle = make_bundle(labels=["ham", "спам"], positive_label="спам")
    message = "'спам' cannot be written in iso8859-1"
    assert refused(run, "in.csv", b"text\na\n", "--encoding", "latin-1", "--bundle", bundle) == (
        2,
        message,
    )


def test_no_such_encoding(run):
    message = "--encoding: there is no 'klingon'; for example utf-8, utf-16, latin-1, cp1252"
    assert refused(run, "in.csv", PLAIN, "--encoding", "klingon") == (2, message)


def test_records_that_are_too_long(run):
    data = b"text\n" + b"a" * 100 + b"\nb\n"
    assert refused(run, "in.csv", data, "--max-record-bytes", 50) == (
        65,
        "in.csv: line 2, byte offset 5: is 100 bytes long, at most 50 are allowed; "
        "to set bad records aside, type --max-rejects 10, or 1%",
    )
    exit_code, _, found = run("in.csv", data, "--max-record-bytes", 50, "--max-rejects", 1)
    assert (exit_code, found.count(b"\n")) == (3, 2)


def test_json_lines(run, tmp_path):
    data = b'{"id": 1, "text": "Do you have time"}\r\n{"id": 2}\r\n\r\n{"text":"a, b"}'
    assert refused(run, "in.jsonl", data, out="out.jsonl") == (
        65,
        "in.jsonl: line 2, byte offset 39: has no key 'text'; "
        "to set bad records aside, type --max-rejects 10, or 1%",
    )
    exit_code, _, found = run("in.jsonl", data, "--max-rejects", 1, out="out.jsonl")
    assert (exit_code, found) == (
        3,
        b'{"id": 1, "text": "Do you have time","label":"ham","score":0.017986}\r\n'
        b'{"text":"a, b","label":"spam","score":0.998499}\r\n',
    )
    rejects = (tmp_path / "out.jsonl.rejects.csv").read_bytes()
    assert rejects.splitlines()[1:] == [b'2,39,"has no key \'text\'","{""id"": 2}"']


def test_json_lines_in_other_wrappings(run):
    data = b'\xef\xbb\xbf{"text":"a, b"}\n'
    wanted = b'\xef\xbb\xbf{"text":"a, b","label":"spam","score":0.998499}\n'
    assert labelled(run, "in.ndjson.gz", gzip.compress(data), out="o.ndjson") == wanted
    assert labelled(run, "in.txt", data, "--format", "jsonl", out="o.txt") == wanted
    assert labelled(run, "-", None, "--format", "jsonl", input=data, out="-") == wanted
    found = labelled(
        run, "u.jsonl", data.decode().encode("utf-16-le"), "--encoding", "utf-16-le", out="u.json"
    )
    assert found.decode("utf-16-le") == wanted.decode()
    assert labelled(run, "e.jsonl", b"", out="e.out.jsonl") == b""
    again = labelled(run, "a.jsonl", wanted, "--overwrite-columns", out="again.jsonl")
    assert again == wanted


@pytest.mark.parametrize(
    ("args", "exit_code", "message"),
    [
        (
            ("--encoding", "latin-1"),
            2,
            "--encoding: JSON Lines is in UTF-8, UTF-16 or UTF-32, not in iso8859-1",
        ),
        (("--no-header",), 2, "--no-header: JSON Lines has no header; leave it out"),
        (
            ("--text-column", "label", "--overwrite-columns"),
            65,
            "in.jsonl: the text column 'label' would be overwritten; choose others with "
            "--columns, or rename it",
        ),
    ],
)
def test_json_lines_refused(run, args, exit_code, message):
    assert refused(run, "in.jsonl", b'{"text":"a"}\n', *args, out="out.jsonl") == (
        exit_code, message
    )  # fmt: skip


def test_parquet(run, plain, tmp_path):
    found = pq.read_table(io.BytesIO(labelled(run, "in.parquet", as_parquet(0), out="o.parquet")))
    theirs = list(csv.DictReader(io.StringIO(plain.decode(), newline="")))
    assert [{**row, "score": f"{row['score']:.6f}"} for row in found.to_pylist()] == theirs
    named = labelled(run, "in.bin", as_parquet(0), "--format", "parquet", out="o.bin")
    assert named == (tmp_path / "o.parquet").read_bytes()


def test_parquet_with_rejects(run):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", None, "b"]}), buffer)
    assert refused(run, "in.parquet", buffer.getvalue(), out="out.parquet") == (
        65,
        "in.parquet: line 2, byte offset 1: has null as its 'text'; "
        "to set bad records aside, type --max-rejects 10, or 1%",
    )
    exit_code, _, found = run(
        "in.parquet", buffer.getvalue(), "--max-rejects", 1, out="out.parquet"
    )
    assert exit_code == 3
    assert pq.read_table(io.BytesIO(found))["text"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "data", "args", "out", "exit_code", "message"),
    [
        (
            "in.csv", PLAIN, (), "out.parquet", 2,
            "--out out.parquet is named as Parquet, but in.csv is read as CSV, and the output has "
            "the input's format; give another name, or --format parquet",
        ),
        (
            "in.jsonl", b"", (), "out.csv.gz", 2,
            "--out out.csv.gz is named as CSV, but in.jsonl is read as JSON Lines, and the output "
            "has the input's format; give another name, or --format csv",
        ),
        (
            "-", b"", ("--format", "parquet"), "o.parquet", 2,
            "Parquet is neither read from a pipe nor written to one; give files",
        ),
        (
            "in.parquet", b"", (), "-", 2,
            "Parquet is neither read from a pipe nor written to one; give files",
        ),
        (
            "in.parquet", b"", (), "/dev/null", 2,
            "Parquet is neither read from a pipe nor written to one; give files",
        ),
        (
            "in.parquet", b"", (), "o.parquet.gz", 2,
            "--out o.parquet.gz: Parquet is compressed inside; give a name without .gz",
        ),
        (
            "in.parquet", gzip.compress(as_parquet(0)), (), "o.parquet", 65,
            "in.parquet: is gzip data; decompress it first",
        ),
        ("in.parquet", PLAIN, (), "o.parquet", 65,
            "in.parquet: is not Parquet, or is damaged or cut off"),
        ("in.csv", as_parquet(0), (), "o.csv", 65,
            "in.csv: is a Parquet file; type: --format parquet"),
    ],
)  # fmt: skip
def test_formats_that_do_not_fit(run, name, data, args, out, exit_code, message):
    assert refused(run, name, data, *args, out=out, input=data) == (exit_code, message)


def test_pyarrow_is_missing(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert refused(run, "in.parquet", as_parquet(0), out="o.parquet") == (
        78, "pyarrow is not installed; type: pip install 'spam-batch[arrow]'"
    )  # fmt: skip


def test_members_are_cut_where_windows_are(run):
    found, sizes = labelled(run, "in.csv", PLAIN, out="out.csv.gz"), []
    while found:
        member = zlib.decompressobj(31)
        sizes.append(member.decompress(found).count(b"\r\n"))
        found = member.unused_data
    assert sizes == [1, 16, 16, 8]
