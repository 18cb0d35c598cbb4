"""Spans of a large input: labelled one by one they are what one machine makes of the whole."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.cluster.shards import plan_shards
from batch.cluster.spans import plan_spans
from batch.errors import ChangedInputError, InputError
from batch.formats.input import Input, Span
from batch.formats.layout import Layout
from batch.model.bundle import open_bundle
from batch.model.lazy_classifier import LazyClassifier
from batch.reading.opening import take_fingerprint
from batch.run.classify import classify_file
from batch.run.job import Job
from batch.run.run_manifest import read_manifest
from batch.writing.names import rejects_path
from batch.writing.rejects import Allowance

NASTY = [
    b'1,"two\nlines"\n', b"2,three,fields\n", b'3,"never closed\n', b'4,a"b\r\n', b"\n", b"\r\n",
    b'5,"closed" late\r', b"6,caf\xe9\n", b"7,plain\r\n", b'8,"""",\n', b'9,"',
]  # fmt: skip


@pytest.fixture(scope="module")
def manifest(stub_bundle):
    return open_bundle(stub_bundle).manifest


@pytest.fixture(scope="module")
def label(stub, stub_bundle):
    """Labels a job with a stub model; returns the output's bytes and the rejects'."""
    bundle = open_bundle(stub_bundle)

    def label(job: Job) -> tuple[bytes, bytes]:
        classify_file(job, LazyClassifier(bundle, lambda: stub.StubClassifier(bundle)))
        rejects = rejects_path(Path(job.out))
        return Path(job.out).read_bytes(), rejects.read_bytes() if rejects.exists() else b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batch.run.windows.WINDOW", 3)
        yield label


def check_same(label, manifest, job: Job, part_bytes: int) -> int:
    """Returns how many parts there were."""
    parts = plan_shards(job, manifest, part_bytes)
    header, *_ = label(job)[0].splitlines(keepends=True) or [b""]
    header = header if job.input.layout.has_header and job.input.name.endswith(".csv") else b""
    made = [label(part) for part in parts]
    assert all(rows.startswith(header) for rows, _ in made)
    rows = header + b"".join(rows.removeprefix(header) for rows, _ in made)
    rejects = [lines.split(b"\n", 1) for _, lines in made if lines]
    together = rejects[0][0] + b"\n" + b"".join(r for _, r in rejects) if rejects else b""
    assert (rows, together) == label(job)
    return len(parts)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(NASTY), max_size=30), st.integers(1, 60))
def test_they_are_the_whole(tmp_path_factory, label, manifest, records, part_bytes):
    folder = tmp_path_factory.mktemp("spans")
    source = folder / "in.csv"
    good = b"0,a\n"  # a header whose width no record has would be refused
    source.write_bytes(b"id,text\n" + good + b"".join(records))
    job = Job(Input(str(source)), str(folder / "out.csv"), allowance=Allowance(None, 100.0))
    check_same(label, manifest, job, part_bytes)


def test_what_is_no_span():
    with pytest.raises(ValueError):
        Span.parse("2: some records from byte 5, line 2")


@pytest.mark.parametrize(
    ("name", "data", "layout"),
    [
        ("in.csv", b"\xef\xbb\xbfid,text\r\n" + b"1,a\r\n" * 40, Layout()),
        ("in.csv", b"1,a\n" * 40, Layout(has_header=False)),
        ("in.csv", b"id,label,text\n" + b"1,x,a\n" * 40 + b"\n\n", Layout(overwrite=True)),
        ("in.jsonl", b'{"text":"a"}\n' * 40, Layout()),
    ],
)
def test_of_each_layout(label, manifest, tmp_path, name, data, layout):
    (tmp_path / name).write_bytes(data)
    out = str(tmp_path / f"out{Path(name).suffix}")
    column = None if layout.has_header else "2"
    job = Job(Input(str(tmp_path / name), layout=layout, text_column=column), out)
    assert check_same(label, manifest, job, 50) > 2


def test_where_they_are(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("batch.run.windows.WINDOW", 4096)
    source = tmp_path / "in.csv"
    source.write_bytes(b"text\n" + b"abc\n" * 5000)
    job = Job(Input(str(source)), str(tmp_path / "out.csv"))
    spans, contents = plan_spans(job, manifest, 16000)
    assert spans == [Span(1, 5, 2, 4096), Span(2, 16389, 4098, None)]
    assert contents == take_fingerprint(source)
    assert [Span.parse(str(span)) for span in spans] == spans
    assert str(spans[0]) == "1: 4096 records from byte 5, line 2"
    assert str(spans[1]) == "2: all from byte 16389, line 4098"
    assert [part.out for part in plan_shards(job, manifest, 16000)] == [
        str(tmp_path / "out.00001.csv"), str(tmp_path / "out.00002.csv")
    ]  # fmt: skip
    assert plan_spans(job, manifest, 1 << 20) == ([], None)
    parquet = replace(job, input=replace(job.input, layout=Layout(format="parquet")))
    assert plan_spans(parquet, manifest, 1) == ([], None)


def test_what_has_no_middle_is_one(manifest, tmp_path):
    import gzip

    from batch.reading.encoding import parse_encoding

    text = b"text\n" + bytes(range(97, 123)) * 9
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(text))
    job = Job(Input(str(tmp_path / "in.csv.gz")), str(tmp_path / "out.csv.gz"))
    assert plan_spans(job, manifest, 1) == ([], None)
    (tmp_path / "in.csv").write_bytes(text.decode().encode("utf-16"))
    layout = Layout(encoding=parse_encoding("utf-16"))
    job = Job(Input(str(tmp_path / "in.csv"), layout=layout), str(tmp_path / "out.csv"))
    assert plan_spans(job, manifest, 1) == ([], None)


@pytest.mark.parametrize("typed", ["0", "1", "1%"])
def test_too_many_rejects_are_told_as_on_one_machine(label, manifest, tmp_path, typed):
    source = tmp_path / "in.csv"
    source.write_bytes(b"id,text\n" + b"1,a\n" * 20 + b"2\n3\n" + b"4,a\n" * 20)
    job = Job(
        Input(str(source)), str(tmp_path / "out.csv"), allowance=Allowance.parse(typed)
    )  # fmt: skip
    with pytest.raises(InputError) as ours:
        plan_shards(job, manifest, 20)
    with pytest.raises(InputError) as theirs:
        label(job)
    assert str(ours.value) == str(theirs.value)


def test_an_input_that_was_written_since(label, manifest, tmp_path):
    source = tmp_path / "in.csv"
    source.write_bytes(b"text\n" + b"abc\n" * 50)
    job = Job(Input(str(source)), str(tmp_path / "out.csv"))
    part, *_ = plan_shards(job, manifest, 20)
    source.write_bytes(b"text\n" + b"abc\n" * 51)
    with pytest.raises(ChangedInputError) as error:
        label(part)
    assert str(error.value) == f"{source}: was overwritten while it was read; run again"
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_its_run_manifest(label, manifest, tmp_path, monkeypatch):
    source = tmp_path / "in.csv"
    source.write_bytes(b"text\n" + b"abc\n" * 50)
    job = Job(Input(str(source)), str(tmp_path / "out.csv"))
    _, part, *_ = plan_shards(job, manifest, 20)
    monkeypatch.setattr("batch.reading.source.Source._hash_to", None)  # the whole file is read once
    label(part)
    found = read_manifest(Path(part.out))
    assert found.options["part"] == str(part.input.span)
    assert found.input == take_fingerprint(source)
    assert found.counts["records"] == part.input.span.records


def test_an_input_that_grows(manifest, tmp_path, monkeypatch):
    source = tmp_path / "in.csv"
    source.write_bytes(b"text\n" + b"abc\n" * 50)
    job = Job(Input(str(source)), str(tmp_path / "out.csv"))
    monkeypatch.setattr("batch.reading.source.Source.check_unchanged", lambda _: "has grown")
    with pytest.raises(ChangedInputError) as error:
        plan_spans(job, manifest, 20)
    assert str(error.value) == f"{source}: grows while it is read; run again"
