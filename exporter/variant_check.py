"""Check one variant of a bundle: against PyTorch, and by the accuracy gate."""

import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from batch.model.batching import BATCH_TOKENS, cut_batches
from batch.model.bundle_files import EXTERNAL_SUFFIX
from batch.reading.fingerprint import hash_file
from exporter.convert.variants import FILES, open_variant
from exporter.gate import Gate, measure_gate
from exporter.machine import describe_machine
from exporter.trained_run import TrainedRun
from exporter.verify import Check, Rows, check_variant, run_batches


@dataclass(frozen=True)
class Verified:
    """What was found out about one variant."""

    precision: str
    check: Check | None  # None of a file that cannot be loaded
    gate: Gate | None  # of a reduced precision
    kept_fp32: list[str]  # layers that its gate did not let go

    def problems(self) -> list[str]:
        return [found for part in (self.check, self.gate) if part for found in part.problems()]


def _logits(
    trained: TrainedRun, numbers: np.ndarray, folder: Path, precision: str, device: str
) -> np.ndarray:
    """``(len(numbers), K)`` of the rows ``numbers``."""
    rows = trained.rows
    lengths = [len(rows.sequences[row]) for row in numbers]
    fixed = rows.max_length if rows.fixed_length else None
    session = open_variant(folder, precision, device, rows)
    cut = cut_batches(lengths, BATCH_TOKENS[session.device], fixed, session.shapes)
    batches = [(numbers[part], width) for part, width in cut]
    return run_batches(session, rows, batches)[numbers]


def gate_of(trained: TrainedRun, folder: Path, precision: str, device: str) -> Gate:
    numbers = trained.labelled.rows
    ours, theirs = (
        _logits(trained, numbers, folder, precision, device),
        trained.rows.logits[numbers],
    )
    return measure_gate(ours, theirs, trained.labelled.classes, trained.decision)


def verify_file(
    trained: TrainedRun, folder: Path, precision: str, device: str, progress: bool
) -> Check:
    bar = partial(
        tqdm, desc=f"checking {precision}", unit="run", disable=None if progress else True
    )
    session = open_variant(folder, precision, device, trained.rows)
    return check_variant(session, trained.rows, precision, bar)


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
