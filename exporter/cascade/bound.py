"""The statistics of a cascade: how often it may err, and the band that is likely to keep that.

The fast model leans to a label, more or less (``Decision.leanings``, weighed by ``weigh``). In a
band around the point where its label changes, the slow model decides; beyond it, the fast one.
The band is chosen on the messages of one half, and fixed. Only then is the other half looked at,
which proves the bound: so its interval is exact, however the band was chosen.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, nbdtr

CONFIDENCE = 0.95
# The band is chosen so that the proof succeeds with this probability.
SUCCESS = 0.9
FAR = 1e9  # no message leans so much; JSON has no infinity
LEAST_WIDENING = 0.005  # share of the messages, at each end; see choose_band


def upper_bound(differ: int, messages: int, confidence: float = CONFIDENCE) -> float:
    """Upper end of the exact one-sided interval for a share, of which ``differ`` were found.

    With this confidence, the true share is at most so large (Clopper and Pearson, The use of
    confidence or fiducial limits, 1934).

    >>> round(upper_bound(0, 2995), 6), round(upper_bound(3, 10_000), 6)
    (0.001, 0.000775)
    """
    if differ >= messages:
        return 1.0
    return float(betaincinv(differ + 1, messages - differ, confidence))


def find_needed(promised: float, confidence: float = CONFIDENCE) -> int:
    """The fewest messages that can prove a share, if none of them differs.

    >>> find_needed(0.001), find_needed(0.01)
    (2995, 299)
    """
    return math.ceil(math.log1p(-confidence) / math.log1p(-promised))


def count_allowed(messages: int, promised: float, confidence: float = CONFIDENCE) -> int:
    """How many of the messages may differ so that the bound is kept; -1 if even none is too many.

    >>> count_allowed(2995, 0.001), count_allowed(2994, 0.001), count_allowed(20_000, 0.001)
    (0, -1, 13)
    """
    allowed = -1
    while upper_bound(allowed + 1, messages, confidence) <= promised:
        allowed += 1
    return allowed


@dataclass(frozen=True)
class Band:
    """The slow model decides if low <= leaning < high."""

    low: float
    high: float
    left: int  # messages of the tuning half that get another label than the slow model's
    asked: int  # messages of the tuning half in the band

    def asks(self, leanings: np.ndarray) -> np.ndarray:
        return (self.low <= leanings) & (leanings < self.high)


def choose_band(
    leanings: np.ndarray, differs: np.ndarray, center: float, allowed: int, proving: int
) -> Band:
    """The band that asks the fewest messages and is likely to leave few enough that differ.

    If the band ends where k messages that differ are left outside at one end, the number that
    the proving half has there is negative binomial: a band that ends at the next such message
    has k + 1 of them from there on, of both halves in any order. The largest k is taken with
    which the proof succeeds with the probability ``SUCCESS``. Where even k = 0 is not enough, as
    with few messages, the band leaves none and is then made wider: at each end it asks twice as
    many, and at least ``LEAST_WIDENING`` of all more.

    Args:
        leanings: ``(N,)`` of the tuning half.
        differs: ``(N,)`` bool, the fast model's label is not the slow one's.
        center: the leaning at which the fast model's label changes; 0 for more than two labels,
            where nothing leans less.
        allowed: messages of the proving half that may differ.
        proving: messages of that half.
    """
    leanings, differs = np.asarray(leanings, dtype=np.float64), np.asarray(differs, dtype=bool)
    below, above = _End(leanings, differs, center, -1), _End(leanings, differs, center, 1)
    ends = 2 if (leanings < center).any() else 1
    share = len(leanings) / (len(leanings) + proving)
    outside, is_sure = 0, nbdtr(allowed, ends, share) >= SUCCESS
    while is_sure and nbdtr(allowed, outside + 1 + ends, share) >= SUCCESS:
        outside += 1
    # Of the messages left outside, some are below and the others above.
    asked = [below.asked(part) + above.asked(outside - part) for part in range(outside + 1)]
    part = int(np.argmin(asked))
    low, high = below.find(part, not is_sure), above.find(outside - part, not is_sure)
    chosen = Band(low, high, 0, 0)
    inside = chosen.asks(leanings)
    return Band(low, high, int((differs & ~inside).sum()), int(inside.sum()))


class _End:
    """One end of the band: the M messages on that side of the center, nearest first."""

    def __init__(self, leanings: np.ndarray, differs: np.ndarray, center: float, sign: int):
        side = leanings < center if sign < 0 else leanings >= center
        order = np.argsort(np.abs(leanings[side] - center), kind="stable")
        self._leanings = leanings[side][order]
        self._differing = np.flatnonzero(differs[side][order])  # places, nearest first
        self._center, self._sign, self._all = center, sign, len(leanings)

    def asked(self, outside: int) -> int:
        """Messages of this side in the band if so many that differ are left outside."""
        inside = len(self._differing) - outside
        return int(self._differing[inside - 1]) + 1 if inside > 0 else 0

    def find(self, outside: int, is_wider: bool) -> float:
        """The leaning at which the band ends: between two messages, so that rounding on another
        machine moves neither."""
        asked, leanings = self.asked(outside), self._leanings
        if is_wider:
            asked += max(asked, math.ceil(LEAST_WIDENING * self._all))
        if not asked:
            return self._center
        if asked >= len(leanings):
            return self._sign * FAR
        inner, outer = float(leanings[asked - 1]), float(leanings[asked])
        end = (inner + outer) / 2
        # The upper end is not in the band, and the inner message is.
        return end if self._sign < 0 or end > inner else math.nextafter(inner, math.inf)


def make_curve(
    leanings: np.ndarray, differs: np.ndarray, center: float, shares: tuple[float, ...]
) -> list[list[float]]:
    """The share that still differs if the least sure share of N messages is asked, for each."""
    order = np.argsort(np.abs(leanings - center), kind="stable")
    wrong = np.asarray(differs, dtype=bool)[order]
    return [
        [share, round(float(wrong[round(share * len(wrong)) :].sum() / len(wrong)), 8)]
        for share in shares
    ]
