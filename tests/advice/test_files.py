"""What the file is: archives, JSON in other shapes, XML, and what is no table at all."""

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from batch.model.classifier import Classifier

SEEN = b"see you at seven"
NO_COLUMN = "no text column found"

TABLE = b"id,text\n1," + SEEN + b"\n2,b\n"


def make_zip(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, TABLE)
    return file.getvalue()


def make_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("inbox.csv")
        entry.size = len(TABLE)
        archive.addfile(entry, io.BytesIO(TABLE))
    return file.getvalue()


CASES = {
    # what the file is
    "a zip archive": (
        "in.csv",
        make_zip("inbox.csv"),
        "",
        "in.csv: is a zip archive; type: unzip -p in.csv > in.fixed.csv",
        2,
    ),
    "a tar archive": (
        "in.csv.gz",
        gzip.compress(make_tar()),
        "",
        "in.csv.gz: is a tar archive; type: tar -xOf in.csv.gz > in.fixed.csv",
        2,
    ),
    "lzma": (
        "in.csv",
        lzma.compress(TABLE, lzma.FORMAT_ALONE),
        "",
        "in.csv: is lzma data; type: xz --format=lzma -dc in.csv > in.fixed.csv",
        2,
    ),
    "Parquet": (
        "in.csv",
        b"PAR1" + bytes(60) + b"PAR1",
        "",
        "in.csv: is a Parquet file; type: --format parquet",
        0,
        "--out out.csv is named as CSV, but in.csv is read as Parquet, and the output has the "
        "input's format; give another name",
    ),
    "a JSON array": (
        "in.json",
        b'[\n {"id": 1, "text": "a"},\n {"id": 2, "text": "b"}\n]\n',
        "",
        "in.json: is a JSON array, not JSON Lines; type: jq -c '.[]' in.json > in.jsonl",
        2,
    ),
    "a JSON array in one line, compressed": (
        "in.jsonl.gz",
        gzip.compress(b'[{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]'),
        "",
        "in.jsonl.gz: is a JSON array, not JSON Lines; type: gzip -dc in.jsonl.gz | jq -c '.[]' > "
        "in.jsonl",
        2,
    ),
    "a JSON array as CSV": (
        "in.csv",
        b'[{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]',
        "",
        "in.csv: is a JSON array, not JSON Lines; type: jq -c '.[]' in.csv > in.jsonl",
        2,
    ),
    "JSON objects over several lines": (
        "in.jsonl",
        b'{\n "text": "a"\n}\n{\n "text": "b"\n}\n',
        "",
        "in.jsonl: is JSON, but not one object a line; type: jq -c . in.jsonl > in.fixed.jsonl",
        2,
    ),
    "JSON objects in one line": (
        "in.json",
        b'{"text": "a"}{"text": "b"}',
        "",
        "in.json: is JSON, but not one object a line; type: jq -c . in.json > in.jsonl",
        2,
    ),
    "a JSON object of columns": (
        "in.json",
        b'{"id": {"0": 1, "1": 2}, "text": {"0": "a", "1": "b"}}',
        "",
        "in.json: is one JSON object of columns, not of one message a line; type: jq -c "
        "'map_values([.[]]) | range(.[\"text\"]|length) as $i | map_values(.[$i])' in.json > "
        "in.jsonl",
        2,
    ),
    "a JSON object of lists": (
        "in.json",
        b'{"id": [1, 2], "note": ["a", "b"]}',
        "--text-column note",
        "in.json: is one JSON object of columns, not of one message a line; type: jq -c "
        "'map_values([.[]]) | range(.[\"note\"]|length) as $i | map_values(.[$i])' in.json > "
        "in.jsonl",
        2,
    ),
    "a text inside an object": (
        "in.jsonl",
        b'{"message": {"from": "amy", "body": "a"}}\n{"message": {"from": "bob", "body": "b"}}\n',
        "",
        "in.jsonl: line 1, byte offset 0: has no string as its 'message'; it is an object with "
        "'from', 'body'; type: jq -c '{\"body\": .[\"message\"][\"body\"]} + .' in.jsonl > "
        "in.fixed.jsonl, and then --text-column body",
        2,
    ),
    "a text inside an object, by its dotted name": (
        "in.jsonl",
        b'{"id": 1, "m": {"a b": {"c": "x"}}}\n{"id": 2, "m": {"a b": {"c": "y"}}}\n',
        "--text-column 'm.a b.c'",
        "in.jsonl: line 1, byte offset 0: has no key 'm.a b.c'; the text is inside 'm'; type: jq "
        '-c \'{"c": .["m"]["a b"]["c"]} + .\' in.jsonl > in.fixed.jsonl, and then '
        "--text-column c",
        2,
    ),
    "a text inside an object, by its path": (
        "in.jsonl",
        b'{"text": "a", "data": {"text": "b"}}\n',
        "--text-column /data/text",
        "in.jsonl: line 1, byte offset 0: has no key '/data/text'; the text is inside 'data'; "
        'type: jq -c \'{"text_inside": .["data"]["text"]} + .\' in.jsonl > '
        "in.fixed.jsonl, and then --text-column text_inside",
        1,
    ),
    "a text inside an object whose name nobody knows": (
        "in.jsonl",
        b'{"id": 1, "data": {"text": "a"}}\n{"id": 2, "data": {"text": "b"}}\n',
        "",
        f"in.jsonl: {NO_COLUMN}; the text is inside 'data'; type: jq -c '{{\"text\": "
        '.["data"]["text"]} + .\' in.jsonl > in.fixed.jsonl, and then --text-column text',
        2,
    ),
    "JSON Lines joined with cat, with a byte order mark": (
        "in.jsonl",
        b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n',
        "",
        "in.jsonl: line 2, byte offset 14: is not valid JSON, at byte 1; a byte order mark stands "
        r"before it, as in files joined with cat; type: sed 's/^\xEF\xBB\xBF//' in.jsonl > "
        "in.fixed.jsonl",
        2,
    ),
    "JSON Lines as CSV": (
        "in.csv",
        b'{"text": "a"}\n',
        "",
        "in.csv: looks like JSON Lines; type: --format jsonl",
        0,
        "--out out.csv is named as CSV, but in.csv is read as JSON Lines, and the output has the "
        "input's format; give another name",
    ),
    "SMS Backup & Restore": (
        "in.xml",
        b'<?xml version="1.0"?>\n<smses count="2"><sms body="a"/><sms body="b"/></smses>\n',
        "",
        "in.xml: is XML of SMS Backup & Restore; type: python3 -c 'import "
        'sys,json,xml.etree.ElementTree as E; [print(json.dumps({"text": m.get("body")})) for '
        'm in E.parse(sys.stdin).iter("sms")]\' < in.xml > in.jsonl',
        2,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_advice_works(check_advice, case):
    check_advice(*case)


WORKBOOK = "is a workbook, not text; save it as CSV (UTF-8) and give that"
PAGE = "is an HTML page, not a table (a login page?); download the data again"
XML = "is XML, not a table; export the messages as CSV or JSON Lines and give that"
FOREIGN = {
    "workbook": (make_zip("xl/workbook.xml"), WORKBOOK),
    "old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), WORKBOOK),
    "page": (b"\r\n<!DOCTYPE html>\n<html>\n<head>\n", PAGE),
    "page without a type": (b"\xef\xbb\xbf<HTML>\n<body>text\n", PAGE),
    "XML": (b'<?xml version="1.0"?>\n<Error>Access Denied</Error>\n', XML),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:5f\nsize 4\n",
        "is a pointer of Git LFS, not the data; type: git lfs pull",
    ),
    "lz4": (
        b"\x04\x22\x4d\x18" + bytes(9),
        "is lz4 data; type: lz4 -dc in.csv > in.fixed.csv",
    ),
    "compress": (
        b"\x1f\x9d" + bytes(9),
        "is data of compress; type: gzip -dc in.csv > in.fixed.csv",
    ),
    "lzip": (
        b"LZIP\x01" + bytes(9),
        "is lzip data; type: lzip -dc in.csv > in.fixed.csv",
    ),
    "Snappy": (
        b"\xff\x06\x00\x00sNaPpY",
        "is Snappy data; type: python3 -m snappy -d in.csv > in.fixed.csv",
    ),
    "7-Zip": (
        b"7z\xbc\xaf\x27\x1c" + bytes(9),
        "is a 7-Zip archive; type: 7z x -so in.csv > in.fixed.csv",
    ),
    "RAR": (
        b"Rar!\x1a\x07" + bytes(9),
        "is a RAR archive; type: unrar p -inul in.csv > in.fixed.csv",
    ),
    "Arrow": (
        b"ARROW1\0\0" + bytes(9),
        "is an Arrow file (Feather), not text; write it as Parquet and give that",
    ),
    "Avro": (
        b"Obj\x01" + bytes(9),
        "is an Avro file, not text; write it as JSON Lines and give that",
    ),
    "SQLite": (
        b"SQLite format 3\0" + bytes(9),
        "is an SQLite database, not text; export the table as CSV and give that",
    ),
    "PDF": (b"%PDF-1.7\n", "is a PDF, not text; export the messages as CSV and give that"),
}


def fail(*_, **__):
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize("options", ["", "--text-column 1", "--no-header", "--max-rejects 9"])
@pytest.mark.parametrize(("data", "message"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_table_is_named(classify, monkeypatch, data, message, options):
    monkeypatch.setattr(Classifier, "load", fail)  # it is refused before the model is loaded
    Path("in.csv").write_bytes(data)
    result, _ = classify("in.csv", options)
    assert (result.exit_code, result.stderr) == (65, f"spam-batch: error: in.csv: {message}\n")


@pytest.mark.parametrize(
    "data",
    [
        b"text\n<b>You WON</b> call now\nsee you\n",
        b"text\n<html>a</html>\n<!doctype html>\n",
        b"text\n[1]\n{\n",
    ],
)
def test_markup_and_brackets_in_messages_are_text(classify, count_rows, data):
    Path("in.csv").write_bytes(data)
    result, out = classify("in.csv", "")
    assert (result.exit_code, result.stderr, count_rows(Path(out))) == (0, "", 3)


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_a_first_line_nested_too_deep(classify, name):
    Path(name).write_bytes(b'{"text": ' + b"[" * 200_000 + b"\n")
    result, _ = classify(name, "")
    assert result.exit_code == 65


def test_json_lines_may_be_called_json(classify, count_rows):
    Path("in.json").write_bytes(b'{"text": "a"}\n{"text": "b"}\n')
    result, out = classify("in.json", "")
    assert (result.exit_code, result.stderr, out) == (0, "", "out.json")
    assert count_rows(Path(out)) == 2
