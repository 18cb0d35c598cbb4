"""A cache of logits by text, so that the model runs once for a text that is repeated.

The cache is exact: texts are compared whole, and on a CPU a text's logits are the same bits
in any batch. Two generations bound the memory: when the younger one is full it becomes the
older one, and the texts of the former older one are dropped.
"""

import threading
from collections.abc import Sequence

import numpy as np

GENERATION_BYTES = 16 * 1024 * 1024  # of texts and results in each of the two generations
ENTRY_BYTES = 200  # of a text and its row, without the characters


class _Generation:
    def __init__(self, classes: int):
        self.rows: dict[str, int] = {}
        self.count = 0  # rows in use; a text that was added twice has two, and the last one counts
        self.bytes = 0
        self.logits = np.empty((1024, classes), dtype=np.float32)
        self.tokens = np.empty(1024, dtype=np.int64)
        self.truncated = np.empty(1024, dtype=bool)

    def add(
        self, texts: Sequence[str], logits: np.ndarray, tokens: np.ndarray, truncated: np.ndarray
    ) -> None:
        start, stop = self.count, self.count + len(texts)
        while stop > len(self.tokens):
            size = 2 * len(self.tokens)
            for name in ("logits", "tokens", "truncated"):
                old = getattr(self, name)
                grown = np.empty((size, *old.shape[1:]), dtype=old.dtype)
                grown[:start] = old[:start]
                setattr(self, name, grown)
        self.logits[start:stop] = logits
        self.tokens[start:stop] = tokens
        self.truncated[start:stop] = truncated
        self.count = stop
        # Last, so that another thread that finds a text also finds its results.
        self.rows.update(zip(texts, range(start, stop), strict=True))
        self.bytes += sum(map(len, texts)) + ENTRY_BYTES * len(texts)


class TextCache:
    """Logits ``(K,)`` float32, number of tokens and truncation of earlier texts.

    Threads may share one.
    """

    def __init__(self, classes: int, generation_bytes: int = GENERATION_BYTES):
        self._classes, self._limit = classes, generation_bytes
        self._young, self._old = _Generation(classes), _Generation(classes)
        self._lock = threading.Lock()

    def look_up(self, texts: Sequence[str]) -> tuple[np.ndarray, ...]:
        """Four arrays on N distinct texts: known, logits, tokens, truncated.

        Known is ``(N,)`` bool. The other arrays have zeros in the rows of unknown texts.
        """
        count = len(texts)
        known = np.zeros(count, dtype=bool)
        logits = np.zeros((count, self._classes), dtype=np.float32)
        tokens, truncated = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
        for generation in (self._old, self._young):
            if not generation.rows:
                continue
            rows = np.array([generation.rows.get(text, -1) for text in texts], dtype=np.int64)
            found = rows >= 0
            known |= found
            logits[found] = generation.logits[rows[found]]
            tokens[found] = generation.tokens[rows[found]]
            truncated[found] = generation.truncated[rows[found]]
        return known, logits, tokens, truncated

    def add(
        self, texts: Sequence[str], logits: np.ndarray, tokens: np.ndarray, truncated: np.ndarray
    ) -> None:
        """Keep the results ``(N, K)``, ``(N,)``, ``(N,)`` of N distinct texts."""
        if not texts:
            return
        with self._lock:
            if self._young.bytes > self._limit:
                self._old, self._young = self._young, _Generation(self._classes)
            self._young.add(texts, logits, tokens, truncated)
