"""The same folder again: what is skipped, what is labelled again, and after an interrupted run."""

import json
import os
from pathlib import Path

import pytest

TABLE = b"id,text\n1,Do you have time\n"
LABELLED = b"id,text,label,score\n1,Do you have time,ham,0.017986\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda write: write("in/a.csv", data=TABLE.replace(b"time", b"tine")),
        lambda write: write("out/a.csv", data=LABELLED + b"more\n"),
        lambda write: write("out/a.csv", data=LABELLED.replace(b"ham", b"ham"[::-1])),
        lambda _: os.unlink("out/a.csv"),
        lambda write: write("out/a.csv.run.json", data=b'{\n "format": "spam-batch run"'),
        lambda write: write("out/a.csv.run.json", data=b'{\n "format": "spam-batch run"}'),
    ],
)
def test_what_has_changed_is_labelled_again(run, change, write):
    write("in/a.csv")
    run("in", "--out-dir", "out")
    change(write)
    assert run("in", "--out-dir", "out")[1][-1] == "1 file: 1 labelled, 0 skipped, 0 failed"
    assert run("in", "--out-dir", "out")[1][-1] == "1 file: 0 labelled, 1 skipped, 0 failed"


def test_the_same_bytes_at_another_time_are_the_same(run, write):
    write("in/a.csv")
    run("in", "--out-dir", "out")
    os.utime("in/a.csv", (1, 1))
    os.utime("out/a.csv", (2, 2))
    assert run("in", "--out-dir", "out")[1][-1] == "1 file: 0 labelled, 1 skipped, 0 failed"


@pytest.mark.parametrize(
    "args",
    [("--columns", "label"), ("--text-column", "id"), ("--escape", "\\")],
)
def test_other_options_label_again(run, args, write):
    write("in/a.csv")
    run("in", "--out-dir", "out")
    assert run("in", "--out-dir", "out", *args)[1][-1] == "1 file: 1 labelled, 0 skipped, 0 failed"


def test_another_allowance_labels_again_only_what_it_does_not_allow(run, loads, write, read):
    write("in/a.csv")
    write("in/b.csv", data=TABLE + b"2\n")
    assert run("in", "--out-dir", "out", "--max-rejects", 1)[0] == 3
    rows = read("out/b.csv")
    skipped = [
        "in/a.csv: was labelled already", "in/b.csv: was labelled already, with 1 rejected",
        "2 files: 0 labelled, 2 skipped, 0 failed",
    ]  # fmt: skip
    for allowance in (2, "50%"):
        assert run("in", "--out-dir", "out", "--max-rejects", allowance) == (3, skipped)
    assert run("in", "--out-dir", "out") == (
        65,
        ["in/a.csv: was labelled already",
         "error: in/b.csv: line 3, byte offset 27: has 1 field, expected 2; to set bad records "
         "aside, type --max-rejects 10, or 1%",
         "2 files: 0 labelled, 1 skipped, 1 failed"],
    )  # fmt: skip
    assert len(loads) == 2
    assert read("out/b.csv") == rows
    assert run("in", "--out-dir", "out", "--max-rejects", 1) == (3, skipped)


def test_another_bundle_labels_again(run, make_bundle, write, read):
    write("in/a.csv")
    run("in", "--out-dir", "out")
    path = "out/a.csv.run.json"
    done = json.loads(read(path))
    done["bundle"]["digest"] = "0" * 64
    write(path, data=json.dumps(done, indent=1).encode())
    assert run("in", "--out-dir", "out")[1][-1] == "1 file: 1 labelled, 0 skipped, 0 failed"


def test_a_dump_that_is_still_copied_is_told_and_labelled_again(
    run, monkeypatch, classifier, write
):
    write("in/a.csv", "in/b.csv")

    def load(*_, **__):
        with open("in/a.csv", "ab") as file:
            file.write(b"2,Do you have time\n")
        return classifier

    monkeypatch.setattr("batch.model.classifier.Classifier.load", load)
    grown = "in/a.csv: WARNING: in/a.csv has grown to 46 bytes; only the 27 that it had "
    assert run("in", "--out-dir", "out", "--quiet") == (0, [grown + "at the start were labelled"])
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)
    assert run("in", "--out-dir", "out")[1][:2] == [
        "in/a.csv: 2 records in, 2 rows out: 2 ham, 0 spam", "in/b.csv: was labelled already"
    ]  # fmt: skip


def test_an_interrupted_run_on_another_input_is_no_obstacle(run, monkeypatch, write):
    monkeypatch.setattr("batch.run.windows.WINDOW", 1)
    write("in/a.csv", data=TABLE + b"2\n")  # half a line, as of a copy that stood still
    assert run("in", "--out-dir", "out")[0] == 65
    assert os.path.exists("out/.a.csv.checkpoint.json")
    write("in/a.csv", data=TABLE + b"2,Do you have time\n")
    exit_code, (first, second, *rest) = run("in", "--out-dir", "out")
    assert exit_code == 0
    assert first == "out/a.csv: the checkpoint of an interrupted run is out of date; starting over"
    assert second.startswith("removed ") and second.endswith(".part, which a killed run had left")
    assert rest[0] == "in/a.csv: 2 records in, 2 rows out: 2 ham, 0 spam"
    assert sorted(os.listdir("out")) == ["a.csv", "a.csv.run.json"]


@pytest.mark.parametrize("version", [2, 4])
def test_an_interrupted_run_of_another_version_is_no_obstacle(
    run, monkeypatch, version, write, read
):
    """A single run refuses it; a folder's run, and what the refusal advises, start over."""
    monkeypatch.setattr("batch.run.windows.WINDOW", 1)
    checkpoint = Path("out/.a.csv.checkpoint.json").resolve()
    write("in/a.csv")
    assert run("in", "--out-dir", "out")[0] == 0
    for restart in (["in", "--out-dir", "out", "--quiet"], ["in/a.csv", "--out", "out/a.csv"]):
        write("in/a.csv", data=TABLE + b"2\n")
        assert run("in", "--out-dir", "out")[0] == 65
        values = json.loads(checkpoint.read_bytes())
        text = json.dumps(values | {"format_version": version}, indent=1)
        checkpoint.write_text(text, encoding="utf-8")
        write("in/a.csv", data=TABLE + b"2,Do you have time\n")
        assert run("in/a.csv", "--out", "out/a.csv") == (65, [
            f"spam-batch: error: {checkpoint}: format version {version}, this spam-batch reads 3; "
            "start over with --restart"
        ])  # fmt: skip
        assert read("out/a.csv") == LABELLED  # of the complete run before
        if "in" in restart:
            warning = "out/a.csv: an interrupted run of another version of spam-batch is not "
            assert run(*restart) == (0, [f"{warning}resumed; starting over"])
        else:
            assert run(*restart, "--restart")[0] == 0
        assert sorted(os.listdir("out")) == ["a.csv", "a.csv.run.json"]
        assert read("out/a.csv") == LABELLED + b"2,Do you have time,ham,0.017986\n"
        write("in/a.csv")
        assert run("in", "--out-dir", "out")[0] == 0
