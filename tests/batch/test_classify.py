"""A stream labelled: every record once, in order, its own bytes first, whatever the table."""

import csv
import errno
import io
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from batch.batching import WIDTH_STEP
from batch.classifier import Classifier
from batch.classify import Summary, classify_file, open_input
from batch.dialect import Dialect
from batch.errors import InputError, InternalError, MissingInputError, OutputError, StorageError
from batch.records import RecordReader

OLD = b"the old file\n"
ROWS = b"".join(b'%d,"message, %d",x\n' % (row, row) for row in range(20))

# Name -> a table with "text" as its second column, nasty in one way.
TABLES = {
    "plain": b"id,text,x\n" + ROWS,
    "no final newline": b"id,text,x\n" + ROWS + b"20,last,x",
    "CRLF": b"id,text,x\r\n" + ROWS.replace(b"\n", b"\r\n"),
    "CRLF, no final newline": b"id,text,x\r\n1,a,b\r\n2,c,d",
    "CR": b"id,text,x\r1,a,b\r2,c,d\r",
    "mixed line ends": b"id,text,x\n1,a,b\r\n2,c,d\r3,e,f\n",
    "byte order mark": b"\xef\xbb\xbfid,text,x\n" + ROWS,
    "byte order mark and quotes": b'\xef\xbb\xbf"id","text","x"\n1,"a",b\n',
    "header only": b"id,text,x\n",
    "header only, no newline": b"id,text,x",
    "line breaks in quotes": b'id,text,x\n1,"a\r\nb\nc\rd",x\n2,"\n",x\n',
    "quotes": b'id,text,x\n1,"say ""hi""",x\n2,"""",x\n3,"",x\n4,,x\n',
    "not UTF-8": b"id,text,x\n1,caf\xe9,\xff\n2,\xf0\x9f,x\n",
    "NUL and other controls": b"id,text,x\n1,a\x00b\x1a\x1c,\x00\n2,\x0b\x0c,x\n",
    "long": b"id,text,x\n1," + b"word " * 40_000 + b",x\n2," + b"a" * 100_000 + b",x\n",
    "special text": b"id,text,x\n" + b"1,<|endoftext|>,x\n" * 3 + "2,👍🏽 שלום,x\n".encode(),
    "ragged spaces": b"id,text,x\n 1 , a , b \n,,\n",
    "blank lines": b"\nid,text,x\n\n1,a,b\n\r\n2,c,d\n\n",
    "two columns": b"id,text\n1,a\n2,\n",
    "quoted header": b'id,text,"a ""b"",\nc"\n1,a,b\n',
}


@pytest.fixture
def label(classifier: Classifier, tmp_path: Path):
    """Labels bytes; returns the output's bytes and the summary."""

    def run(data: bytes, dialect: Dialect | None = None, **options) -> tuple[bytes, Summary]:
        source, out = tmp_path / "in.csv", tmp_path / "out.csv"
        source.write_bytes(data)
        summary, used = classify_file(
            str(source), str(out), lambda: classifier, dialect=dialect or Dialect(), **options
        )
        assert used is classifier
        assert source.read_bytes() == data
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]
        return out.read_bytes(), summary

    return run


@pytest.fixture
def refuse(classifier: Classifier, tmp_path: Path):
    """Labels what must be refused, over an old output that must stay; returns the message."""

    def run(data: bytes, kind=InputError, load=lambda: pytest.fail("loaded"), **options) -> str:
        source, out = tmp_path / "in.csv", tmp_path / "out.csv"
        source.write_bytes(data)
        out.write_bytes(OLD)
        with pytest.raises(kind) as error:
            classify_file(str(source), str(out), load, dialect=Dialect(), **options)
        assert out.read_bytes() == OLD
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]
        return str(error.value).replace(str(source), "in.csv")

    return run


@pytest.mark.parametrize("name", TABLES)
def test_every_record_comes_out_once_with_its_own_bytes(name, label, classifier):
    data = TABLES[name]
    found, summary = label(data)

    reader = RecordReader(io.BytesIO(data), Dialect())
    bom = reader.bom
    header, *records = reader.read_records(10**6)
    at, rest = 0, found
    for record in (header, *records):
        start = (bom if at == 0 else b"") + record.raw + b","
        assert rest.startswith(start), f"record {at}"
        if record is header:
            added = b"label,score"
        else:
            text = record.fields[1].decode("utf-8", "replace")
            theirs = classifier.classify([text])
            added = b"%s,%.6f" % (theirs.labels[0].encode(), theirs.scores[0])
        added += record.line_end or header.line_end or b"\n"
        assert rest[len(start) :].startswith(added), f"record {at}"
        at, rest = at + 1, rest[len(start) + len(added) :]
    assert rest == b""
    assert summary.records == len(records) == sum(summary.labels.values())


def test_the_example_inbox(root, label, stub_score, tokenizer):
    data = (root / "examples" / "inbox.csv").read_bytes()
    found, summary = label(data, columns=("label", "score", "tokens", "truncated"))
    before = list(csv.reader(io.StringIO(data.decode(), newline="")))
    after = list(csv.reader(io.StringIO(found.decode(), newline="")))
    assert [row[:3] for row in after] == before
    assert after[0][3:] == ["label", "score", "tokens", "truncated"]
    for row in after[1:]:
        ids = tokenizer.encode(row[1])
        score = stub_score(ids[:32])
        assert row[3:5] == ["spam" if score >= 0.5 else "ham", f"{score:.6f}"]
        assert row[5:] == [str(min(len(ids), 32)), "true" if len(ids) > 32 else "false"]
    assert summary.records == len(before) - 1 == 64
    assert summary.labels == Counter(row[3] for row in after[1:])
    assert summary.truncated == sum(row[6] == "true" for row in after) > 0


@pytest.mark.parametrize("name", ["plain", "blank lines", "line breaks in quotes", "long", "CR"])
def test_the_window_does_not_change_the_bytes(name, label):
    whole, _ = label(TABLES[name], window=4096)
    for window in (1, 2, 7):
        assert label(TABLES[name], window=window)[0] == whole


def test_the_batch_size_does_not_change_the_bytes(label, classifier, monkeypatch, root):
    data = (root / "examples" / "inbox.csv").read_bytes()
    whole, _ = label(data)
    for tokens in (1, WIDTH_STEP, 100_000):
        monkeypatch.setattr(classifier, "batch_tokens", tokens)
        assert label(data)[0] == whole


def test_blank_lines_are_counted(label):
    assert label(TABLES["blank lines"])[1].blank_lines == 4
    assert label(TABLES["plain"])[1].blank_lines == 0


def test_another_dialect_and_text_column(label):
    # 5211, 345, 423, 640 modulo 97 add up to 217, 12 modulo 41; 12 / 4 - 5 = -2; logits 2, -2.
    found, _ = label(b"text;note\nx;Do you have time\n", Dialect(b";"), text_column="note")
    assert found == b"text;note;label;score\nx;Do you have time;ham;0.017986\n"


def test_one_column(label):
    found, summary = label(b"text\nDo you have time\n\n", columns=("tokens",))
    assert found == b"text,tokens\nDo you have time,4\n,0\n"
    assert summary.records == 2


@pytest.mark.parametrize("labels", [['not "spam"', "spam, sure"], ["ham\n", "\r"]])
def test_labels_that_need_quotes(labels, make_bundle, tmp_path):
    load = partial(Classifier.load, make_bundle(labels=labels, positive_label=labels[1]), "cpu", 1)
    (tmp_path / "in.csv").write_bytes(TABLES["plain"])
    out = tmp_path / "out.csv"
    summary, _ = classify_file(str(tmp_path / "in.csv"), str(out), load, dialect=Dialect())
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["label"] for row in rows) == summary.labels
    assert set(summary.labels) == set(labels)


def test_an_empty_file(refuse):
    wanted = "in.csv: the file is empty; its first line must name the columns"
    assert refuse(b"") == wanted


@pytest.mark.parametrize("column", ["label", "score"])
def test_a_column_of_ours_is_there_already(refuse, column):
    wanted = f"in.csv: there is a column {column!r} already; it would stand twice; "
    wanted += "choose other columns with --columns, or rename it"
    assert refuse(b"id,text,%s\n1,a,b\n" % column.encode()) == wanted


@pytest.mark.parametrize("window", [1, 4096])
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"20,a,b,c\n", "line 23, byte offset 369: has 4 fields, expected 3"),
        (b"20\n", "line 23, byte offset 369: has 1 field, expected 3"),
        (
            b'20,"a\n',
            "line 23, byte offset 369: quote opened at byte 4 of line 23 is never closed",
        ),
        (
            b'20,"a" b,c\n',
            "line 23, byte offset 369: quote opened at byte 4 of line 23 is closed at byte 6 "
            "of line 23, where text follows it, expected ',' or the end of the line",
        ),
    ],
)
def test_one_bad_row(refuse, classifier, row, problem, window):
    # One record before it has two lines, so that its line is not its number.
    before = b"id,text,x\n" + ROWS.replace(b"message, 7", b"message\n7")
    assert len(before) == 369
    found = refuse(before + row + b"21,good,x\n", load=lambda: classifier, window=window)
    assert found == f"in.csv: {problem}"


def test_a_refused_header_costs_no_model(refuse):
    assert refuse(b"id,note\n1,a\n").startswith("in.csv: no text column found")


def test_a_model_that_fails_on_the_way(refuse, bundle, monkeypatch):
    def load():
        loaded = Classifier.load(bundle, "cpu", 1)
        real = loaded.classify

        def fail_later(texts):
            if "message, 9" in texts:
                raise InternalError("the model gave a logit that is not a finite number")
            return real(texts)

        monkeypatch.setattr(loaded, "classify", fail_later)
        return loaded

    message = refuse(TABLES["plain"], InternalError, load, window=2)
    assert message == "the model gave a logit that is not a finite number"


class Breaking(io.BytesIO):
    """Gives its bytes, and then an error of the operating system."""

    def read(self, n=-1):
        if data := super().read(n):
            return data
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("data", [b"", b"id,te", b"id,text\n1,a\n"])
def test_an_input_that_cannot_be_read_to_its_end(refuse, classifier, monkeypatch, data):
    monkeypatch.setattr("batch.classify.open_input", lambda _: Breaking(data))
    message = refuse(b"", StorageError, lambda: classifier)
    assert message == "in.csv: reading stopped: Input/output error"


def test_an_input_without_bytes_yet(refuse, monkeypatch):
    class Waiting(io.BytesIO):
        def read(self, n=-1):
            return None

    monkeypatch.setattr("batch.classify.open_input", lambda _: Waiting())
    assert refuse(b"", StorageError) == (
        "in.csv: reading stopped: the input has no bytes yet and would not wait for them"
    )


def test_inputs_that_are_not_there(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in (
        (tmp_path, f"{tmp_path} is a folder; give a CSV file"),
        (tmp_path / "none", f"cannot read {tmp_path / 'none'}: No such file or directory"),
        (
            tmp_path / "loop",
            f"cannot read {tmp_path / 'loop'}: Too many levels of symbolic links",
        ),
    ):
        with pytest.raises(MissingInputError) as error:
            open_input(str(name))
        assert str(error.value) == message
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(MissingInputError) as error:
        open_input("-")
    assert str(error.value) == "standard input is closed"


def test_the_output_is_checked_before_anything_is_read(tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLES["plain"])
    run = partial(classify_file, dialect=Dialect(), load_classifier=lambda: pytest.fail("loaded"))
    with pytest.raises(OutputError) as error:
        run(str(tmp_path / "in.csv"), str(tmp_path / "in.csv"))
    assert str(error.value) == (
        f"{tmp_path / 'in.csv'} is the input {tmp_path / 'in.csv'}; give another --out"
    )
    with pytest.raises(OutputError) as error:
        run(str(tmp_path / "none.csv"), str(tmp_path / "no" / "out.csv"))
    assert str(error.value) == f"the folder {tmp_path / 'no'} does not exist; make it first"
    assert (tmp_path / "in.csv").read_bytes() == TABLES["plain"]


def test_the_summary(classifier, make_bundle, monkeypatch):
    summary = Summary("message", 1234, Counter(ham=1230, spam=4), 2, 1, 2.0)
    assert summary.lines(classifier, "out.csv") == [
        "1,234 records in, 1,234 rows out: 1,230 ham, 4 spam",
        "text column: message",
        "617 rows a second on cpu in fp32 (1 thread), 2.0 s; stub",
        "weights: none, the graph is a sum",
        "2 messages cut to 32 tokens",
        "1 blank line skipped",
        "written: out.csv",
    ]
    partial_data = make_bundle(training={"data": {"is_partial": True}})
    other = Classifier.load(partial_data, "cpu", 1)
    monkeypatch.setattr(other.session, "note", "no GPU; running on the CPU")
    assert Summary("text").lines(other, "-") == [
        "0 records in, 0 rows out: 0 ham, 0 spam",
        "text column: text",
        "0 rows a second on cpu in fp32 (1 thread), 0.0 s; stub",
        "weights: none, the graph is a sum",
        "WARNING: no GPU; running on the CPU",
        "WARNING: the model was trained on an incomplete copy of its data",
        "written: standard output",
    ]


def test_the_summary_of_one_record(label, classifier):
    _, summary = label(b"id, Message \n1,Do you have time\n")
    assert summary.lines(classifier, "-")[:2] == [
        "1 record in, 1 row out: 1 ham, 0 spam",
        "text column: Message",
    ]
    one = Summary("text", 1, Counter(spam=1), truncated=1, blank_lines=2)
    assert one.lines(classifier, "-")[4:6] == [
        "1 message cut to 32 tokens",
        "2 blank lines skipped",
    ]
