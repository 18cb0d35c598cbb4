"""Conservation, order, bytes and block size, over tables of every kind and the whole pipeline."""

import contextlib
import csv
import io
import os
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.formats.input import Input
from batch.model.bundle import open_bundle
from batch.model.lazy_classifier import LazyClassifier
from batch.reading.dialect import Dialect
from batch.reading.records import RecordReader
from batch.run.classify import classify_file
from batch.run.job import Job
from batch.writing.progress import RunStatistics
from batch.writing.rejects import Allowance

# What bad and good rows are made of: each special byte often, in any company.
PIECES = [b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"a", b" ", b"\xff", b"\x00", b"\xc3\xa9", b";"]
FIELD = st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)
GOOD = st.lists(FIELD, min_size=3, max_size=3).map(
    lambda fields: b",".join(b'"' + field.replace(b'"', b'""') + b'"' for field in fields)
)
END = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINE = st.tuples(st.one_of(GOOD, GOOD, FIELD, st.just(b"1,a,b")), END).map(b"".join)


def is_labelled(data: bytes) -> bool:
    """False for a header whose width no record has, which is refused."""
    records = list(RecordReader(io.BytesIO(data), columns=3))[1:]
    return len(records) < 2 or not all(record.problem for record in records)


TABLE = (
    st.tuples(st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(LINE, max_size=12), st.booleans())
    .map(lambda parts: parts[0] + b"id,text,x\n" + b"".join(parts[1]) + b"9,last,x" * parts[2])
    .filter(is_labelled)
)
BLOCK = st.one_of(st.integers(1, 70), st.integers(1, 1 << 20))


class Stop(BaseException):
    """What asks a run to stop, as a signal does."""


@pytest.fixture(scope="module")
def label(stub, stub_bundle):
    """Labels bytes with a block size and a window; returns output, rejects and summary."""
    bundle = open_bundle(stub_bundle)

    def run(data: bytes, block: int = 1 << 18, window: int = 4096, stop_at: int = 0):
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            (folder / "in.csv").write_bytes(data)
            out = folder / "out.csv"
            allowance = Allowance.parse("100%")
            job = Job(Input(str(folder / "in.csv")), str(out), allowance=allowance)
            reader = partial(RecordReader, block_size=block)
            stack.enter_context(mock.patch("batch.formats.csv_table.RecordReader", reader))
            stack.enter_context(mock.patch("batch.run.windows.WINDOW", window))
            stack.enter_context(mock.patch("batch.run.classify.COMMIT_SECONDS", 0))
            stack.enter_context(mock.patch("os.fsync"))  # no power is cut here
            classifier = stub.StubClassifier(bundle)
            if stop_at:
                stopping = mock.patch.object(
                    classifier, "classify", stop_after(classifier, stop_at)
                )
                with stopping, contextlib.suppress(Stop):
                    classify_file(job, LazyClassifier(bundle, lambda: classifier))
            summary = classify_file(job, LazyClassifier(bundle, lambda: classifier))
            rejects = folder / "out.rejects.csv"
            found = rejects.read_bytes() if rejects.exists() else b""
            names = ["in.csv", "out.csv", "out.csv.run.json", "out.rejects.csv"]
            names = names[: 4 if found else 3]
            assert sorted(os.listdir(folder)) == names
            assert (folder / "in.csv").read_bytes() == data
            return out.read_bytes(), found, summary

    return run


def stop_after(classifier, windows: int):
    """A ``classify`` that ends the run in that window."""
    real, calls = classifier.classify, []

    def classify(texts):
        calls.append(texts)
        if len(calls) == windows:
            raise Stop
        return real(texts)

    return classify


@settings(max_examples=100)
@given(data=TABLE, block=BLOCK, window=st.integers(1, 9))
def test_conservation_order_bytes(label, data, block, window):
    out, rejects, summary = label(data, block, window)
    reader = RecordReader(io.BytesIO(data), Dialect())
    bom = reader.bom
    header = next(reader)
    reader.expect(len(header.fields), 1)
    records = list(reader)
    good = [record for record in records if not record.problem]
    bad = [record for record in records if record.problem]

    # Records in are rows out and rejects, counted.
    done = summary.progress
    assert (done.records, done.rows, done.rejects) == (len(records), len(good), len(bad))

    # The i-th row begins with the bytes of the i-th good record.
    assert out.startswith(bom + header.raw + b",label,score" + header.line_end)
    rest = out[len(bom + header.raw + b",label,score" + header.line_end) :]
    for record in good:
        assert rest.startswith(record.raw + b",")
        rest = rest[len(record.raw) :]
        end = record.line_end or header.line_end
        added, found, rest = rest.partition(end)
        assert found == end
        label_found, score = added[1:].split(b",")
        assert label_found in (b"ham", b"spam") and 0 <= float(score) <= 1
    assert rest == b""

    # A strict reader gets the fields back, and ours behind them.
    again = RecordReader(io.BytesIO(out), Dialect())
    assert next(again).fields == [*header.fields, b"label", b"score"]
    assert [row.fields[:-2] for row in again] == [record.fields for record in good]

    # Each reject comes back with its bytes and its place.
    again = RecordReader(io.BytesIO(rejects), Dialect())
    found = [row.fields for row in again][1:]
    assert [(int(row[0]), int(row[1]), row[3]) for row in found] == [
        (record.line, record.offset, record.raw) for record in bad
    ]


@settings(max_examples=100)
@given(data=TABLE, block=BLOCK, window=st.integers(1, 9), other=BLOCK)
def test_block_and_window_do_not_matter(label, data, block, window, other):
    wanted = label(data)[:2]
    assert label(data, block, window)[:2] == wanted
    assert label(data, other, 4096)[:2] == wanted


@settings(max_examples=100)
@given(data=TABLE, block=BLOCK, window=st.integers(1, 4), stop_at=st.integers(1, 5))
def test_an_interrupted_run_gives_the_same_bytes(label, data, block, window, stop_at):
    wanted = label(data)
    found = label(data, block, window, stop_at)
    assert found[:2] == wanted[:2]
    same = [replace(one[2].progress, statistics=RunStatistics()) for one in (found, wanted)]
    assert same[0] == same[1]  # with the histograms


def test_the_standard_library_reads_it(label):
    rows = [["1", 'say "hi", or\nnot', "é"], ["2", "", ""], ["3", "\r", "x"]]
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["id", "text", "x"], *rows])
    out = label(text.getvalue().encode())[0].decode()
    found = list(csv.reader(io.StringIO(out, newline=""), strict=True))
    assert [row[:3] for row in found[1:]] == rows
