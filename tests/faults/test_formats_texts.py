"""Odd texts and tables come back as they were: F73 and F74 of the checklist."""

import csv
import io
import json

import pytest

from batch.reading.records import RecordReader

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


def test_F73_odd_texts_come_back_from_csv(label, score_of):
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
def test_F73_odd_texts_come_back_from_json_lines(label, escaped, score_of):
    lines = [json.dumps({"id": 1, "text": text}, ensure_ascii=escaped) for text in ODD_TEXTS]
    data = "\n".join([*lines, '{"text": "\\ud800"}']).encode()
    exit_code, said, found = label(data, name="in.jsonl", out="out.jsonl")
    assert (exit_code, said) == (0, "")
    rows = [json.loads(line) for line in found.split(b"\n")[:-1]]
    assert [row["text"] for row in rows] == [*ODD_TEXTS, "\ud800"]
    for row in rows[:-1]:
        assert b"%b,%.6f" % (row["label"].encode(), row["score"]) == score_of(row["text"])


def test_F73_odd_texts_come_back_from_parquet(label, score_of):
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
