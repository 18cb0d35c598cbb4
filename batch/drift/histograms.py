"""What is counted while rows are written: scores, lengths, different texts.

All of it can be added up window by window, is small whatever the input, and depends on the
rows alone, so that a run which goes on ends with the figures of one that nothing interrupted.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SCORE_BINS = 20  # of equal width, from 0 to 1
# Tokens from which each bin begins; the last one has no end.
TOKEN_EDGES = (
    0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024
)  # fmt: skip
# Hashes kept to tell how many texts differ: exact up to so many, within 0.8 % (one standard
# error, 1 / sqrt(KEPT - 2)) beyond. Bar-Yossef et al., Counting distinct elements in a data
# stream (2002).
KEPT = 1 << 14
_HASHES = 2.0**64


@dataclass(frozen=True)
class Tally:
    """Histograms of N rows, and the smallest hashes of their texts."""

    scores: tuple[int, ...] = (0,) * SCORE_BINS
    tokens: tuple[int, ...] = (0,) * len(TOKEN_EDGES)
    smallest: bytes = b""  # the smallest different hashes: uint64, little-endian, sorted

    @classmethod
    def from_json(cls, values: dict) -> "Tally":
        smallest = base64.b64decode(values["smallest"], validate=True)
        return cls(tuple(values["scores"]), tuple(values["tokens"]), smallest)

    def add(self, scores: np.ndarray, tokens: np.ndarray, texts: Sequence[bytes]) -> "Tally":
        """``(N,)`` scores and token counts, and N texts, more."""
        return Tally(
            _add(self.scores, count_scores(scores)),
            _add(self.tokens, count_tokens(tokens)),
            _merge(self._hashes(), hash_texts(texts)).tobytes(),
        )

    def merge(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(
            _add(self.scores, other.scores),
            _add(self.tokens, other.tokens),
            _merge(self._hashes(), other._hashes()).tobytes(),
        )

    def _hashes(self) -> np.ndarray:
        return np.frombuffer(self.smallest, dtype="<u8")

    @property
    def distinct(self) -> int:
        """How many texts differ: exact up to ``KEPT``, an estimate beyond."""
        found = self._hashes()
        if len(found) < KEPT:
            return len(found)
        return round((KEPT - 1) / ((float(found[-1]) + 1) / _HASHES))


def encode_bytes(value: bytes) -> str:
    """``smallest`` as JSON has it; encoding it for each window cost 0.3 µs a row."""
    return base64.b64encode(value).decode("ascii")


def count_scores(scores: np.ndarray) -> np.ndarray:
    """Scores ``(N,)``, as they are written with six digits, to counts ``(SCORE_BINS,)``."""
    millionths = np.rint(np.asarray(scores) * 1_000_000).astype(np.int64)
    bins = np.minimum(millionths // (1_000_000 // SCORE_BINS), SCORE_BINS - 1)
    return np.bincount(bins, minlength=SCORE_BINS)


def count_tokens(tokens: np.ndarray) -> np.ndarray:
    """Lengths ``(N,)`` to counts, one a bin of ``TOKEN_EDGES``."""
    bins = np.searchsorted(TOKEN_EDGES, tokens, side="right") - 1
    return np.bincount(bins, minlength=len(TOKEN_EDGES))


def hash_texts(texts: Sequence[bytes]) -> np.ndarray:
    """A 64-bit hash of each text, the same on every machine: ``(N,)`` uint64.

    The CRC-32 and the length, spread by the finalizer of splitmix64 (Steele et al., Fast
    splittable pseudorandom number generators, 2014). A real hash function cost 0.6 µs a row.
    """
    sums = np.fromiter(map(zlib.crc32, texts), dtype=np.uint64, count=len(texts))
    lengths = np.fromiter(map(len, texts), dtype=np.uint64, count=len(texts))
    found = (lengths << np.uint64(32)) | sums
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found ^ (found >> np.uint64(31))


def _add(before: Sequence[int], more: Sequence[int]) -> tuple[int, ...]:
    return tuple((np.asarray(before, dtype=np.int64) + more).tolist())


def _merge(before: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The smallest different ones of both; of a full ``before``, at the cost of what is new."""
    if len(before) == KEPT:
        more = more[more < before[-1]]
    more = np.unique(more)
    places = np.searchsorted(before, more)
    is_new = np.ones(len(more), dtype=bool)
    inside = places < len(before)
    is_new[inside] = before[places[inside]] != more[inside]
    return np.insert(before, places[is_new], more[is_new])[:KEPT].astype("<u8")
