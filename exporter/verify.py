"""Compare ONNX Runtime with PyTorch, message by message.

N messages, K classes, B messages a batch. PyTorch's side is fp32 on the CPU, every
message padded to max_length: the classifier as it was trained.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from batch.errors import SpamBatchError
from batch.model.batching import (
    TRIED_BATCH_TOKENS,
    Shapes,
    cut_batches,
    pad_batch,
    round_up,
)
from batch.model.decision import Decision
from batch.model.inference import InferenceSession
from trainer.model.gpt2 import GPT2Classifier

# Largest difference of a logit from PyTorch's, by precision and provider; of reduced
# precisions as a share of the largest logit of all, if that is above 1. fp32 on a CPU differs
# by the order of sums alone (`make export` prints it). CUDA's has TF32 off
# (batch/model/inference.py).
TOLERANCES = {
    ("fp32", "cpu"): 1e-4,
    ("fp32", "cuda"): 1e-3,
    ("int8", "cpu"): 0.25,
    ("int8", "cuda"): 0.25,
    ("fp16", "cpu"): 0.02,
    ("fp16", "cuda"): 0.02,
    ("bf16", "cpu"): 0.1,
    ("bf16", "cuda"): 0.1,
}
# Largest difference between a message alone and in any batch. CUDA picks another kernel
# for another shape, so there it is bounded and not zero.
BATCH_VARIANCE = {"cpu": 0.0, "cuda": 1e-3}
BATCH_SIZES = (1, 2, 7, 64)


@dataclass(frozen=True)
class Rows:
    """The N messages of a check and what PyTorch says of them."""

    names: list[str]  # such as "test message 17"
    sequences: list[list[int]]  # token ids, cut to max_length
    logits: np.ndarray  # (N, K) float32
    decision: Decision
    max_length: int
    pad_id: int
    fixed_length: bool


@dataclass(frozen=True)
class Worst:
    """One figure's largest value, and where."""

    value: float
    row: str
    ours: list[float] = field(default_factory=list)  # ONNX Runtime's
    theirs: list[float] = field(default_factory=list)  # PyTorch's, or those of the row alone
    where: str = ""  # the batch


@dataclass(frozen=True)
class Check:
    """One variant on one provider against PyTorch, over all rows and batches."""

    precision: str
    device: str
    rows: int
    batches: list[str]  # what was run, such as "64 rows, own width"
    tolerance: float
    logit: Worst
    logit_p99: float  # 99th percentile of the rows' largest differences
    probability: Worst
    labels_differ: list[dict]  # row, margin: PyTorch's distance from another label
    batch_variance: Worst
    batch_tokens: int  # of those tried, the fastest
    rows_per_second: float  # with it

    def problems(self) -> list[str]:
        """What does not hold, each naming a row; empty if all holds."""
        found = []
        if not self.logit.value <= self.tolerance:
            found.append(
                f"the logits of {self.logit.row} differ by {self.logit.value:.3g}, more than "
                f"{self.tolerance:.3g} ({self.logit.where}): ONNX Runtime gives "
                f"{_rounded(self.logit.ours)}, PyTorch {_rounded(self.logit.theirs)}"
            )
        if self.precision == "fp32" and self.labels_differ:
            found.append(
                f"{len(self.labels_differ)} labels differ, the first that of "
                f"{self.labels_differ[0]['row']}"
            )
        variance, allowed = self.batch_variance, BATCH_VARIANCE[self.device]
        if not variance.value <= allowed:
            found.append(
                f"the logits of {variance.row} differ by {variance.value:.3g} between alone and "
                f"{variance.where}, more than {allowed:g}"
            )
        return found


def torch_logits(
    model: GPT2Classifier, sequences: Sequence[Sequence[int]], max_length: int, batch_size: int = 32
) -> np.ndarray:
    """PyTorch's logits ``(N, K)`` float32, every message padded to ``max_length``."""
    model.eval()
    logits = []
    with torch.no_grad():
        for start in range(0, len(sequences), batch_size):
            ids = pad_batch(sequences[start : start + batch_size], max_length, model.config.pad_id)
            logits.append(model(torch.from_numpy(ids)).numpy())
    return np.concatenate(logits)


def _arrangements(rows: Rows) -> Iterator[tuple[str, list[tuple[np.ndarray, int]]]]:
    """Ways to cut the rows into batches: a name, and row numbers and width of each batch.

    Each batch size has a ragged tail. A graph with a free length is run at each batch's own
    width and at max_length, a tied one at max_length only.
    """
    lengths = [len(sequence) for sequence in rows.sequences]
    numbers = np.arange(len(lengths))
    fixed = rows.max_length if rows.fixed_length else None
    for size in BATCH_SIZES:
        parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        width = "width of the model" if fixed else "own width"
        yield (
            f"{_rows(size)}, {width}",
            [(part, fixed or round_up(max(lengths[row] for row in part))) for part in parts],
        )
    if not fixed:
        widest = int(round_up(rows.max_length))
        yield f"{_rows(size)}, {widest} tokens wide", [(part, widest) for part in parts]


def _runner_batches(rows: Rows, session: InferenceSession) -> Iterator[tuple[int, str, list]]:
    """As spam-batch cuts them: tokens of a batch, and what :func:`_arrangements` yields."""
    lengths = [len(sequence) for sequence in rows.sequences]
    fixed = rows.max_length if rows.fixed_length else None
    for tokens in TRIED_BATCH_TOKENS[session.device]:
        batches = cut_batches(lengths, tokens, fixed, session.shapes)
        yield tokens, f"batches of {tokens} tokens", list(batches)


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def run_batches(
    session: InferenceSession, rows: Rows, batches: Sequence[tuple[np.ndarray, int]]
) -> np.ndarray:
    """Logits ``(N, K)`` of all rows, in the batches given."""
    logits = np.empty_like(rows.logits)
    for numbers, width in batches:
        ids = pad_batch([rows.sequences[row] for row in numbers], width, rows.pad_id)
        logits[numbers] = session.run(ids, check_finite=False)
    return logits


def check_variant(session: InferenceSession, rows: Rows, precision: str, progress) -> Check:
    """Run every row in every arrangement; ``progress`` wraps the list of them, as tqdm does."""
    tolerance = TOLERANCES[precision, session.device]
    if precision != "fp32":
        tolerance *= max(1.0, float(np.abs(rows.logits).max()))
    alone, ours, names, seconds = None, [], [], {}
    variance = Worst(-1.0, "")
    proofs = [(None, name, batches) for name, batches in _arrangements(rows)]
    for tokens, name, batches in progress([*proofs, *_runner_batches(rows, session)]):
        if tokens and session.shapes:
            session.shapes = Shapes.of(rows, tokens)
        start = time.perf_counter()
        logits = run_batches(session, rows, batches)
        if tokens:
            seconds[tokens] = time.perf_counter() - start
        alone = logits if alone is None else alone  # one row a batch comes first
        variance = max(variance, _worst(rows, logits, alone, name), key=lambda w: w.value)
        ours.append(logits)
        names.append(name)
    worst = max(
        (_worst(rows, logits, rows.logits, name) for name, logits in zip(names, ours, strict=True)),
        key=lambda w: w.value,
    )
    every = np.stack([_differences(logits, rows.logits) for logits in ours])  # (runs, N)
    labels, probability = _compare_decisions(rows, ours)
    fastest = min(seconds, key=seconds.__getitem__)
    return Check(
        precision=precision,
        device=session.device,
        rows=len(rows.names),
        batches=names,
        tolerance=tolerance,
        logit=worst,
        logit_p99=float(np.percentile(every.max(axis=0), 99, method="higher")),
        probability=probability,
        labels_differ=labels,
        batch_variance=variance,
        batch_tokens=fastest,
        rows_per_second=round(len(rows.names) / seconds[fastest], 1),
    )


def _differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The largest difference of each row; infinite where either is not a number."""
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = np.abs(ours.astype(np.float64) - theirs)
    return np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(axis=1)


def _worst(rows: Rows, ours: np.ndarray, theirs: np.ndarray, where: str) -> Worst:
    difference = _differences(ours, theirs)
    row = int(difference.argmax())
    return Worst(
        float(difference[row]), rows.names[row], ours[row].tolist(), theirs[row].tolist(), where
    )


def _compare_decisions(rows: Rows, ours: list[np.ndarray]) -> tuple[list[dict], Worst]:
    """Rows whose label differs in any arrangement, and the worst probability."""
    decision = rows.decision
    expected, _, probabilities = decision.decide(rows.logits)
    margins = decision.margins(rows.logits)
    differ, worst = set(), Worst(-1.0, "")
    for logits in ours:
        with np.errstate(all="ignore"):  # a logit that is not a number is found elsewhere
            found, _, ours_probabilities = decision.decide(logits)
        differ.update(np.nonzero(found != expected)[0].tolist())
        worst = max(
            worst, _worst(rows, ours_probabilities, probabilities, ""), key=lambda w: w.value
        )
    labels = [{"row": rows.names[row], "margin": float(margins[row])} for row in sorted(differ)]
    return labels, worst


def _rounded(values: list[float]) -> list[float]:
    return np.round(values, 6).tolist()


class VerificationError(SpamBatchError):
    """ONNX Runtime does not say what PyTorch says."""

    exit_code = 78
