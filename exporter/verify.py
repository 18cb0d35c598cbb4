"""Compare ONNX Runtime with PyTorch, message by message."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from batch.batching import pad_batch, round_up
from batch.inference import InferenceSession
from trainer.model import GPT2Classifier

# Largest difference of a logit that fp32 arithmetic in another order explains; the
# starter's is near 2e-6, as `make export` prints (docs/measurements.md, section "Export").
FP32_TOLERANCE = 1e-4
BATCH_SIZES = (1, 2, 7, 64)


@dataclass(frozen=True)
class Comparison:
    """ONNX Runtime against PyTorch over N messages at one batch size."""

    batch_size: int
    messages: int
    worst: float  # largest difference of a logit
    worst_message: int  # its row number
    worst_ours: list[float]  # logits of ONNX Runtime there
    worst_theirs: list[float]  # logits of PyTorch there
    labels_differ: list[int]  # row numbers
    finite: bool

    def passed(self, tolerance: float) -> bool:
        return self.finite and self.worst <= tolerance and not self.labels_differ

    def to_dict(self) -> dict:
        return asdict(self)


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


def onnx_logits(
    session: InferenceSession,
    sequences: Sequence[Sequence[int]],
    batch_size: int,
    pad_id: int,
    fixed_length: int | None,
) -> np.ndarray:
    """ONNX Runtime's logits ``(N, K)`` in batches of ``batch_size``, the last one ragged.

    Each batch has the length of its longest message, unless the graph is tied
    to ``fixed_length``.
    """
    logits = []
    for start in range(0, len(sequences), batch_size):
        part = sequences[start : start + batch_size]
        width = fixed_length or round_up(max(map(len, part)))
        logits.append(session.run(pad_batch(part, width, pad_id)))
    return np.concatenate(logits)


def compare(ours: np.ndarray, theirs: np.ndarray, batch_size: int) -> Comparison:
    """Compare logits ``(N, K)`` of the same messages."""
    finite = bool(np.isfinite(ours).all() and np.isfinite(theirs).all())
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = np.nan_to_num(np.abs(ours - theirs), nan=np.inf, posinf=np.inf).max(axis=1)
    worst = int(difference.argmax())
    return Comparison(
        batch_size=batch_size,
        messages=len(ours),
        worst=float(difference[worst]),
        worst_message=worst,
        worst_ours=[float(value) for value in ours[worst]],
        worst_theirs=[float(value) for value in theirs[worst]],
        labels_differ=np.nonzero(ours.argmax(axis=1) != theirs.argmax(axis=1))[0].tolist(),
        finite=finite,
    )
