"""A run with a cascade: a bundle like any other, whose rows depend on their texts alone."""

import csv
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from batch.cli.commands import main
from batch.cluster.worker import Setup, Worker
from batch.formats.input import Input
from batch.model.bundle import open_bundle
from batch.model.cascade.classifier import CascadeClassifier
from batch.model.classifier import Classifier
from batch.model.selftest import choose_precision
from batch.model.text_cache import TextCache
from batch.run.job import Job

COLUMNS = "label,score,probability,reason,stage"
SETTINGS = ("--columns", COLUMNS, "--device", "cpu", "--threads", 1)
# Ends at the third group of windows, as if it had been killed.
KILLED = """
import os
import batch.run.windows, batch.run.classify
from batch.model.cascade.classifier import CascadeClassifier
batch.run.windows.WINDOW, batch.run.windows.HELD_WINDOWS = 32, 2
batch.run.classify.COMMIT_SECONDS = 0
finish, calls = CascadeClassifier.finish, []
def killed(self, begun):
    calls.append(len(begun))
    if len(calls) == 6:
        os._exit(9)
    return finish(self, begun)
CascadeClassifier.finish = killed
from batch.cli.commands import main
main(prog_name="spam-batch")
"""


@pytest.fixture(autouse=True)
def inbox(tmp_path, monkeypatch) -> Path:
    """600 records of 400 texts, of which some are long, in the working directory."""
    monkeypatch.chdir(tmp_path)
    texts = [f"message {number % 400} of many" + " more" * (number % 7) for number in range(600)]
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(texts)))
    return path


@pytest.fixture
def label(invoke, cascade, tmp_path):
    def run(out="out.csv", *args, folder=cascade):
        result = invoke(
            main, "classify", "in.csv", "--out", out, "--bundle", folder, *SETTINGS, *args
        )
        assert result.exit_code == 0, result.stderr
        return (tmp_path / out).read_bytes(), result.stderr

    return run


def test_mended_rejects_are_counted_as_the_run_would(label, invoke, inbox, cascade) -> None:
    """Those that the slow model decides, too, which an audit compares with the column."""
    whole = inbox.read_bytes()
    expected, _ = label()
    wanted = json.loads(Path("out.csv.run.json").read_bytes())
    asked = next(
        int(row["id"]) for row in csv.DictReader(expected.decode().splitlines())
        if row["stage"] == "slow"
    )  # fmt: skip
    line = f"\n{asked},".encode()
    inbox.write_bytes(whole.replace(line, line + b",", 1))
    given = ("--bundle", cascade)
    done = invoke(
        main, "classify", "in.csv", "--out", "bad.csv", *given, *SETTINGS, "--max-rejects", 1
    )
    assert done.exit_code == 3, done.stderr
    rejects = Path("bad.rejects.csv")
    rejects.write_bytes(rejects.read_bytes().replace(b",,", b",", 1))
    done = invoke(main, "mend", "bad.csv", "--rejects", rejects, *given)
    assert done.exit_code == 0, done.stderr
    found = json.loads(Path("bad.csv.run.json").read_bytes())
    assert found["counts"]["asked"] == wanted["counts"]["asked"]
    assert found["counts"]["labels"] == wanted["counts"]["labels"]
    assert [shift["what"] for shift in found["drift"]] == [s["what"] for s in wanted["drift"]]
    done = invoke(main, "audit", "bad.csv", *given)
    assert done.exit_code == 0, done.stdout


def test_same_bytes_whatever_the_batch_the_windows_and_the_memory(label, monkeypatch) -> None:
    expected, log = label()
    rows = list(csv.DictReader(expected.decode().splitlines()))
    stages = [row["stage"] for row in rows]
    assert 20 < stages.count("slow") < 300 and set(stages) == {"fast", "slow"}
    assert "asked of the slow model: " in log
    find = Classifier.load
    for number, (tokens, window, held, memory, threads) in enumerate(
        [
            (64, 7, 1, True, 1),
            (64, 32, 3, False, 2),
            (1024, 50, 16, False, 1),
            (4096, 600, 2, True, 2),
        ]
    ):

        def load(*args, tokens=tokens, threads=threads, **options):
            args = (*args[:2], threads, *args[3:])
            classifier = find(*args, **options)
            for part in classifier.parts.values():
                part.batch_tokens = tokens
            return classifier

        with monkeypatch.context() as patch:
            patch.setattr("batch.model.classifier.Classifier.load", load)
            patch.setattr("batch.run.windows.WINDOW", window)
            patch.setattr("batch.run.windows.HELD_WINDOWS", held)
            if not memory:
                patch.setattr(TextCache, "add", lambda *_: None)
            assert label(f"{number}.csv")[0] == expected


def test_windows_wait_until_the_slow_model_has_full_batches(label, monkeypatch) -> None:
    groups = []
    finish = CascadeClassifier.finish

    def count(self, begun):
        groups.append(len(begun))
        return finish(self, begun)

    monkeypatch.setattr(CascadeClassifier, "finish", count)
    monkeypatch.setattr("batch.run.windows.WINDOW", 10)
    expected, _ = label("one.csv")
    assert sum(groups) == 60 and max(groups) == 16  # the texts to ask fill no batch
    groups.clear()
    monkeypatch.setattr("batch.model.cascade.classifier.FULL_BATCHES", {"cpu": 0.1})
    found, _ = label("two.csv")
    assert found == expected
    assert sum(groups) == 60 and 1 < max(groups) < 16


def test_a_killed_run_resumes_to_the_same_bytes(label, cascade, tmp_path) -> None:
    command = ("classify", "in.csv", "--out", "killed.csv", "--bundle", cascade, *SETTINGS)
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, command)], env=os.environ)
    assert killed.returncode == 9 and not (tmp_path / "killed.csv").exists()
    found, log = label("killed.csv")
    assert "resuming at line" in log
    assert found == label()[0]
    manifests = [
        json.loads((tmp_path / f"{name}.csv.run.json").read_bytes()) for name in ("killed", "out")
    ]
    assert manifests[0]["counts"] == manifests[1]["counts"]
    assert manifests[0]["counts"]["asked"] == found.count(b",slow\n")
    assert manifests[0]["drift"] == manifests[1]["drift"]


def test_the_audit_passes_and_finds_a_changed_stage(label, invoke, cascade, tmp_path) -> None:
    data, _ = label()
    audit = ("audit", "out.csv", "--bundle", cascade)
    result = invoke(main, *audit)
    assert result.exit_code == 0, result.stdout
    asked = data.count(b",slow\n")
    assert f"ok        stages: {asked} asked" in result.stdout
    assert "ok        sample: 600 rows get the same labels and scores again" in result.stdout
    (tmp_path / "out.csv").write_bytes(data.replace(b",slow\n", b",fast\n", 1))
    result = invoke(main, *audit)
    assert result.exit_code == 65
    wrong = f"failed    stages: {asked - 1} asked; the run wrote {asked} asked"
    assert wrong in result.stdout.splitlines()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_has_the_stage(invoke, cascade, tmp_path, ending) -> None:
    from pyarrow import Table, parquet

    texts = [f"message {number} of many" for number in range(50)]
    if ending == "parquet":
        parquet.write_table(Table.from_pydict({"text": texts}), tmp_path / "in.parquet")
    elif ending == "jsonl":
        (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    else:
        (tmp_path / "in.csv").write_text("\n".join(["text", *texts]) + "\n")
    out = tmp_path / f"out.{ending}"
    command = ("classify", f"in.{ending}", "--out", out, "--bundle", cascade)
    assert invoke(main, *command, "--columns", "stage").exit_code == 0
    if ending == "parquet":
        stages = parquet.read_table(out)["stage"].to_pylist()
    elif ending == "jsonl":
        stages = [json.loads(line)["stage"] for line in out.read_text().splitlines()]
    else:
        stages = [row["stage"] for row in csv.DictReader(out.read_text().splitlines())]
    expected = Classifier.load(cascade, "cpu", 1).classify(texts).asked
    assert stages == ["slow" if asked else "fast" for asked in expected]
    assert invoke(main, "audit", out, "--bundle", cascade).exit_code == 0


def test_slow_only_is_a_run_with_the_slow_bundle(label, invoke, cascade, bundle) -> None:
    columns = ("--columns", "label,score")
    ours, log = label("slow.csv", "--slow-only", *columns)
    theirs, _ = label("plain.csv", *columns, folder=cascade / "slow")
    assert ours == theirs and "asked" not in log
    text = ("text", "Do you have time", "--bundle")
    slow = invoke(main, *text, cascade, "--slow-only").stdout
    assert slow == invoke(main, *text, bundle).stdout
    # A stage tells nothing where there is one model.
    command = ("classify", "in.csv", "--out", "x.csv", "--bundle", cascade, "--slow-only")
    result = invoke(main, *command, "--columns", "stage")
    assert (result.exit_code, result.stderr) == (
        2,
        "spam-batch: error: --columns: stage tells which model of a cascade decided, and "
        f"{cascade / 'slow'} is no cascade; leave it out\n",
    )


@pytest.mark.parametrize("command", [("text", "x"), ("classify", "in.csv", "--out", "x.csv")])
def test_slow_only_needs_a_cascade(invoke, bundle, command) -> None:
    result = invoke(main, *command, "--bundle", bundle, "--slow-only")
    assert (result.exit_code, result.stderr) == (
        2, f"spam-batch: error: --slow-only: {bundle} is no cascade; leave it out\n"
    )  # fmt: skip


def test_the_summary_the_manifest_and_the_metrics_have_the_share(
    label, make_cascade, tmp_path
) -> None:
    folder = make_cascade(share_asked=0.2)
    data, log = label("out.csv", "--metrics-file", "run.prom", folder=folder)
    asked = data.count(b",slow\n")
    share = 100 * asked / 600
    assert (
        f"asked of the slow model: {asked} rows ({share:.2f} %; of the proof's text 20.00 %); at "
        "most 0.600 % of the labels differ from the slow model's (95 % confidence, measured on 500 "
        "messages)\n"
    ) in log
    metrics = (tmp_path / "run.prom").read_text()
    assert f"spam_batch_run_asked_share {asked / 600!r}\n" in metrics
    assert 'spam_batch_run_drift_flagged{what="asked"} 0\n' in metrics
    manifest = json.loads((tmp_path / "out.csv.run.json").read_bytes())
    assert manifest["counts"]["asked"] == asked
    assert [shift["what"] for shift in manifest["drift"]] == ["asked"]
    assert manifest["bundle"]["precision"] == "fp32+fp32"
    assert "WARNING" not in log


def test_text_of_another_source_gives_a_drift_warning(label, cascade, tmp_path, inbox) -> None:
    loaded = Classifier.load(cascade, "cpu", 1)
    texts = [f"message {number} of many" for number in range(2000)]
    asked = loaded.classify(texts).asked.tolist()
    # Texts of which a half is asked; the proof's had a tenth.
    unsure = [text for text, flag in zip(texts, asked, strict=True) if flag][:100]
    sure = [text for text, flag in zip(texts, asked, strict=True) if not flag][:100]
    inbox.write_text("\n".join(["text", *unsure, *sure]) + "\n")
    _, log = label("new labels.csv", "--metrics-file", "run.prom")
    assert (
        "WARNING: drift: the slow model was asked for 50.00% of the rows; of the text that the "
        "bound was measured on 10.00%, band up to 17.95%: this text is unlike it, and the bound "
        f"may not hold for it; to prove it on this text, type: spam-export verify {cascade} --text "
        "'new labels.csv'; if that fails, distil again with this text (docs/cascade.md)\n"
    ) in log
    assert 'spam_batch_run_drift_flagged{what="asked"} 1\n' in (tmp_path / "run.prom").read_text()


def test_other_rules_than_those_of_the_proof_are_named(label) -> None:
    _, log = label("out.csv", "--threshold", 0.7, "--long", "tail")
    assert (
        "WARNING: the bound was proved with --threshold 0.5, --unsure-band none, --long head; it "
        "is not known with --threshold 0.7, --long tail\n"
    ) in log


def test_a_run_with_another_cascade_does_not_resume(label, invoke, cascade, make_cascade) -> None:
    command = ("classify", "in.csv", "--out", "killed.csv", *SETTINGS)
    old = [*command, "--bundle", cascade]
    assert subprocess.run([sys.executable, "-c", KILLED, *map(str, old)]).returncode == 9
    other = make_cascade(band=[-1.0, 1.0])
    before, now = open_bundle(cascade).digest[:12], open_bundle(other).digest[:12]
    result = invoke(main, *command, "--bundle", other)
    assert result.exit_code == 78
    assert f"but its bundle was {before} and is {now} now" in result.stderr


def test_a_record_that_the_slow_model_fails_on_is_named(
    invoke, cascade, monkeypatch, inbox
) -> None:
    loaded = Classifier.load(cascade, "cpu", 1)
    texts = [row["text"] for row in csv.DictReader(inbox.read_text().splitlines())]
    row = loaded.classify(texts).asked.tolist().index(True, 300)
    decide = Classifier.classify

    def fail(self, given):
        if texts[row] in given and self.bundle.folder.name == "slow":
            raise ValueError(given)
        return decide(self, given)

    monkeypatch.setattr(Classifier, "classify", fail)
    first = texts.index(texts[row])
    result = invoke(main, "classify", "in.csv", "--out", "x.csv", "--bundle", cascade, *SETTINGS)
    assert result.exit_code == 70
    assert f"in.csv: the model failed at line {first + 2}, byte offset" in result.stderr
    assert result.stderr.endswith(": ValueError\n")


def test_the_other_commands_take_a_cascade(invoke, cascade, make_cascade) -> None:
    doctor = invoke(main, "doctor", "--bundle", cascade, "--device", "cpu")
    assert doctor.exit_code == 0, doctor.stdout
    assert "ok       fast model's speed: " in doctor.stdout
    assert f"ok       bundle {cascade}: fp32+fp32 was verified" in doctor.stdout
    info = invoke(main, "info", cascade)
    assert info.exit_code == 0, info.stderr
    assert (
        "  asks             for score 0.2227 to below score 0.679179, as the fast model gives it "
        "to a message of 16 tokens; a longer one has to be less sure\n"
    ) in info.stdout
    nobody = invoke(main, "info", make_cascade(band=[0.0, 0.0]))
    assert "  asks             for none\n" in nobody.stdout
    assert "slow: digest" not in info.stdout and "slow:   digest" in info.stdout
    values = json.loads(invoke(main, "info", cascade, "--json").stdout)
    assert values["proof"]["band"] == [-1.25, 0.75] and values["slow"]["threshold"] == 0.5
    estimate = invoke(main, "estimate", "in.csv", "--bundle", cascade, "--device", "cpu")
    assert "stub, unsure ones stub in fp32+fp32 on cpu" in estimate.stdout
    result = invoke(main, "text", "Do you have time", "--bundle", cascade, "--precision", "int8")
    assert (result.exit_code, result.stderr) == (
        78, f"spam-batch: error: {cascade}: has no precision int8; choose from: fp32+fp32\n"
    )  # fmt: skip


def test_a_worker_of_many_machines_writes_the_same(label, cascade, tmp_path) -> None:
    load = partial(Classifier.load, cascade, "cpu", 1)
    setup = Setup(str(cascade), open_bundle(cascade).digest, load, ("fp32+fp32", "cpu"))
    job = Job(
        Input(str(tmp_path / "in.csv")), str(tmp_path / "part.csv"), tuple(COLUMNS.split(","))
    )
    outcome = Worker(setup, [job]).label(0)
    assert (outcome.exit_code, outcome.error) == (0, None)
    assert (tmp_path / "part.csv").read_bytes() == label()[0]
    assert choose_precision(open_bundle(cascade), "cpu") == "fp32+fp32"
