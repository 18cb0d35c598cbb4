"""Compare ONNX Runtime with PyTorch, message by message. N messages, K classes."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from batch.errors import SpamBatchError
from batch.model.batching import (
    TRIED_BATCH_TOKENS,
    Shapes,
    cut_batches,
    pad_batch,
    round_up,
)
from batch.model.inference import InferenceSession
from exporter.verification_set import VerificationSet

# The largest difference from PyTorch's logit that passes, by precision and device. For reduced
# precisions it is multiplied by the largest logit of all if that is above 1. fp32 on a CPU
# differs only by the order of sums (`make export` prints the difference). TF32 is off on CUDA
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
# The largest difference between a message alone and in any batch that passes. CUDA picks its
# kernels by shape, so there the difference is not zero.
BATCH_VARIANCE = {"cpu": 0.0, "cuda": 1e-3}
BATCH_SIZES = (1, 2, 7, 64)


class VerificationError(SpamBatchError):
    """ONNX Runtime does not give what PyTorch gives."""

    exit_code = 78


@dataclass(frozen=True)
class Worst:
    """The largest difference of one figure, and where it is."""

    value: float
    row: str
    ours: list[float] = field(default_factory=list)  # ONNX Runtime's
    theirs: list[float] = field(default_factory=list)  # PyTorch's, or those of the row alone
    where: str = ""  # the arrangement


@dataclass(frozen=True)
class ParityCheck:
    """One variant on one device against PyTorch, over all rows and arrangements."""

    precision: str
    device: str
    rows: int
    batches: list[str]  # names of the arrangements
    tolerance: float
    logit: Worst
    logit_p99: float  # 99th percentile of the rows' largest differences
    probability: Worst
    labels_differ: list[dict]  # row, and margin: PyTorch's distance from another label
    batch_variance: Worst  # between a message alone and in a batch
    batch_tokens: int  # tokens of a batch; the fastest of those tried
    rows_per_second: float  # in batches of so many tokens

    def problems(self) -> list[str]:
        """One sentence for each failed check, with the name of a row; empty if all passed."""
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


@dataclass(frozen=True)
class Arrangement:
    """One way to cut all rows into batches."""

    name: str  # such as "64 rows, own width"
    batches: list[tuple[np.ndarray, int]]  # row numbers of each batch, and its width in tokens
    batch_tokens: int | None = None  # set where batches are cut as spam-batch cuts them


def _arrange(rows: VerificationSet, session: InferenceSession) -> list[Arrangement]:
    """Every arrangement in which the rows are run; one row in a batch comes first.

    Each batch size leaves a smaller last batch. A graph with a free length is run at each
    batch's own width and at max_length, a graph with a fixed length at max_length only.
    """
    lengths = [len(sequence) for sequence in rows.sequences]
    fixed = rows.max_length if rows.fixed_length else None
    width = "width of the model" if fixed else "own width"
    found = []
    for size in BATCH_SIZES:
        batches = [
            (part, fixed or round_up(max(lengths[row] for row in part)))
            for part in _cut(len(lengths), size)
        ]
        found.append(Arrangement(f"{_rows(size)}, {width}", batches))
    if not fixed:
        size, widest = BATCH_SIZES[-1], int(round_up(rows.max_length))
        batches = [(part, widest) for part in _cut(len(lengths), size)]
        found.append(Arrangement(f"{_rows(size)}, {widest} tokens wide", batches))
    for tokens in TRIED_BATCH_TOKENS[session.device]:
        batches = list(cut_batches(lengths, tokens, fixed, session.shapes))
        found.append(Arrangement(f"batches of {tokens} tokens", batches, tokens))
    return found


def _cut(count: int, size: int) -> list[np.ndarray]:
    numbers = np.arange(count)
    return [numbers[start : start + size] for start in range(0, count, size)]


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def run_batches(
    session: InferenceSession, rows: VerificationSet, batches: Sequence[tuple[np.ndarray, int]]
) -> np.ndarray:
    """Logits ``(N, K)`` float32 of all rows, run in these batches."""
    logits = np.empty_like(rows.logits)
    for numbers, width in batches:
        ids = pad_batch([rows.sequences[row] for row in numbers], width, rows.pad_id)
        logits[numbers] = session.run(ids, check_finite=False)
    return logits


def check_variant(
    session: InferenceSession,
    rows: VerificationSet,
    precision: str,
    progress: Callable[[list[Arrangement]], Iterable[Arrangement]],
) -> ParityCheck:
    """Run every row in every arrangement; ``progress`` wraps their list, as tqdm does."""
    tolerance = TOLERANCES[precision, session.device]
    if precision != "fp32":
        tolerance *= max(1.0, float(np.abs(rows.logits).max()))
    names: list[str] = []
    ours: list[np.ndarray] = []  # logits in each arrangement
    seconds: dict[int, float] = {}  # by tokens of a batch
    for arrangement in progress(_arrange(rows, session)):
        tokens = arrangement.batch_tokens
        if tokens and session.shapes:
            session.shapes = Shapes.of(rows, tokens)
        start = time.perf_counter()
        ours.append(run_batches(session, rows, arrangement.batches))
        if tokens:
            seconds[tokens] = time.perf_counter() - start
        names.append(arrangement.name)
    every = np.stack([_differences(logits, rows.logits) for logits in ours])  # (runs, N)
    labels_differ, probability = _compare_decisions(rows, ours)
    fastest = min(seconds, key=seconds.__getitem__)
    return ParityCheck(
        precision=precision,
        device=session.device,
        rows=len(rows.names),
        batches=names,
        tolerance=tolerance,
        logit=_worst_of_all(rows, ours, rows.logits, names),
        logit_p99=float(np.percentile(every.max(axis=0), 99, method="higher")),
        probability=probability,
        labels_differ=labels_differ,
        batch_variance=_worst_of_all(rows, ours, ours[0], names),
        batch_tokens=fastest,
        rows_per_second=round(len(rows.names) / seconds[fastest], 1),
    )


def _differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The largest difference of each row; infinite where either is not a number."""
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = np.abs(ours.astype(np.float64) - theirs)
    return np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(axis=1)


def _worst(rows: VerificationSet, ours: np.ndarray, theirs: np.ndarray, where: str) -> Worst:
    difference = _differences(ours, theirs)
    row = int(difference.argmax())
    return Worst(
        float(difference[row]), rows.names[row], ours[row].tolist(), theirs[row].tolist(), where
    )


def _worst_of_all(
    rows: VerificationSet, ours: list[np.ndarray], theirs: np.ndarray, names: Sequence[str]
) -> Worst:
    """The worst of several runs; the first one of equals."""
    found = [_worst(rows, logits, theirs, name) for logits, name in zip(ours, names, strict=True)]
    return max(found, key=lambda worst: worst.value)


def _compare_decisions(rows: VerificationSet, ours: list[np.ndarray]) -> tuple[list[dict], Worst]:
    """The rows whose label differs in any arrangement, and the worst probability."""
    decision = rows.decision
    expected, _, theirs = decision.decide(rows.logits)
    margins = decision.margins(rows.logits)
    differ: set[int] = set()
    probabilities = []
    for logits in ours:
        with np.errstate(all="ignore"):  # logits that are not finite fail the check of logits
            found, _, given = decision.decide(logits)
        differ.update(np.nonzero(found != expected)[0].tolist())
        probabilities.append(given)
    labels = [{"row": rows.names[row], "margin": float(margins[row])} for row in sorted(differ)]
    return labels, _worst_of_all(rows, probabilities, theirs, [""] * len(ours))


def _rounded(values: list[float]) -> list[float]:
    return np.round(values, 6).tolist()
