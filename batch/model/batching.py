"""Cut token sequences into padded batches of about the same number of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Widths are multiples of this. The CPU's matrix kernels work on four rows at a
# time and sum a rest of three in another order, so a message's last bits would
# depend on how many tokens stand in its batch.
WIDTH_STEP = 4
GPU_WIDTH_STEP = 16
# Tokens of a batch: what a bundle without a measured figure gets, and what a verification tries.
BATCH_TOKENS = {"cpu": 256, "cuda": 16384}
TRIED_BATCH_TOKENS = {"cpu": (128, 256, 512, 1024), "cuda": (4096, 16384, 65536)}


@dataclass(frozen=True)
class Shapes:
    """The few shapes that a GPU gets: widths a step apart, each with the rows that fill it.

    A kernel is chosen by shape, so with one shape a width a message's last bits depend on its
    own length and not on its neighbours, and memory is laid out once for each.
    """

    tokens: int  # of a batch
    longest: int  # the widest, a multiple of ``WIDTH_STEP``
    pad_id: int

    @classmethod
    def of(cls, model, tokens: int | None = None) -> "Shapes":
        """For a model by its ``max_length``, ``fixed_length`` and ``pad_id``."""
        longest = model.max_length if model.fixed_length else int(round_up(model.max_length))
        return cls(tokens or BATCH_TOKENS["cuda"], longest, model.pad_id)

    def widths(self, lengths):
        """Those of messages of so many tokens; none is cut that is longer than the longest."""
        return np.maximum(lengths, np.minimum(round_up(lengths, GPU_WIDTH_STEP), self.longest))

    def fit(self, ids: np.ndarray) -> np.ndarray:
        """``(B, T)`` ids, padded to the shape that they have a place in."""
        rows, width = ids.shape
        width = int(self.widths(width))
        fitted = np.full((max(rows, self.tokens // width), width), self.pad_id, dtype=np.int64)
        fitted[:rows, : ids.shape[1]] = ids
        return fitted


def cut_batches(
    lengths: Sequence[int],
    max_tokens: int,
    fixed_length: int | None = None,
    shapes: Shapes | None = None,
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield ``(rows, width)``: row numbers ``(B,)`` and the padded length of the batch.

    Rows are taken in order of length, equal lengths in their own order, so
    that little is padded; each batch has at most ``max_tokens`` tokens, padding
    counted, or one row. Every row comes exactly once.

    >>> [(rows.tolist(), width) for rows, width in cut_batches([9, 1, 3], 16)]
    [([1, 2], 4), ([0], 12)]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    if fixed_length:
        widths = np.full(len(order), fixed_length)
    elif shapes:
        widths = shapes.widths(round_up(lengths[order]))
    else:
        widths = round_up(lengths[order])
    # Rows of one width are a run; a batch then costs a step or two, not one for each row.
    ends = np.append(np.flatnonzero(np.diff(widths)) + 1, len(order)) if len(order) else []
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


def round_up(lengths, step: int = WIDTH_STEP):
    """Widths of messages of so many tokens: the next multiple of ``step``, at least one."""
    return np.maximum(1, -(-lengths // step)) * step


def pad_batch(sequences: Sequence[Sequence[int]], width: int, pad_id: int) -> np.ndarray:
    """``(B, width)`` int64, padded on the right; nothing may be longer than ``width``."""
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return ids
