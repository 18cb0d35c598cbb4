"""What is read of a message of more than ``max_length`` tokens: its head, its tail, or all of it.

``head`` is the first ``max_length`` tokens, as in training. ``tail`` is the last ones.
``windows`` are all, in windows of ``max_length`` that overlap by half; the one with the
highest score decides. Shorter messages are read whole in each mode.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from batch.model.tokenizer import LONGEST_TOKEN, TokenBatch, Tokenizer

HEAD, TAIL, WINDOWS = MODES = ("head", "tail", "windows")
MAX_WINDOWS = 64  # of a message, from its start; bounds what one message may cost
TAIL_REACH = 1 << 16  # characters in which a word's end is looked for; bounds it, too
NO_LIMIT = 1 << 40  # tokens

# In a text that is turned round: white space behind the end of a word. Not all of what
# Unicode calls white space, but nothing that it does not.
_END_OF_WORD = re.compile("[ \t\r\n\u3000](?=\\S)")


def count_read(long: str, max_length: int) -> int:
    """Tokens of a message that are read at most."""
    step = window_step(max_length)
    return max_length + (MAX_WINDOWS - 1) * step if long == WINDOWS else max_length


def window_step(max_length: int) -> int:
    """Tokens from one window's start to the next one's."""
    return max(1, max_length // 2)


def encode_long(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int, long: str
) -> TokenBatch:
    """The tokens of N texts that are read; ``truncated`` are those that have more."""
    if long != TAIL:
        return tokenizer.encode_batch(texts, count_read(long, max_length))
    ends = [sufficient_suffix(text, max_length + 1) for text in texts]
    whole = tokenizer.encode_batch(ends, NO_LIMIT)
    before = np.maximum(whole.lengths - max_length, 0)
    return TokenBatch(whole.ids, whole.starts + before, whole.lengths - before, before > 0)


def sufficient_suffix(text: str, tokens: int) -> str:
    """A suffix of ``text`` whose last ``tokens`` token ids are those of the whole.

    Where white space follows a word a piece ends (see ``sufficient_prefix``), and what
    stands before a piece does not change its ids. As no token is longer than
    :data:`LONGEST_TOKEN` bytes, the last such place with that many characters a token
    behind it leaves enough of them.

    Without one in :data:`TAIL_REACH` characters the text is cut there: to find out how such
    a run merges it would have to be encoded from its beginning, which may be megabytes away.
    """
    enough = tokens * LONGEST_TOKEN
    if len(text) <= enough + TAIL_REACH:
        return text
    start = len(text) - enough - TAIL_REACH
    match = _END_OF_WORD.search(text[start : start + TAIL_REACH][::-1])
    return text[start + TAIL_REACH - match.end() if match else start :]


def window_logits(
    run: Callable[[TokenBatch], np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    tokens: TokenBatch,
    max_length: int,
) -> np.ndarray:
    """Logits ``(N, K)`` of the window of each of N texts that decides.

    Args:
        run: tokens of W windows -> their logits ``(W, K)``.
        score: logits ``(W, K)`` -> scores ``(W,)``; of equal ones the first window's counts.
    """
    rows, offsets = cut_windows(tokens.lengths, max_length)
    lengths = np.minimum(tokens.lengths[rows], max_length)
    windows = TokenBatch(
        tokens.ids, tokens.starts[rows] + offsets, lengths, np.zeros(len(rows), dtype=bool)
    )
    logits = run(windows)
    by_score = np.lexsort((-score(logits), rows))
    return logits[by_score[np.searchsorted(rows, np.arange(len(tokens)))]]


def cut_windows(lengths: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """The text ``(W,)`` of each window, ascending, and where in it the window starts ``(W,)``.

    The last window of a text ends where the text does.

    >>> cut_windows(np.array([3, 9]), 4)
    (array([0, 1, 1, 1, 1]), array([0, 0, 2, 4, 5]))
    """
    step, spare = window_step(max_length), np.maximum(lengths - max_length, 0)
    counts = 1 - (-spare // step)
    rows = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.minimum(number * step, spare[rows])


def describe_cut(long: str, max_length: int) -> str:
    """How messages were cut, for the summary."""
    last = "their last " if long == TAIL else ""
    return f"cut to {last}{count_read(long, max_length):,} tokens"
