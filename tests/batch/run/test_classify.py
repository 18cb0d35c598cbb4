"""A stream labelled: every record once, in order, its own bytes first, whatever the table."""

import csv
import errno
import io
from collections import Counter
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from batch.errors import InputError, InternalError, OutputError, StorageError, UsageError
from batch.formats.input import Input
from batch.model.batching import WIDTH_STEP
from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from batch.model.lazy_classifier import LazyClassifier
from batch.model.text_cache import TextCache
from batch.reading.dialect import Dialect
from batch.reading.records import RecordReader
from batch.reading.source import Source
from batch.run.classify import classify_file
from batch.run.job import Job
from batch.run.summary import Summary
from batch.writing.progress import Progress
from batch.writing.rejects import Allowance

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
def set_window(monkeypatch):
    return lambda size: monkeypatch.setattr("batch.run.windows.WINDOW", size)


@pytest.fixture
def label(classifier: Classifier, tmp_path: Path):
    """Labels bytes; returns the output's bytes and the summary."""

    def run(
        data: bytes, dialect: Dialect | None = None, text_column: str | None = None, **options
    ) -> tuple[bytes, Summary]:
        source, out = tmp_path / "in.csv", tmp_path / "out.csv"
        source.write_bytes(data)
        job = Job(
            Input(str(source), dialect or Dialect(), text_column=text_column), str(out), **options
        )
        summary = classify_file(job, LazyClassifier(classifier.bundle, lambda: classifier))
        assert summary.session is classifier.session
        assert source.read_bytes() == data
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "in.csv", "out.csv", "out.csv.run.json"
        ]  # fmt: skip
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
            job = Job(Input(str(source)), str(out), restart=True, **options)
            classify_file(job, LazyClassifier(classifier.bundle, load, ("fp32", "cpu")))
        assert out.read_bytes() == OLD
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
    assert summary.progress.records == len(records) == summary.progress.rows


def test_the_example_inbox(root, label, stub_score, tokenizer):
    data = (root / "examples" / "inbox.csv").read_bytes()
    found, summary = label(data, columns=("label", "score", "tokens", "truncated"))
    before = list(csv.reader(io.StringIO(data.decode(), newline="")))
    after = list(csv.reader(io.StringIO(found.decode(), newline="")))
    assert [row[:3] for row in after] == before
    assert after[0][3:] == ["label", "score", "tokens", "truncated"]
    for row in after[1:]:
        ids = tokenizer.encode(row[2])
        score = stub_score(ids[:32])
        assert row[3:5] == ["spam" if score >= 0.5 else "ham", f"{score:.6f}"]
        assert row[5:] == [str(min(len(ids), 32)), "true" if len(ids) > 32 else "false"]
    assert summary.progress.records == len(before) - 1 == 150
    assert summary.progress.labels == Counter(row[3] for row in after[1:])
    assert summary.progress.truncated == sum(row[6] == "true" for row in after) > 0


@pytest.mark.parametrize("name", ["plain", "blank lines", "line breaks in quotes", "long", "CR"])
def test_the_window_does_not_change_the_bytes(name, label, set_window):
    whole, _ = label(TABLES[name])
    for window in (1, 2, 7):
        set_window(window)
        assert label(TABLES[name])[0] == whole


def test_the_batch_size_does_not_change_the_bytes(label, classifier, monkeypatch, root):
    data = (root / "examples" / "inbox.csv").read_bytes()
    whole, _ = label(data)
    for tokens in (1, WIDTH_STEP, 100_000):
        monkeypatch.setattr(classifier, "batch_tokens", tokens)
        assert label(data)[0] == whole


def test_neither_threads_nor_cache_change_the_bytes(label, classifier, root, tmp_path):
    """One thread or more for the graph and for encoding; what came before is known, or nothing."""
    whole, summary = label((root / "examples" / "inbox.csv").read_bytes() * 2)
    assert summary.repeated >= 150
    bundle, job = classifier.bundle, Job(Input(str(tmp_path / "in.csv")), str(tmp_path / "o"))
    for threads, encoders in product((1, 2), (1, 3)):
        loaded = Classifier.load(bundle.folder, "cpu", threads)
        loaded.encoders = encoders
        for generation_bytes in (0, 10**9):
            loaded._cache = TextCache(2, generation_bytes)
            classify_file(job, LazyClassifier(bundle, lambda found=loaded: found))
            assert (tmp_path / "o").read_bytes() == whole


def test_blank_lines_are_counted(label):
    assert label(TABLES["blank lines"])[1].progress.blank_lines == 4
    assert label(TABLES["plain"])[1].progress.blank_lines == 0


def test_another_dialect_and_text_column(label):
    # 5211, 345, 423, 640 modulo 97 add up to 217, 12 modulo 41; 12 / 4 - 5 = -2; logits 2, -2.
    found, _ = label(b"text;note\nx;Do you have time\n", Dialect(b";"), text_column="note")
    assert found == b"text;note;label;score\nx;Do you have time;ham;0.017986\n"


def test_one_column(label):
    found, summary = label(b"text\nDo you have time\n\n", columns=("tokens",))
    assert found == b"text,tokens\nDo you have time,4\n,0\n"
    assert summary.progress.records == 2


@pytest.mark.parametrize("labels", [['not "spam"', "spam, sure"], ["ham\n", "\r"]])
def test_labels_that_need_quotes(labels, make_bundle, tmp_path):
    bundle = open_bundle(make_bundle(labels=labels, positive_label=labels[1]))
    (tmp_path / "in.csv").write_bytes(TABLES["plain"])
    out = tmp_path / "out.csv"
    job = Job(Input(str(tmp_path / "in.csv")), str(out))
    summary = classify_file(
        job, LazyClassifier(bundle, partial(Classifier.load, bundle.folder, "cpu", 1))
    )
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["label"] for row in rows) == summary.progress.labels
    assert set(summary.progress.labels) == set(labels)


def test_an_empty_file(refuse):
    wanted = "in.csv: the file is empty; its first line must name the columns"
    assert refuse(b"") == wanted


@pytest.mark.parametrize("column", ["label", "score"])
def test_a_column_of_ours_is_there_already(refuse, column):
    wanted = f"in.csv: there is a column {column!r} already; it would be there twice; "
    wanted += "choose others with --columns, or give --overwrite-columns"
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
def test_one_bad_row(refuse, classifier, row, problem, window, set_window):
    # One record before it has two lines, so that its line is not its number.
    before = b"id,text,x\n" + ROWS.replace(b"message, 7", b"message\n7")
    assert len(before) == 369
    set_window(window)
    found = refuse(before + row + b"21,good,x\n", load=lambda: classifier)
    assert found == f"in.csv: {problem}; to set bad records aside, type --max-rejects 10, or 1%"


def test_a_refused_header_costs_no_model(refuse):
    assert refuse(b"id,note\n1,a\n").startswith("in.csv: no text column found")


@pytest.mark.parametrize("window", [1, 2, 4096])
@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        (InternalError("the model gave a logit"), "the model gave a logit"),
        (ValueError("message, 9"), "ValueError"),  # another's words may hold the text
    ],
)
def test_a_message_that_the_model_fails_at(
    refuse, classifier, monkeypatch, set_window, window, problem, shown
):
    real = classifier.classify_prepared

    def fail_at_one(prepared):
        if "message, 9" in prepared.distinct:
            raise problem
        return real(prepared)

    monkeypatch.setattr(classifier, "classify_prepared", fail_at_one)
    set_window(window)
    message = refuse(TABLES["plain"], InternalError, lambda: classifier)
    assert message == f"in.csv: the model failed at line 11, byte offset 163: {shown}"
    assert TABLES["plain"].index(b"\n9,") + 1 == 163


def test_a_failure_that_does_not_come_again(refuse, classifier, monkeypatch):
    real, failures = classifier.classify_prepared, [RuntimeError("once")]

    def fail_once(prepared):
        if failures:
            raise failures.pop()
        return real(prepared)

    monkeypatch.setattr(classifier, "classify_prepared", fail_once)
    message = refuse(TABLES["plain"], InternalError, lambda: classifier)
    assert message == "in.csv: the model failed at a batch: RuntimeError"


@pytest.mark.parametrize("data", [b"", b"id,te", b"id,text\n1,a\n"])
def test_an_input_that_cannot_be_read_to_its_end(refuse, classifier, monkeypatch, data):
    class Breaking(io.BytesIO):
        def read(self, n=-1):
            if data := super().read(n):
                return data
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Source, "stream", lambda *_: Breaking(data))
    message = refuse(b"", StorageError, lambda: classifier)
    assert message == "in.csv: reading stopped: Input/output error"


def test_a_stream_has_no_place_for_rejects(classifier):
    job = Job(Input("-"), "-", allowance=Allowance.parse("1"))
    with pytest.raises(UsageError) as error:
        classify_file(job, LazyClassifier(classifier.bundle, lambda: pytest.fail("loaded")))
    assert str(error.value) == (
        "--max-rejects: rejects are written to a file beside the output, which is not "
        "possible for this output; give a file as --out"
    )


def test_the_output_is_checked_before_anything_is_read(tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLES["plain"])

    def run(source: Path, out: Path):
        with pytest.raises(OutputError) as error:
            classify_file(Job(Input(str(source)), str(out)), None)
        return str(error.value)

    source = tmp_path / "in.csv"
    assert run(source, source) == f"{source} is the input {source}; give another --out"
    wanted = f"the folder {tmp_path / 'no'} does not exist; make it first"
    assert run(tmp_path / "none.csv", tmp_path / "no" / "out.csv") == wanted
    assert source.read_bytes() == TABLES["plain"]

    other = source.rename(tmp_path / "out.rejects.csv")
    wanted = f"{other} is the input {other}; give another --out"
    assert run(other, tmp_path / "out.csv") == wanted
    wanted = f"{other} is not a rejects file, and rejects would go there; "
    assert run(tmp_path / "none.csv", tmp_path / "out.csv") == (
        f"{wanted}move it, or give another --out"
    )
    assert other.read_bytes() == TABLES["plain"]


def test_the_summary_of_one_record(label, classifier):
    _, summary = label(b"id, Message \n1,Do you have time\n")
    assert summary.lines()[:2] == [
        "1 record in, 1 row out: 1 ham, 0 spam",
        "text column: Message",
    ]
    done = Progress(records=1, labels={"spam": 1}, truncated=1, blank_lines=2)
    one = Summary(classifier.bundle, "text", "o", "", done)
    assert one.lines()[3:5] == ["1 message cut to 32 tokens", "2 blank lines skipped"]
