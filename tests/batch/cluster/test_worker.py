"""One worker of a run on many machines, in this process: what it refuses, and how it says so."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from batch.cluster import worker as ray_worker
from batch.cluster.worker import Outcome, Setup, Worker
from batch.errors import BundleError
from batch.formats.input import Input
from batch.model.bundle import open_bundle
from batch.model.bundle_files import MANIFEST
from batch.run.job import Job
from batch.run.run_manifest import find_done
from batch.writing.lock import hold_lock

TABLE = b"id,text\n1,Do you have time\n"


@pytest.fixture
def part(tmp_path) -> Job:
    (tmp_path / "in.csv").write_bytes(TABLE)
    return Job(Input(str(tmp_path / "in.csv")), str(tmp_path / "out.csv"))


@pytest.fixture
def make_worker(bundle, classifier, part):
    def make(**changes) -> Worker:
        values = {"bundle": str(bundle), "digest": open_bundle(bundle).digest, **changes}
        return Worker(
            Setup(**{"load": lambda: classifier, "runs_in": ("fp32", "cpu"), **values}), [part]
        )

    return make


def test_one_part(make_worker, part):
    outcome = make_worker().label(0)
    said = [(logging.INFO, f"{part.input.name}: 1 record in, 1 row out: 1 ham, 0 spam")]
    assert (outcome.exit_code, outcome.error) == (0, None)
    assert [(level, line) for level, line, _ in outcome.lines] == said
    assert outcome.lines[0][2]["labels"] == {"ham": 1, "spam": 0}
    assert Path(part.out).read_bytes() == b"id,text,label,score\n1,Do you have time,ham,0.017986\n"
    found = find_done(part, open_bundle(make_worker()._setup.bundle))
    assert found.counts["records"] == 1


def test_as_ray_calls_it(make_worker):
    found = make_worker()({"item": [0]})
    assert Outcome(**json.loads(found["outcome"][0])).exit_code == 0


def test_what_a_killed_worker_had_finished_is_not_labelled_again(make_worker):
    make_worker().label(0)

    def load():
        raise AssertionError

    assert make_worker(load=load).label(0) == Outcome(0, 0)


def test_another_bundle_there(make_worker, make_bundle, bundle, tmp_path):
    folder = shutil.copytree(make_bundle(), tmp_path / "bundle")
    shutil.copyfile(make_bundle(threshold=0.9) / MANIFEST, folder / MANIFEST)
    here, there = open_bundle(bundle).digest, open_bundle(folder).digest
    outcome = make_worker(bundle=str(folder)).label(0)
    assert (outcome.exit_code, outcome.is_final) == (78, True)
    assert outcome.error == (
        f"{folder}: the digest is {there} on a worker, and {here} here; give all machines the "
        "same bundle"
    )


def test_no_bundle_there(make_worker, tmp_path):
    outcome = make_worker(bundle=str(tmp_path / "none")).label(0)
    assert (outcome.exit_code, outcome.is_final) == (78, True)
    assert outcome.error == (
        f"{tmp_path / 'none'}: no such bundle; copy one there, or make one with: "
        f"spam-train fit && spam-export bundle --out {tmp_path / 'none'}"
    )


def test_another_version_there(make_worker, monkeypatch):
    worker = make_worker()
    monkeypatch.setattr(ray_worker, "__version__", "9.9")
    outcome = worker.label(0)
    assert (outcome.exit_code, outcome.is_final) == (78, True)
    assert outcome.error == (
        f"a worker has spam-batch 9.9, and this machine has {worker._setup.version}; install "
        "the same version on all machines"
    )


def test_a_bundle_that_cannot_be_loaded(make_worker):
    def load():
        raise BundleError("models/spam: was never verified")

    outcome = make_worker(load=load).label(0)
    assert (outcome.exit_code, outcome.is_final) == (78, True)
    assert outcome.error == "models/spam: was never verified"


@pytest.mark.parametrize(
    ("error", "exit_code", "problem"),
    [
        (
            MemoryError(), 71,
            "out of memory; free memory and type the same command, which resumes the run; or type "
            "--restart with --max-record-bytes 1000000 if records are long, --device cpu if the "
            "GPU's memory is short, or --precision int8 if the bundle has it; with --engine ray, "
            "type fewer --workers",
        ),
        (OSError(28, "No space left on device"), 74, "No space left on device"),
        (ValueError("odd"), 70, "internal error: ValueError: odd"),
    ],
)  # fmt: skip
def test_what_is_no_error_of_ours(make_worker, monkeypatch, part, error, exit_code, problem):
    def fail(*_):
        raise error

    monkeypatch.setattr(ray_worker, "label_file", fail)
    outcome = make_worker().label(0)
    assert (outcome.exit_code, outcome.is_final) == (exit_code, False)
    assert outcome.error == f"{part.input.name}: {problem}"


def test_it_waits_for_the_worker_of_a_dead_driver(make_worker, monkeypatch, part):
    monkeypatch.setattr(ray_worker, "ORPHAN_SECONDS", 0.0)
    with hold_lock(Path(part.out)):
        outcome = make_worker().label(0)
    assert (outcome.exit_code, outcome.is_final) == (75, False)
    assert outcome.error == f"another run is writing {part.out}; wait until it ends, or stop it"
    monkeypatch.setattr(ray_worker, "ORPHAN_SECONDS", 60.0)
    lock = hold_lock(Path(part.out))
    lock.__enter__()
    monkeypatch.setattr(ray_worker.time, "sleep", lambda _: lock.__exit__(None, None, None))
    assert make_worker().label(0).exit_code == 0
