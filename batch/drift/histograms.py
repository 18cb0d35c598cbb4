"""Histograms of the rows: scores, lengths in tokens, and how many texts differ.

They are added up window by window and stay small for any input. They depend on the rows alone,
so a run that was interrupted and resumed ends with the same numbers as one that was not.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SCORE_BINS = 20  # of equal width, from 0 to 1
# Number of tokens at which each bin begins; the last bin has no end.
TOKEN_EDGES = (
    0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024
)  # fmt: skip
# How many hashes are kept to count the texts that differ. The count is exact up to this number;
# beyond, its standard error is 0.8 %, 1 / sqrt(KEPT - 2). Bar-Yossef et al., Counting distinct
# elements in a data stream (2002).
KEPT = 1 << 14
_HASHES = 2.0**64


@dataclass(frozen=True)
class Histograms:
    """Histograms of N rows, and the smallest hashes of their texts."""

    scores: tuple[int, ...] = (0,) * SCORE_BINS  # rows per bin
    tokens: tuple[int, ...] = (0,) * len(TOKEN_EDGES)  # rows per bin
    smallest: bytes = b""  # the smallest different hashes: uint64, little-endian, sorted

    @classmethod
    def from_json(cls, values: dict) -> "Histograms":
        """The inverse of ``dataclasses.asdict`` with :func:`encode_bytes`.

        Raises:
            KeyError, ValueError: the values are not those of histograms.
        """
        smallest = base64.b64decode(values["smallest"], validate=True)
        return cls(tuple(values["scores"]), tuple(values["tokens"]), smallest)

    def add(self, scores: np.ndarray, tokens: np.ndarray, texts: Sequence[bytes]) -> "Histograms":
        """With N more rows: ``(N,)`` scores, ``(N,)`` numbers of tokens, and N texts."""
        return Histograms(
            _add(self.scores, count_scores(scores)),
            _add(self.tokens, count_tokens(tokens)),
            _merge(self._hashes(), hash_texts(texts)).tobytes(),
        )

    def merge(self, other: "Histograms") -> "Histograms":
        """The histograms of both inputs together."""
        return Histograms(
            _add(self.scores, other.scores),
            _add(self.tokens, other.tokens),
            _merge(self._hashes(), other._hashes()).tobytes(),
        )

    def _hashes(self) -> np.ndarray:
        return np.frombuffer(self.smallest, dtype="<u8")

    @property
    def distinct(self) -> int:
        """How many texts differ: exact below ``KEPT``, else an estimate."""
        found = self._hashes()
        if len(found) < KEPT:
            return len(found)
        return round((KEPT - 1) / ((float(found[-1]) + 1) / _HASHES))


def encode_bytes(value: bytes) -> str:
    """``smallest`` for JSON. Only a checkpoint needs it: for each window it cost 0.3 µs a row."""
    return base64.b64encode(value).decode("ascii")


def count_scores(scores: np.ndarray) -> np.ndarray:
    """Rows per bin, ``(SCORE_BINS,)`` int64, of ``(N,)`` scores rounded to six digits."""
    millionths = np.rint(np.asarray(scores) * 1_000_000).astype(np.int64)
    bins = np.minimum(millionths // (1_000_000 // SCORE_BINS), SCORE_BINS - 1)
    return np.bincount(bins, minlength=SCORE_BINS)


def count_tokens(tokens: np.ndarray) -> np.ndarray:
    """Rows per bin, ``(len(TOKEN_EDGES),)`` int64, of ``(N,)`` numbers of tokens."""
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


def _add(before: Sequence[int], more: np.ndarray | Sequence[int]) -> tuple[int, ...]:
    return tuple((np.asarray(before, dtype=np.int64) + more).tolist())


def _merge(before: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The ``KEPT`` smallest hashes of both; ``before`` is sorted, without repetitions."""
    if len(before) == KEPT:
        more = more[more < before[-1]]
    more = np.unique(more)
    places = np.searchsorted(before, more)
    is_new = np.ones(len(more), dtype=bool)
    inside = places < len(before)
    is_new[inside] = before[places[inside]] != more[inside]
    return np.insert(before, places[is_new], more[is_new])[:KEPT].astype("<u8")
