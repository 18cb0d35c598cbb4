"""Labelled files: what is read, what is refused by its whole text, and that it adds up."""

import bz2
import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError, MissingInputError
from batch.formats.input import Input
from batch.formats.layout import Layout
from batch.formats.open_table import open_table
from batch.reading.dialect import Dialect
from batch.reading.encoding import parse_encoding
from batch.reading.opening import open_source
from batch.writing.rejects import Allowance
from trainer.data.labels import LabelRules
from trainer.data.reading import DEFAULT_OPTIONS, ReadOptions, read_labelled, read_messages
from trainer.fetch.assets import fetch_data
from trainer.recipe import RECIPES

Rows = list[tuple[str, str]]


def read_bytes(
    folder: Path, data: bytes, options: ReadOptions = DEFAULT_OPTIONS, name: str = "messages.csv"
) -> Rows:
    (folder / name).write_bytes(data)
    found = read_labelled([folder / name], options)
    assert list(found.frame.columns) == ["label", "text"]
    counts = found.counts()
    assert counts["records"] == (
        counts["rejected"] + sum(counts["dropped"].values()) + counts["kept"]
    )
    assert sum(counts["labels"].values()) == counts["kept"] == len(found.frame)
    return list(found.frame.itertuples(index=False, name=None))


def refuse(folder: Path, data: bytes, options: ReadOptions = DEFAULT_OPTIONS) -> str:
    with pytest.raises(InputError) as caught:
        read_bytes(folder, data, options)
    return str(caught.value).replace(str(folder / "messages.csv"), "messages.csv")


EXPECTED = [("ham", "hi, you"), ("spam", "call")]


@pytest.mark.parametrize(
    "data",
    [
        b"ham\thi, you\nspam\tcall\n",
        b"label,text\nham,\"hi, you\"\nspam,call\n",
        b"id,Text,CLASS\n1,\"hi, you\",ham\n2,call,spam\n",
        b"\xef\xbb\xbfv1,v2,,\nham,\"hi, you\",,\nspam,call,,\n",
        b"label,text\r\nham,\"hi, you\"\r\nspam,call",
        b"label,text\rham,\"hi, you\"\rspam,call\r",
        b"label,text\n\nham,\"hi, you\"\n\nspam,call\n\n",
        b"message\tcategory\nhi, you\tham\ncall\tspam\n",
        b"\"label\",\"text\",\"a\nb\"\nham,\"hi, you\",\nspam,call,\n",
    ],
    ids=["sms", "csv", "names", "bom", "crlf", "cr", "blank", "tsv", "quoted-header"],
)  # fmt: skip
def test_layouts(tmp_path: Path, data: bytes) -> None:
    assert read_bytes(tmp_path, data) == EXPECTED


CSV = b'label,text\nham,"hi, you"\nspam,call\n'
LINES = b'{"label": "ham", "text": "hi, you"}\n{"text": "call", "label": "spam"}\n'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv.gz", gzip.compress(CSV)),
        ("a.dump", gzip.compress(CSV)),  # known by its content
        ("a.csv.bz2", bz2.compress(CSV)),
        ("a.csv.xz", lzma.compress(CSV)),
        ("a.tsv.gz", gzip.compress(b"label\ttext\nham\thi, you\nspam\tcall\n")),
        ("a.jsonl", LINES),
        ("a.ndjson.gz", gzip.compress(LINES)),
    ],
)
def test_what_labelling_reads_training_reads(tmp_path: Path, name: str, data: bytes) -> None:
    assert read_bytes(tmp_path, data, name=name) == EXPECTED


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"text": ["hi", "call", None], "label": pa.array(["ham", "spam", "ham"])})
    pq.write_table(table, tmp_path / "a.parquet")
    options = ReadOptions(allowance=Allowance.parse("1"))
    found = read_labelled([tmp_path / "a.parquet"], options)
    assert found.frame.to_dict("list") == {"label": ["ham", "spam"], "text": ["hi", "call"]}
    assert found.counts()["rejected"] == 1


def test_labels_that_are_numbers_or_true(tmp_path: Path) -> None:
    lines = b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n{"text": "c", "label": 1}\n'
    assert read_bytes(tmp_path, lines, name="a.jsonl") == [("1", "a"), ("0", "b"), ("1", "c")]
    lines = b'{"text": "a", "label": true}\n{"text": "b", "label": false}\n'
    assert read_bytes(tmp_path, lines, name="a.jsonl") == [("true", "a"), ("false", "b")]
    table = pa.table({"text": ["a", "b"], "label": [1, 0]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_labelled([tmp_path / "a.parquet"]).frame["label"].tolist() == ["1", "0"]


def test_columns_by_name_or_number_and_three_classes(tmp_path: Path) -> None:
    data = b"text;body;queue\nx;too dear;billing\ny;no net;tech\nz;hello;other\n"
    expected = [("billing", "too dear"), ("tech", "no net"), ("other", "hello")]
    for label, text in (("queue", "body"), ("3", "2")):
        asked = Input("", Dialect(b";"), text_column=text)
        assert read_bytes(tmp_path, data, ReadOptions(label, asked, False)) == expected


def test_without_a_header(tmp_path: Path) -> None:
    bare = Input("", layout=Layout(has_header=False))
    assert read_bytes(tmp_path, b"ham,hi\nspam,call\n", ReadOptions(input=bare)) == [
        ("ham", "hi"), ("spam", "call")
    ]  # fmt: skip
    third = replace(bare, text_column="3")
    assert read_bytes(tmp_path, b"1,ham,hi\n2,spam,call\n", ReadOptions("2", third)) == [
        ("ham", "hi"), ("spam", "call")
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "shift-jis"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = {"cp1252": "£5 café", "shift-jis": "無料", "utf-16": "£5 無料"}[encoding]
    data = f"label,text\nham,{text}\nspam,b\n".encode(encoding)
    asked = Input("", layout=Layout(encoding=parse_encoding(encoding)))
    assert read_bytes(tmp_path, data, ReadOptions(input=asked)) == [("ham", text), ("spam", "b")]


def test_texts_are_kept(tmp_path: Path) -> None:
    data = (
        b'label,text\na,NA\nb,\na,"x\r\ny"\nb,"x\ry"\na,"say ""hi"""\nb,null\na,007\n'
        b"b, spaced \na,\xff\nb,x\0y\n"
    )
    texts = [text for _, text in read_bytes(tmp_path, data)]
    expected = ["NA", "", "x\r\ny", "x\ry", 'say "hi"', "null", "007", " spaced ", "\ufffd"]
    assert texts == [*expected, "x\0y"]


def test_long_message(tmp_path: Path) -> None:
    text = "word " * 100_000  # Python's csv module stops at 131,072 characters
    data = f'label,text\nham,"{text}"\nspam,x\n'.encode()
    assert read_bytes(tmp_path, data) == [("ham", text), ("spam", "x")]


FIELD = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    rows=st.lists(st.tuples(st.sampled_from(["ham", "spam"]), FIELD), min_size=1, max_size=8),
    raw=st.lists(st.binary(max_size=20), max_size=4),
)
def test_the_texts_and_rejects_are_those_of_labelling(tmp_path_factory, rows, raw) -> None:
    """Record for record, for any table, broken lines among its records."""
    folder = tmp_path_factory.mktemp("reading")
    lines = [f'{label},"{text.replace(chr(34), 2 * chr(34))}"'.encode() for label, text in rows]
    # A record of both classes comes last, so that there is something to train on.
    data = b"\n".join([b"label,text", *lines, *raw, b"ham,the end", b"spam,of it", b""])
    path = folder / "in.csv"
    path.write_bytes(data)
    asked = Input(str(path))
    with open_source(str(path)) as source:
        table = open_table(source, asked, "-", (), [])
        records = [record for batch in iter(lambda: table.read(3), []) for record in batch]
    rules = LabelRules(only=("ham", "spam"))
    options = ReadOptions(allowance=Allowance.parse("100%"), labels=rules)
    found = read_labelled([path], options)
    good = [record for record in records if not record.problem]
    theirs = [
        (
            record.fields[0].decode("utf-8", "replace").strip(),
            record.text.decode("utf-8", "replace"),
        )
        for record in good
    ]
    assert list(found.frame.itertuples(index=False, name=None)) == [
        row for row in theirs if row[0] in rules.only
    ]
    assert [record for _, record in found.rejects] == [r for r in records if r.problem]
    assert found.records == len(records)


REFUSED = [
    (b"", "messages.csv: the file is empty; its first line must name the columns"),
    (b"label,text\n", "messages.csv: there is no labelled record"),
    (
        b"id,text,other\n1,a,b\n",
        "messages.csv: no label column found; columns: 'id', 'text', 'other'; "
        "name it with --label-column",
    ),
    (
        b"label,label,text\na,b,c\n",
        "messages.csv: the columns 1 and 2 are called 'label'; choose one, for example: "
        "--label-column 1",
    ),
    (
        b"label,text\nham,a\nspam,b, c\n",
        "messages.csv: line 3, byte offset 17: has 3 fields, expected 2; to set bad records "
        "aside, type --max-rejects 10, or 1%",
    ),
    (
        b"ham\ta\nspam\tb\tc\n",
        "messages.csv: line 2, byte offset 6: has 3 fields, expected 2; to set bad records "
        "aside, type --max-rejects 10, or 1%",
    ),
    (
        b'label,text\nham,"a\nspam,b\n',
        "messages.csv: line 2, byte offset 11: quote opened at byte 5 of line 2 is never closed; "
        "if quotes are text, type: --no-quote",
    ),
    (
        "label,text\nham,a\n".encode("utf-16"),
        "messages.csv: looks like utf-16; type: --encoding utf-16",
    ),
    (
        b"sentiment,review\ngood,fine\nbad,poor\ngood,nice\nbad,awful\n",
        "messages.csv: no other record has the first one's label; if it is a header, name its "
        "columns with --label-column and --text-column; if not, type --no-header",
    ),
]


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=lambda value: repr(value[:24]))
def test_bad_file(tmp_path: Path, data: bytes, message: str) -> None:
    assert refuse(tmp_path, data) == message


@pytest.mark.parametrize(
    ("label", "text", "message"),
    [
        (
            "queue", None,
            "messages.csv: the label column 'queue' is not there; "
            "columns: 'label', 'text', 'label'",
        ),
        (
            "label", None,
            "messages.csv: the label column 'label' is there 2 times; give its number, from 1; "
            "columns: 'label', 'text', 'label'",
        ),
        (
            "text", "text",
            "messages.csv: the column 'text' cannot be both label and text; "
            "name two with --label-column and --text-column",
        ),
    ],
)  # fmt: skip
def test_bad_column(tmp_path: Path, label: str, text: str | None, message: str) -> None:
    options = ReadOptions(label, Input("", text_column=text))
    assert refuse(tmp_path, b"label,text,label\nham,a,x\nspam,b,y\n", options) == message
    advised = ReadOptions("3", Input("", text_column="2"))  # the advice of the second works
    data = b"label,text,label\nham,a,x\nspam,b,y\n"
    assert read_bytes(tmp_path, data, advised) == [("x", "a"), ("y", "b")]


def test_what_is_no_file(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "none.csv", f"cannot read {tmp_path / 'none.csv'}: No such file or directory"),
        (tmp_path, f"{tmp_path} is a folder; give the name of a file"),
        (tmp_path / "pipe", f"{tmp_path / 'pipe'} is a pipe or a device; save it to a file first"),
        (Path("-"), "--data: training reads a file; save standard input to one"),
    ):
        with pytest.raises(MissingInputError) as caught:
            read_labelled([path])
        assert str(caught.value) == message


def test_bad_records_are_set_aside_within_the_allowance_of_all_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"label,text\nham,a\nx\nspam,b\n")
    paths = [tmp_path / "a", tmp_path / "b"]
    found = read_labelled(paths, ReadOptions(allowance=Allowance.parse("2")))
    assert [(Path(name).name, record.line) for name, record in found.rejects] == [
        ("a", 3), ("b", 3)
    ]  # fmt: skip
    assert found.sentence() == "6 records, 2 rejected; 4 messages kept: 2 ham, 2 spam"
    with pytest.raises(InputError) as caught:
        read_labelled(paths, ReadOptions(allowance=Allowance.parse("1")))
    assert str(caught.value) == (
        f"{paths[1]}: line 3, byte offset 17: has 1 field, expected 2; as many as "
        "--max-rejects 1 allows were rejected before it"
    )


def test_a_later_file_relabels(tmp_path: Path, caplog) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_bytes(b"label,text\nham,win\nham,see you\nspam,win\nspam,call\n")
    new.write_bytes(b"text,label\nwin,spam\n")
    with caplog.at_level("INFO", "trainer"):
        found = read_labelled([old, new])
    assert found.frame.to_dict("list") == {
        "label": ["ham", "spam", "spam", "spam"], "text": ["see you", "win", "call", "win"]
    }  # fmt: skip
    assert found.dropped == {"labelled anew by a later file": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "1 record of an earlier file has another label in a later one, which counts; the first: "
        f"{old}, line 2"
    ]


def test_two_labels_within_one_file_are_a_warning(tmp_path: Path, caplog) -> None:
    with caplog.at_level("INFO", "trainer"):
        rows = read_bytes(tmp_path, b"label,text\nham,win\nspam,call\nspam,win\nham,call\nham,x\n")
    assert len(rows) == 5
    assert [record.getMessage() for record in caplog.records] == [
        f"WARNING: {tmp_path / 'messages.csv'}: 2 texts with two labels; the first on lines 2 "
        "and 4; all were kept"
    ]


def test_the_options_come_back_from_their_dictionary() -> None:
    asked = Input("", Dialect(b";", None, b"\\"), Layout("csv", parse_encoding("cp1252")), "body")
    options = ReadOptions(
        "queue", asked, False, Allowance.parse("1%"), LabelRules(("a", "b"), 3)
    )  # fmt: skip
    assert ReadOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


class TestSms:
    """The real file, which has a layout of its own."""

    def test_the_notebooks_reading_and_ours(self, sms_file: Path, tmp_path: Path) -> None:
        data = [fetch_data(tmp_path, sms_file)]
        book = read_messages(data, ReadOptions(), RECIPES["book"])
        assert (book.records, book.glued_lines, book.counts()["labels"]) == (
            5572, 2, {"ham": 4825, "spam": 747}
        )  # fmt: skip
        grouped = replace(RECIPES["default"], split="grouped")
        found = read_messages(data, ReadOptions(), grouped)
        assert (found.records, found.glued_lines, found.counts()["labels"]) == (
            5574, 0, {"ham": 4827, "spam": 747}
        )  # fmt: skip
