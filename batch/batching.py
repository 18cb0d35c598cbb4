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
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    widths = np.full(len(order), fixed_length) if fixed_length else round_up(lengths[order])
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


def round_up(lengths):
    """Widths of messages of so many tokens: the next multiple of 4, at least 4."""
    return np.maximum(1, -(-lengths // WIDTH_STEP)) * WIDTH_STEP


def pad_batch(sequences: Sequence[Sequence[int]], width: int, pad_id: int) -> np.ndarray:
    """``(B, width)`` int64, padded on the right; nothing may be longer than ``width``."""
    ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
    return ids
