"""Many files into a folder: found, named, skipped when done, and one fault stops no other."""

import gzip
import json
import logging
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.errors import BundleError
from batch.run import folder
from batch.run.summary import PARTIAL, level_of
from batch.writing.lock import hold_lock

TABLE = b"id,text\n1,Do you have time\n"
LABELLED = b"id,text,label,score\n1,Do you have time,ham,0.017986\n"


@pytest.fixture
def loads(monkeypatch, classifier) -> list[str]:
    """Gets an element whenever the classifier is loaded."""
    counted: list[str] = []

    def load(*_, **__):
        counted.append("loaded")
        return classifier

    monkeypatch.setattr("batch.model.classifier.Classifier.load", load)
    return counted


@pytest.fixture
def run(bundle, tmp_path, monkeypatch, loads):
    """Runs ``spam-batch classify``; returns the exit status and the lines that were said."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    os.mkdir("out")

    def run(*args):
        args = ["classify", *map(str, args), "--bundle", str(bundle)]
        result = CliRunner().invoke(main, args)
        assert result.stdout == ""
        return result.exit_code, result.stderr.splitlines()

    return run


def write(*names: str, data: bytes = TABLE) -> None:
    for name in names:
        with open(name, "wb") as file:
            file.write(data)


def read(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()


def test_a_folder_then_the_same_folder_with_one_more(run, loads):
    write("in/b.csv", "in/a.csv")
    write("in/c.csv.gz", data=gzip.compress(TABLE))
    write("in/.hidden.csv", "in/a.rejects.csv", "in/notes.txt")
    os.mkdir("in/d.csv")
    one = "1 record in, 1 row out: 1 ham, 0 spam"
    left_out = (
        "in: 1 file left out (notes.txt), because the ending is not one of .csv, .tsv, .jsonl, "
        ".ndjson, .parquet, .pq; to label such a file, give its name"
    )
    assert run("in", "--out-dir", "out") == (
        0,
        [left_out, f"in/a.csv: {one}", f"in/b.csv: {one}", f"in/c.csv.gz: {one}",
         "weights: none, the graph is a sum", "3 files: 3 labelled, 0 skipped, 0 failed"],
    )  # fmt: skip
    assert loads == ["loaded"]
    assert read("out/a.csv") == read("out/b.csv") == LABELLED
    assert gzip.decompress(read("out/c.csv.gz")) == LABELLED
    assert sorted(os.listdir("out")) == [
        "a.csv", "a.csv.run.json", "b.csv", "b.csv.run.json", "c.csv.gz", "c.csv.gz.run.json"
    ]  # fmt: skip
    write("in/b.jsonl", data=b'{"text":"a, b"}\n')
    assert run("in", "--out-dir", "out") == (
        0,
        [left_out, "in/a.csv: was labelled already", "in/b.csv: was labelled already",
         "in/b.jsonl: 1 record in, 1 row out: 0 ham, 1 spam", "in/c.csv.gz: was labelled already",
         "weights: none, the graph is a sum", "4 files: 1 labelled, 3 skipped, 0 failed"],
    )  # fmt: skip
    assert len(loads) == 2


def test_what_is_left_out_of_a_folder_is_labelled_by_its_name(run):
    write("in/a.csv", "in/a.txt", "in/b.dat.gz", "in/a.csv.run.json")
    said = run("in", "--out-dir", "out")[1]
    assert said[0] == (
        "in: 2 files left out (a.txt, ...), because the ending is not one of .csv, .tsv, .jsonl, "
        ".ndjson, .parquet, .pq; to label such a file, give its name"
    )
    os.unlink("in/b.dat.gz")
    assert run("in", "in/a.txt", "--out-dir", "out")[1] == [
        "in/a.csv: was labelled already", "in/a.txt: 1 record in, 1 row out: 1 ham, 0 spam",
        "weights: none, the graph is a sum", "2 files: 1 labelled, 1 skipped, 0 failed",
    ]  # fmt: skip


def test_nothing_to_do_loads_no_model(run, loads):
    write("in/a.csv")
    run("in/a.csv", "--out-dir", "out")
    run("in/a.csv", "--out-dir", "out", "--quiet")
    assert loads == ["loaded"]
    assert run("in/a.csv", "--out-dir", "out", "--force")[1][-1] == (
        "1 file: 1 labelled, 0 skipped, 0 failed"
    )
    assert len(loads) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda: write("in/a.csv", data=TABLE.replace(b"time", b"tine")),
        lambda: write("out/a.csv", data=LABELLED + b"more\n"),
        lambda: write("out/a.csv", data=LABELLED.replace(b"ham", b"ham"[::-1])),
        lambda: os.unlink("out/a.csv"),
        lambda: write("out/a.csv.run.json", data=b'{\n "format": "spam-batch run"'),
        lambda: write("out/a.csv.run.json", data=b'{\n "format": "spam-batch run"}'),
    ],
)
def test_what_has_changed_is_labelled_again(run, change):
    write("in/a.csv")
    run("in", "--out-dir", "out")
    change()
    assert run("in", "--out-dir", "out")[1][-1] == "1 file: 1 labelled, 0 skipped, 0 failed"
    assert run("in", "--out-dir", "out")[1][-1] == "1 file: 0 labelled, 1 skipped, 0 failed"


def test_the_same_bytes_at_another_time_are_the_same(run):
    write("in/a.csv")
    run("in", "--out-dir", "out")
    os.utime("in/a.csv", (1, 1))
    os.utime("out/a.csv", (2, 2))
    assert run("in", "--out-dir", "out")[1][-1] == "1 file: 0 labelled, 1 skipped, 0 failed"


@pytest.mark.parametrize(
    "args",
    [("--columns", "label"), ("--text-column", "id"), ("--escape", "\\")],
)
def test_other_options_label_again(run, args):
    write("in/a.csv")
    run("in", "--out-dir", "out")
    assert run("in", "--out-dir", "out", *args)[1][-1] == "1 file: 1 labelled, 0 skipped, 0 failed"


def test_another_allowance_labels_again_only_what_it_does_not_allow(run, loads):
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


def test_another_bundle_labels_again(run, make_bundle):
    write("in/a.csv")
    run("in", "--out-dir", "out")
    path = "out/a.csv.run.json"
    done = json.loads(read(path))
    done["bundle"]["digest"] = "0" * 64
    write(path, data=json.dumps(done, indent=1).encode())
    assert run("in", "--out-dir", "out")[1][-1] == "1 file: 1 labelled, 0 skipped, 0 failed"


def test_one_bad_file_does_not_stop_the_others(run):
    write("in/a.csv", data=b"id,note\n1,a\n")
    write("in/b.csv", data=TABLE + b"2\n")
    write("in/c.csv")
    exit_code, said = run("in", "none.csv", "--out-dir", "out", "--columns", "label,score")
    assert (exit_code, said) == (
        66,
        [
            "error: in/a.csv: no text column found; columns: 'id', 'note'; "
            "name it with --text-column",
            "error: in/b.csv: line 3, byte offset 27: has 1 field, expected 2; to set bad records "
            "aside, type --max-rejects 10, or 1%",
            "in/c.csv: 1 record in, 1 row out: 1 ham, 0 spam",
            "error: cannot read none.csv: No such file or directory",
            "weights: none, the graph is a sum",
            "4 files: 1 labelled, 0 skipped, 3 failed",
        ],
    )
    assert [name for name in sorted(os.listdir("out")) if not name.startswith(".")] == [
        "c.csv", "c.csv.run.json"
    ]  # fmt: skip


def test_rejects_are_told_each_time(run):
    write("in/a.csv", data=TABLE + b"2\n")
    write("in/b.csv")
    args = ("in", "--out-dir", "out", "--max-rejects", 1)
    exit_code, said = run(*args)
    assert exit_code == 3
    assert said[:2] == [
        "in/a.csv: 2 records in, 1 row out, 1 reject: 1 ham, 0 spam",
        f"in/a.csv: rejected: {os.path.realpath('out')}/a.rejects.csv",
    ]
    exit_code, said = run(*args)
    assert (exit_code, said[0]) == (3, "in/a.csv: was labelled already, with 1 rejected")


def test_quiet_says_what_a_person_should_see(run):
    write("in/a.csv", data=TABLE + b"2\n")
    args = ("in", "--out-dir", "out", "--max-rejects", 1, "--quiet")
    rejects = f"in/a.csv: rejected: {os.path.realpath('out')}/a.rejects.csv"
    assert run(*args) == (3, [rejects])
    assert run(*args) == (3, ["in/a.csv: was labelled already, with 1 rejected"])


def test_quiet_says_nothing_of_an_incomplete_model():
    assert level_of(PARTIAL) == level_of("written: out.csv") == logging.INFO
    assert level_of("WARNING: anything else") == logging.WARNING


def test_a_dump_that_is_still_copied_is_told_and_labelled_again(run, monkeypatch, classifier):
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


def test_an_interrupted_run_on_another_input_is_no_obstacle(run, monkeypatch):
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
def test_a_run_that_cannot_begin_leaves_no_folder(run, bundle, engine, args, exit_code):
    if "ray" in engine and "--precision" in args:
        pytest.skip("a worker finds out")
    write("in/a.csv")
    result = CliRunner().invoke(
        main, ["classify", "in", *engine, "new", "--bundle", str(bundle), *args]
    )
    assert result.exit_code == exit_code
    assert sorted(os.listdir()) == ["in", "out"]


def test_a_bundle_that_cannot_be_loaded_leaves_no_folder(run, make_bundle, monkeypatch):
    def fail(*_, **__):
        raise BundleError("not verified")

    monkeypatch.setattr("batch.model.classifier.Classifier.load", fail)
    write("in/a.csv")
    assert run("in", "--out-dir", "new") == (78, ["spam-batch: error: not verified"])
    assert sorted(os.listdir()) == ["in", "out"]


@pytest.mark.parametrize("version", [2, 4])
def test_an_interrupted_run_of_another_version_is_no_obstacle(run, monkeypatch, version):
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


def test_one_run_at_a_time_for_a_folder(run, loads):
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


def test_a_bundle_that_cannot_be_loaded_stops_all(run, monkeypatch):
    from batch.errors import BundleError

    def load(*_, **__):
        raise BundleError("models/spam: was never verified")

    monkeypatch.setattr("batch.model.classifier.Classifier.load", load)
    write("in/a.csv", "in/b.csv")
    assert run("in", "--out-dir", "out") == (
        78, ["spam-batch: error: models/spam: was never verified"]
    )  # fmt: skip


def test_one_file_without_memory_stops_no_other(run, classifier, monkeypatch):
    write("in/a.csv", data=b"text\nlarge\n")
    write("in/b.csv")
    real = type(classifier).classify_prepared

    def classify(self, prepared):
        if "large" in prepared.distinct:
            raise MemoryError
        return real(self, prepared)

    monkeypatch.setattr(type(classifier), "classify_prepared", classify)
    status, lines = run("in", "--out-dir", "out")
    assert (status, lines[0]) == (
        71,
        "error: in/a.csv: out of memory; free memory and type the same command, which resumes the "
        "run; or type --restart with --max-record-bytes 1000000 if records are long, --device cpu "
        "if the GPU's memory is short, or --precision int8 if the bundle has it; with --engine "
        "ray, type fewer --workers",
    )
    assert lines[-1] == "2 files: 1 labelled, 0 skipped, 1 failed"
    monkeypatch.setattr(type(classifier), "classify_prepared", real)
    assert run("in", "--out-dir", "out")[0] == 0


def test_the_worst_status_of_several():
    statuses = [70, 71, 74, 73, 78, 2, 75, 66, 65, 3, 0]
    assert sorted(statuses, key=folder.WORST_FIRST.index) == statuses


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
def test_what_is_refused(run, args, exit_code, message):
    write("a.csv", "in/a.csv", "in/b.csv", "in/a.rejects.csv")
    found, said = run(*args)
    assert found == exit_code
    assert message in said
    assert os.listdir("out") == []


def test_what_no_run_wrote_is_not_replaced(run):
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
        "output of spam-batch; move it, or type --force to replace it"
    ) in said
    assert said[-1] == "3 files: 2 labelled, 0 skipped, 1 failed"
    assert (read("out/a.csv"), read("out/b.csv"), read("out/c.csv")) == (
        b"mine", LABELLED, LABELLED,
    )  # fmt: skip
    assert run("in", "--out-dir", "out", "--force")[0] == 0
    assert read("out/a.csv") == LABELLED


def test_another_lock_in_the_folder_is_kept(run):
    write("in/a.csv")
    write("out/.lock", data=b"mine")
    assert run("in", "--out-dir", "out") == (73, [
        "spam-batch: error: out/.lock is not a lock of spam-batch, and one would go there; move "
        "it, or give another output"
    ])  # fmt: skip
    assert (os.listdir("out"), read("out/.lock")) == ([".lock"], b"mine")
