"""Cut token sequences into padded batches of about the same number of tokens."""

from collections.abc import Iterator, Sequence

import numpy as np

# Widths are multiples of this. The CPU's matrix kernels work on four rows at a
# time and sum a rest of three in another order, so a message's last bits would
# depend on how many tokens stand in its batch.
WIDTH_STEP = 4


def cut_batches(
    lengths: Sequence[int], max_tokens: int, fixed_length: int | None = None
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield ``(rows, width)``: row numbers ``(B,)`` and the padded length of the batch.

    Rows are taken in order of length, equal lengths in their own order, so
    that little is padded; each batch has at most ``max_tokens`` tokens, padding
    counted, or one row. Every row comes exactly once.

    >>> [(rows.tolist(), width) for rows, width in cut_batches([9, 1, 3], 16)]
    [([1, 2], 4), ([0], 12)]
    """
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        stop, width = start, 0
        while stop < len(order):
            next_width = fixed_length or round_up(lengths[order[stop]])
            if stop > start and next_width * (stop + 1 - start) > max_tokens:
                break
            stop, width = stop + 1, next_width
        yield order[start:stop], width
        start = stop


def round_up(length: int) -> int:
    """The width of a message of ``length`` tokens: the next multiple of 4, at least 4."""
    return max(1, -(-length // WIDTH_STEP)) * WIDTH_STEP


def pad_batch(sequences: Sequence[Sequence[int]], width: int, pad_id: int) -> np.ndarray:
    """``(B, width)`` int64, padded on the right; nothing may be longer than ``width``."""
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return ids
