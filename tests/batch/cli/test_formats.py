"""Each format through the command line: resumed, refused, JSON Lines and Parquet."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.model.classifier import Classifier
from batch.reading.compression import _load_zstd

SMALL = b"id,text\n1,a\n"


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


def read_rows(table: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.decode(), newline="")))


def as_jsonl(table: bytes) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in read_rows(table))


def as_parquet(table: bytes) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(read_rows(table)), buffer, row_group_size=10)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "pack", "args", "out"),
    [
        ("in.csv", bytes, (), "out.csv.gz"),
        ("in.csv", bytes, (), "out.csv.zst"),
        ("in.csv.gz", gzip.compress, (), "out.csv.xz"),
        ("in.csv", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]), (), "out.csv"),
        ("in.csv", lambda data: _load_zstd().compress(data), (), "out.csv.bz2"),
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
    run, tmp_path, monkeypatch, classifier, name, pack, args, out, at, labelled, table
):
    data = pack(table)
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


def test_nothing_is_kept_of_damaged_parquet(run, tmp_path, refused, table):
    """Another column than the messages' is read at the end only."""
    data = bytearray(as_parquet(table))
    chunk = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(2).column(2)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + 9] = b"\xff" * 9
    assert refused(run, "in.parquet", bytes(data), out="out.parquet") == (
        65, "in.parquet: is not Parquet, or is damaged or cut off"
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_json_lines(run, tmp_path, refused):
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


def test_json_lines_in_other_wrappings(run, labelled):
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
def test_json_lines_refused(run, args, exit_code, message, refused):
    assert refused(run, "in.jsonl", b'{"text":"a"}\n', *args, out="out.jsonl") == (
        exit_code, message
    )  # fmt: skip


def test_parquet(run, plain, tmp_path, labelled, table):
    found = pq.read_table(
        io.BytesIO(labelled(run, "in.parquet", as_parquet(table), out="o.parquet"))
    )
    theirs = list(csv.DictReader(io.StringIO(plain.decode(), newline="")))
    assert [{**row, "score": f"{row['score']:.6f}"} for row in found.to_pylist()] == theirs
    named = labelled(run, "in.bin", as_parquet(table), "--format", "parquet", out="o.bin")
    assert named == (tmp_path / "o.parquet").read_bytes()


def test_parquet_with_rejects(run, refused):
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
            "in.csv", SMALL, (), "out.parquet", 2,
            "--out out.parquet is named as Parquet, but in.csv is read as CSV, and the output has "
            "the input's format; give another name",
        ),
        (
            "in.jsonl", b"", (), "out.csv.gz", 2,
            "--out out.csv.gz is named as CSV, but in.jsonl is read as JSON Lines, and the output "
            "has the input's format; give another name",
        ),
        (
            "in.txt", SMALL, (), "out.jsonl", 2,
            "--out out.jsonl is named as JSON Lines, but in.txt is read as CSV, and the output has "
            "the input's format; give another name, or, if it is JSON Lines, --format jsonl",
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
            "in.parquet", gzip.compress(as_parquet(SMALL)), (), "o.parquet", 65,
            "in.parquet: is gzip data; decompress it first",
        ),
        ("in.parquet", SMALL, (), "o.parquet", 65,
            "in.parquet: is not Parquet, or is damaged or cut off"),
        ("in.csv", as_parquet(SMALL), (), "o.csv", 65,
            "in.csv: is a Parquet file; type: --format parquet"),
    ],
)  # fmt: skip
def test_formats_that_do_not_fit(run, name, data, args, out, exit_code, message, refused):
    assert refused(run, name, data, *args, out=out, input=data) == (exit_code, message)


def test_an_output_of_another_name_works_as_advised(run, refused):
    wanted = run("in.csv", SMALL, out="out.csv")
    assert wanted[0] == 0
    assert refused(run, "in.csv", SMALL, out="x.jsonl")[0] == 2
    line = b'{"text": "a"}\n'
    assert refused(run, "in.txt", line, out="out.jsonl")[0] == 2
    assert run("in.txt", line, "--format", "jsonl", out="out.jsonl")[0] == 0


def test_pyarrow_is_missing(run, monkeypatch, refused, table):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert refused(run, "in.parquet", as_parquet(table), out="o.parquet") == (
        78, "pyarrow is not installed; type: pip install 'spam-batch[arrow]'"
    )  # fmt: skip
