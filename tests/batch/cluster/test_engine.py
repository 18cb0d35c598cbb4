"""Files on many machines: the driver with workers in this process, then with Ray itself."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from batch.cli.commands import main
from batch.cluster import engine as ray_engine
from batch.cluster.worker import Outcome
from batch.model.bundle import open_bundle
from batch.version import __version__
from batch.writing.lock import hold_lock

TABLE = b"id,text\n1,Do you have time\n"
ONE = "1 record in, 1 row out: 1 ham, 0 spam"


def sha256(name: str) -> str:
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def test_a_folder_and_its_manifest(run, workers, bundle, tmp_path, write, read):
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
        "format": "spam-batch parts", "format_version": 1, "version": __version__,
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


def test_what_is_done_is_skipped(run, workers, write, read):
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


def test_rules(run, workers, write, read):
    write("in/a.csv")
    assert run("--threshold", 0.01, "--unsure-band", "0.005,0.02")[0] == 0
    options = json.loads(read("out/_manifest.json"))["options"]
    assert (options["--threshold"], options["--unsure-band"]) == ("0.01", "0.005,0.02")
    assert json.loads(read("out/a.csv.run.json"))["counts"]["labels"]["unsure"] == 0
    assert run("--threshold", 0.01)[1][-2] == "1 part: 1 labelled, 0 skipped, 0 failed"
    assert run("--threshold", 0.01)[1][-2] == "1 part: 0 labelled, 1 skipped, 0 failed"


@pytest.mark.parametrize("name", ["in/a.csv", "in/a.jsonl"])
def test_each_part_can_be_audited(run, workers, bundle, name, write, read):
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


def test_one_machine_goes_on_with_what_many_began(run, workers, write):
    write("in/a.csv", "in/b.csv")
    run()
    result = CliRunner().invoke(main, ["classify", "in", "--out-dir", "out", "--bundle", "x"])
    assert result.exit_code == 78
    os.unlink("out/b.csv")
    assert run()[1][-2] == "2 parts: 1 labelled, 1 skipped, 0 failed"


def test_a_bad_file_stops_no_other_and_there_is_no_manifest(run, workers, write):
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
def test_rejects(run, workers, part_bytes, write, read):
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


def test_a_second_driver(run, workers, tmp_path, write):
    write("in/a.csv")
    with hold_lock(tmp_path / "out"):
        code, said = run()
    assert code == 75
    assert said == ["spam-batch: error: another run is writing out; wait until it ends, or stop it"]
    assert workers == []


def test_a_bundle_that_no_worker_can_load_stops_all(run, workers, monkeypatch, write):
    write("in/a.csv", "in/b.csv")
    said = "models/spam: was never verified"
    outcomes = [Outcome(0, 78, said, is_final=True)]
    monkeypatch.setattr(ray_engine, "_label", lambda *_: (outcome for outcome in outcomes))
    assert run() == (78, [f"spam-batch: error: {said}"])


def test_a_folder_that_workers_do_not_share(run, workers, monkeypatch, write):
    write("in/a.csv")
    monkeypatch.setattr(ray_engine, "_label", lambda *_: (Outcome(0, 0) for _ in "1"))
    assert run() == (
        74,
        ["spam-batch: error: out/a.csv: a worker wrote it, but it is not on this machine; out "
         "must be a folder that all machines share"],
    )  # fmt: skip


def test_two_parts_of_one_name(run, workers, write):
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
def test_somebody_elses_manifests_are_kept(run, workers, name, message, write, read):
    write("in/a.csv")
    write(name, data=b"mine")
    for options in ([], ["--force"]):
        code, said = run(*options)
        assert code == 73
        assert any(line.endswith(f"error: {name} {message}") for line in said)
        assert read(name) == b"mine"


def test_what_no_run_wrote_is_not_replaced(run, workers, write, read):
    write("in/a.csv")
    write("out/a.csv", data=b"mine")
    code, said = run()
    assert code == 73
    assert (
        "error: out/a.csv is there, and has no a.csv.run.json beside it by which it would be an "
        "output of spam-batch; move it (--force of spam-batch classify replaces it)"
    ) in said
    assert read("out/a.csv") == b"mine"
    assert run("--force")[0] == 0
