"""Advice that works: the whole message of each error, and what the advised command does.

Each case is a small input, the options of ``spam-batch classify``, and the whole message. What
the message says to type is then typed: an option is added to the command; a shell command is
run, and the file that it writes is labelled.
"""

import gzip
import io
import lzma
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet as pq

from batch.cli.commands import main
from batch.model.classifier import Classifier
from batch.reading.codepage import UNDO_TWICE

WON = b"You WON a prize! Call 0900 555, now"


@dataclass(frozen=True)
class Case:
    """One input with a fault, and the way out of it."""

    name: str  # of the input
    data: bytes
    options: str  # of the command
    message: str  # whole, behind the name of the program
    rows: int  # of the output of the advised command; 0: it meets the next fault
    then: str = ""  # the options of the advised command, or its message if it fails
    status: int = 65


SEEN = b"see you at seven"
CLOSED_BY_TEXT = "where text follows it, expected ',' or the end of the line"
INSIDE = (
    "stands inside a field that does not begin with one, expected the field in quotes and the "
    "quote doubled"
)
NO_COLUMN = "no text column found"
LATER = "line 1 does not name the columns"
A_RECORD = "line 1 looks like a record, not like the names of the columns"
DRAWN = (
    r"it is a table drawn for a person; type: sed '/^([0-9]* rows*)\r*$/d; /^[0-9]* rows* in set/d;"
    r" /^[-+|: ]*---[-+|: ]*\r*$/d; s/^ *| *//; s/^ *//; s/ *|\r*$//; s/ *| */|/g'"
)

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
    # another delimiter
    "semicolons": Case(
        "in.csv",
        b"id;text\n1;see you, at seven\n2;" + WON + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        2,
    ),
    "tabs": Case(
        "in.csv",
        b"id\ttext\n1\t" + SEEN + b"\n2\t" + WON + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter '\\t' fits; type: --delimiter '\\t'",
        2,
    ),
    "pipes": Case(
        "in.csv",
        b"id|text\n1|" + SEEN + b"\n2|" + WON + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter '|' fits; type: --delimiter '|'",
        2,
    ),
    "commas in a TSV": Case(
        "in.tsv",
        b'id,text\n1,"' + SEEN + b'"\n2,"' + WON + b'"\n',
        "",
        f"in.tsv: {NO_COLUMN}; the delimiter ',' fits; type: --delimiter ,",
        2,
    ),
    "semicolons, and a comma in the header": Case(
        "in.csv",
        b"id;text;from, to\n1;" + SEEN + b";amy\n2;" + WON + b";bob\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        2,
    ),
    "semicolons, the column is named": Case(
        "in.csv",
        b"id;note\n1;" + SEEN + b"\n2;" + WON + b"\n",
        "--text-column note",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        2,
    ),
    "semicolons, names that nobody knows": Case(
        "in.csv",
        b"id;note\n1;" + SEEN + b"\n2;" + WON + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        0,
        "in.csv: no text column found; columns: 'id', 'note'; name it with --text-column",
    ),
    "semicolons without a header": Case(
        "in.csv",
        b"1;" + SEEN + b"\n2;" + WON + b"\n",
        "--no-header --text-column 2",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        2,
    ),
    "semicolons, found by a record": Case(
        "in.csv",
        b"1;you, at seven\n2;see you\n3;bye\n",
        "--no-header --text-column 2",
        "in.csv: line 1 has 2 fields, unlike all of the next 2 records; they have 1; the "
        "delimiter ';' fits; type: --delimiter ';'",
        3,
    ),
    # a line above the header that is for a program
    "a line sep=, and a title": Case(
        "in.csv",
        b"sep=;\nexport\nid;text\n1;" + SEEN + b"\n2;b\n",
        "",
        f"in.csv: {NO_COLUMN}; line 2 does not name the columns; line 3 does; type: sed 2,2d "
        "in.csv > in.fixed.csv",
        3,
    ),
    "a line sep=, and a header that ends with a delimiter": Case(
        "in.csv",
        b"sep=;\nid;text;\n1;" + SEEN + b"\n2;b\n",
        "",
        "in.csv: line 2 has 3 fields, unlike all of the next 2 records; they have 2; line 2 ends "
        r"with a delimiter, and the records do not; type: sed '2s/;\(\r*\)$/\1/' in.csv > "
        "in.fixed.csv",
        3,
    ),
    "a line sep=, and stray quotes": Case(
        "in.csv",
        b'sep=;\nid;text\n1;"' + SEEN + b"\n2;b\n",
        "",
        "in.csv: line 3, byte offset 14: quote opened at byte 3 of line 3 is never closed; if "
        "quotes are text, type: --no-quote",
        3,
    ),
    "a line #TYPE, and semicolons": Case(
        "in.csv",
        b"#TYPE System.Object\nid;text\n1;" + SEEN + b"\n2;b\n",
        "",
        f"in.csv: {NO_COLUMN}; the delimiter ';' fits; type: --delimiter ';'",
        3,
    ),
    # quotes
    "stray quotes in a TSV": Case(
        "in.tsv",
        b'id\ttext\n1\t"' + SEEN + b"\n2\ta\n3\tb\n",
        "",
        "in.tsv: line 2, byte offset 8: quote opened at byte 3 of line 2 is never closed; if "
        "quotes are text, type: --no-quote",
        3,
    ),
    "a stray quote behind the first lines": Case(
        "in.tsv",
        b"id\ttext\n" + (b"1\t" + b"a b " * 24 + b"\n") * 1000 + b'1\t"a\n1\tb\n',
        "",
        "in.tsv: line 1002, byte offset 99008: quote opened at byte 3 of line 1002 is never "
        "closed; if quotes are text, type: --no-quote",
        1002,
    ),
    "a quote inside a field": Case(
        "in.csv",
        b'id,text\n1,a 7" screen\n2,b\n',
        "",
        f"in.csv: line 2, byte offset 8: quote at byte 6 of line 2 {INSIDE}; if quotes are text, "
        "type: --no-quote",
        2,
    ),
    "a stray quote in the first record": Case(
        "in.tsv",
        b'1\t"' + SEEN + b"\n2\tb\n",
        "--no-header --text-column 2",
        "in.tsv: line 1: the first record: quote opened at byte 3 of line 1 is never closed; if "
        "quotes are text, type: --no-quote",
        2,
    ),
    # a backslash
    "a backslash before a quote": Case(
        "in.csv",
        b'id,text\n1,"she said \\"ok\\", fine"\n2,"b"\n',
        "",
        "in.csv: line 2, byte offset 8: quote opened at byte 3 of line 2 is closed at byte 14 of "
        f"line 2, {CLOSED_BY_TEXT}; a backslash stands before a quote; type: --escape '\\'",
        2,
    ),
    "a backslash before a quote, over two lines": Case(
        "in.csv",
        b'id,text\n1,"she said \\"ok,\nfine\\""\n2,"b"\n',
        "",
        "in.csv: line 2, byte offset 8: quote opened at byte 3 of line 2 is closed at byte 14 of "
        f"line 2, {CLOSED_BY_TEXT}; a backslash stands before a quote; type: --escape '\\'",
        3,  # lines, of two records
    ),
    "a backslash before a line break": Case(
        "in.tsv",
        b"id\ttext\tfrom\n1\tfirst\\\nsecond\tbob\n2\ta\tamy\n",
        "",
        "in.tsv: line 2, byte offset 13: has 2 fields, expected 3; a backslash stands before a "
        "line break; type: --escape '\\' --no-quote",
        3,  # lines, of two records
    ),
    "a backslash before a line break, quotes are text": Case(
        "in.tsv",
        b"id\ttext\tfrom\n1\tfirst\\\nsecond\tbob\n2\ta\tamy\n",
        "--no-quote",
        "in.tsv: line 2, byte offset 13: has 2 fields, expected 3; a backslash stands before a "
        "line break or a delimiter; type: --escape '\\'",
        3,  # lines, of two records
    ),
    # what only a command mends
    "curly quotes": Case(
        "in.csv",
        "id,text\n1,“see you”\n2,“now, or never”\n".encode(),
        "",
        "in.csv: line 3, byte offset 24: has 3 fields, expected 2; the fields stand in curly "
        """quotes, which CSV does not know; type: sed 's/“/"/g; s/”/"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "curly quotes in the header": Case(
        "in.csv",
        "“id”,“text”\n1,“see you”\n2,“now, or never”\n".encode(),
        "",
        f"in.csv: {NO_COLUMN}; the fields stand in curly quotes, which CSV does not know; type: "
        """sed 's/“/"/g; s/”/"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "a space before the quote": Case(
        "in.csv",
        b'id,text\n1, "now, or never"\n2, "b"\n',
        "",
        f"in.csv: line 2, byte offset 8: quote at byte 4 of line 2 {INSIDE}; a space stands "
        """between a delimiter and a quote; type: sed 's/, *"/,"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "each line in quotes": Case(
        "in.csv",
        b'"id,text"\r\n"1,""now, or never"""\r\n"2,b"\r\n',
        "",
        f"in.csv: {NO_COLUMN}; each line stands in quotes as a whole; type: "
        r"""sed 's/^"//; s/"\(\r*\)$/\1/; s/""/"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "a file that was not written whole": Case(
        "in.csv",
        b"id,text\n1,a\n2,b\n" + bytes(100),
        "",
        "in.csv: line 4, byte offset 16: has 1 field, expected 2; it has NUL bytes, as a file has "
        "after a crash or on a full disk; to leave them out, type: tr -d '\\000' < in.csv > "
        "in.fixed.csv",
        2,
    ),
    "the end mark of DOS": Case(
        "in.csv",
        b"id,text\r\n1,a\r\n2,b\r\n\x1a",
        "",
        "in.csv: line 4, byte offset 19: has 1 field, expected 2; it has the byte 1A (Ctrl-Z), by "
        "which DOS ends a file; to leave it out, type: tr -d '\\032' < in.csv > in.fixed.csv",
        2,
    ),
    "each line in quotes, its column by number": Case(
        "in.csv",
        b'"id,text"\n"1,""now, or never"""\n"2,b"\n',
        "--text-column 1",
        "in.csv: each line stands in quotes as a whole; type: "
        r"""sed 's/^"//; s/"\(\r*\)$/\1/; s/""/"/g' in.csv > in.fixed.csv""",
        2,
    ),
    "files joined with cat, with a byte order mark before a quote": Case(
        "in.csv",
        b'"id","text"\n"1","a, b"\n\xef\xbb\xbf"2","c"\n',
        "",
        f"in.csv: line 3, byte offset 23: quote at byte 4 of line 3 {INSIDE}; a byte order mark "
        "stands before a line, as in files joined with cat; type: "
        r"sed 's/^\xEF\xBB\xBF//' in.csv > in.fixed.csv",
        2,
    ),
    "the table that psql draws": Case(
        "in.txt",
        b' id | text \n----+------\n  1 | see you "at, 7\n  2 | b\n(2 rows)\n\n',
        "",
        f"in.txt: {NO_COLUMN}; {DRAWN} in.txt > in.fixed.txt, and then --delimiter '|' --no-quote",
        2,
    ),
    "the table that psql draws, its delimiter is given": Case(
        "in.txt",
        b" id | text \n----+------\n  1 | a\n  2 | b\n(2 rows)\n",
        "--delimiter '|'",
        f"in.txt: line 2, byte offset 12: has 1 field, expected 2; {DRAWN} in.txt > in.fixed.txt, "
        "and then --delimiter '|' --no-quote",
        2,
    ),
    "the table that mysql draws": Case(
        "in.txt",
        b"+----+------+\r\n| id | text |\r\n+----+------+\r\n|  1 | a    |\r\n|  2 | b    |\r\n"
        b"+----+------+\r\n2 rows in set (0.00 sec)\r\n",
        "",
        f"in.txt: {NO_COLUMN}; {DRAWN} in.txt > in.fixed.txt, and then --delimiter '|' --no-quote",
        2,
    ),
    "the number of rows that psql writes at the end": Case(
        "in.csv",
        b"id,text\n1,a\n2,b\n(2 rows)\n",
        "",
        "in.csv: line 4, byte offset 16: has 1 field, expected 2; a line tells the number of "
        r"rows; type: sed '/^([0-9]* rows*)\r*$/d; /^[0-9]* rows* in set/d' in.csv > in.fixed.csv",
        2,
    ),
    # the header
    "no header": Case(
        "in.csv",
        b"17,Are you coming tonight? Bring wine\n18," + SEEN + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; {A_RECORD}; type: --no-header --text-column 2",
        2,
    ),
    "no header, one column": Case(
        "in.csv",
        b"Are you coming tonight?\n" + SEEN + b"\n",
        "",
        f"in.csv: {NO_COLUMN}; {A_RECORD}; type: --no-header",
        2,
    ),
    "a title above the header": Case(
        "in.csv",
        b"Inbox report\nPeriod: January\n\nTicket,Message\n1," + SEEN + b"\n2,b\n",
        "",
        f"in.csv: {NO_COLUMN}; {LATER}; line 4 does; type: tail -n +4 in.csv > in.fixed.csv",
        2,
    ),
    "an error above the header": Case(
        "in.csv",
        b"<br />\n<b>Warning</b>: gone away<br />\nid,text\n1," + SEEN + b"\n2,b\n",
        "",
        f"in.csv: {NO_COLUMN}; {LATER}; line 3 does; type: tail -n +3 in.csv > in.fixed.csv",
        2,
    ),
    "a title that is called as a text column": Case(
        "in.csv",
        b"text\nid,text\n1," + SEEN + b"\n2,b\n",
        "--max-rejects 50%",
        "in.csv: line 1 has 1 field, unlike all of the next 3 records; they have 2; line 2 does; "
        "type: tail -n +2 in.csv > in.fixed.csv",
        2,
    ),
    "records that end with a delimiter": Case(
        "in.csv",
        b"id,text\r\n1,a,\r\n2,b,\r\n",
        "--max-rejects 10",
        "in.csv: line 1 has 2 fields, unlike all of the next 2 records; they have 3; each record "
        "ends with a delimiter, and line 1 does not; type: "
        r"sed '1s/\(\r*\)$/,\1/' in.csv > in.fixed.csv",
        2,
    ),
    "a header that ends with a delimiter": Case(
        "in.csv",
        b"id,text,\r\n1,a\r\n2,b\r\n",
        "",
        "in.csv: line 1 has 3 fields, unlike all of the next 2 records; they have 2; line 1 ends "
        r"with a delimiter, and the records do not; type: sed '1s/,\(\r*\)$/\1/' in.csv > "
        "in.fixed.csv",
        2,
    ),
    "a header of other columns": Case(
        "in.csv",
        b"id,text\n1,2,see you at seven\n2,3,b c\n3,4,d\n",
        "",
        "in.csv: line 1 has 2 fields, unlike all of the next 3 records; they have 3; to leave out "
        "line 1, type: tail -n +2 in.csv > in.fixed.csv, and then --no-header --text-column 3",
        3,
    ),
    # the encoding
    "UTF-16": Case(
        "in.csv",
        "id,text\n1,£ 7\n2,b\n".encode("utf-16"),
        "",
        "in.csv: looks like utf-16; type: --encoding utf-16",
        2,
    ),
    "UTF-16 without a mark": Case(
        "in.csv",
        "id,text\n1,£ 7\n2,b\n".encode("utf-16-be"),
        "",
        "in.csv: looks like utf-16-be; type: --encoding utf-16-be",
        2,
    ),
    # what the file is
    "a zip archive": Case(
        "in.csv",
        make_zip("inbox.csv"),
        "",
        "in.csv: is a zip archive; type: unzip -p in.csv > in.fixed.csv",
        2,
    ),
    "a tar archive": Case(
        "in.csv.gz",
        gzip.compress(make_tar()),
        "",
        "in.csv.gz: is a tar archive; type: tar -xOf in.csv.gz > in.fixed.csv",
        2,
    ),
    "lzma": Case(
        "in.csv",
        lzma.compress(TABLE, lzma.FORMAT_ALONE),
        "",
        "in.csv: is lzma data; type: xz --format=lzma -dc in.csv > in.fixed.csv",
        2,
    ),
    "Parquet": Case(
        "in.csv",
        b"PAR1" + bytes(60) + b"PAR1",
        "",
        "in.csv: is a Parquet file; type: --format parquet",
        0,
        "--out out.csv is named as CSV, but in.csv is read as Parquet, and the output has the "
        "input's format; give another name",
    ),
    "a JSON array": Case(
        "in.json",
        b'[\n {"id": 1, "text": "a"},\n {"id": 2, "text": "b"}\n]\n',
        "",
        "in.json: is a JSON array, not JSON Lines; type: jq -c '.[]' in.json > in.jsonl",
        2,
    ),
    "a JSON array in one line, compressed": Case(
        "in.jsonl.gz",
        gzip.compress(b'[{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]'),
        "",
        "in.jsonl.gz: is a JSON array, not JSON Lines; type: gzip -dc in.jsonl.gz | jq -c '.[]' > "
        "in.jsonl",
        2,
    ),
    "a JSON array as CSV": Case(
        "in.csv",
        b'[{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]',
        "",
        "in.csv: is a JSON array, not JSON Lines; type: jq -c '.[]' in.csv > in.jsonl",
        2,
    ),
    "JSON objects over several lines": Case(
        "in.jsonl",
        b'{\n "text": "a"\n}\n{\n "text": "b"\n}\n',
        "",
        "in.jsonl: is JSON, but not one object a line; type: jq -c . in.jsonl > in.fixed.jsonl",
        2,
    ),
    "JSON objects in one line": Case(
        "in.json",
        b'{"text": "a"}{"text": "b"}',
        "",
        "in.json: is JSON, but not one object a line; type: jq -c . in.json > in.jsonl",
        2,
    ),
    "a JSON object of columns": Case(
        "in.json",
        b'{"id": {"0": 1, "1": 2}, "text": {"0": "a", "1": "b"}}',
        "",
        "in.json: is one JSON object of columns, not of one message a line; type: jq -c "
        "'map_values([.[]]) | range(.[\"text\"]|length) as $i | map_values(.[$i])' in.json > "
        "in.jsonl",
        2,
    ),
    "a JSON object of lists": Case(
        "in.json",
        b'{"id": [1, 2], "note": ["a", "b"]}',
        "--text-column note",
        "in.json: is one JSON object of columns, not of one message a line; type: jq -c "
        "'map_values([.[]]) | range(.[\"note\"]|length) as $i | map_values(.[$i])' in.json > "
        "in.jsonl",
        2,
    ),
    "a text inside an object": Case(
        "in.jsonl",
        b'{"message": {"from": "amy", "body": "a"}}\n{"message": {"from": "bob", "body": "b"}}\n',
        "",
        "in.jsonl: line 1, byte offset 0: has no string as its 'message'; it is an object with "
        "'from', 'body'; type: jq -c '{\"body\": .[\"message\"][\"body\"]} + .' in.jsonl > "
        "in.fixed.jsonl, and then --text-column body",
        2,
    ),
    "a text inside an object, by its dotted name": Case(
        "in.jsonl",
        b'{"id": 1, "m": {"a b": {"c": "x"}}}\n{"id": 2, "m": {"a b": {"c": "y"}}}\n',
        "--text-column 'm.a b.c'",
        "in.jsonl: line 1, byte offset 0: has no key 'm.a b.c'; the text is inside 'm'; type: jq "
        '-c \'{"c": .["m"]["a b"]["c"]} + .\' in.jsonl > in.fixed.jsonl, and then '
        "--text-column c",
        2,
    ),
    "a text inside an object, by its path": Case(
        "in.jsonl",
        b'{"text": "a", "data": {"text": "b"}}\n',
        "--text-column /data/text",
        "in.jsonl: line 1, byte offset 0: has no key '/data/text'; the text is inside 'data'; "
        'type: jq -c \'{"text_inside": .["data"]["text"]} + .\' in.jsonl > '
        "in.fixed.jsonl, and then --text-column text_inside",
        1,
    ),
    "a text inside an object whose name nobody knows": Case(
        "in.jsonl",
        b'{"id": 1, "data": {"text": "a"}}\n{"id": 2, "data": {"text": "b"}}\n',
        "",
        f"in.jsonl: {NO_COLUMN}; the text is inside 'data'; type: jq -c '{{\"text\": "
        '.["data"]["text"]} + .\' in.jsonl > in.fixed.jsonl, and then --text-column text',
        2,
    ),
    "JSON Lines joined with cat, with a byte order mark": Case(
        "in.jsonl",
        b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n',
        "",
        "in.jsonl: line 2, byte offset 14: is not valid JSON, at byte 1; a byte order mark stands "
        r"before it, as in files joined with cat; type: sed 's/^\xEF\xBB\xBF//' in.jsonl > "
        "in.fixed.jsonl",
        2,
    ),
    "JSON Lines as CSV": Case(
        "in.csv",
        b'{"text": "a"}\n',
        "",
        "in.csv: looks like JSON Lines; type: --format jsonl",
        0,
        "--out out.csv is named as CSV, but in.csv is read as JSON Lines, and the output has the "
        "input's format; give another name",
    ),
    "SMS Backup & Restore": Case(
        "in.xml",
        b'<?xml version="1.0"?>\n<smses count="2"><sms body="a"/><sms body="b"/></smses>\n',
        "",
        "in.xml: is XML of SMS Backup & Restore; type: python3 -c 'import "
        'sys,json,xml.etree.ElementTree as E; [print(json.dumps({"text": m.get("body")})) for '
        'm in E.parse(sys.stdin).iter("sms")]\' < in.xml > in.jsonl',
        2,
    ),
}


FORMATS = (".csv", ".parquet", ".tsv", ".jsonl", ".json", ".jsonl.gz")


@pytest.fixture
def classify(stub, stub_bundle, tmp_path, monkeypatch):
    """Runs ``spam-batch classify NAME --out ...`` in an empty folder; returns click's result."""
    monkeypatch.setattr(Classifier, "load", stub.StubClassifier.load)
    monkeypatch.chdir(tmp_path)

    def run(name: str, options: str, data: bytes | None = None):
        out = "out" + (Path(name).suffix if name.endswith(FORMATS) else ".csv")
        command = ["classify", name, "--out", out, "--bundle", str(stub_bundle), "--quiet"]
        return CliRunner().invoke(main, [*command, *shlex.split(options)], input=data), out

    return run


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_advice_works(classify, case):
    Path(case.name).write_bytes(case.data)
    result, out = classify(case.name, case.options)
    assert result.stderr == f"spam-batch: error: {case.message}\n"
    assert result.exit_code == case.status
    assert not Path(out).exists()
    result, out, options = follow(classify, case)
    if case.rows:
        assert (result.exit_code, result.stderr) == (0, case.then)
        has_header = not out.startswith("out.json") and "--no-header" not in options + case.options
        assert count_rows(Path(out)) == case.rows + has_header
    else:
        assert result.exit_code != 0
        assert result.stderr == f"spam-batch: error: {case.then}\n"
    assert Path(case.name).read_bytes() == case.data


def follow(classify, case: Case):
    """Type what the message says; returns the result, the output and the options given."""
    shell, _, options = case.message.split("type: ")[-1].partition(", and then ")
    if shell.startswith("-"):
        return *classify(case.name, f"{case.options} {shell}"), shell
    if shutil.which(shlex.split(shell)[0]) is None:
        pytest.skip(f"{shlex.split(shell)[0]} is not installed")
    subprocess.run(["bash", "-euo", "pipefail", "-c", shell], check=True, timeout=60)
    name = shlex.split(shell)[-1]
    assert name != case.name
    return *classify(name, f"{case.options} {options}"), options


def count_rows(path: Path) -> int:
    """Lines that are not empty, in any encoding."""
    data = path.read_bytes().replace(b"\0", b"")
    return len([line for line in data.splitlines() if line])


def encode_twice(text: str) -> bytes:
    """UTF-8 that a program of Windows read as cp1252; it keeps a byte without a character."""
    single = (bytes([byte]) for byte in text.encode())
    return "".join(b.decode("cp1252", "ignore") or b.decode("latin-1") for b in single).encode()


TWICE = "as if UTF-8 was read as cp1252 and written as UTF-8 again"
WARNINGS = {
    "cp1252": (
        "in.csv",
        "id,text\n1,a £ 7 prize\n2,b\n3,déjà vu\n4,“now”\n".encode("cp1252"),
        "3 texts have bytes that are not UTF-8 and are read as U+FFFD, first in line 2; each byte "
        "is a letter in cp1252; type: --encoding cp1252",
    ),
    "cp1252 in JSON Lines": (
        "in.jsonl",
        '{"text": "a £ 7 prize"}\n{"text": "b"}\n'.encode("cp1252"),
        "1 text has bytes that are not UTF-8 and are read as U+FFFD, first in line 1; each byte "
        "is a letter in cp1252; type: iconv -f cp1252 -t utf-8 in.jsonl > in.fixed.jsonl",
    ),
    "cp1251": (
        "in.csv",
        "id,text\n1,привет как дела\n".encode("cp1251"),
        "1 text has bytes that are not UTF-8 and are read as U+FFFD, first in line 2; type the "
        "right --encoding, for example cp1251 or gb18030",
    ),
    "UTF-8 of UTF-8": (
        "in.csv",
        encode_twice("id,text\n1,£ 7 café\n2,b\n3,“now” naïve 🙂\n"),
        f"2 texts look {TWICE}, first in line 2; type: {UNDO_TWICE} in.csv > in.fixed.csv",
    ),
    "UTF-8 of UTF-8 in JSON Lines": (
        "in.jsonl",
        encode_twice('{"text": "a"}\n{"text": "NÃO, “café” à Œuvre"}\n'),
        f"1 text looks {TWICE}, first in line 2; type: {UNDO_TWICE} in.jsonl > in.fixed.jsonl",
    ),
    "UTF-8 of UTF-8 among others": (
        "in.csv",
        "id,text\n1,déjà vu\n2,cafÃ©\n".encode(),
        f"1 text looks {TWICE}, first in line 3; other texts do not; export them anew",
    ),
    "damaged": (
        "in.csv",
        "id,text\n1,déjà vu\n".encode() + b"2,\xe9\n",
        "1 text has bytes that are not UTF-8 and are read as U+FFFD, first in line 3; other texts "
        "are UTF-8, so these are damaged, or of another source",
    ),
}


@pytest.mark.parametrize(("name", "data", "warning"), WARNINGS.values(), ids=WARNINGS)
def test_a_run_that_goes_on_warns_with_advice_that_works(classify, name, data, warning):
    Path(name).write_bytes(data)
    result, _ = classify(name, "--max-rejects 1%")
    assert (result.exit_code, result.stderr) == (0, f"WARNING: {warning}\n")
    advice, options = warning.partition("type: ")[2], ""
    if advice.startswith("--"):
        options = advice
    elif advice:
        subprocess.run(["bash", "-euo", "pipefail", "-c", advice], check=True, timeout=60)
        name = shlex.split(advice)[-1]
    elif "right --encoding" in warning:
        options = "--encoding cp1251"
    else:
        return
    if TWICE in warning:
        assert encode_twice(Path(name).read_text(encoding="utf-8")) == data
    result, _ = classify(name, f"--restart {options}")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_run_that_sets_records_aside_warns_with_the_advice(classify):
    Path("in.tsv").write_bytes(b'id\ttext\n1\t"a\n2\tb\n3\tc\n')
    advice = "line 2: if quotes are text, type: --no-quote"
    result, _ = classify("in.tsv", "--max-rejects 1")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"WARNING: {advice}\nrejected: ")
    Path("out.tsv").unlink()
    result, _ = classify("in.tsv", "--max-rejects 1%")
    assert result.exit_code == 65
    assert result.stderr.endswith(
        "in.tsv: 1 of 3 records were rejected (33.33 %), more than --max-rejects 1% allows; "
        f"{advice}\n"
    )
    result, _ = classify("in.tsv", "--no-quote --restart")
    assert (result.exit_code, result.stderr) == (0, "")


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
def test_markup_and_brackets_in_messages_are_text(classify, data):
    Path("in.csv").write_bytes(data)
    result, out = classify("in.csv", "")
    assert (result.exit_code, result.stderr, count_rows(Path(out))) == (0, "", 3)


def test_no_advice_where_none_works(classify):
    Path("in.csv").write_bytes(TABLE + b"3\n")
    result, _ = classify("in.csv", "")
    assert (result.exit_code, result.stderr) == (
        65,
        f"spam-batch: error: in.csv: line 4, byte offset {len(TABLE)}: has 1 field, expected 2; "
        "to set bad records aside, type --max-rejects 10, or 1%\n",
    )


def test_one_column_of_quoted_messages_is_read(classify):
    Path("in.csv").write_bytes(b'"text"\n"a, b"\n"c, d"\n"e, f"\n')
    result, out = classify("in.csv", "")
    assert (result.exit_code, result.stderr, count_rows(Path(out))) == (0, "", 4)


def test_real_quotes_are_not_taken_for_text(classify):
    Path("in.csv").write_bytes(b'id,text\n"1","a"\n"2","b "c" d"\n"3","e"\n')
    result, _ = classify("in.csv", "")
    assert result.exit_code == 65
    assert result.stderr.endswith("to set bad records aside, type --max-rejects 10, or 1%\n")


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_a_first_line_nested_too_deep(classify, name):
    Path(name).write_bytes(b'{"text": ' + b"[" * 200_000 + b"\n")
    result, _ = classify(name, "")
    assert result.exit_code == 65


def test_json_lines_may_be_called_json(classify):
    Path("in.json").write_bytes(b'{"text": "a"}\n{"text": "b"}\n')
    result, out = classify("in.json", "")
    assert (result.exit_code, result.stderr, out) == (0, "", "out.json")
    assert count_rows(Path(out)) == 2


def to_parquet(kind: pa.DataType, values: list) -> bytes:
    file = io.BytesIO()
    table = pa.table({"id": pa.array(range(len(values))), "text": pa.array(values, kind)})
    pq.write_table(table, file)
    return file.getvalue()


STRUCT = pa.struct([("from", pa.string()), ("body", pa.string())])
IMPORTS = "import sys, pyarrow.compute as c, pyarrow.parquet as q"
CHANGE = "n, i, o = sys.argv[1:]; t = q.read_table(i); q.write_table(t.set_column"
PARQUET = {
    "a struct": (
        STRUCT,
        [{"from": "amy", "body": "a"}, {"from": "bob", "body": "b"}],
        f"is a struct of 'from', 'body'; type: python3 -c \"{IMPORTS}; i, o = sys.argv[1:]; t = "
        'q.read_table(i).flatten(); q.write_table(t, o)" in.parquet in.fixed.parquet, and then '
        "--text-column text.body",
    ),
    "a list": (
        pa.list_(pa.string()),
        [["a", "b"], []],
        f'is a list of strings; type: python3 -c "{IMPORTS}; {CHANGE}(t.column_names.index(n), n, '
        'c.binary_join(t[n], chr(10))), o)" text in.parquet in.fixed.parquet',
    ),
    "a list of structs": (
        pa.list_(STRUCT),
        [[{"from": "amy", "body": "a"}]],
        "is a list of structs; make one text of each list first",
    ),
    "null": (pa.null(), [None, None], "has no value at all; name another with --text-column"),
    "numbers": (pa.int64(), [1, 2], "holds int64, not strings; name another with --text-column"),
}


@pytest.fixture
def type_it(monkeypatch):
    """Runs a shell command in which python3 is this one; returns the last word, a file."""
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def run(shell: str) -> str:
        subprocess.run(["bash", "-euo", "pipefail", "-c", shell], check=True, timeout=60)
        return shlex.split(shell)[-1]

    return run


@pytest.mark.parametrize(("kind", "values", "message"), PARQUET.values(), ids=PARQUET)
def test_parquet_columns_that_are_no_text(classify, type_it, kind, values, message):
    Path("in.parquet").write_bytes(to_parquet(kind, values))
    result, _ = classify("in.parquet", "")
    what = f"in.parquet: the text column 'text' {message}"
    assert (result.exit_code, result.stderr) == (65, f"spam-batch: error: {what}\n")
    if "type: " in message:
        shell, _, options = message.partition("type: ")[2].partition(", and then ")
        result, out = classify(type_it(shell), options)
        assert (result.exit_code, result.stderr) == (0, "")
        assert pq.read_table(out).num_rows == len(values)


@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.large_string(), pa.dictionary(pa.int8(), pa.binary())],
)
def test_parquet_bytes_are_text(classify, kind):
    texts = ["see you at seven", "a £ 7 prize", None, ""]
    given = [t if t is None or kind == pa.large_string() else t.encode() for t in texts]
    Path("in.parquet").write_bytes(to_parquet(kind, given))
    Path("as-text.parquet").write_bytes(to_parquet(pa.string(), texts))
    result, out = classify("as-text.parquet", "--max-rejects 1")
    assert result.exit_code == 3
    wanted = pq.read_table(out)
    result, out = classify("in.parquet", "--max-rejects 1 --restart")
    assert result.exit_code == 3
    found = pq.read_table(out)
    assert found.schema.field("text").type == kind
    assert found.select(["id", "label", "score"]) == wanted.select(["id", "label", "score"])
    assert found["text"].to_pylist() == [given[0], given[1], given[3]]


def test_parquet_bytes_that_are_no_utf_8(classify, type_it):
    texts = ["see you", "a £ 7 prize", None, "déjà vu"]
    Path("in.parquet").write_bytes(
        to_parquet(pa.binary(), [t if t is None else t.encode("cp1252") for t in texts])
    )
    result, out = classify("in.parquet", "--max-rejects 1")
    shell = (
        f'python3 -c "{IMPORTS}; {CHANGE}(t.column_names.index(n), n, [[v if v is None else '
        "v.decode('cp1252') for v in t[n].to_pylist()]]), o)\" text in.parquet in.fixed.parquet"
    )
    assert result.exit_code == 3
    assert result.stderr.splitlines()[0] == (
        "WARNING: 2 texts have bytes that are not UTF-8 and are read as U+FFFD, first in row 2; "
        f"each byte is a letter in cp1252; type: {shell}"
    )
    Path(out).unlink()
    assert pq.read_table(type_it(shell))["text"].to_pylist() == texts
    result, out = classify("in.fixed.parquet", "--max-rejects 1")
    assert result.stderr.startswith("rejected: ")
    assert pq.read_table(out)["text"].to_pylist() == [texts[0], texts[1], texts[3]]


def test_parquet_strings_that_were_encoded_twice(classify, type_it):
    texts = ["see you", "“now”", None, "déjà vu"]
    twice = [t if t is None else encode_twice(t).decode() for t in texts]
    Path("in.parquet").write_bytes(to_parquet(pa.string(), twice))
    result, _ = classify("in.parquet", "--max-rejects 1")
    shell = (
        f'python3 -c "{IMPORTS}; {CHANGE}(t.column_names.index(n), n, [[v if v is None else '
        "b''.join(c.encode('cp1252', 'ignore') or c.encode('latin-1') for c in v) for v in "
        't[n].to_pylist()]]), o)" text in.parquet in.fixed.parquet'
    )
    warning = result.stderr.splitlines()[0]
    assert warning == f"WARNING: 2 texts look {TWICE}, first in row 2; type: {shell}"
    fixed = pq.read_table(type_it(shell))["text"].to_pylist()
    assert [t if t is None else t.decode() for t in fixed] == texts
    result, _ = classify("in.fixed.parquet", "--max-rejects 1")
    assert result.stderr.startswith("rejected: ")


def test_sub_folders_are_told_and_the_pattern_takes_them(classify, stub_bundle, tmp_path):
    for name in ("in/a.csv", "in/2025/b.csv", "in/2026/01/c.CSV", "in/2026/01/d.tsv.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        data = b"text\na\n"
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    (tmp_path / "in" / ".hidden").mkdir()
    (tmp_path / "in" / ".hidden" / "e.csv").write_bytes(b"text\na\n")
    (tmp_path / "in" / "2024").mkdir()

    def run(*inputs: str):
        command = ["classify", *inputs, "--out-dir", "in/out", "--bundle", str(stub_bundle)]
        return CliRunner().invoke(main, [*command, "--quiet"])

    advice = "'in/**/*.CSV' 'in/**/*.csv' 'in/**/*.tsv.gz'"
    said = f"in: 2 sub-folders left out; to label the files in them, too, type: {advice}\n"
    for _ in range(2):  # what is labelled is no reason to warn
        result = run("in")
        assert (result.exit_code, result.stderr) == (0, said)
    shutil.rmtree("in/out")
    result = run("in", *shlex.split(advice))
    assert (result.exit_code, result.stderr) == (0, "")
    labelled = sorted(path.name for path in (tmp_path / "in/out").iterdir())
    assert [name for name in labelled if not name.endswith((".json", ".lock"))] == [
        "a.csv", "b.csv", "c.CSV", "d.tsv.gz"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "what"),
    [("-50% today", "No such option '-5'. "), ("--free entry", ""), ("-", None)],
)
def test_a_message_that_looks_like_an_option(classify, stub_bundle, message, what):
    options = ["--bundle", str(stub_bundle)]
    result = CliRunner().invoke(main, ["text", message, *options])
    if what is not None:
        assert result.exit_code == 2
        assert result.stderr == (
            "Usage: spam-batch text [OPTIONS] MESSAGE\n"
            "Try 'spam-batch text --help' for help.\n\n"
            f"Error: {what}A message that begins with - is typed behind --, for example: "
            "spam-batch text -- '-50% today'\n"
        )
        result = CliRunner().invoke(main, ["text", *options, "--", message])
    assert result.exit_code == 0
    assert result.stdout.split("\t")[0] in ("ham", "spam")
