"""Export a run folder to a verified bundle."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from batch.errors import BundleError
from batch.model.bundle_files import TOKENIZER, VERIFY
from batch.model.inference import wanted_device
from exporter.accuracy_gate import Gate, search_layers
from exporter.bundle import (
    check_target,
    replace_folder,
    write_bundle_card,
    write_golden,
    write_manifest,
)
from exporter.convert.graph import trace
from exporter.convert.quantize import linear_layers, reduce_precision
from exporter.convert.variants import FILES, describe_model, remove_variant, save_model
from exporter.parity import VerificationError
from exporter.scratch import scratch_folder
from exporter.trained_run import Source, TrainedRun, read_source
from exporter.variant_check import (
    VariantCheck,
    gate_of,
    report_of,
    variant_logits,
    verify_file,
)
from trainer.run_folder import write_json

log = logging.getLogger("exporter")

COST_MESSAGES = 32  # messages that a layer's cost is measured on; the gate uses all


def export(
    source: Source,
    out: Path,
    device: str = "auto",
    precisions: tuple[str, ...] = ("fp32",),
    optional: tuple[str, ...] = (),
    progress: bool = True,
    show: Callable[[VariantCheck], None] = lambda verified: None,
) -> list[VariantCheck]:
    """Export a model, check it against PyTorch, and write the bundle.

    The bundle gets its name only after all ``precisions`` passed; it then replaces an older
    bundle. Of the ``optional`` precisions it has those that passed. ``show`` is called with each
    variant that was checked, passed or not.

    Raises:
        VerificationError: a variant of ``precisions`` does not give what PyTorch gives.
        OutputError: ``out`` is or holds something else than a bundle, or cannot be made.
    """
    check_target(out)
    out = Path(os.path.realpath(out))  # a link's target is what gets replaced, not the link
    wanted_device(device)
    trained = read_source(source, progress)
    with scratch_folder(out, f"cannot create {out}", "give another --out") as scratch:
        (scratch / TOKENIZER).write_bytes(trained.ranks)
        writer = VariantWriter(trained, scratch, device, progress)
        results = _write_variants(writer, precisions, optional, show)
        passed = [verified.precision for verified in results]
        write_golden(trained, scratch, passed, device)
        report = report_of(trained.rows, scratch, [(verified, []) for verified in results])
        write_json(scratch / VERIFY, report)
        write_bundle_card(scratch, trained, results)
        write_manifest(scratch, trained, passed)
        replace_folder(scratch, out)
    return results


class VariantWriter:
    """Writes the files of one run's variants into a folder, and verifies each."""

    def __init__(self, trained: TrainedRun, folder: Path, device: str, progress: bool):
        self.trained, self.folder = trained, folder
        self.device, self.progress = device, progress
        self.plain = trace(trained.model, trained.config.max_length)
        self.layers = linear_layers(self.plain)  # that a reduced precision changes

    def write(self, precision: str) -> VariantCheck:
        """Write one variant and verify it; layers stay fp32 as far as its gate needs that.

        Raises:
            BundleError: ONNX Runtime cannot run the variant on the device.
        """
        self._write_file(precision, [])
        kept: list[str] = []
        gate = None
        if precision != "fp32":
            gate = self._measure_gate(precision)
            if gate.problems():
                kept = self._search_layers(precision)
                gate = self._measure_gate(precision)
        check = verify_file(self.trained, self.folder, precision, self.device, self.progress)
        return VariantCheck(precision, check, gate, kept)

    def _write_file(self, precision: str, kept: Sequence[str]) -> None:
        proto = self.plain
        if precision != "fp32":
            proto = reduce_precision(proto, precision, kept)
        describe_model(proto, self.trained.config, precision)
        save_model(proto, self.folder / FILES[precision])

    def _measure_gate(self, precision: str) -> Gate:
        return gate_of(self.trained, self.folder, precision, self.device)

    def _search_layers(self, precision: str) -> list[str]:
        """Choose the layers to keep in fp32 and write the file so; none if no choice passes."""
        numbers = self.trained.validation.rows
        sample = numbers[:: -(-len(numbers) // COST_MESSAGES)]

        def passes(kept: Sequence[str]) -> bool:
            self._write_file(precision, kept)
            return not self._measure_gate(precision).problems()

        def error_without(layer: str) -> float:
            self._write_file(precision, [layer])
            ours = variant_logits(self.trained, sample, self.folder, precision, self.device)
            return float(np.abs(ours - self.trained.rows.logits[sample]).mean())

        log.info("The gate is not passed; measuring what each of %d layers costs", len(self.layers))
        kept = search_layers(self.layers, passes, error_without)
        if kept is None:
            self._write_file(precision, [])
        return kept or []


def _write_variants(
    writer: VariantWriter,
    precisions: tuple[str, ...],
    optional: tuple[str, ...],
    show: Callable[[VariantCheck], None],
) -> list[VariantCheck]:
    """Write all variants; returns those that passed.

    Raises:
        VerificationError: one of ``precisions`` failed.
    """
    results = []
    for precision in (*precisions, *optional):
        if precision != "fp32" and not writer.layers:
            is_asked = precision in precisions
            log.log(
                logging.WARNING if is_asked else logging.INFO,
                "%s %s in this bundle: the model has no layer that it would change",
                "WARNING: no" if is_asked else "No", precision,
            )  # fmt: skip
            continue
        try:
            verified = writer.write(precision)
            problems = verified.problems()
            show(verified)
        except BundleError as error:  # onnxruntime has no bf16 product on a CPU
            problems = [str(error)]
        if not problems:
            results.append(verified)
        elif precision in precisions:
            raise VerificationError(f"{precision}: {problems[0]}; no bundle was written")
        else:
            log.warning("WARNING: no %s in this bundle: %s", precision, problems[0])
            remove_variant(writer.folder, precision)
    return results
