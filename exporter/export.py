"""From run folder to verified bundle."""

import logging
import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from tqdm import tqdm

from batch.model.batching import BATCH_TOKENS, cut_batches
from batch.model.bundle_files import EXTERNAL_SUFFIX, TOKENIZER, VERIFY
from batch.errors import BundleError, SpamBatchError
from batch.model.inference import wanted_device
from exporter.bundle import check_target, replace_folder, write_golden, write_manifest
from exporter.gate import Gate, measure_gate, search_layers
from exporter.graph import trace
from exporter.machine import describe_machine
from exporter.quantize import linear_layers, reduce_precision
from exporter.trained_run import Source
from exporter.variants import FILES, describe_model, open_variant, remove_variant, save_model
from exporter.verify import Check, Rows, check_variant, run_batches
from trainer.run_folder import hash_file, write_json

log = logging.getLogger("exporter")

COST_MESSAGES = 32  # that a layer's cost is measured on; the gate itself takes all


class VerificationError(SpamBatchError):
    """ONNX Runtime does not say what PyTorch says."""

    exit_code = 78


@dataclass(frozen=True)
class Verified:
    """What was found out about one variant."""

    precision: str
    check: Check | None  # None of a file that cannot be loaded
    gate: Gate | None  # of a reduced precision
    kept_fp32: list[str]  # layers that its gate did not let go

    def problems(self) -> list[str]:
        return [found for part in (self.check, self.gate) if part for found in part.problems()]


def export(
    run: Path,
    out: Path,
    device: str = "auto",
    precisions: tuple[str, ...] = ("fp32",),
    optional: tuple[str, ...] = (),
    progress: bool = True,
    show: Callable[["Verified"], None] = lambda verified: None,
) -> list[Verified]:
    """Export the model of a run folder, compare it, and write the bundle.

    The bundle appears under its name only when each of ``precisions`` holds; an older one
    is replaced then, and stays otherwise. Of the ``optional`` ones, those that hold are in it.
    ``show`` gets each variant that was checked, whether it holds or not.

    Raises:
        VerificationError: a variant does not say what PyTorch says.
        OutputError: ``out`` is something else than a bundle.
    """
    check_target(out)
    wanted_device(device)
    source = Source.read(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        shutil.copyfile(run / TOKENIZER, scratch / TOKENIZER)
        plain = trace(source.model, source.config.max_length)
        results = []
        for precision in (*precisions, *optional):
            try:
                verified = write_variant(source, plain, precision, scratch, device, progress)
                problems = verified.problems()
                show(verified)
            except BundleError as error:  # onnxruntime has no bf16 product on a CPU
                problems = [str(error)]
            if problems:
                if precision in precisions:
                    raise VerificationError(f"{precision}: {problems[0]}; no bundle was written")
                log.warning("WARNING: no %s in this bundle: %s", precision, problems[0])
                remove_variant(scratch, precision)
            else:
                results.append(verified)
        write_golden(source, scratch, [verified.precision for verified in results], device)
        write_json(
            scratch / VERIFY,
            report_of(source.rows, scratch, [(result, []) for result in results]),
        )
        write_manifest(scratch, source, [verified.precision for verified in results])
        replace_folder(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return results


def write_variant(
    source: Source, plain: onnx.ModelProto, precision: str, folder: Path, device: str, progress
) -> Verified:
    """Write one variant's file and verify it; layers that its gate does not let go stay fp32."""
    kept: list[str] = []
    write = partial(_write_file, source, plain, precision, folder)
    write(kept)
    gate = None
    if precision != "fp32":
        gate = gate_of(source, folder, precision, device)
        if gate.problems():
            kept = _search(source, folder, precision, device, plain, write)
            gate = gate_of(source, folder, precision, device)
    return Verified(precision, verify_file(source, folder, precision, device, progress), gate, kept)


def _write_file(
    source: Source, plain: onnx.ModelProto, precision: str, folder: Path, kept: list[str]
) -> None:
    proto = plain if precision == "fp32" else reduce_precision(plain, precision, kept)
    describe_model(proto, source.config, precision)
    save_model(proto, folder / FILES[precision])


def _search(source, folder, precision, device, plain, write) -> list[str]:
    """Layers to keep in fp32, with the file written so; none if no choice passes the gate."""

    numbers = source.labelled.rows
    sample = numbers[:: -(-len(numbers) // COST_MESSAGES)]

    def passes(kept) -> bool:
        write(kept)
        return not gate_of(source, folder, precision, device).problems()

    def error_without(layer: str) -> float:
        write([layer])
        ours = _logits(source, sample, folder, precision, device)
        return float(np.abs(ours - source.rows.logits[sample]).mean())

    layers = linear_layers(plain)
    log.info("The gate is not passed; measuring what each of %d layers costs", len(layers))
    kept = search_layers(layers, passes, error_without)
    if kept is None:
        write([])
    return kept or []


def _logits(
    source: Source, numbers: np.ndarray, folder: Path, precision: str, device: str
) -> np.ndarray:
    """``(len(numbers), K)`` of the rows ``numbers``."""
    rows = source.rows
    lengths = [len(rows.sequences[row]) for row in numbers]
    fixed = rows.max_length if rows.fixed_length else None
    session = open_variant(folder, precision, device, rows)
    cut = cut_batches(lengths, BATCH_TOKENS[session.device], fixed, session.shapes)
    batches = [(numbers[part], width) for part, width in cut]
    return run_batches(session, rows, batches)[numbers]


def gate_of(source: Source, folder: Path, precision: str, device: str) -> Gate:
    numbers = source.labelled.rows
    ours, theirs = _logits(source, numbers, folder, precision, device), source.rows.logits[numbers]
    return measure_gate(ours, theirs, source.labelled.classes, source.decision)


def verify_file(source: Source, folder: Path, precision: str, device: str, progress: bool) -> Check:
    bar = partial(
        tqdm, desc=f"checking {precision}", unit="run", disable=None if progress else True
    )
    session = open_variant(folder, precision, device, source.rows)
    return check_variant(session, source.rows, precision, bar)


def report_of(rows: Rows, folder: Path, results: list[tuple[Verified, list[str]]]) -> dict:
    """What ``verify.json`` says of variants with their problems, whose files are in ``folder``."""
    kinds = [name.partition(" ")[0] for name in rows.names]
    return {
        "rows": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "variants": {
            verified.precision: _report_variant(verified, problems, folder)
            for verified, problems in results
        },
        "machine": describe_machine(),
    }


def _report_variant(verified: Verified, problems: list[str], folder: Path) -> dict:
    path, check = folder / FILES[verified.precision], verified.check
    external = path.with_name(path.name + EXTERNAL_SUFFIX)
    return {
        "passed": not problems,
        "problems": problems,
        "sha256": hash_file(path) if path.exists() else None,
        "external_sha256": hash_file(external) if external.exists() else None,
        "device": check.device if check else None,
        "batch_tokens": check.batch_tokens if check else None,
        "rows_per_second": check.rows_per_second if check else None,
        "check": _finite(asdict(check)) if check else None,
        "gate": asdict(verified.gate) if verified.gate else None,
        "kept_fp32": verified.kept_fp32,
    }


def _finite(value):
    """With null for what is no number, for which JSON has no name."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
