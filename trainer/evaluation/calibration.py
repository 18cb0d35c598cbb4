"""Calibrate probabilities, and choose a threshold for a budget of false alarms."""

import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest

from batch.errors import InputError, InternalError, UsageError

MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0
PLAIN_THRESHOLD = 0.5  # the most probable of two classes
CLEAR = 0.05  # probability that chance alone moves the threshold, at most


def negative_log_likelihood(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
) -> float:
    """Mean over N messages, in nats: ``(N, K)`` float, ``(N,)`` int."""
    log_probabilities = log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature: dividing the logits by it makes their likelihood largest.

    It is within [0.05, 20], and never worse than 1 on these messages (the validation set).
    If every message is labelled right, the likelihood has no maximum: it grows as the
    temperature falls. Such a set does not tell how often the model errs, so the temperature is
    then 1, which keeps the model's own probabilities. The most probable class does not depend
    on the temperature.

    Args:
        logits: ``(N, K)`` float.
        labels: ``(N,)`` int, the true class numbers.

    Raises:
        ValueError: no messages.
        InternalError: a logit is not finite.

    Source: Guo et al. 2017, section 4.2.
    """
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if not len(labels):
        raise ValueError("no messages to fit the temperature on")
    is_bad = ~np.isfinite(logits).all(axis=1)
    if is_bad.any():
        raise InternalError(f"a logit of validation message {is_bad.argmax() + 1} is not a number")
    if is_separated(logits, labels):
        return 1.0
    return _find_temperature(lambda t: negative_log_likelihood(logits, labels, t))


def fit_temperature_to(logits: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature that brings a student's probabilities closest to its teacher's.

    Closest is the lowest mean cross-entropy; within [0.05, 20], as :func:`fit_temperature`.

    Args:
        logits: ``(N, K)`` float, the student's.
        probabilities: ``(N, K)`` float, the teacher's of the same messages.

    Raises:
        ValueError: no messages.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if not len(logits):
        raise ValueError("no messages to fit the temperature on")

    def cross_entropy(temperature: float) -> float:
        return float(-(probabilities * log_softmax(logits / temperature, axis=1)).sum(1).mean())

    return _find_temperature(cross_entropy)


def _find_temperature(loss: Callable[[float], float]) -> float:
    """The temperature of the lowest loss; 1 if no other is better."""
    # The function is convex in 1/T, so it has one minimum in log T.
    found = minimize_scalar(
        lambda log_t: loss(math.exp(log_t)),
        bounds=(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    if found.fun >= loss(1.0):
        return 1.0
    return float(np.clip(math.exp(found.x), MIN_TEMPERATURE, MAX_TEMPERATURE))


def is_separated(logits: np.ndarray, labels: np.ndarray) -> bool:
    """True if in each of the N messages the true class has the highest logit, without a tie."""
    rows = np.arange(len(labels))
    others = np.array(logits, dtype=np.float64)
    others[rows, labels] = -np.inf
    return bool((logits[rows, labels] > others.max(axis=1)).all())


def parse_share(text: str, option: str) -> float:
    """Parse the value of an option: a share from 0 to 1, as a percentage or a plain number.

    >>> parse_share("0.2%", "--max-ham-blocked"), parse_share("0.002", "--max-ham-blocked")
    (0.002, 0.002)

    Raises:
        UsageError: it is neither, or not from 0 to 1.
    """
    percent = 0.2  # of the example
    try:
        # Decimal: 0.7 / 100 as a float is not 0.007.
        number = Decimal(text.strip().removesuffix("%"))
        share = number.scaleb(-2) if text.strip().endswith("%") else number
        if 0 <= share <= 1:
            return float(share)
        if 1 < number <= 100:
            percent = float(number)  # as it was meant
    except ArithmeticError:  # not a number, or nan
        pass
    raise UsageError(
        f"{option}: {text!r} is not a share from 0 to 1; write {percent:g} % as {percent:g}% or as "
        f"{percent / 100:g}"
    )


def choose_threshold(
    scores: np.ndarray, is_positive: np.ndarray, max_negative_share: float
) -> float:
    """The lowest threshold that at most this share of the negatives reaches.

    The number of negatives allowed is rounded down: 0.2 % of 75 is none. Equal scores are on
    the same side, so fewer than allowed may reach the threshold. All thresholds between two
    neighbouring scores give these messages the same labels. The middle is taken, so that
    rounding on another machine does not change a label. (Above the highest score the neighbour
    is 1.) If all negatives are allowed, the threshold is 0 and every message is positive.

    Args:
        scores: ``(N,)`` float, probabilities of the positive class on the validation set.
        is_positive: ``(N,)`` bool, whether a message belongs to that class.
        max_negative_share: from 0 to 1.

    Raises:
        ValueError: ``max_negative_share`` is not from 0 to 1.
        InputError: there is no negative; or more of them than allowed score 1, so that the
            threshold would be above 1 and no message positive.
    """
    scores, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(is_positive, dtype=bool)
    if not 0 <= max_negative_share <= 1:
        raise ValueError(f"{max_negative_share} is not a share from 0 to 1")
    negatives = np.sort(scores[~is_positive])[::-1]
    if not len(negatives):
        raise InputError(
            "no threshold can be chosen: every validation message belongs to the positive class"
        )
    allowed = math.floor(max_negative_share * len(negatives) + 1e-9)  # 0.29 * 100 is 28.99...
    if allowed >= len(negatives):
        return 0.0
    below = float(negatives[allowed])
    if below >= 1:
        count = int((negatives >= 1).sum())
        raise InputError(
            f"no threshold blocks at most {100 * max_negative_share:g}% of the validation "
            f"messages of other classes: {count} of {len(negatives)} score 1; allow more"
        )
    above = scores[scores > below].min(initial=1.0)
    return max((below + above) / 2, math.nextafter(below, 1.0))


def choose_plain_threshold(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """The threshold with the fewest errors on the validation set if they are clearly fewer.

    It is 0.5 unless the messages whose label another threshold changes are mostly made right: a
    one-sided sign test must reject chance at 5 %, divided by the number of thresholds that were
    tried (Bonferroni). So a small set, or a model whose probabilities are good, keeps 0.5. Of
    equal thresholds the one nearest to 0.5 is taken; each is the middle between two neighbouring
    scores.

    Args:
        scores: ``(N,)`` float, probabilities of the positive class.
        is_positive: ``(N,)`` bool.
    """
    scores, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(is_positive, dtype=bool)
    order = np.argsort(scores, kind="stable")
    ordered, positives = scores[order], is_positive[order]
    # With the first k messages below the threshold: their positives, and the others' negatives.
    errors = np.cumsum(positives) + (~positives).sum() - np.cumsum(~positives)
    cuts = np.flatnonzero(ordered[:-1] < ordered[1:])
    if not len(cuts):
        return PLAIN_THRESHOLD
    middles = (ordered[cuts] + ordered[cuts + 1]) / 2
    best = np.lexsort((np.abs(middles - PLAIN_THRESHOLD), errors[cuts]))[0]
    found = float(middles[best])
    was_right = (scores >= PLAIN_THRESHOLD) == is_positive
    is_right = (scores >= found) == is_positive
    changed = int((was_right != is_right).sum())
    if not changed:
        return PLAIN_THRESHOLD
    test = binomtest(int((is_right & ~was_right).sum()), changed, 0.5, alternative="greater")
    return found if test.pvalue * len(cuts) <= CLEAR else PLAIN_THRESHOLD
