"""Many machines on a local Ray: workers and drivers that are killed, and what is lost: nothing."""

import contextlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="ray is not installed: pip install 'spam-batch[ray]'")

WORDS = ["call", "now", "free", "prize", "lunch", "time", "£100", "won", "see you", "txt"]
PATIENCE = 500  # seconds


@dataclass
class Run:
    """A folder with one input, and the command that labels it on two workers."""

    folder: Path
    bundle: Path
    part_bytes: int
    args: list[str] = field(default_factory=list)
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def start(self) -> subprocess.Popen:
        env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        command = [
            sys.executable, "-m", "batch", "classify", "in.csv", "--engine", "ray", "--out", "out",
            "--part-bytes", str(self.part_bytes), "--bundle", str(self.bundle), *self.args,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen, exit_code: int = 0) -> list[str]:
        out, said = process.communicate(timeout=PATIENCE)
        if "timed out during startup" in said:
            pytest.skip(f"this machine is too busy for Ray: {said}")
        assert (process.returncode, out) == (exit_code, ""), said
        return said.splitlines()

    def done(self) -> list[Path]:
        return sorted(self.out.glob("in.*.run.json"))

    def wait_for_parts(self, process: subprocess.Popen, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.done()) < count:
            if process.poll() is not None:
                self.finish(process)
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)

    def check(self, run_cli) -> dict:
        """The parts are one machine's output, in order; returns the manifest."""
        alone = self.folder / "alone.csv"
        args = ("classify", self.folder / "in.csv", "--out", alone, "--bundle", self.bundle)
        assert run_cli("batch", *args).returncode == 0
        manifest = json.loads((self.out / "_manifest.json").read_bytes())
        parts = [(self.out / part["output"]).read_bytes() for part in manifest["parts"]]
        header = parts[0].split(b"\n", 1)[0] + b"\n"
        joined = header + b"".join(part.removeprefix(header) for part in parts)
        assert joined == alone.read_bytes()
        parts = {part["output"] for part in manifest["parts"]}
        names = parts | {f"{part}.run.json" for part in parts} | {"_manifest.json"}
        assert {path.name for path in self.out.iterdir() if path.name[0] != "."} == names
        left = [p.name for p in self.out.iterdir() if p.name.endswith((".part", ".lock"))]
        assert left == []
        return manifest


@pytest.fixture
def make_run(tmp_path) -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def make(bundle: Path, rows: int, parts: int, *args: str) -> Run:
        generator = random.Random(7)
        lines = []
        for row in range(rows):
            text = " ".join(generator.choices(WORDS, k=generator.randint(1, 12)))
            lines.append(f'{row},"{text}\r\n""{row}"""\n' if row % 9 == 0 else f"{row},{text}\n")
        data = ("id,text\n" + "".join(lines)).encode()
        (tmp_path / "in.csv").write_bytes(data)
        (tmp_path / "out").mkdir()
        made.append(Run(tmp_path, bundle, len(data) // parts, list(args)))
        return made[-1]

    yield make
    for run in made:
        for process in run.started:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def sum_bundle(root, bpe_file, tokenizer, tmp_path_factory) -> Path:
    """The bundle of tests/batch, whose graph adds up a few numbers: Ray's workers can run it."""
    spec = importlib.util.spec_from_file_location("stubs", root / "tests" / "batch" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_bundle.__wrapped__(bpe_file, tokenizer, tmp_path_factory)()


@pytest.fixture(scope="module")
def starter(run_cli, bpe_file, tmp_path_factory) -> Path:
    """A starter that saw a few messages for an epoch."""
    folder = tmp_path_factory.mktemp("starter")
    rows = (
        f"{'spam' if row % 3 == 0 else 'ham'}\t{WORDS[row % 10]} {WORDS[row // 10]} {row % 3}\n"
        for row in range(90)
    )
    (folder / "data.tsv").write_text("".join(rows), encoding="utf-8")
    run, bundle = folder / "run", folder / "bundle"
    for module, *args in (
        ("trainer", "fit", "--model", "starter", "--weights", "random", "--epochs", 1, "--data",
         folder / "data.tsv", "--bpe", bpe_file, "--out", run),
        ("exporter", "bundle", "--run", run, "--out", bundle, "--precision", "fp32"),
    ):  # fmt: skip
        done = run_cli(module, *args, text=True)
        assert done.returncode == 0, done.stderr
    return bundle


def find_workers(driver: int) -> list[int]:
    """Processes of Ray's that came from ``driver`` and label."""
    parents, workers = {}, []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = Path("/proc", entry, "stat").read_text(encoding="utf-8", errors="replace")
            parents[int(entry)] = int(stat.rsplit(")", 1)[1].split()[1])
            if b"MapWorker" in Path("/proc", entry, "cmdline").read_bytes():
                workers.append(int(entry))

    def is_from_driver(pid: int) -> bool:
        while pid and pid != driver:
            pid = parents.get(pid, 0)
        return pid == driver

    return [pid for pid in workers if is_from_driver(pid)]


def test_a_worker_is_killed(make_run, sum_bundle, run_cli):
    run = make_run(sum_bundle, 200_000, 16)
    process = run.start()
    run.wait_for_parts(process, 2)
    workers = find_workers(process.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    said = run.finish(process)
    manifest = run.check(run_cli)
    assert (manifest["records"], manifest["rows"], manifest["rejects"]) == (200_000, 200_000, 0)
    count = len(manifest["parts"])
    assert said[-2] == f"{count} parts: {count} labelled, 0 skipped, 0 failed"
    assert 12 < count < 24


def test_a_driver_is_killed_and_another_is_refused(make_run, sum_bundle, run_cli):
    run = make_run(sum_bundle, 200_000, 16)
    process = run.start()
    run.wait_for_parts(process, 2)
    process.send_signal(signal.SIGSTOP)  # or it might have ended before the other one begins
    said = run.finish(run.start(), 75)
    assert said == [
        f"spam-batch: error: another run is writing {run.out}; wait until it ends, or stop it"
    ]
    process.kill()
    process.communicate()
    assert not (run.out / "_manifest.json").exists()
    process = run.start()
    run.wait_for_parts(process, len(run.done()) + 2)
    process.terminate()
    assert run.finish(process, 143)[-1] == "spam-batch: error: stopped by SIGTERM"
    kept = len(run.done())
    said = run.finish(run.start())
    count = len(run.check(run_cli)["parts"])
    assert said[-2] == f"{count} parts: {count - kept} labelled, {kept} skipped, 0 failed"
    assert kept >= 4


def test_the_starter(make_run, starter, run_cli):
    run = make_run(starter, 5_000, 3)
    process = run.start()
    run.wait_for_parts(process, 1)
    os.kill(find_workers(process.pid)[0], signal.SIGKILL)
    run.finish(process)
    assert run.check(run_cli)["records"] == 5000
