"""--metrics-file: text that Prometheus reads, whatever became of the run."""

import os
import re
import signal
import stat

import click
import pytest
from click.testing import CliRunner

from batch import errors
from batch.cli.commands import main
from batch.command import Stopped, status_of
from batch.model.classifier import Classifier
from batch.run.metrics import format_metric, writing_metrics

TABLE = b"id,text\n1,Do you have time\n2,a\n3,bad,row\n"
VALUE = r"[+-]?[0-9.e+-]+"
SAMPLE = re.compile(
    rf'(?P<name>[a-z_]+)(\{{(?P<labels>[a-z]+="([^"\\\n]|\\.)*"(,[a-z]+="[^"]*")*)\}})? {VALUE}'
)

LOAD = Classifier.load


@pytest.fixture
def run(tmp_path, monkeypatch, classifier, bundle):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batch.model.classifier.Classifier.load", lambda *_, **__: classifier)
    (tmp_path / "in.csv").write_bytes(TABLE)

    def invoke(*args, metrics="spam.prom"):
        command = ["classify", "in.csv", "--out", "out.csv", "--bundle", str(bundle)]
        result = CliRunner().invoke(main, [*command, "--metrics-file", metrics, *args])
        return result.exit_code, result.stderr

    return invoke


def parse(name: str = "spam.prom") -> dict[str, float]:
    """Strictly as the text format 0.0.4 is, and by Prometheus' own parser if it is there."""
    with open(name, encoding="utf-8") as file:
        text = file.read()
    assert text.endswith("\n")
    found, typed = {}, set()
    for line in text.splitlines():
        if line.startswith("# "):
            kind, name = line.split()[1:3]
            assert kind in ("HELP", "TYPE") and (kind, name) not in typed
            typed.add((kind, name))
            continue
        match = SAMPLE.fullmatch(line)
        assert match and ("TYPE", match["name"]) in typed, line
        key, _, value = line.rpartition(" ")
        assert key not in found
        found[key] = float(value)
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError:  # of the extra dev
        return found
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    assert sorted(sample.value for sample in samples) == sorted(found.values())
    return found


def test_after_a_success(run, tmp_path):
    code, _ = run("--max-rejects", "1")
    assert code == 3
    found = parse()
    assert found["spam_batch_run_success"] == 1
    assert found["spam_batch_run_exit_status"] == 3
    assert found["spam_batch_run_records"] == 3
    assert found["spam_batch_run_rejects"] == 1
    labels = [found[f'spam_batch_run_rows{{label="{label}"}}'] for label in ("ham", "spam")]
    assert sum(labels) == 2
    end = found["spam_batch_run_timestamp_seconds"]
    assert found["spam_batch_last_success_timestamp_seconds"] == end > 1.7e9
    assert count_files(found) == (0, 0)
    assert found["spam_batch_run_seconds"] >= 0 and found["spam_batch_run_rows_per_second"] > 0


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077])
def test_the_node_exporter_can_read_it(run, tmp_path, umask):
    """It runs as another user; examples/nightly has the umask 027."""
    before = os.umask(umask)
    try:
        for _ in range(2):  # created, then replaced
            assert run("--max-rejects", "1")[0] == 3
            assert stat.S_IMODE((tmp_path / "spam.prom").stat().st_mode) == 0o644
    finally:
        os.umask(before)
    assert not [name for name in os.listdir() if name.endswith(".part")]


def test_a_label_of_no_class_is_counted(run, monkeypatch):
    monkeypatch.setattr("batch.model.classifier.Classifier.load", LOAD)  # with the band
    band = ("--threshold", "0.5", "--unsure-band", "0.00001,0.99999")
    assert run("--max-rejects", "1", *band)[0] == 3
    found = parse()
    rows = [found[f'spam_batch_run_rows{{label="{label}"}}'] for label in ("ham", "spam", "unsure")]
    assert rows == [0, 0, 2]
    assert found["spam_batch_run_rows_per_second"] > 0


def test_a_failure_keeps_the_time_of_the_last_success(run):
    run("--max-rejects", "1")
    last = parse()["spam_batch_last_success_timestamp_seconds"]
    assert run("--columns", "label")[0] == 65
    found = parse()
    assert found["spam_batch_run_success"] == 0
    assert found["spam_batch_run_exit_status"] == 65
    assert found["spam_batch_last_success_timestamp_seconds"] == last
    assert "spam_batch_run_records" not in found


def test_the_first_run_fails(run):
    assert run("--text-column", "x")[0] == 65
    assert "spam_batch_last_success_timestamp_seconds" not in parse()


def test_many_files_are_added_up(run, bundle, tmp_path):
    os.mkdir("many")
    (tmp_path / "b.csv").write_bytes(b"text\na\n")
    command = ["classify", "in.csv", "b.csv", "--out-dir", "many", "--bundle", str(bundle)]
    command += ["--max-rejects", "1", "--metrics-file", "m.prom"]
    assert CliRunner().invoke(main, command).exit_code == 3
    assert parse("m.prom")["spam_batch_run_records"] == 4
    assert parse("m.prom")["spam_batch_run_files"] == 2
    assert CliRunner().invoke(main, command).exit_code == 3
    found = parse("m.prom")
    assert "spam_batch_run_records" not in found  # all were labelled already
    assert (count_files(found), found["spam_batch_run_success"]) == ((2, 0), 1)
    (tmp_path / "b.csv").write_bytes(b"text\na\nb\n")
    assert CliRunner().invoke(main, [*command, "c.csv"]).exit_code == 66
    found = parse("m.prom")
    assert found["spam_batch_run_files"] == 1
    assert (count_files(found), found["spam_batch_run_success"]) == ((1, 1), 0)


def count_files(found: dict[str, float]) -> tuple[float, float]:
    """Those that were labelled before, and that failed."""
    return found["spam_batch_run_files_skipped"], found["spam_batch_run_files_failed"]


def test_another_file_is_not_replaced(run):
    assert run(metrics="in.csv") == (
        73, f"spam-batch: error: {os.path.realpath('in.csv')} is not a metrics file of "
        "spam-batch; give another --metrics-file\n"
    )  # fmt: skip
    assert run(metrics="none/m.prom")[1] == (
        f"spam-batch: error: the folder {os.path.realpath('none')} does not exist; make it first\n"
    )
    assert sorted(os.listdir()) == ["in.csv"]


def test_it_cannot_be_written(run, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("batch.run.metrics.replace_file", fail)
    said = "writing spam.prom: No space left on device"
    code, stderr = run("--max-rejects", "1", "--quiet")
    wanted = f"rejected: {os.path.realpath('out.rejects.csv')}\n" + (
        f"spam-batch: error: {said}; the labelled output is complete\n"
    )
    assert (code, stderr) == (74, wanted)
    assert os.path.exists("out.csv")
    code, stderr = run("--text-column", "x", "--quiet")
    assert code == 65 and stderr.startswith(f"{said}\n")


def test_labels_are_escaped():
    assert format_metric("a", "A.", [({"label": 'x"\\\n'}, 1)])[2] == 'a{label="x\\"\\\\\\n"} 1'


@pytest.mark.parametrize(
    "error",
    [
        errors.BundleError("x"), errors.LockedError("x"), Stopped(signal.SIGTERM),
        KeyboardInterrupt(), MemoryError(), OSError(5, "x"), ModuleNotFoundError(name="pyarrow"),
        ModuleNotFoundError(name="none"), click.UsageError("x"), ValueError("x"),
        BrokenPipeError(), click.Abort(), click.exceptions.Exit(3),
    ],
)  # fmt: skip
def test_the_status_is_the_commands(error, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("batch.model.bundle.open_bundle", fail)
    command = ["classify", "x", "--out", str(tmp_path / "o"), "--metrics-file"]
    result = CliRunner().invoke(main, [*command, str(tmp_path / "m")])
    assert result.exit_code == status_of(error)
    found = parse(str(tmp_path / "m"))
    assert found["spam_batch_run_exit_status"] == result.exit_code


def test_without_the_option_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with writing_metrics(None):
        pass
    assert os.listdir() == []


@pytest.mark.parametrize("name", ["out.csv", "out.rejects.csv", "out.csv.run.json"])
def test_it_does_not_replace_what_the_run_has_written(run, name):
    code, said = run("--max-rejects", "1", metrics=name)
    assert code == 73
    assert said.splitlines()[-1] == (
        f"spam-batch: error: {os.path.realpath(name)} is not a metrics file of spam-batch; give "
        "another --metrics-file; the labelled output is complete"
    )
    with open("out.csv", "rb") as file:
        assert file.readline() == b"id,text,label,score\n"
    with open(name, "rb") as file:
        assert b"HELP" not in file.read()


def test_another_checkpoint_is_kept_even_with_restart(run, tmp_path):
    path = tmp_path / ".out.csv.checkpoint.json"
    path.write_bytes(b"mine")
    code, said = run("--restart", "--max-rejects", "1")
    assert code == 73
    assert said == (
        f"spam-batch: error: {path} is not a checkpoint of spam-batch, and that of this run would "
        "go there; move it, or give another --out\n"
    )
    assert path.read_bytes() == b"mine"


def test_a_file_of_the_bundle_is_not_replaced(run, bundle):
    before = (bundle / "golden.json").read_bytes()
    code, said = run("--out", str(bundle / "golden.json"))
    assert code == 73
    assert said == (
        f"spam-batch: error: {bundle / 'golden.json'} lies in the bundle {bundle}; give another "
        "--out\n"
    )
    assert (bundle / "golden.json").read_bytes() == before
