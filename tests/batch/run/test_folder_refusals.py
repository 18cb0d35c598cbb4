"""What a folder's run refuses, and what it leaves as it was."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.errors import BundleError
from batch.writing.lock import hold_lock

LABELLED = b"id,text,label,score\n1,Do you have time,ham,0.017986\n"


@pytest.mark.parametrize("engine", [("--out-dir",), ("--engine", "ray", "--out")])
@pytest.mark.parametrize(
    ("args", "exit_code"),
    [
        (("--columns", "none"), 2),
        (("--bundle", "none"), 78),
        (("--threshold", "2"), 2),
        (("--encoding", "utf-9"), 2),
        (("--precision", "int4"), 78),
    ],
)
def test_a_run_that_cannot_begin_leaves_no_folder(run, bundle, engine, args, exit_code, write):
    if "ray" in engine and "--precision" in args:
        pytest.skip("a worker finds out")
    write("in/a.csv")
    result = CliRunner().invoke(
        main, ["classify", "in", *engine, "new", "--bundle", str(bundle), *args]
    )
    assert result.exit_code == exit_code
    assert sorted(os.listdir()) == ["in", "out"]


def test_a_bundle_that_cannot_be_loaded_leaves_no_folder(run, make_bundle, monkeypatch, write):
    def fail(*_, **__):
        raise BundleError("not verified")

    monkeypatch.setattr("batch.model.classifier.Classifier.load", fail)
    write("in/a.csv")
    assert run("in", "--out-dir", "new") == (78, ["spam-batch: error: not verified"])
    assert sorted(os.listdir()) == ["in", "out"]


def test_one_run_at_a_time_for_a_folder(run, loads, write):
    write("in/a.csv")
    os.symlink("out", "link")
    with hold_lock(Path("out")):
        for name in ("out", "link"):
            message = f"another run is writing {name}; wait until it ends, or stop it"
            assert run("in", "--out-dir", name) == (75, [f"spam-batch: error: {message}"])
        assert os.listdir("out") == [".lock"]
    assert loads == []
    assert run("in", "--out-dir", "out")[0] == 0
    assert sorted(os.listdir("out")) == ["a.csv", "a.csv.run.json"]


def test_a_bundle_that_cannot_be_loaded_stops_all(run, monkeypatch, write):
    from batch.errors import BundleError

    def load(*_, **__):
        raise BundleError("models/spam: was never verified")

    monkeypatch.setattr("batch.model.classifier.Classifier.load", load)
    write("in/a.csv", "in/b.csv")
    assert run("in", "--out-dir", "out") == (
        78, ["spam-batch: error: models/spam: was never verified"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "exit_code", "message"),
    [
        (
            ("in/a.csv", "in/b.csv", "--out", "o.csv"), 2,
            "Error: 2 inputs cannot be labelled into one file; type --out-dir DIR",
        ),
        (
            ("in/a.csv",), 2,
            "Error: type either --out FILE, or --out-dir DIR for one or more inputs",
        ),
        (
            ("in/a.csv", "--out", "o.csv", "--out-dir", "out"), 2,
            "Error: type either --out FILE, or --out-dir DIR for one or more inputs",
        ),
        (
            ("in/a.csv", "--out", "o.csv", "--force"), 2,
            "Error: --force: only with --out-dir; to start over, type --restart",
        ),
        (
            ("in", "--out", "o.csv"), 66,
            "spam-batch: error: in is a folder; to label its files, type --out-dir DIR",
        ),
        (
            ("-", "--out-dir", "out"), 2,
            "Error: --out-dir: standard input has no name; give --out instead",
        ),
        (
            ("-", "--engine", "ray", "--out-dir", "out"), 2,
            "Error: --out-dir: standard input has no name; give a file instead",
        ),
        (
            ("-", "--engine", "ray", "--out", "out"), 2,
            "Error: --out: standard input has no name; give a file instead",
        ),
        (
            ("in", "--out-dir", "none/out"), 73,
            "spam-batch: error: the folder none does not exist; make it first",
        ),
        (
            ("in", "in/none*.csv", "--out-dir", "out"), 66,
            "spam-batch: error: in/none*.csv: no file matches",
        ),
        (
            ("out", "--out-dir", "out"), 66,
            "spam-batch: error: out: has no files to label; their names end in .csv, .tsv, .jsonl, "
            ".ndjson, .parquet, .pq",
        ),
        (
            ("in", "a.csv", "--out-dir", "out"), 2,
            "spam-batch: error: in/a.csv and a.csv would both write out/a.csv; "
            "label them into two folders",
        ),
        (
            ("in/a.csv", "in/a.rejects.csv", "--out-dir", "out"), 2,
            "spam-batch: error: in/a.csv and in/a.rejects.csv would both write "
            "out/a.rejects.csv; label them into two folders",
        ),
        (
            ("in/a.csv", "--out-dir", "in"), 73,
            "error: in/a.csv is the input in/a.csv; give another --out",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(run, args, exit_code, message, write):
    write("a.csv", "in/a.csv", "in/b.csv", "in/a.rejects.csv")
    found, said = run(*args)
    assert found == exit_code
    assert message in said
    assert os.listdir("out") == []


def test_what_no_run_wrote_is_not_replaced(run, write, read):
    write("in/a.csv", "in/b.csv", "in/c.csv")
    run("in", "--out-dir", "out")
    os.unlink("out/a.csv.run.json")
    write("out/b.csv", "out/b.csv.run.json", data=b"")  # empty ones hold nothing
    os.unlink("out/c.csv")
    write("out/a.csv", data=b"mine")
    code, said = run("in", "--out-dir", "out")
    assert code == 73
    assert (
        "error: out/a.csv is there, and has no a.csv.run.json beside it by which it would be an "
        "output of spam-batch; move it (--force of spam-batch classify replaces it)"
    ) in said
    assert said[-1] == "3 files: 2 labelled, 0 skipped, 1 failed"
    assert (read("out/a.csv"), read("out/b.csv"), read("out/c.csv")) == (
        b"mine", LABELLED, LABELLED,
    )  # fmt: skip
    assert run("in", "--out-dir", "out", "--force")[0] == 0
    assert read("out/a.csv") == LABELLED


def test_another_lock_in_the_folder_is_kept(run, write, read):
    write("in/a.csv")
    write("out/.lock", data=b"mine")
    assert run("in", "--out-dir", "out") == (73, [
        "spam-batch: error: out/.lock is not a lock of spam-batch, and one would go there; move "
        "it, or give another output"
    ])  # fmt: skip
    assert (os.listdir("out"), read("out/.lock")) == ([".lock"], b"mine")
