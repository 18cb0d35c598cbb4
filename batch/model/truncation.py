"""Truncation: what is read of a message that has more than ``max_length`` tokens.

``head`` reads the first ``max_length`` tokens, as in training. ``tail`` reads the last ones.
``windows`` reads all tokens in windows of ``max_length`` that overlap by half, and the window
with the highest score decides. Shorter messages are read whole in each mode.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from batch.model.tokenizer import LONGEST_TOKEN, TokenBatch, Tokenizer

HEAD, TAIL, WINDOWS = MODES = ("head", "tail", "windows")
MAX_WINDOWS = 64  # of a message, from its start; bounds the cost of one message
TAIL_REACH = 1 << 16  # characters searched for the end of a word; bounds the cost, too
NO_LIMIT = 1 << 40  # tokens

# In a reversed text: white space after the end of a word. A subset of Unicode's white space.
_END_OF_WORD = re.compile("[ \t\r\n\u3000](?=\\S)")


def max_tokens_read(mode: str, max_length: int) -> int:
    """The largest number of tokens that are read of a message."""
    step = window_step(max_length)
    return max_length + (MAX_WINDOWS - 1) * step if mode == WINDOWS else max_length


def window_step(max_length: int) -> int:
    """Tokens from the start of one window to the start of the next."""
    return max(1, max_length // 2)


def encode_truncated(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int, mode: str
) -> TokenBatch:
    """The tokens of N texts that are read in one of :data:`MODES`."""
    if mode != TAIL:
        return tokenizer.encode_batch(texts, max_tokens_read(mode, max_length))
    ends = [sufficient_suffix(text, max_length + 1) for text in texts]
    whole = tokenizer.encode_batch(ends, NO_LIMIT)
    before = np.maximum(whole.lengths - max_length, 0)
    return TokenBatch(whole.ids, whole.starts + before, whole.lengths - before, before > 0)


def sufficient_suffix(text: str, tokens: int) -> str:
    """A suffix of ``text`` whose last ``tokens`` token ids are those of the whole.

    A piece ends where white space follows a word (see ``sufficient_prefix``), and the text
    before a piece does not change its ids. No token is longer than :data:`LONGEST_TOKEN`
    bytes. So the suffix starts at the last such place that is followed by at least
    ``tokens * LONGEST_TOKEN`` characters.

    If there is no such place within :data:`TAIL_REACH` characters, the text is cut there: the
    exact ids would need an encoding of the whole run, which may start megabytes before.
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
    """Logits ``(N, K)`` of the deciding window of each of N texts: the one with the best score.

    Args:
        run: tokens of W windows -> their logits ``(W, K)``.
        score: logits ``(W, K)`` -> scores ``(W,)``; of equal scores the first window decides.
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
    """The text number ``(W,)`` of each window, ascending, and the window's start in it ``(W,)``.

    The last window of a text ends at the end of the text.

    >>> cut_windows(np.array([3, 9]), 4)
    (array([0, 1, 1, 1, 1]), array([0, 0, 2, 4, 5]))
    """
    step, spare = window_step(max_length), np.maximum(lengths - max_length, 0)
    counts = 1 - (-spare // step)
    rows = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.minimum(number * step, spare[rows])


def describe_truncation(mode: str, max_length: int) -> str:
    """How messages were truncated, for the summary."""
    last = "their last " if mode == TAIL else ""
    return f"cut to {last}{max_tokens_read(mode, max_length):,} tokens"
