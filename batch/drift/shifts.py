"""Drift: label rates, scores and lengths of the rows, compared with the training data.

The reference is in the bundle: what the model gave for held-out messages, in the mix of labels
that the data had before any balancing (exporter/reference.py makes it). docs/operations.md
explains what a warning means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from batch.drift.histograms import SCORE_BINS, TOKEN_EDGES, Histograms

# Population stability index above which two histograms commonly count as different (Siddiqi,
# Credit Risk Scorecards, 2006, has 0.1 and 0.25; 0.2 is as common).
PSI_LIMIT = 0.2
# Normal deviates that chance exceeds once in a thousand times: two-sided for a rate, one-sided
# for an index.
RATE_DEVIATE = 3.2905
INDEX_DEVIATE = 3.0902
Range = tuple[float, float]  # from, to
_TRAINING = "the training data"
ASKED = "asked"  # the figure of a cascade: the share of rows that its slow model decided
# From night to night that share moves by more than chance: its band is not narrower than up to
# twice the share of the proof's text, or up to so much more.
ASKED_ROOM = 0.05
LEAST_EXPECTED = 10  # messages in a bin; smaller bins are joined, as chance moves them much


@dataclass(frozen=True)
class Shift:
    """One figure, with its reference and its band."""

    what: str  # "scores", "tokens", "asked", or "label NAME"
    value: float  # population stability index, or the label's share of the rows
    reference: float  # the share in the reference, see find_drift; 0 for an index
    low: float  # of the band
    high: float
    is_out: bool  # value is outside the band

    def sentence(self, text: str | None = None) -> str:
        """The warning for a figure that is out of its band.

        Args:
            text: what the reference was measured on; None: the training data.
        """
        of, whose = (text, f"those of {text}") if text else (_TRAINING, f"{_TRAINING}'s")
        if self.what == ASKED:
            return (
                f"drift: the slow model was asked for {self.value:.2%} of the rows; of the text "
                f"that the bound was measured on {self.reference:.2%}, band up to {self.high:.2%}: "
                "this text is unlike it, and the bound may not hold for it"
            )
        if self.what.startswith("label "):
            return (
                f"drift: {self.value:.2%} are labelled {self.what.removeprefix('label ')}; of "
                f"{of} {self.reference:.2%}, band {self.low:.2%} to {self.high:.2%}"
            )
        noun = {"scores": "scores", "tokens": "lengths in tokens"}[self.what]
        return (
            f"drift: the {noun} are not distributed as {whose}: population stability "
            f"index {self.value:.3f}, band up to {self.high:.3f}"
        )


def find_drift(
    reference: dict,
    score_ranges: Mapping[str, Range],
    threshold: float,
    labels: Mapping[str, int],
    histograms: Histograms,
) -> list[Shift] | None:
    """Compare the rows of a run with the training data.

    Args:
        reference: of the bundle's manifest.
        score_ranges: of the decision of the run. The rates of these labels are compared; if
            it is empty, the rates of all labels.
        threshold: of the bundle's manifest.
        labels: label -> number of rows.
        histograms: of the same rows.

    Returns:
        A shift for each label's rate and for both histograms; None if the bundle has no
        reference. Without rows the list is empty. A histogram is left out if there are too few
        rows, or if the bundle has other bins.

    The reference has the label rates at one threshold. For another threshold, or a band, the
    rate is known as far as the bins of the scores tell it: the band of the shift has both ends,
    and its ``reference`` is the middle.
    """
    rows = sum(labels.values())
    if not reference:
        return None
    if not rows:
        return []
    effective = reference["effective_messages"]
    rates = {name: (rate, rate) for name, rate in reference["labels"].items()}
    if score_ranges:
        rates = find_rates(reference, score_ranges, threshold)
    shifts = [
        compare_rate(f"label {name}", labels.get(name, 0), rows, rate, effective)
        for name, rate in rates.items()
    ]
    compared = {}
    if len(reference["scores"]) == SCORE_BINS:
        compared["scores"] = histograms.scores
    if reference["token_edges"] == list(TOKEN_EDGES):
        compared["tokens"] = histograms.tokens
    for what, counts in compared.items():
        if found := compare_histogram(what, counts, reference[what], effective):
            shifts.append(found)
    return shifts


def find_rates(
    reference: dict, score_ranges: Mapping[str, Range], threshold: float
) -> dict[str, Range]:
    """The least and the largest share of the training data that each label can have had.

    Args:
        threshold: of the bundle's manifest, for a reference that does not have its own.
    """
    threshold, shares = reference.get("threshold", threshold), reference["scores"]
    positive = next(name for name, (_, high) in score_ranges.items() if high > 1)
    known = reference["labels"][positive]  # the share of scores from that threshold on

    def share_from(cut: float) -> Range:
        """The share of scores from ``cut`` on: exact at the edge of a bin."""
        if cut == threshold:
            return known, known
        place = round(min(cut, 1.0) * len(shares), 6)
        first = min(int(place), len(shares) - 1)
        least = sum(shares[math.ceil(place) :])
        most = sum(shares[first:]) if shares else 1.0
        if cut < threshold:
            least = max(least, known)
        else:
            most = min(most, known)
        return min(least, most), most

    rates = {}
    for name, (low, high) in score_ranges.items():
        (least, most), above = share_from(low), share_from(high) if high <= 1 else (0.0, 0.0)
        rates[name] = (max(least - above[1], 0.0), max(most - above[0], 0.0))
    return rates


def compare_rate(what: str, count: int, rows: int, rates: Range, effective: float) -> Shift:
    """Compare the share ``count / rows`` of N rows with a rate that was measured on M messages.

    The rate is known to be between the two ``rates``.

    The band is the one of a score test (Wilson, Probable inference, 1927) with Yates' correction
    and the variance of a difference, p (1 - p) (1/N + 1/M), so a small input has a wide band.
    Half a message more of each kind keeps the rate from being 0 or 1.

    Args:
        what: name of the figure.
        effective: M.
    """
    bands = []
    for rate in rates:
        smoothed = (rate * effective + 0.5) / (effective + 1)
        deviation = math.sqrt(smoothed * (1 - smoothed) * (1 / rows + 1 / effective))
        half = RATE_DEVIATE * deviation + 0.5 / rows
        bands.append((max(smoothed - half, 0.0), min(smoothed + half, 1.0)))
    low, high = bands[0][0], bands[1][1]
    value = count / rows
    return Shift(what, value, sum(rates) / 2, low, high, not low <= value <= high)


def compare_asked(asked: int, rows: int, share: float, messages: float) -> Shift:
    """Compare the share of rows that the slow model decided with the share in the proof's text.

    Only a larger share is out of the band: it ends where :func:`compare_rate` says, and not
    before twice the share or ``ASKED_ROOM`` more than it, whichever is less.

    Args:
        messages: distinct texts that the share was measured on.
    """
    found = compare_rate(ASKED, asked, rows, (share, share), messages)
    high = min(max(found.high, share + min(share, ASKED_ROOM)), 1.0)
    return replace(found, low=0.0, high=high, is_out=found.value > high)


def compare_histogram(
    what: str, counts: Sequence[int], shares: Sequence[float], effective: float
) -> Shift | None:
    """Compare counts of N rows with shares that were measured on M messages.

    The figure is the population stability index, sum of (p - q) ln(p / q). By chance it is about
    a chi-square of bins - 1 degrees of freedom times (1/N + 1/M) (Yurdakul, Statistical properties
    of population stability index, 2018). The band ends at ``PSI_LIMIT`` or, if that is more, at
    the limit of chance. None if N is too small.
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
    """First bins of groups of neighbouring bins, each with a share of at least ``least``."""
    groups, held = [0], 0.0
    for number, share in enumerate(shares):
        if held >= least:
            groups.append(number)
            held = 0.0
        held += share
    return groups if held >= least else groups[:-1] or [0]


def _chi_square(freedom: int) -> float:
    """The value that a chi-square exceeds once in a thousand times (Wilson and Hilferty, 1931)."""
    ninth = 2 / (9 * freedom)
    return freedom * (1 - ninth + INDEX_DEVIATE * math.sqrt(ninth)) ** 3
