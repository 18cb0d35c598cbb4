"""Ray itself: when it is missing or ends, its devices and workers, and a run on it."""

import json
import os
import sys
import threading
from unittest.mock import MagicMock

import pytest

from batch.cluster import engine as ray_engine
from batch.cluster.engine import RayOptions, choose_device, count_workers
from batch.cluster.session import start_cluster
from batch.errors import BundleError, UsageError

TABLE = b"id,text\n1,Do you have time\n"
ONE = "1 record in, 1 row out: 1 ham, 0 spam"


def test_ray_is_not_installed(run, monkeypatch, write):
    write("in/a.csv")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run() == (
        78,
        ["spam-batch: error: ray is not installed; type: pip install 'spam-batch[ray]'"],
    )


CLASSIFY = (
    "free memory and type the same command, which resumes the run; or type --restart with "
    "--max-record-bytes 1000000 if records are long, --device cpu if the GPU's memory is short, "
    "or --precision int8 if the bundle has it; with --engine ray, type fewer --workers"
)


class Gone(Exception):
    """Stands for each of Ray's own errors."""


class LastsTooLong:
    """Stands for what of Ray Data's is still at work when Ray ends."""

    def __del__(self):
        raise ValueError("owner is unknown")


def test_errors_of_what_outlives_ray_are_dropped(monkeypatch, capfd):
    """pytest turns an error of a thread or a destructor into a failure of the test."""
    before = threading.excepthook, sys.unraisablehook

    def shutdown():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        LastsTooLong()

    ray = MagicMock(shutdown=shutdown)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(KeyboardInterrupt), start_cluster(ray):
        raise KeyboardInterrupt
    assert (threading.excepthook, sys.unraisablehook) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("address", "problem", "code", "message"),
    [
        (None, "no port\nis free", 78, "Ray did not start here: no port"),
        ("10.0.0.1:1", "", 78, "Ray did not start at 10.0.0.1:1: Gone"),
        (
            None, None, 70,
            "Ray failed: Gone; finished parts are kept, and the same command resumes the run",
        ),
    ],
)  # fmt: skip
def test_ray_does_not_work(run, monkeypatch, address, problem, code, message, write):
    """With a ``problem`` it does not start, without one it ends while it labels."""
    ray = MagicMock(**{"exceptions.RayError": Gone, "cluster_resources.return_value": {"CPU": 1}})
    ray.init.side_effect = None if problem is None else Gone(problem)
    ray.data.from_items().map_batches().iter_rows.side_effect = Gone
    monkeypatch.setattr(ray_engine, "import_ray", lambda: ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    write("in/a.csv")
    assert run("--device", "cpu") == (code, [f"spam-batch: error: {message}"])
    assert ray.shutdown.called == (problem is None)


def test_a_worker_was_killed_for_lack_of_memory(run, monkeypatch, write):
    gone = type("OutOfMemoryError", (Gone,), {})
    ray = MagicMock(**{"exceptions.RayError": Gone, "cluster_resources.return_value": {"CPU": 1}})
    ray.data.from_items().map_batches().iter_rows.side_effect = gone
    monkeypatch.setattr(ray_engine, "import_ray", lambda: ray)
    write("in/a.csv")
    what = (
        "Ray failed: OutOfMemoryError, most likely because a worker was killed for lack of memory"
    )
    assert run("--device", "cpu") == (
        71, [f"spam-batch: error: out of memory: {what}; {CLASSIFY}"]
    )  # fmt: skip


def test_the_device_is_the_same_for_all():
    assert choose_device("auto", {"CPU": 8}) == "cpu"
    assert choose_device("auto", {"CPU": 8, "GPU": 2}) == "cuda"
    assert choose_device("cpu", {"CPU": 8, "GPU": 2}) == "cpu"
    with pytest.raises(BundleError) as error:
        choose_device("cuda", {"CPU": 8})
    assert str(error.value) == (
        "--device cuda: the Ray cluster has no GPU; type --device cpu"
    )  # fmt: skip


def test_how_many_workers():
    machines = {"CPU": 16.0, "GPU": 2.0}
    assert count_workers(RayOptions("out"), "cpu", machines) == 16
    assert count_workers(RayOptions("out", threads=4), "cpu", machines) == 4
    assert count_workers(RayOptions("out", threads=4), "cuda", machines) == 2
    assert count_workers(RayOptions("out", workers=3), "cpu", machines) == 3
    with pytest.raises(UsageError) as error:
        count_workers(RayOptions("out", workers=5, threads=4), "cpu", machines)
    assert str(error.value) == (
        "--workers 5: with --threads 4 there is room for 4, since the Ray cluster has 16 processors"
    )
    with pytest.raises(UsageError) as error:
        count_workers(RayOptions("out", threads=32), "cuda", machines)
    assert str(error.value) == (
        "--workers 1: with --threads 32 there is room for 0, since the Ray cluster has 16 "
        "processors and 2 GPUs"
    )


def test_on_ray_itself(bundle, tmp_path, run_cli):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'spam-batch[ray]'")
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "in" / f"{name}.csv").write_bytes(TABLE)
    (tmp_path / "in" / "d.csv").write_bytes(TABLE + b"2\n")
    pattern, out = f"{tmp_path}/in/*.csv", tmp_path / "out"
    command = ("classify", pattern, "--engine", "ray", "--out", out, "--bundle", bundle)
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = run_cli("batch", *command, "--max-rejects", 1, text=True, env=env)
    if "timed out during startup" in done.stderr:
        pytest.skip(f"this machine is too busy for Ray: {done.stderr}")
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert sorted(lines[:5]) == [
        *(f"{tmp_path}/in/{name}.csv: {ONE}" for name in ("a", "b", "c")),
        f"{tmp_path}/in/d.csv: 2 records in, 1 row out, 1 reject: 1 ham, 0 spam",
        f"{tmp_path}/in/d.csv: rejected: {out}/d.rejects.csv",
    ]
    assert lines[5:] == [
        "weights: none, the graph is a sum",
        "4 parts: 4 labelled, 0 skipped, 0 failed",
        f"written: {out}/_manifest.json",
    ]
    labelled = b"id,text,label,score\n1,Do you have time,ham,0.017986\n"
    assert [(out / f"{name}.csv").read_bytes() for name in ("a", "b", "c", "d")] == [labelled] * 4
    assert len(json.loads((out / "_manifest.json").read_bytes())["parts"]) == 4
