"""The GPU benchmark: its dry run on a CPU, steps that fail, and what it says if something lacks."""

import importlib.util
import json
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.cli import main as train_main

FAKE_STEPS = """
import os, time
from step import Skipped
from batch.errors import BundleError

def good(settings):
    yield "texts", settings.texts

def raises(settings):
    yield "first", 1
    raise ValueError("what is wrong\\nand more")

def refuses(settings):
    yield "first", 1
    raise BundleError("the bundle is not valid")

def skips(settings):
    raise Skipped("there is no such thing here")

def dies(settings):
    yield "first", 1
    os._exit(9)

def sleeps(settings):
    yield "first", 1
    time.sleep(600)
"""


@pytest.fixture
def lead(root: Path, tmp_path: Path, monkeypatch):
    """The module ``benchmarks/gpu/lead.py``, in an empty environment."""
    folders = (root / "benchmarks" / "gpu", root / "benchmarks", root, tmp_path)
    monkeypatch.setattr(sys, "path", [*map(str, folders), *sys.path])
    for name in ("DATA", "BPE", "OUT", "WEIGHTS", "DRY_RUN"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("lead", folders[0] / "lead.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lead", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_main(lead, monkeypatch, capsys, tmp_path, bpe_file):
    """Runs ``gpu.sh`` without steps: ``run_main(*options, **variables)`` -> status, error."""
    monkeypatch.setattr(lead, "STEPS", ())

    def run(*options: str, **variables: object) -> tuple[int, str]:
        for name, value in {"OUT": tmp_path, "BPE": bpe_file, **variables}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(sys, "argv", ["lead.py", *options])
        with pytest.raises(SystemExit) as end:
            lead.main()
        return end.value.code, capsys.readouterr().err

    return run


@pytest.mark.slow
@pytest.mark.computes
def test_the_dry_run_measures_every_step(root: Path, tmp_path: Path, bpe_file: Path) -> None:
    variables = {"PYTHON": sys.executable, "BPE": bpe_file, "OUT": tmp_path, "DRY_RUN": "1"}
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    for name in ("DATA", "WEIGHTS"):
        environment.pop(name, None)
    done = subprocess.run(
        [root / "benchmarks" / "gpu.sh"], env=environment, capture_output=True, text=True,
        cwd=tmp_path, timeout=600,
    )  # fmt: skip
    (path,) = tmp_path.glob("gpu-cpu-dry-run-*.json")
    log = path.with_suffix(".log").read_text(encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + log
    assert done.stdout.splitlines()[-1] == f"written: {path}"
    assert {path.name for path in tmp_path.iterdir()} == {path.name, path.with_suffix(".log").name}
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["device"], found["dry_run"]) == ("cpu", True)
    assert {"torch", "onnx", "onnxruntime", "python"} <= found["versions"].keys()
    assert {"cpu", "flags", "usable_cpus"} <= found["machine"].keys() and found["driver"]
    steps = found["steps"]
    names = ["train", "export", "labels", "batch_tokens", "make_cascade", "cascade"]
    assert [(name, step["status"]) for name, step in steps.items()] == [
        (name, "measured") for name in names
    ]
    for name in ("with_trunk_cache", "without_trunk_cache"):
        trained = steps["train"][name]
        assert (trained["steps"], trained["batch_size"]) == (8, 8)
        assert trained["tokens_per_second"] > 0 and trained["peak_memory_mib"] > 0
    for part in ("export", "verify"):
        assert steps["export"][part]["fp32"]["passed"], steps["export"]
        assert steps["export"][part]["fp32"]["labels_that_differ"] == 0
        assert "fp16" in steps["export"]["export"]
    assert steps["labels"]["messages"] == 60
    assert steps["labels"]["fp32"] == {"labels_that_differ": 0, "largest_logit_difference": 0.0}
    speeds = {name: step for name, step in steps["batch_tokens"].items() if "tokens" in name}
    assert {"fp32, 128 tokens", "fp32, 256 tokens"} <= speeds.keys()
    for figures in (*speeds.values(), steps["cascade"]["cascade"], steps["cascade"]["fast_alone"]):
        assert figures["messages_per_second"] > 0 and figures["rows"] >= 64
        assert 0 < figures["share_in_session"] <= 1
        bound = "device" if figures["share_in_session"] >= 0.8 else "host"
        assert figures["bound_by"] == bound
    assert steps["cascade"]["cascade"]["fast_batches"] > 0


def test_a_step_that_fails_does_not_stop_the_next(lead, tmp_path: Path, capsys) -> None:
    (tmp_path / "fake_steps.py").write_text(FAKE_STEPS, encoding="utf-8")
    names = ("raises", "refuses", "dies", "skips", "good")
    steps = [lead.Step(name, "fake_steps", 60) for name in names]
    steps.append(lead.Step("good_too", "fake_steps", 60, "run", "no model was trained"))
    path, result = tmp_path / "gpu.json", {"steps": {}, "machine": {}}
    lead.run_all(make_settings(lead, tmp_path), tuple(steps), result, path)
    found = json.loads(path.read_text(encoding="utf-8"))["steps"]
    for step in found.values():
        step.pop("seconds", None)
    assert found == {
        "raises": {"status": "failed", "why": "ValueError: what is wrong", "first": 1},
        "refuses": {"status": "failed", "why": "the bundle is not valid", "first": 1},
        "dies": {"status": "failed", "why": "its process ended with status 9", "first": 1},
        "skips": {"status": "skipped", "why": "there is no such thing here"},
        "good": {"status": "measured", "texts": 3},
        "good_too": {"status": "skipped", "why": "no model was trained"},
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "good_too: skipped, 0 s: no model was trained"
    assert "ValueError: what is wrong" in (tmp_path / "gpu.log").read_text(encoding="utf-8")


def test_what_fails_at_its_import(lead, tmp_path: Path, monkeypatch) -> None:
    """As a PyTorch whose libraries are missing, or that crashes."""
    (tmp_path / "broken.py").write_text("raise OSError('no libcudart.so.12')", encoding="utf-8")
    (tmp_path / "crashing.py").write_text("import os; os._exit(9)", encoding="utf-8")
    (tmp_path / "fake_steps.py").write_text(FAKE_STEPS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings, log = make_settings(lead, tmp_path), tmp_path / "log"
    found = lead.run_step(lead.Step("good", "broken", 60), settings, log)
    assert (found["status"], found["why"]) == ("failed", "OSError: no libcudart.so.12")
    step = lead.Step("good", "fake_steps", 60, preloads="crashing")
    assert lead.run_step(step, settings, log) == {
        "status": "failed",
        "why": "its process could not be started; see if this works: python -c 'import torch'",
    }
    multiprocessing.get_context("forkserver").set_forkserver_preload([])


def test_a_step_is_stopped_at_its_limit_and_keeps_its_figures(lead, tmp_path: Path) -> None:
    (tmp_path / "fake_steps.py").write_text(FAKE_STEPS, encoding="utf-8")
    settings, log = make_settings(lead, tmp_path, "cuda"), tmp_path / "log"
    figures = tmp_path / "sleeps.figures"
    figures.write_text('{"first": 1}\n{"sec', encoding="utf-8")  # as a kill may leave it
    found = lead.run_step(lead.Step("sleeps", "fake_steps", 0.01), settings, log)
    assert found.pop("seconds") < 60
    assert found == {"status": "failed", "why": "stopped at its limit of 0.01 s", "first": 1}


def make_settings(lead, folder: Path, device: str = "cpu"):
    return lead.Settings(
        device=device, is_dry=True, data=folder, label_column=None, bpe=folder, weights="random",
        work=folder, train_steps=1, held_out=1, texts=3, batch_tokens=(1,), seconds=1.0,
        least_rows=1,
    )  # fmt: skip


def test_all_limits_together_are_below_eight_minutes(lead) -> None:
    assert sum(step.limit for step in lead.STEPS) < 8 * 60
    assert [step.name for step in lead.STEPS if not step.needs] == ["train"]


def test_no_python(root: Path) -> None:
    environment = {**os.environ, "PYTHON": "no-such-python"}
    done = subprocess.run(
        ["sh", root / "benchmarks" / "gpu.sh"], env=environment, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (66, "")
    assert done.stderr == (
        "gpu.sh: no-such-python is missing; type: make install, or give another PYTHON=\n"
    )


def test_the_script_can_be_run(root: Path) -> None:
    assert (root / "benchmarks" / "gpu.sh").stat().st_mode & stat.S_IXUSR


def test_missing_files(run_main, tmp_path: Path, root: Path, invoke, monkeypatch, bpe_file) -> None:
    gone = tmp_path / "gone"
    assert run_main("--device", "cpu", DATA=gone) == (
        66,
        f"gpu.sh: {gone} is missing; give labelled messages with DATA=, or type: "
        "spam-train fetch data\n",
    )
    data = root / "examples" / "inbox.csv"
    ranks = tmp_path / "data" / "gpt2.tiktoken"
    assert run_main("--device", "cpu", DATA=data, BPE=ranks) == (
        66,
        f"gpu.sh: {ranks} is missing; give a gpt2.tiktoken with BPE=, or type: "
        "spam-train fetch bpe\n",
    )
    monkeypatch.chdir(tmp_path)
    assert invoke(train_main, "fetch", "bpe", "--from", bpe_file).exit_code == 0
    assert run_main("--device", "cpu", DATA=data, BPE=ranks) == (0, "")
    assert run_main("--device", "cpu", DATA=data, WEIGHTS=gone) == (
        66,
        f"gpu.sh: {gone} is missing; give GPT-2 small's weights with WEIGHTS=, or leave it out "
        "for random ones\n",
    )


def test_missing_packages(lead, run_main, root: Path, monkeypatch) -> None:
    there = {"torch", "onnx"}
    monkeypatch.setattr(lead, "NEEDED", ("torch", "onnx", "onnxruntime", "pandas"))
    monkeypatch.setattr(lead, "find_spec", lambda name: name if name in there else None)
    for device, extra in (("cpu", "cpu"), ("cuda", "gpu")):
        assert run_main("--device", device, DRY_RUN="1") == (
            66,
            f"gpu.sh: {sys.executable} has no onnxruntime, pandas; type: {sys.executable} -m pip "
            f"install '{root}[train,export,{extra}]', or give another PYTHON=\n",
        )


def test_no_gpu(lead, run_main, root: Path, monkeypatch) -> None:
    clause = "no NVIDIA driver was found (libcuda.so.1)"
    monkeypatch.setattr(lead.cuda, "describe_driver", lambda: (0, clause))
    data = root / "examples" / "inbox.csv"
    assert run_main(DATA=data) == (
        78, f"gpu.sh: {clause}; for the CPU's figures, type: benchmarks/gpu.sh --device cpu\n"
    )  # fmt: skip
    assert run_main("--device", "cpu", DATA=data) == (0, "")


def test_the_result_names_gpu_and_driver(lead, run_main, monkeypatch, tmp_path, root) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text('#!/bin/sh\necho "NVIDIA L4, 580.95.05, 23034 MiB"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(lead.cuda, "describe_driver", lambda: (1, "NVIDIA driver for CUDA 13.0"))
    assert run_main(DATA=root / "examples" / "inbox.csv") == (0, "")
    (path,) = tmp_path.glob("gpu-cuda-*.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["driver"] == "NVIDIA driver for CUDA 13.0"
    assert found["gpu"] == {
        "name": "NVIDIA L4", "driver_version": "580.95.05", "memory.total": "23034 MiB"
    }  # fmt: skip
