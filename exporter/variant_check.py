"""Check one variant of a bundle: parity with PyTorch, and the accuracy gate."""

import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from batch.model.batching import BATCH_TOKENS, cut_batches
from batch.model.bundle_files import EXTERNAL_SUFFIX
from batch.reading.fingerprint import hash_file
from exporter.accuracy_gate import Gate, measure_gate
from exporter.convert.variants import FILES, open_variant
from exporter.machine import describe_machine
from exporter.parity import ParityCheck, check_variant, run_batches
from exporter.trained_run import TrainedRun
from exporter.verification_set import VerificationSet


@dataclass(frozen=True)
class VariantCheck:
    """The checks of one variant."""

    precision: str
    check: ParityCheck | None  # None for a file that cannot be loaded
    gate: Gate | None  # None for fp32
    kept_fp32: list[str]  # layers that stay fp32 so that the gate is passed

    def problems(self) -> list[str]:
        """One sentence for each failed check; empty if all passed."""
        return [found for part in (self.check, self.gate) if part for found in part.problems()]


def variant_logits(
    trained: TrainedRun, numbers: np.ndarray, folder: Path, precision: str, device: str
) -> np.ndarray:
    """A variant's logits ``(B, K)`` of the rows with these numbers ``(B,)``."""
    rows = trained.rows
    lengths = [len(rows.sequences[row]) for row in numbers]
    fixed = rows.max_length if rows.fixed_length else None
    session = open_variant(folder, precision, device, rows)
    cut = cut_batches(lengths, BATCH_TOKENS[session.device], fixed, session.shapes)
    batches = [(numbers[part], width) for part, width in cut]
    return run_batches(session, rows, batches)[numbers]


def gate_of(trained: TrainedRun, folder: Path, precision: str, device: str) -> Gate:
    """Measure the accuracy gate of the variant in ``folder`` on the validation messages."""
    numbers = trained.validation.rows
    ours = variant_logits(trained, numbers, folder, precision, device)
    theirs = trained.rows.logits[numbers]
    return measure_gate(ours, theirs, trained.validation.classes, trained.decision)


def verify_file(
    trained: TrainedRun, folder: Path, precision: str, device: str, progress: bool
) -> ParityCheck:
    """Check the variant in ``folder`` against PyTorch on all rows, with a progress bar."""
    bar = partial(
        tqdm, desc=f"checking {precision}", unit="run", disable=None if progress else True
    )
    session = open_variant(folder, precision, device, trained.rows)
    return check_variant(session, trained.rows, precision, bar)


def report_of(
    rows: VerificationSet, folder: Path, results: list[tuple[VariantCheck, list[str]]]
) -> dict:
    """The contents of ``verify.json``; ``results`` has each variant with its problems."""
    kinds = [name.partition(" ")[0] for name in rows.names]
    return {
        "rows": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "variants": {
            verified.precision: _report_variant(verified, problems, folder)
            for verified, problems in results
        },
        "machine": describe_machine(),
    }


def _report_variant(verified: VariantCheck, problems: list[str], folder: Path) -> dict:
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


def _finite(value: Any) -> Any:
    """Replace numbers that are not finite by null, because JSON cannot write them."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
