"""Would a run work on this machine? Try everything that it needs, with one line for each."""

import importlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from batch.errors import BundleError, SpamBatchError
from batch.model import cuda
from batch.version import __version__

if TYPE_CHECKING:  # imported late, because a package may be missing
    from batch.model.bundle import Bundle
    from batch.model.classifier import Classifier

OK, WARNING, PROBLEM = "ok", "warning", "problem"
PACKAGES = {  # imported name -> distribution
    "click": "click",
    "numpy": "numpy",
    "tiktoken": "tiktoken",
    "tqdm": "tqdm",
}
if sys.version_info < (3, 14):
    PACKAGES["backports.zstd"] = "backports.zstd"
BENCHMARK_SECONDS = 2.0
LITTLE_SPACE = 1 << 30  # bytes
# It has 22 tokens; the mean message of the SMS data has 23.
MESSAGE = "Are we still on for lunch at the new place on Main Street? I can be there by half past."
# "y = x @ x" for 2 x 2 floats, serialized as in onnx.proto. On CUDA a product needs cuBLAS.
_NODE = b"\x0a\x01x\x0a\x01x\x12\x01y\x22\x06MatMul"
_TYPE = b"\x12\x0e\x0a\x0c\x08\x01\x12\x08\x0a\x02\x08\x02\x0a\x02\x08\x02"
_GRAPH = b"".join(
    [
        b"\x0a" + bytes([len(_NODE)]) + _NODE,
        b"\x12\x05probe",
        b"\x5a" + bytes([3 + len(_TYPE)]) + b"\x0a\x01x" + _TYPE,
        b"\x62" + bytes([3 + len(_TYPE)]) + b"\x0a\x01y" + _TYPE,
    ]
)
PROBE = b"\x08\x08" + b"\x3a" + bytes([len(_GRAPH)]) + _GRAPH + b"\x42\x02\x10\x11"


@dataclass(frozen=True)
class Diagnosis:
    """What one check found."""

    state: str  # OK, WARNING, or PROBLEM: a run would not work
    text: str  # what was found, and what to type if it is not ok

    def __str__(self) -> str:
        return f"{self.state:8} {self.text}"


def examine(bundle: str, device: str) -> Iterator[Diagnosis]:
    """Try everything that ``spam-batch classify --bundle --device`` needs, in its order."""
    yield from _check_packages()
    yield from _check_wheels()
    if device != "cpu":
        yield from _check_gpu(device)
    try:
        yield from _try_run(bundle, device)
    except ImportError as error:  # _check_packages has told what to type
        text = f"the remaining checks cannot run: {error.name} cannot be imported"
        yield Diagnosis(PROBLEM, text)
    yield _check_disk(Path.cwd())


def _try_run(bundle: str, device: str) -> Iterator[Diagnosis]:
    """The checks that need the packages: onnxruntime on each device, and the bundle on one."""
    has_device = True
    for finding in _check_providers(device):
        has_device = has_device and finding.state == OK
        yield finding
    yield _check_threads()
    yield from _check_bundle(bundle, device if has_device else "cpu")


def _check_packages() -> Iterator[Diagnosis]:
    yield Diagnosis(OK, f"Python {platform.python_version()}, {platform.platform()}")
    versions = []
    for name, distribution in PACKAGES.items():
        try:
            importlib.import_module(name)
            versions.append(f"{distribution} {metadata.version(distribution)}")
        except ImportError:  # PackageNotFoundError is one of them
            text = f"{distribution} is not installed, or broken; type: "
            yield Diagnosis(PROBLEM, f"{text}pip install --force-reinstall {distribution}")
    yield Diagnosis(OK, ", ".join([f"spam-batch {__version__}", *versions]))


def _check_wheels() -> Iterator[Diagnosis]:
    """Which onnxruntime is installed. A missing one is reported by :func:`_check_providers`."""
    wheels = cuda.installed_wheels()
    listed = " and ".join(f"{name} {version}" for name, version in wheels.items())
    if len(wheels) > 1:
        yield Diagnosis(
            WARNING,
            f"{listed} are both installed, and each has overwritten files of the other; type: "
            f"{cuda.mend_install('gpu')} (or 'spam-batch[cpu]')",
        )
    elif wheels:
        yield Diagnosis(OK, listed)


def _check_gpu(device: str) -> Iterator[Diagnosis]:
    """The driver, and a GPU that the installed onnxruntime cannot use."""
    count, clause = cuda.describe_driver()
    if device == "cuda" and not count:
        yield Diagnosis(PROBLEM, f"{clause}; type: nvidia-smi, or --device cpu")
    elif count and "onnxruntime-gpu" not in cuda.installed_wheels():
        hint = f"type: {cuda.mend_install('gpu')}"
        yield Diagnosis(WARNING, f"{clause}, and this onnxruntime cannot use one; {hint}")
    else:
        yield Diagnosis(OK, clause)


def _check_providers(device: str) -> Iterator[Diagnosis]:
    """Load and run a graph with one product on each provider that a run may use."""
    from batch.model.inference import PROVIDERS, wanted_device

    try:
        wanted = wanted_device(device)
    except SpamBatchError as error:
        yield Diagnosis(PROBLEM, str(error))
        return
    for name in dict.fromkeys([wanted, "cpu"]):
        try:
            _probe(name)
        except SpamBatchError as error:
            is_needed = name in (device, "cpu")
            note = "" if is_needed else "; --device auto uses the CPU, with a warning"
            yield Diagnosis(PROBLEM if is_needed else WARNING, f"{error}{note}")
        else:
            libraries = ", ".join(cuda.loaded_libraries()) if name == "cuda" else ""
            text = f"{PROVIDERS[name]} loads and computes correctly"
            yield Diagnosis(OK, f"{text}{libraries and '; ' + libraries}")


def _probe(device: str) -> None:
    """Compute a product on a device.

    Raises:
        SpamBatchError: the device does not work, or the result is wrong.
    """
    import numpy as np

    from batch.errors import BundleError
    from batch.model.inference import InferenceSession

    given = np.array([[1, 2], [3, 4]], dtype=np.float32)
    found = InferenceSession(PROBE, device, threads=1).run(given)
    if found.tolist() != [[7, 10], [15, 22]]:
        raise BundleError(f"onnxruntime computes a wrong product on {device}: {found.tolist()}")


def _check_threads() -> Diagnosis:
    from batch.model.inference import usable_cpus

    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        allowed = os.cpu_count() or 1
    threads = usable_cpus()
    text = f"threads: {threads}; this process may use {allowed} of {os.cpu_count()} processors"
    if threads < allowed:
        text += f", and its cgroup's quota allows {threads}"
    return Diagnosis(OK, text)


def _check_bundle(folder: str, device: str) -> Iterator[Diagnosis]:
    """Hashes, verification, golden messages, speed. The first problem ends the checks."""
    from batch.model.bundle import open_bundle
    from batch.model.classifier import Classifier, resolve_precision
    from batch.model.selftest import check_verified

    try:
        bundle = open_bundle(folder)
        yield from _check_files(bundle, resolve_precision(bundle, device, "auto"))
        for precision in bundle.manifest.variants:
            try:
                check_verified(bundle, precision)
            except SpamBatchError as error:
                yield Diagnosis(WARNING, str(error))
            else:
                yield Diagnosis(OK, f"bundle {folder}: {precision} was verified")
        if bundle.manifest.training.get("data", {}).get("is_partial"):
            yield Diagnosis(WARNING, f"bundle {folder}: trained on an incomplete copy of its data")
        classifier = Classifier.load(folder, device)
        golden = f"{classifier.precision} on {classifier.session.device}"
        yield Diagnosis(
            OK, f"bundle {folder}: golden messages get the same logits as at export, {golden}"
        )
        for name, part in classifier.parts.items():
            yield Diagnosis(OK, f"{name}speed: {_measure(part)}")
    except SpamBatchError as error:
        yield Diagnosis(PROBLEM, str(error))


def _check_files(bundle: "Bundle", precision: str) -> Iterator[Diagnosis]:
    """Hashes of all files. For files that a run in ``precision`` does not need, only a warning."""
    names = bundle.manifest.variants.items()
    others = tuple(name for variant, name in names if variant != precision)
    is_whole = True
    for name in bundle.manifest.files:
        try:
            bundle.check(name)
        except BundleError as error:
            if not name.startswith(others):
                raise
            is_whole = False
            yield Diagnosis(WARNING, f"{error}; a run in {precision} does not read it")
    if is_whole:
        size = sum(entry.size for entry in bundle.manifest.files.values()) / 1e6
        files = f"{len(bundle.manifest.files)} files, {size:,.1f} MB"
        yield Diagnosis(
            OK, f"bundle {bundle.folder}: {files}, all hashes match; digest {bundle.digest}"
        )


def _measure(classifier: "Classifier") -> str:
    """Rows a second, measured for :data:`BENCHMARK_SECONDS`, with tokenizer, without files."""
    texts, rows = [f"{MESSAGE} {number}" for number in range(1024)], 0
    tokens = len(classifier.encode(texts[-1])[0])
    start = time.monotonic()
    while (seconds := time.monotonic() - start) < BENCHMARK_SECONDS or not rows:
        classifier.clear_cache()  # or all texts would be found in it
        classifier.classify(texts)
        rows += len(texts)
    return (
        f"{rows / max(seconds, 1e-9):,.0f} rows a second, messages of {tokens} tokens, in "
        f"{classifier.precision} on {classifier.session.device} "
        f"(threads: {classifier.session.threads})"
    )


def _check_disk(folder: Path) -> Diagnosis:
    """Free space in the working directory, and permission to write to it."""
    free = shutil.disk_usage(folder).free
    text = f"disk: {free / 1e9:,.1f} GB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Diagnosis(
            WARNING, f"{text}, which you cannot write to; give an --out in another folder"
        )
    if free < LITTLE_SPACE:
        return Diagnosis(WARNING, f"{text}; an output is larger than its input: make room")
    return Diagnosis(OK, text)
