"""From run folder to verified bundle."""

import logging
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from batch.errors import BundleError
from batch.model.bundle_files import TOKENIZER, VERIFY
from batch.model.inference import wanted_device
from exporter.bundle import check_target, replace_folder, write_golden, write_manifest
from exporter.convert.graph import trace
from exporter.convert.quantize import linear_layers, reduce_precision
from exporter.convert.variants import FILES, describe_model, remove_variant, save_model
from exporter.gate import search_layers
from exporter.trained_run import TrainedRun
from exporter.variant_check import Verified, _logits, gate_of, report_of, verify_file
from exporter.verify import VerificationError
from trainer.run_folder import write_json

log = logging.getLogger("exporter")

COST_MESSAGES = 32  # that a layer's cost is measured on; the gate itself takes all


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
    trained = TrainedRun.read(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        shutil.copyfile(run / TOKENIZER, scratch / TOKENIZER)
        plain = trace(trained.model, trained.config.max_length)
        results = []
        for precision in (*precisions, *optional):
            try:
                verified = write_variant(trained, plain, precision, scratch, device, progress)
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
        write_golden(trained, scratch, [verified.precision for verified in results], device)
        write_json(
            scratch / VERIFY,
            report_of(trained.rows, scratch, [(result, []) for result in results]),
        )
        write_manifest(scratch, trained, [verified.precision for verified in results])
        replace_folder(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return results


def write_variant(
    trained: TrainedRun, plain: onnx.ModelProto, precision: str, folder: Path, device: str, progress
) -> Verified:
    """Write one variant's file and verify it; layers that its gate does not let go stay fp32."""
    kept: list[str] = []
    write = partial(_write_file, trained, plain, precision, folder)
    write(kept)
    gate = None
    if precision != "fp32":
        gate = gate_of(trained, folder, precision, device)
        if gate.problems():
            kept = _search(trained, folder, precision, device, plain, write)
            gate = gate_of(trained, folder, precision, device)
    return Verified(
        precision, verify_file(trained, folder, precision, device, progress), gate, kept
    )


def _write_file(
    trained: TrainedRun, plain: onnx.ModelProto, precision: str, folder: Path, kept: list[str]
) -> None:
    proto = plain if precision == "fp32" else reduce_precision(plain, precision, kept)
    describe_model(proto, trained.config, precision)
    save_model(proto, folder / FILES[precision])


def _search(trained, folder, precision, device, plain, write) -> list[str]:
    """Layers to keep in fp32, with the file written so; none if no choice passes the gate."""

    numbers = trained.labelled.rows
    sample = numbers[:: -(-len(numbers) // COST_MESSAGES)]

    def passes(kept) -> bool:
        write(kept)
        return not gate_of(trained, folder, precision, device).problems()

    def error_without(layer: str) -> float:
        write([layer])
        ours = _logits(trained, sample, folder, precision, device)
        return float(np.abs(ours - trained.rows.logits[sample]).mean())

    layers = linear_layers(plain)
    log.info("The gate is not passed; measuring what each of %d layers costs", len(layers))
    kept = search_layers(layers, passes, error_without)
    if kept is None:
        write([])
    return kept or []
