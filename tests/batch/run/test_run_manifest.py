"""The run manifest: what it says, and that an interruption changes nothing of it."""

import gzip
import hashlib
import io
import json
import signal

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.command import Stopped
from batch.errors import InputError, MissingInputError, OutputError
from batch.run import folder
from batch.run.run_manifest import read_manifest, read_manifest_if_good
from batch.version import __version__
from batch.writing.names import manifest_path
from batch.writing.target import resolve_target

ROWS = [b"%d,message number %d\n" % (row, row % 37) for row in range(300)]
ROWS[5] = b"5,too,many\n"
TABLE = b"id,text\n" + b"".join(ROWS)
SHARES = {
    "effective_messages": 300.0,
    "labels": {"ham": 0.9, "spam": 0.1},
    "scores": [1.0, *[0.0] * 19],
    "tokens": [0.5, 0.5, *[0.0] * 19],
}


@pytest.fixture
def run(classifier, bundle, tmp_path, monkeypatch):
    """Labels in.csv into out.csv, six rows a window; returns the exit status and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.run.windows.WINDOW", 6)
    monkeypatch.setattr("batch.run.classify.COMMIT_SECONDS", 0)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)

    def label(*args, source="in.csv", out="out.csv", folder=bundle):
        command = ["classify", source, "--out", out, "--bundle", str(folder)]
        result = CliRunner().invoke(main, [*command, "--max-rejects", "5", *args])
        return result.exit_code, result.stderr

    return label


def stop_after(monkeypatch, classifier, windows: int) -> None:
    """Let the model be interrupted behind so many windows."""
    calls, label = [], type(classifier).classify_prepared

    def classify_prepared(self, prepared):
        calls.append(1)
        if len(calls) > windows:
            raise Stopped(signal.SIGTERM)
        return label(self, prepared)

    monkeypatch.setattr(type(classifier), "classify_prepared", classify_prepared)


def read(name: str = "out.csv.run.json") -> dict:
    with open(name, encoding="utf-8") as file:
        return json.load(file)


def test_what_it_says(run, bundle, tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE)
    assert run()[0] == 3
    found = read()
    for key, name in (("input", "in.csv"), ("output", "out.csv"), ("rejects", "out.rejects.csv")):
        data = (tmp_path / name).read_bytes()
        assert found[key] == {
            "name": str(tmp_path / name) if key == "input" else name,
            "size": len(data),
            "mtime_ns": (tmp_path / name).stat().st_mtime_ns,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    spam = sum(",spam," in row for row in rows)
    assert found["counts"] == {
        "records": 300, "rows": 299, "rejects": 1, "labels": {"ham": 299 - spam, "spam": spam},
        "blank_lines": 0, "truncated": 0, "distinct_texts": 37, "repeated_texts": 262,
    }  # fmt: skip
    assert sum(found["scores"]["counts"]) == sum(found["tokens"]["counts"]) == 299
    assert len(found["scores"]["edges"]) == len(found["scores"]["counts"]) + 1
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    assert found["bundle"]["digest"] == digest
    assert found["bundle"]["precision"] == "fp32"
    assert found["table"] == {"format": "csv", "text_column": "text", "columns": ["label", "score"]}
    assert (found["drift"], found["warnings"], found["version"]) == (None, [], __version__)
    times = found["run"]
    assert times["started"] <= times["ended"] and times["started"].endswith("Z")
    assert (times["resumed"], times["device"], times["threads"]) == (0, "cpu", 1)
    assert times["max_rejects"] == "5"
    assert times["seconds"] > 0 and times["rows_per_second"] > 0


@pytest.mark.parametrize("name", ["csv", "csv.gz"])
def test_an_interrupted_run_gives_the_same(run, classifier, tmp_path, monkeypatch, name):
    source, out = f"in.{name}", f"out.{name}"
    (tmp_path / source).write_bytes(gzip.compress(TABLE) if "gz" in name else TABLE)
    assert run(source=source, out=out)[0] == 3
    whole, data = read(f"{out}.run.json"), (tmp_path / out).read_bytes()
    (tmp_path / out).unlink()
    for windows in (3, 20):
        with monkeypatch.context() as patch:
            stop_after(patch, classifier, windows)
            assert run(source=source, out=out)[0] == 143
    classifier.clear_cache()
    assert run(source=source, out=out)[0] == 3
    found = read(f"{out}.run.json")
    assert (tmp_path / out).read_bytes() == data
    assert (whole.pop("run")["resumed"], found.pop("run")["resumed"]) == (0, 2)
    for values in (whole, found):
        values["output"].pop("mtime_ns")
        values["rejects"].pop("mtime_ns")
    assert found == whole


def test_from_a_pipe(run, tmp_path, classifier, bundle, monkeypatch):
    command = ["classify", "-", "--out", "out.csv", "--bundle", str(bundle), "--max-rejects", "5"]
    assert CliRunner().invoke(main, command, TABLE).exit_code == 3
    assert read()["input"] == {
        "name": None, "size": len(TABLE), "mtime_ns": None,
        "sha256": hashlib.sha256(TABLE).hexdigest(),
    }  # fmt: skip


def test_standard_output_has_none(bundle, classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)
    (tmp_path / "in.csv").write_bytes(b"text\na\n")
    command = ["classify", "in.csv", "--out", "-", "--bundle", str(bundle), "--quiet"]
    assert CliRunner().invoke(main, command).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_drift_is_told(run, make_bundle, tmp_path, monkeypatch):
    from batch.drift.histograms import TOKEN_EDGES
    from batch.model.classifier import Classifier

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    folder = make_bundle(reference={**SHARES, "token_edges": list(TOKEN_EDGES)})
    (tmp_path / "in.csv").write_bytes(b"text\n" + b"Do you have time\n" * 200)
    assert Classifier.load(folder, "cpu", 1).classify(["Do you have time"]).labels == ["ham"]
    code, said = run(folder=folder)
    assert code == 0
    assert [line for line in said.splitlines() if "drift" in line] == [
        "WARNING: drift: 0.00% are labelled spam; of the training data 10.00%, "
        "band 0.82% to 19.45%",
        "WARNING: drift: the lengths in tokens are not distributed as the training data's: "
        "population stability index 2.982, band up to 0.200",
    ]
    assert [(shift["what"], shift["is_out"]) for shift in read()["drift"]] == [
        ("label spam", True), ("tokens", True)
    ]  # fmt: skip


def test_drift_is_that_of_the_runs_threshold_and_band(run, make_bundle, tmp_path, monkeypatch):
    """All rows score alike: with the threshold below that, all of them are spam."""
    from batch.drift.histograms import TOKEN_EDGES
    from batch.model.classifier import Classifier

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    folder = make_bundle(
        reference={
            "effective_messages": 200, "labels": {"ham": 1.0, "spam": 0.0},
            "scores": [1.0, *[0.0] * 19], "tokens": [1.0], "token_edges": list(TOKEN_EDGES)[:1],
        },
    )  # fmt: skip
    (tmp_path / "in.csv").write_bytes(b"text\n" + b"Do you have time\n" * 200)
    score = Classifier.load(folder, "cpu", 1).classify(["Do you have time"]).scores[0]
    assert 0 < score < 0.05
    for options, labels in (
        ((), ["label spam"]),
        (("--threshold", score / 2, "--restart"), ["label spam"]),
        (("--unsure-band", f"{score / 2},0.6", "--restart"), ["label spam", "label unsure"]),
    ):
        code, said = run(*map(str, options), "--metrics-file", "m.prom", folder=folder)
        assert (code, [line for line in said.splitlines() if "drift" in line]) == (0, [])
        shifts = [(shift["what"], shift["is_out"]) for shift in read()["drift"]]
        assert shifts == [(label, False) for label in labels]
        metrics = (tmp_path / "m.prom").read_text(encoding="utf-8")
        assert [f'flagged{{what="{label}"}} 0' in metrics for label in labels] == [True] * len(
            labels
        )


def test_what_is_no_manifest_is_not_replaced(run, tmp_path):
    (tmp_path / "in.csv").write_bytes(b"text\na\n")
    (tmp_path / "out.csv.run.json").write_bytes(b'{"mine": 1}')
    path = tmp_path / "out.csv.run.json"
    assert run() == (
        73, f"spam-batch: error: {path} is not a run manifest, and that of this run would go "
        "there; move it, or give another --out\n"
    )  # fmt: skip
    assert path.read_bytes() == b'{"mine": 1}'
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError):
        resolve_target(str(tmp_path / "out.csv"), "in.csv")


def test_the_input_may_not_be_called_so(run, tmp_path):
    (tmp_path / "out.csv.run.json").write_bytes(b"text\na\n")
    assert run("--format", "csv", source="out.csv.run.json") == (
        73, f"spam-batch: error: {tmp_path / 'out.csv.run.json'} is the input out.csv.run.json; "
        "give another --out\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (None, MissingInputError, "out.csv: has no run manifest, out.csv.run.json, beside it; "
         "spam-batch classify writes one with each output"),
        (b"{", InputError, "out.csv.run.json: is damaged, or is not a run manifest"),
        (b'{"format": "x"}', InputError,
         "out.csv.run.json: is damaged, or is not a run manifest"),
        (b'{"format": "spam-batch run", "format_version": 9}', InputError,
         "out.csv.run.json: format version 9, this spam-batch reads 1"),
        (b'{"format": "spam-batch run", "format_version": 1}', InputError,
         "out.csv.run.json: is damaged, or is not a run manifest"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path, data, kind, message):
    target = tmp_path / "out.csv"
    if data is not None:
        manifest_path(target).write_bytes(data)
    with pytest.raises(kind) as error:
        read_manifest(target)
    assert str(error.value) == f"{tmp_path}/{message}"


@pytest.mark.parametrize(
    "change",
    [
        {"counts": {"records": 1}}, {"counts": 1}, {"bundle": {"digest": "a"}}, {"options": []},
        {"table": {}}, {"scores": {"edges": []}}, {"run": {}}, {"input": 1}, {"output": {}},
    ],
)  # fmt: skip
def test_one_that_was_edited(run, tmp_path, bundle, change):
    """``audit`` says so; a folder's run labels again."""
    (tmp_path / "in.csv").write_bytes(b"text\na\n")
    assert run()[0] == 0
    path = tmp_path / "out.csv.run.json"
    whole = json.loads(path.read_bytes())
    path.write_text(json.dumps({**whole, **change}, indent=1), encoding="utf-8")
    result = CliRunner().invoke(main, ["audit", "out.csv", "--bundle", str(bundle)])
    message = f"{path}: is damaged, or is not a run manifest"
    assert (result.exit_code, result.stderr) == (65, f"spam-batch: error: {message}\n")
    assert read_manifest_if_good("out.csv") is None
    for text in (whole | change, [whole], None):
        path.write_text(json.dumps(text)[:-1], encoding="utf-8")
        result = CliRunner().invoke(main, ["audit", "out.csv", "--bundle", str(bundle)])
        assert (result.exit_code, result.stderr) == (65, f"spam-batch: error: {message}\n")


def test_hashing_an_input_in_pieces(tmp_path):
    """By whatever way it is read: from the middle, and again from the start."""
    from batch.reading.opening import open_source

    data = bytes(range(256)) * 9000
    (tmp_path / "in").write_bytes(data)
    with open_source(str(tmp_path / "in")) as source:
        io.BufferedReader(source.stream()).read(100)
        stream = io.BufferedReader(source.stream(1_500_000))
        assert stream.read(70_000) == data[1_500_000:1_570_000]
        io.BufferedReader(source.stream(10)).read(5000)
        assert source.fingerprint().sha256 == hashlib.sha256(data).hexdigest()


def test_the_exit_status_of_rejects_is_one():
    from batch.run import metrics

    assert metrics.REJECTED == folder.REJECTED
