"""Each exit status of ``spam-batch classify``, with all that is said on standard error."""

import json
import logging
import os
import signal
from dataclasses import replace

import pytest
from click.testing import CliRunner

from batch import errors
from batch.cli.commands import EXIT_STATUSES, main
from batch.errors import InternalError, OutOfMemoryError
from batch.model.classifier import Classifier
from batch.writing.lock import hold_lock
from batch.writing.part_file import PartFile

TABLE = b"id,text\n1,Do you have time\n2,a\n"
OLD = b"old\n"


@pytest.fixture
def invoke(stub, stub_bundle, tmp_path, monkeypatch):
    """Runs ``classify in.csv --out out.csv`` over an old output; returns click's result."""
    monkeypatch.setattr(Classifier, "load", stub.StubClassifier.load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_bytes(TABLE)
    (tmp_path / "out.csv").write_bytes(OLD)

    def run(*args, bundle=stub_bundle):
        command = ["classify", "in.csv", "--out", "out.csv", "--bundle", str(bundle), *args]
        return CliRunner().invoke(main, command)

    return run


def said(result, exit_code: int) -> str:
    """What was said before the run ended with that status, having left the old output alone."""
    assert (result.exit_code, result.stdout) == (exit_code, "")
    with open("out.csv", "rb") as file:
        assert file.read() == OLD
    assert sorted(os.listdir()) == ["in.csv", "out.csv"]
    return result.stderr


def test_the_help_ends_with_all_of_them():
    lines = CliRunner().invoke(main, ["classify", "--help"]).stdout.splitlines()
    table = [f"  {status:<4} {text}" for status, text in EXIT_STATUSES.items()]
    assert lines[-len(table) - 1 :] == ["Exit status:", *table]
    raised = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert set(EXIT_STATUSES) == (raised - {69}) | {0, 3, 129, 130, 141, 143}  # 69: spam-train


def test_0_complete(invoke):
    result = invoke()
    assert (result.exit_code, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    assert lines[:2] == ["2 records in, 2 rows out: 2 ham, 0 spam", "text column: text"]
    assert lines[2].endswith(" s; stub")
    assert lines[3:] == ["weights: none, the scores are hashes", "written: out.csv"]
    with open("out.csv", "rb") as file:
        assert [line.count(b",") for line in file] == [3, 3, 3]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("--max-rejects", "some"),
            "--max-rejects: 'some' is neither a number of records nor a percentage up to 100; "
            "type for example 10 or 0.5%",
        ),
        (
            ("--max-rejects", "1", "--out", "-"),
            "--max-rejects: rejects are written to a file beside the output, which is not "
            "possible for this output; give a file as --out",
        ),
    ],
)
def test_2_wrong_usage(invoke, args, message):
    assert said(invoke(*args), 2) == f"spam-batch: error: {message}\n"


def test_3_complete_with_rejects(invoke, tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE + b"3\n")
    result = invoke("--max-rejects", "1")
    assert (result.exit_code, result.stdout) == (3, "")
    lines = result.stderr.splitlines()
    assert lines[0] == "3 records in, 2 rows out, 1 reject: 2 ham, 0 spam"
    rejects = tmp_path / "out.rejects.csv"
    assert lines[-2:] == [f"rejected: {rejects}", "written: out.csv"]
    assert rejects.read_bytes() == (
        b'line,byte_offset,reason,record\n4,31,"has 1 field, expected 2","3"\n'
    )


def test_65_a_bad_input(invoke, tmp_path):
    (tmp_path / "in.csv").write_bytes(TABLE + b"3\n")
    assert said(invoke(), 65) == (
        "spam-batch: error: in.csv: line 4, byte offset 31: has 1 field, expected 2; to set bad "
        "records aside, type --max-rejects 10, or 1%\n"
    )


def test_66_no_input(invoke, tmp_path):
    (tmp_path / "in.csv").rename(tmp_path / "other.csv")
    result = invoke()
    (tmp_path / "other.csv").rename(tmp_path / "in.csv")
    message = "cannot read in.csv: No such file or directory"
    assert said(result, 66) == f"spam-batch: error: {message}\n"


def test_70_a_fault_of_ours(invoke, stub, monkeypatch):
    def fail(*_):
        raise InternalError("the model gave a logit that is not a finite number")

    monkeypatch.setattr(stub.StubClassifier, "classify", fail)
    assert said(invoke(), 70) == (
        "spam-batch: error: in.csv: the model failed at line 2, byte offset 8: the model gave a "
        "logit that is not a finite number\n"
    )


def test_70_a_row_without_a_label(invoke, stub, monkeypatch):
    """What is written is counted against what was read, whatever became of it in between."""
    real = stub.StubClassifier.classify

    def lose_one(self, texts):
        found = real(self, texts)
        return replace(found, labels=found.labels[:-1])

    monkeypatch.setattr(stub.StubClassifier, "classify", lose_one)
    message = "2 records were read, but 1 rows and 0 rejects were written"
    result = invoke("--columns", "score")
    assert (result.exit_code, result.stdout) == (70, "")
    assert result.stderr.splitlines()[-1] == f"spam-batch: error: {message}"
    with open("out.csv", "rb") as file:
        assert file.read() == OLD


def test_71_out_of_memory(invoke, stub, monkeypatch):
    """The same command, and what the line advises, label the file once there is memory."""
    real = stub.StubClassifier.classify

    def fail(*_):
        raise OutOfMemoryError("out of memory: running a batch of 2 x 8 tokens")

    monkeypatch.setattr(stub.StubClassifier, "classify", fail)
    assert said(invoke(), 71) == (
        "spam-batch: error: out of memory: running a batch of 2 x 8 tokens; free memory and type "
        "the same command, which resumes the run; or type --restart with --max-record-bytes "
        "1000000 if records are long, --device cpu if the GPU's memory is short, or --precision "
        "int8 if the bundle has it; with --engine ray, type fewer --workers\n"
    )
    monkeypatch.setattr(stub.StubClassifier, "classify", real)
    assert invoke("--restart", "--max-record-bytes", "1000000", "--device", "cpu").exit_code == 0
    assert invoke().exit_code == 0


def test_73_an_output_that_cannot_be(invoke):
    message = ". is a folder; give the name of a file"
    assert said(invoke("--out", "."), 73) == f"spam-batch: error: {message}\n"


def test_74_a_full_disk(invoke, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartFile, "write", fail)
    message = "writing out.csv: No space left on device"
    assert said(invoke(), 74) == f"spam-batch: error: {message}\n"


def test_75_another_run_holds_the_lock(invoke, tmp_path):
    with hold_lock(tmp_path / "out.csv"):
        result = invoke()
    message = f"another run is writing {tmp_path / 'out.csv'}; wait until it ends, or stop it"
    assert said(result, 75) == f"spam-batch: error: {message}\n"


def test_78_a_bundle_that_cannot_be_used(invoke):
    message = (
        "none: no such bundle; copy one there, or make one with: "
        "spam-train fit && spam-export bundle --out none"
    )
    assert said(invoke(bundle="none"), 78) == f"spam-batch: error: {message}\n"


@pytest.mark.parametrize(
    ("number", "name", "exit_code"),
    [
        (signal.SIGHUP, "stopped by SIGHUP", 129),
        (signal.SIGINT, "interrupted", 130),
        (signal.SIGTERM, "stopped by SIGTERM", 143),
    ],
)
def test_129_130_143_stopped(
    invoke, stub, monkeypatch, tmp_path, wanted_bytes, number, name, exit_code
):
    """In the second window: the first is kept, and the same command goes on behind it."""
    monkeypatch.setattr("batch.run.windows.WINDOW", 1)
    real, calls = stub.StubClassifier.classify, []

    def stop_later(self, texts):
        calls.append(texts)
        if len(calls) == 2:
            signal.raise_signal(number)
        return real(self, texts)

    monkeypatch.setattr(stub.StubClassifier, "classify", stop_later)
    result = invoke()
    kept = f"kept 1 record of {tmp_path / 'in.csv'}; the same command resumes from there\n"
    end = "\n" if number == signal.SIGINT else ""
    assert result.stderr == f"{kept}{end}spam-batch: error: {name}\n"
    assert result.exit_code == exit_code
    assert (tmp_path / "out.csv").read_bytes() == OLD
    assert len(os.listdir(tmp_path)) == 5  # manifest of the old, part file and checkpoint, too

    result = invoke()
    assert result.exit_code == 0
    assert result.stderr.startswith("resuming at line 3 of in.csv, after 1 record\n")
    assert (tmp_path / "out.csv").read_bytes() == wanted_bytes
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "out.csv", "out.csv.run.json"]


@pytest.fixture
def wanted_bytes(invoke, tmp_path) -> bytes:
    assert invoke().exit_code == 0
    found = (tmp_path / "out.csv").read_bytes()
    (tmp_path / "out.csv").write_bytes(OLD)
    return found


@pytest.fixture
def log_of_folder(stub, stub_bundle, tmp_path, monkeypatch):
    """Labels ``in`` into ``out``; returns the status and the lines of a JSON log, times apart."""
    monkeypatch.setattr(Classifier, "load", stub.StubClassifier.load)
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    logger = logging.getLogger("batch")
    for name in ("handlers", "level", "propagate"):  # later tests have a log of text
        monkeypatch.setattr(logger, name, getattr(logger, name))

    def run(*args, bundle=stub_bundle):
        command = ["classify", "in", "--out-dir", "out", "--bundle", str(bundle), *args]
        result = CliRunner().invoke(main, [*command, "--log-format", "json"])
        lines = [json.loads(line) for line in result.stderr.splitlines()]
        assert all(line.pop("time") for line in lines)
        return result.exit_code, lines

    return run


def test_the_last_line_of_a_folders_json_log_has_the_status_unless_it_is_0(log_of_folder):
    with open("in/a.csv", "wb") as file:
        file.write(TABLE)
    assert log_of_folder()[1][-1] == {
        "level": "info", "message": "1 file: 1 labelled, 0 skipped, 0 failed"
    }  # fmt: skip
    with open("in/b.csv", "wb") as file:
        file.write(TABLE + b"3\n")
    status, (*_, failed, _weights, last) = log_of_folder("--force")
    message = "in/b.csv: line 4, byte offset 31: has 1 field, expected 2; to set bad records aside"
    assert failed == {
        "level": "error", "message": f"error: {message}, type --max-rejects 10, or 1%"
    }  # fmt: skip
    assert (status, last) == (
        65,
        {"level": "info", "message": "2 files: 1 labelled, 0 skipped, 1 failed", "exit": 65},
    )
    status, lines = log_of_folder("--max-rejects", "1")
    assert (status, lines[-1]) == (
        3, {"level": "info", "message": "2 files: 1 labelled, 1 skipped, 0 failed", "exit": 3}
    )  # fmt: skip
    message = (
        "none: no such bundle; copy one there, or make one with: "
        "spam-train fit && spam-export bundle --out none"
    )
    assert log_of_folder(bundle="none") == (
        78, [{"level": "error", "message": message, "exit": 78}]
    )  # fmt: skip


def test_a_quiet_folder_says_its_errors_and_no_summary(log_of_folder):
    with open("in/a.csv", "wb") as file:
        file.write(TABLE + b"3\n")
    message = "in/a.csv: line 4, byte offset 31: has 1 field, expected 2; to set bad records aside"
    assert log_of_folder("--quiet") == (
        65, [{"level": "error", "message": f"error: {message}, type --max-rejects 10, or 1%"}]
    )  # fmt: skip
