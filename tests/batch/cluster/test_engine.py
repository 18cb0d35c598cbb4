"""Files on many machines: the driver with workers in this process, then with Ray itself."""

import hashlib
import json
import os
import sys
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.cluster import engine as ray_engine
from batch.cluster.engine import RayOptions, choose_device, count_workers
from batch.cluster.worker import Outcome, Setup, Worker
from batch.errors import BundleError, UsageError
from batch.model.bundle import open_bundle
from batch.writing.lock import hold_lock

TABLE = b"id,text\n1,Do you have time\n"
ONE = "1 record in, 1 row out: 1 ham, 0 spam"


@pytest.fixture
def workers(monkeypatch, bundle, classifier) -> list[int]:
    """Gets the number of each part that a worker was given; there is no Ray."""
    given: list[int] = []

    def label(parts, todo, opened, request):
        setup = Setup(str(bundle), opened.digest, lambda: classifier, ("fp32", "cpu"))
        for number in todo:
            given.append(number)
            yield Worker(setup, parts).label(number)

    monkeypatch.setattr(ray_engine, "_import_ray", lambda: None)
    monkeypatch.setattr(ray_engine, "_label", label)
    return given


@pytest.fixture
def run(bundle, tmp_path, monkeypatch):
    """Runs ``spam-batch classify in --engine ray``; returns the status and the lines said."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    os.mkdir("out")

    def run(*args):
        args = ["classify", "in", "--engine", "ray", "--out", "out", *map(str, args)]
        result = CliRunner().invoke(main, [*args, "--bundle", str(bundle)])
        assert result.stdout == ""
        here = f"{tmp_path}/"
        return result.exit_code, [line.replace(here, "") for line in result.stderr.splitlines()]

    return run


def write(*names: str, data: bytes = TABLE) -> None:
    for name in names:
        with open(name, "wb") as file:
            file.write(data)


def read(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()


def sha256(name: str) -> str:
    return hashlib.sha256(read(name)).hexdigest()


def test_a_folder_and_its_manifest(run, workers, bundle, tmp_path):
    write("in/a.csv", "in/c.csv")
    write("in/b.csv", data=b"text\n" + b"call now\n" * 5000 + b"\xff\n")
    code, said = run("--part-bytes", 20000)
    assert code == 0
    assert said == [
        f"in/a.csv: {ONE}",
        "in/b.csv: 4,096 records in, 4,096 rows out: 0 ham, 4,096 spam",
        "in/b.csv: 905 records in, 905 rows out: 0 ham, 905 spam",
        "in/b.csv: WARNING: 1 text has bytes that are not UTF-8 and are read as U+FFFD, first in "
        "line 5002; each byte is a letter in cp1252; type: --encoding cp1252",
        f"in/c.csv: {ONE}",
        "weights: none, the graph is a sum",
        "4 parts: 4 labelled, 0 skipped, 0 failed",
        "written: out/_manifest.json",
    ]
    found = json.loads(read("out/_manifest.json"))
    parts = found.pop("parts")
    assert found == {
        "format": "spam-batch parts", "format_version": 1, "version": "0.1.0",
        "bundle": open_bundle(bundle).digest, "weights": "none, the graph is a sum",
        "options": found["options"], "records": 5003, "rows": 5003, "rejects": 0,
        "labels": {"ham": 2, "spam": 5001},
    }  # fmt: skip
    assert found["options"]["--columns"] == "label,score"
    assert [part["number"] for part in parts] == [1, 2, 3, 4]
    names = ["a.csv", "b.00001.csv", "b.00002.csv", "c.csv"]
    assert [part["output"] for part in parts] == names
    assert [part["output_sha256"] for part in parts] == [sha256(f"out/{name}") for name in names]
    assert parts[2] == {
        "number": 3, "input": f"{tmp_path}/in/b.csv", "input_size": 45007,
        "input_sha256": sha256("in/b.csv"), "line": 4098, "byte_offset": 36869,
        "output": "b.00002.csv", "output_size": os.path.getsize("out/b.00002.csv"),
        "output_sha256": sha256("out/b.00002.csv"), "records": 905, "rows": 905, "rejects": 0,
        "labels": {"ham": 0, "spam": 905},
    }  # fmt: skip
    assert sorted(os.listdir("out")) == sorted(
        ["_manifest.json", *names, *(f"{name}.run.json" for name in names)]
    )


def test_what_is_done_is_skipped(run, workers):
    write("in/a.csv", "in/b.csv")
    run()
    before = read("out/_manifest.json")
    write("in/c.csv")
    assert run() == (
        0,
        ["out/a.csv: was labelled already", "out/b.csv: was labelled already", f"in/c.csv: {ONE}",
         "weights: none, the graph is a sum", "3 parts: 1 labelled, 2 skipped, 0 failed",
         "written: out/_manifest.json"],
    )  # fmt: skip
    assert workers == [0, 1, 2]
    os.unlink("in/c.csv")
    assert run()[0] == 0
    assert read("out/_manifest.json") == before
    assert run("--force")[1][-2] == "2 parts: 2 labelled, 0 skipped, 0 failed"
    assert run("--columns", "label")[1][-2] == "2 parts: 2 labelled, 0 skipped, 0 failed"
    assert read("out/a.csv") == b"id,text,label\n1,Do you have time,ham\n"


def test_rules(run, workers):
    write("in/a.csv")
    assert run("--threshold", 0.01, "--unsure-band", "0.005,0.02")[0] == 0
    options = json.loads(read("out/_manifest.json"))["options"]
    assert (options["--threshold"], options["--unsure-band"]) == ("0.01", "0.005,0.02")
    assert json.loads(read("out/a.csv.run.json"))["counts"]["labels"]["unsure"] == 0
    assert run("--threshold", 0.01)[1][-2] == "1 part: 1 labelled, 0 skipped, 0 failed"
    assert run("--threshold", 0.01)[1][-2] == "1 part: 0 labelled, 1 skipped, 0 failed"


@pytest.mark.parametrize("name", ["in/a.csv", "in/a.jsonl"])
def test_each_part_can_be_audited(run, workers, bundle, name):
    line, bad = (b"1,a\n", b"2\n") if name.endswith("csv") else (b'{"text": "a"}\n', b"{}\n")
    write(name, data=b"id,text\n" * name.endswith("csv") + line * 5000 + bad + line * 5000)
    assert run("--max-rejects", 1, "--part-bytes", 16000)[0] == 3
    parts = [part["output"] for part in json.loads(read("out/_manifest.json"))["parts"]]
    assert len(parts) == 3
    for part in parts:
        result = CliRunner().invoke(main, ["audit", f"out/{part}", "--bundle", str(bundle)])
        assert result.exit_code == 0, result.stdout
    assert result.stdout.splitlines()[6].startswith(
        "ok        records: 1,809 rows begin with their records of the input, "
        "part 3: all from byte "
    )


def test_one_machine_goes_on_with_what_many_began(run, workers):
    write("in/a.csv", "in/b.csv")
    run()
    result = CliRunner().invoke(main, ["classify", "in", "--out-dir", "out", "--bundle", "x"])
    assert result.exit_code == 78
    os.unlink("out/b.csv")
    assert run()[1][-2] == "2 parts: 1 labelled, 1 skipped, 0 failed"


def test_a_bad_file_stops_no_other_and_there_is_no_manifest(run, workers):
    write("in/a.csv", "in/c.csv")
    run()
    write("in/b.csv", data=TABLE + b"2\n")
    code, said = run()
    assert code == 65
    assert said == [
        "out/a.csv: was labelled already",
        "out/c.csv: was labelled already",
        "error: in/b.csv: line 3, byte offset 27: has 1 field, expected 2; to set bad records "
        "aside, type --max-rejects 10, or 1%",
        "3 parts: 0 labelled, 2 skipped, 1 failed",
    ]
    assert "_manifest.json" not in os.listdir("out")
    assert run("--part-bytes", 5)[1][0].startswith("error: in/b.csv: line 3, byte offset 27: has")


@pytest.mark.parametrize("part_bytes", [1 << 20, 16000])
def test_rejects(run, workers, part_bytes):
    write("in/a.csv", data=b"id,text\n" + b"1,a\n" * 5000 + b"2\n" + b"1,a\n" * 5000)
    args = ("--max-rejects", 1, "--part-bytes", part_bytes)
    code, said = run(*args)
    assert code == 3
    name = "a" if part_bytes > 16000 else "a.00002"
    assert f"in/a.csv: rejected: out/{name}.rejects.csv" in said
    reason = b'line,byte_offset,reason,record\n5002,20008,"has 1 field, expected 2","2"\n'
    assert read(f"out/{name}.rejects.csv") == reason
    assert json.loads(read("out/_manifest.json"))["rejects"] == 1
    code, said = run(*args)
    assert (code, f"out/{name}.csv: was labelled already, with 1 rejected" in said) == (3, True)
    assert run("--max-rejects", 2, *args[2:])[1] == said  # none is labelled again
    assert run(*args[2:])[0] == 65


def test_a_second_driver(run, workers, tmp_path):
    write("in/a.csv")
    with hold_lock(tmp_path / "out"):
        code, said = run()
    assert code == 75
    assert said == ["spam-batch: error: another run is writing out; wait until it ends, or stop it"]
    assert workers == []


def test_a_bundle_that_no_worker_can_load_stops_all(run, workers, monkeypatch):
    write("in/a.csv", "in/b.csv")
    said = "models/spam: was never verified"
    outcomes = [Outcome(0, 78, said, is_final=True)]
    monkeypatch.setattr(ray_engine, "_label", lambda *_: iter(outcomes))
    assert run() == (78, [f"spam-batch: error: {said}"])


def test_a_folder_that_workers_do_not_share(run, workers, monkeypatch):
    write("in/a.csv")
    monkeypatch.setattr(ray_engine, "_label", lambda *_: iter([Outcome(0, 0)]))
    assert run() == (
        74,
        ["spam-batch: error: out/a.csv: a worker wrote it, but it is not on this machine; out "
         "must be a folder that all machines share"],
    )  # fmt: skip


def test_two_parts_of_one_name(run, workers):
    write("in/a.csv", data=b"text\n" + b"a\n" * 5000)
    write("in/a.00001.csv")
    assert run("--part-bytes", 100) == (
        2,
        ["spam-batch: error: in/a.00001.csv and in/a.csv would both write out/a.00001.csv; "
         "label them into two folders"],
    )  # fmt: skip


def test_metrics_are_of_one_machine(run):
    code, said = run("--metrics-file", "run.prom")
    assert code == 2
    assert said[-1] == (
        "Error: --metrics-file: not with --engine ray; the counts are in _manifest.json, in --out"
    )


@pytest.mark.parametrize("option", ["--workers", "--part-bytes"])
def test_options_of_ray_alone(option):
    result = CliRunner().invoke(main, ["classify", "a.csv", "--out", "b.csv", option, "1"])
    assert result.exit_code == 2
    assert f"Error: {option}: only with --engine ray" in result.stderr


def test_ray_is_not_installed(run, monkeypatch):
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
def test_ray_does_not_work(run, monkeypatch, address, problem, code, message):
    """With a ``problem`` it does not start, without one it ends while it labels."""
    ray = MagicMock(**{"exceptions.RayError": Gone, "cluster_resources.return_value": {"CPU": 1}})
    ray.init.side_effect = None if problem is None else Gone(problem)
    ray.data.from_items().map_batches().iter_rows.side_effect = Gone
    monkeypatch.setattr(ray_engine, "_import_ray", lambda: ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    write("in/a.csv")
    assert run("--device", "cpu") == (code, [f"spam-batch: error: {message}"])
    assert ray.shutdown.called == (problem is None)


def test_a_worker_was_killed_for_lack_of_memory(run, monkeypatch):
    gone = type("OutOfMemoryError", (Gone,), {})
    ray = MagicMock(**{"exceptions.RayError": Gone, "cluster_resources.return_value": {"CPU": 1}})
    ray.data.from_items().map_batches().iter_rows.side_effect = gone
    monkeypatch.setattr(ray_engine, "_import_ray", lambda: ray)
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "out/_manifest.json",
            "is not a manifest of spam-batch, and that of this run would go there; move it, or "
            "give another folder",
        ),
        (
            "out/a.csv.run.json",
            "is not a run manifest, and that of this run would go there; move it, or give another "
            "--out",
        ),
    ],
)
def test_somebody_elses_manifests_are_kept(run, workers, name, message):
    write("in/a.csv")
    write(name, data=b"mine")
    for options in ([], ["--force"]):
        code, said = run(*options)
        assert code == 73
        assert any(line.endswith(f"error: {name} {message}") for line in said)
        assert read(name) == b"mine"


def test_what_no_run_wrote_is_not_replaced(run, workers):
    write("in/a.csv")
    write("out/a.csv", data=b"mine")
    code, said = run()
    assert code == 73
    assert (
        "error: out/a.csv is there, and has no a.csv.run.json beside it by which it would be an "
        "output of spam-batch; move it, or type --force to replace it"
    ) in said
    assert read("out/a.csv") == b"mine"
    assert run("--force")[0] == 0
