"""Cut token sequences into padded batches of about the same number of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Widths are multiples of this. The CPU's matrix kernels work on four rows at a
# time and sum the last one to three rows in another order. Otherwise a message's
# last bits would depend on the number of tokens in its batch.
WIDTH_STEP = 4
GPU_WIDTH_STEP = 16
# Tokens in a batch: the default for a bundle without a measured number, and the candidates that
# a verification measures.
BATCH_TOKENS = {"cpu": 256, "cuda": 16384}
TRIED_BATCH_TOKENS = {"cpu": (128, 256, 512, 1024, 4096), "cuda": (4096, 16384, 65536)}


class InputLimits(Protocol):
    """What a bundle's manifest or a verification says of the model's input."""

    @property
    def max_length(self) -> int: ...  # tokens

    @property
    def fixed_length(self) -> bool: ...  # every input has max_length tokens

    @property
    def pad_id(self) -> int: ...


@dataclass(frozen=True)
class Shapes:
    """The few batch shapes that a GPU gets: for each width one number of rows.

    CUDA chooses a kernel by shape. With one shape for each width, a message's last bits depend
    on its own length and not on its neighbours, and memory is allocated once for each shape.
    """

    tokens: int  # in a batch
    longest: int  # the largest width
    pad_id: int

    @classmethod
    def of(cls, model: InputLimits, tokens: int | None = None) -> "Shapes":
        """The shapes for a model, with ``tokens`` in a batch (None: the default for CUDA)."""
        longest = model.max_length if model.fixed_length else int(round_up(model.max_length))
        return cls(tokens or BATCH_TOKENS["cuda"], longest, model.pad_id)

    def widths(self, lengths: int | np.ndarray) -> np.ndarray:
        """The width for each number of tokens; a length above ``longest`` is its own width."""
        return np.maximum(lengths, np.minimum(round_up(lengths, GPU_WIDTH_STEP), self.longest))

    def fit(self, ids: np.ndarray) -> np.ndarray:
        """Pad ``(B, T)`` ids to the shape of their width."""
        rows, width = ids.shape
        width = int(self.widths(width))
        fitted = np.full((max(rows, self.tokens // width), width), self.pad_id, dtype=np.int64)
        fitted[:rows, : ids.shape[1]] = ids
        return fitted


def cut_batches(
    lengths: Sequence[int] | np.ndarray,
    max_tokens: int,
    fixed_length: int | None = None,
    shapes: Shapes | None = None,
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield ``(rows, width)``: row numbers ``(B,)`` and the padded length of the batch.

    Rows are sorted by length, equal lengths in their original order, so that
    there is little padding. A batch has at most ``max_tokens`` tokens, padding
    included, or one row. Every row is in exactly one batch.

    >>> [(rows.tolist(), width) for rows, width in cut_batches([9, 1, 3], 16)]
    [([1, 2], 4), ([0], 12)]
    """
    tokens = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(tokens, kind="stable")
    if not len(order):
        return
    if fixed_length:
        widths = np.full(len(order), fixed_length)
    elif shapes:
        widths = shapes.widths(round_up(tokens[order]))
    else:
        widths = round_up(tokens[order])
    # Consecutive rows of one width are a run. So a batch takes a step or two, not one a row.
    ends = np.append(np.flatnonzero(np.diff(widths)) + 1, len(order))
    runs = [(int(end), int(widths[end - 1])) for end in ends]
    start = run = 0
    while start < len(order):
        stop, width, following = start + 1, runs[run][1], run
        for end, next_width in runs[run:]:
            reach = min(end, start + max_tokens // next_width)
            if reach > stop:
                stop, width = reach, next_width
            if stop < end:
                break
            following += 1
        yield order[start:stop], width
        start, run = stop, following


def round_up(lengths: int | np.ndarray, step: int = WIDTH_STEP) -> np.ndarray:
    """The next multiple of ``step`` for each number of tokens, at least ``step``."""
    return np.maximum(1, -(-lengths // step)) * step


def pad_batch(sequences: Sequence[Sequence[int]], width: int, pad_id: int) -> np.ndarray:
    """``(B, width)`` int64, padded on the right; no sequence may be longer than ``width``."""
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return ids
