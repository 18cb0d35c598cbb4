"""Do the rows look like the training data? Label rates, scores and lengths held against it.

The bundle keeps what its held-out messages gave, in the mix of labels that the data had before
any balancing (exporter/reference.py). docs/operations.md says what a flag means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batch.drift.histograms import SCORE_BINS, TOKEN_EDGES, Tally

# Population stability index above which two histograms are commonly taken to differ in earnest
# (Siddiqi, Credit Risk Scorecards, 2006, has 0.1 and 0.25; 0.2 is as common).
PSI_LIMIT = 0.2
# A normal deviate that chance exceeds once in a thousand times: two-sided for a rate,
# one-sided for an index.
RATE_DEVIATE = 3.2905
INDEX_DEVIATE = 3.0902
LEAST_EXPECTED = 10  # messages in a bin; thinner ones are joined: of few, chance makes much


@dataclass(frozen=True)
class Shift:
    """One figure beside its band."""

    what: str  # "scores", "tokens", or "label NAME"
    value: float  # population stability index, or the label's share of the rows
    reference: float  # the training data's share; of an index 0
    low: float
    high: float
    is_out: bool

    def sentence(self) -> str:
        if self.what.startswith("label "):
            return (
                f"drift: {self.value:.2%} are labelled {self.what.removeprefix('label ')}; of the "
                f"training data {self.reference:.2%}, band {self.low:.2%} to {self.high:.2%}"
            )
        noun = {"scores": "scores", "tokens": "lengths in tokens"}[self.what]
        return (
            f"drift: the {noun} are not distributed as the training data's: population stability "
            f"index {self.value:.3f}, band up to {self.high:.3f}"
        )


def find_drift(
    reference: dict, positive_label: str | None, labels: Mapping[str, int], tally: Tally
) -> list[Shift] | None:
    """Compare each label's rate and both histograms with a manifest's ``reference``.

    None if the reference is empty. A figure that cannot be compared is left out: all of them
    without rows, the histograms with few rows, and a histogram with other bins than ours.
    """
    rows = sum(labels.values())
    if not reference:
        return None
    if not rows:
        return []
    effective, rates = reference["effective_messages"], reference["labels"]
    if len(rates) == 2 and positive_label in rates:  # the other label's rate is 1 minus this one
        rates = {positive_label: rates[positive_label]}
    shifts = [
        compare_rate(f"label {name}", labels.get(name, 0), rows, rate, effective)
        for name, rate in rates.items()
    ]
    histograms = {}
    if len(reference["scores"]) == SCORE_BINS:
        histograms["scores"] = tally.scores
    if reference["token_edges"] == list(TOKEN_EDGES):
        histograms["tokens"] = tally.tokens
    for what, counts in histograms.items():
        if found := compare_histogram(what, counts, reference[what], effective):
            shifts.append(found)
    return shifts


def compare_rate(what: str, count: int, rows: int, rate: float, effective: float) -> Shift:
    """A share of N rows against a rate that was found on M messages.

    The band is where a score test (Wilson, Probable inference, 1927) with Yates' correction
    lets the share be, for the variance of a difference, p (1 - p) (1/N + 1/M): that of a small
    input is wide. Half a message more of each kind keeps a rate from being 0 or 1.
    """
    smoothed = (rate * effective + 0.5) / (effective + 1)
    deviation = math.sqrt(smoothed * (1 - smoothed) * (1 / rows + 1 / effective))
    half = RATE_DEVIATE * deviation + 0.5 / rows
    low, high = max(smoothed - half, 0.0), min(smoothed + half, 1.0)
    value = count / rows
    return Shift(what, value, rate, low, high, not low <= value <= high)


def compare_histogram(
    what: str, counts: Sequence[int], shares: Sequence[float], effective: float
) -> Shift | None:
    """Counts of N rows against shares that were found on M messages; None if N is too small.

    The population stability index, sum of (p - q) ln(p / q), is by chance about a chi-square of
    bins - 1 degrees of freedom times (1/N + 1/M) (Yurdakul, Statistical properties of population
    stability index, 2018). The band ends at ``PSI_LIMIT``, or where chance does, if that is more.
    """
    rows = int(sum(counts))
    if not rows:
        return None
    groups = join_bins(shares, LEAST_EXPECTED / min(rows, effective))
    if len(groups) < 2:
        return None
    found = np.add.reduceat(np.asarray(counts, dtype=np.float64), groups)
    wanted = np.add.reduceat(np.asarray(shares, dtype=np.float64), groups) * effective
    # Half a message more in each bin, so that an empty one has a logarithm.
    ours = (found + 0.5) / (rows + 0.5 * len(groups))
    theirs = (wanted + 0.5) / (effective + 0.5 * len(groups))
    value = float(((ours - theirs) * np.log(ours / theirs)).sum())
    chance = _chi_square(len(groups) - 1) * (1 / rows + 1 / effective)
    high = max(PSI_LIMIT, chance)
    return Shift(what, value, 0.0, 0.0, high, value > high)


def join_bins(shares: Sequence[float], least: float) -> list[int]:
    """Where groups of neighbouring bins begin, each with a share of at least ``least``."""
    groups, held = [0], 0.0
    for number, share in enumerate(shares):
        if held >= least:
            groups.append(number)
            held = 0.0
        held += share
    return groups if held >= least else groups[:-1] or [0]


def _chi_square(freedom: int) -> float:
    """What a chi-square exceeds once in a thousand times (Wilson and Hilferty, 1931)."""
    ninth = 2 / (9 * freedom)
    return freedom * (1 - ninth + INDEX_DEVIATE * math.sqrt(ninth)) ** 3
