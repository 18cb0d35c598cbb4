"""Lead the GPU benchmark: find what it needs, run its steps under their limits, write the JSON.

See ``benchmarks/gpu.sh``, which starts this.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from scratch import scratch_folder
from step import Settings, carry_out

from batch.errors import BundleError, MissingInputError, SpamBatchError
from batch.model import cuda
from batch.model.inference import usable_cpus

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("torch", "onnx", "onnxscript", "onnxruntime", "pandas", "safetensors", "scipy", "click",
          "numpy", "tiktoken", "tqdm")  # fmt: skip
VERSIONS = ("torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "numpy",
            "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12",
            "nvidia-cudnn-cu13")  # fmt: skip
SIZES = {  # dry: on any device
    "cuda": {"train_steps": 200, "held_out": 16, "texts": 1000, "seconds": 3.0,
             "batch_tokens": (1024, 4096, 16384, 65536), "least_rows": 4096},
    "cpu": {"train_steps": 16, "held_out": 16, "texts": 100, "seconds": 4.0,
            "batch_tokens": (128, 256, 512, 1024), "least_rows": 48},
    "dry": {"train_steps": 8, "held_out": 12, "texts": 60, "seconds": 0.05,
            "batch_tokens": (128, 256), "least_rows": 64},
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step: a generator of a module, its limit, and what an earlier step must have left."""

    name: str
    module: str
    limit: float  # seconds on a GPU
    needs: str = ""  # a file or folder of Settings.work
    else_why: str = ""  # it is skipped without that
    preloads: str = ""  # it is forked from a process that has imported this module


ON_CPU = 4  # times the limits
STEPS = (  # together below eight minutes
    Step("train", "making", 100, preloads="preload"),
    Step("export", "making", 160, "run", "no model was trained", "preload"),
    Step("labels", "labelling", 45, "slow", "no bundle was exported"),
    Step("batch_tokens", "labelling", 75, "slow", "no bundle was exported"),
    Step("make_cascade", "making", 50, "slow", "no bundle was exported", "preload"),
    Step("cascade", "labelling", 35, "cascade", "no cascade was made"),
)


def run_step(step: Step, settings: Settings, log: Path) -> dict:
    """The figures of a step, with its status: measured, skipped or failed, and why."""
    if step.needs and not (settings.work / step.needs).exists():
        return {"status": "skipped", "why": step.else_why}
    context = multiprocessing.get_context("forkserver" if step.preloads else "spawn")
    if step.preloads:
        context.set_forkserver_preload([step.preloads])
    path = settings.work / f"{step.name}.figures"
    process = context.Process(
        target=carry_out, args=(step.module, step.name, settings, path, log), daemon=True
    )
    start = time.monotonic()
    try:
        process.start()  # waits for what is preloaded
    except (OSError, EOFError):
        hint = "; see if this works: python -c 'import torch'" if step.preloads else ""
        return {"status": "failed", "why": f"its process could not be started{hint}"}
    limit = step.limit * (1 if settings.device == "cuda" else ON_CPU)
    process.join(max(0.0, start + limit - time.monotonic()))
    found: dict = {"status": "measured"}
    if process.is_alive():
        process.kill()
        process.join()
        found = {"status": "failed", "why": f"stopped at its limit of {limit:g} s"}
    elif process.exitcode:
        found = {"status": "failed", "why": f"its process ended with status {process.exitcode}"}
    found["seconds"] = round(time.monotonic() - start, 1)
    with suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # a line that a kill tore
                found |= json.loads(line)
    return found


def run_all(settings: Settings, steps: tuple[Step, ...], result: dict, path: Path) -> None:
    """Run the steps; ``path`` has ``result`` with what is known, from the start on."""
    start = time.monotonic()
    _write(path, result)
    for step in steps:
        found = result["steps"][step.name] = run_step(step, settings, path.with_suffix(".log"))
        result["machine"] |= found.pop("machine", {})
        result["seconds"] = round(time.monotonic() - start, 1)
        _write(path, result)
        why = f": {found['why']}" if "why" in found else ""
        print(f"{step.name}: {found['status']}, {found.get('seconds', 0):g} s{why}", flush=True)


def _write(path: Path, result: dict) -> None:
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def describe_gpu() -> dict:
    """What the driver says of the first GPU; empty without one."""
    names = ("name", "driver_version", "memory.total")
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = told.stdout.partition("\n")[0].split(", ")
    return dict(zip(names, values, strict=False))


def find_versions() -> dict[str, str]:
    found = {"python": sys.version.partition(" ")[0]}
    for name in VERSIONS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def check_there(options: argparse.Namespace) -> None:
    """Check that everything is there before anything runs.

    Raises:
        MissingInputError, BundleError: one sentence on what is missing.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        extra = "gpu" if options.device == "cuda" else "cpu"
        raise MissingInputError(
            f"{sys.executable} has no {', '.join(missing)}; type: {sys.executable} -m pip install "
            f"'{ROOT}[train,export,{extra}]', or give another PYTHON="
        )
    if not options.data.is_file():
        raise MissingInputError(
            f"{options.data} is missing; give labelled messages with DATA=, or type: "
            "spam-train fetch data"
        )
    if not options.bpe.is_file():
        raise MissingInputError(
            f"{options.bpe} is missing; give a gpt2.tiktoken with BPE=, or type: "
            "spam-train fetch bpe"
        )
    if options.weights != "random" and not Path(options.weights).exists():
        raise MissingInputError(
            f"{options.weights} is missing; give GPT-2 small's weights with WEIGHTS=, or leave it "
            "out for random ones"
        )
    count, clause = cuda.describe_driver()
    if options.device == "cuda" and not count:
        raise BundleError(f"{clause}; for the CPU's figures, type: benchmarks/gpu.sh --device cpu")


def parse() -> argparse.Namespace:
    given = os.environ
    is_dry = bool(given.get("DRY_RUN"))
    parser = argparse.ArgumentParser(prog="gpu.sh", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", default=is_dry, help="A tiny model.")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="cuda; of a dry run: cpu")
    options = parser.parse_args()
    options.device = options.device or ("cpu" if options.dry_run else "cuda")
    example = ROOT / "examples" / "inbox.csv"
    usual = example if options.dry_run else ROOT / "data" / "SMSSpamCollection.tsv"
    options.data = Path(given.get("DATA") or usual)
    options.label_column = "expected" if options.data == example else None
    options.bpe = Path(given.get("BPE") or ROOT / "data" / "gpt2.tiktoken")
    options.weights = given.get("WEIGHTS") or "random"
    usual = "build" if options.dry_run else "benchmarks/results"
    options.out = Path(given.get("OUT") or ROOT / usual)
    return options


def main() -> None:
    options = parse()
    try:
        check_there(options)
        options.out.mkdir(parents=True, exist_ok=True)
    except SpamBatchError as error:
        print(f"gpu.sh: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    today = datetime.date.today().isoformat()
    kind = f"{options.device}-dry-run" if options.dry_run else options.device
    path = options.out / f"gpu-{kind}-{today}.json"
    path.with_suffix(".log").unlink(missing_ok=True)
    sizes = SIZES["dry" if options.dry_run else options.device]
    result = {
        "date": today, "device": options.device, "dry_run": options.dry_run,
        "gpu": describe_gpu(), "driver": cuda.describe_driver()[1], "versions": find_versions(),
        "machine": {"usable_cpus": usable_cpus()}, "sizes": sizes, "steps": {},
    }  # fmt: skip
    with scratch_folder() as work:
        settings = Settings(
            options.device, options.dry_run, options.data, options.label_column, options.bpe,
            options.weights, work, **sizes,
        )  # fmt: skip
        run_all(settings, STEPS, result, path)
    print(f"written: {path}")
    sys.exit(any(step["status"] != "measured" for step in result["steps"].values()))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the step, and cleans up
    main()
