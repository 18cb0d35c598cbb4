"""Scores of a classifier on a labelled set, with 95 % intervals.

N messages, K classes. An undefined figure, such as the precision of a class that
was never predicted, is None and never 0.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from batch.errors import InternalError
from batch.report.intervals import wilson

MISSING = "–"


def score(
    labels: np.ndarray, predicted: np.ndarray, ranking: np.ndarray, positive: int | None
) -> dict:
    """Every figure of one labelled set; the dict can be written as JSON.

    Args:
        labels: ``(N,)`` int, the true class numbers.
        predicted: ``(N,)`` int, the class numbers that the classifier gave.
        ranking: ``(N, K)`` float, probabilities, or any numbers that are higher the more
            probable a class is. Only the AUC uses them.
        positive: the class that precision, recall, F1, false positive rate and AUC are
            about. None, or more than two classes: the mean over the classes (macro).

    Returns:
        ``messages``, ``accuracy``, ``precision``, ``recall``, ``f1``,
        ``false_positive_rate``, ``auc``, ``recall_per_class`` (K), ``confusion``
        (K x K counts; a row is a true class, a column a predicted one), and
        ``intervals``: [low, high] under the same names, for those that are
        proportions of messages. A macro mean, F1 and AUC are not proportions, so they
        have no interval. Undefined figures and their intervals are None.

    Raises:
        ValueError: no messages, or shapes that do not fit.
        InternalError: a number of ``ranking`` is not finite.
    """
    labels, predicted, ranking = map(np.asarray, (labels, predicted, ranking))
    _check_arrays(labels, predicted, ranking)
    classes = range(ranking.shape[1])
    confusion = confusion_matrix(labels, predicted, labels=classes)
    per_class = _score_classes(labels, predicted, ranking, confusion)
    hits = int(confusion.trace())
    intervals = {
        "accuracy": _interval(hits, len(labels)),
        "recall_per_class": [_interval(confusion[k, k], confusion[k].sum()) for k in classes],
    }
    if positive is not None and len(classes) == 2:
        figures = {name: _or_none(values[positive]) for name, values in per_class.items()}
        intervals |= _positive_intervals(confusion, positive)
    else:
        figures = {name: _mean_of_defined(values) for name, values in per_class.items()}
    return {
        "messages": len(labels),
        "accuracy": hits / len(labels),
        **figures,
        "recall_per_class": [_or_none(value) for value in per_class["recall"]],
        "confusion": confusion.tolist(),
        "intervals": intervals,
    }


def _check_arrays(labels: np.ndarray, predicted: np.ndarray, ranking: np.ndarray) -> None:
    if not len(labels):
        raise ValueError("no messages to score")
    if ranking.ndim != 2 or not len(labels) == len(predicted) == len(ranking):
        raise ValueError(
            f"labels {labels.shape}, predictions {predicted.shape} and scores {ranking.shape} "
            "do not fit"
        )
    is_bad = ~np.isfinite(ranking).all(axis=1)
    if is_bad.any():
        raise InternalError(f"the score of message {is_bad.argmax() + 1} is not a number")


def _score_classes(
    labels: np.ndarray, predicted: np.ndarray, ranking: np.ndarray, confusion: np.ndarray
) -> dict[str, Sequence[float]]:
    """Each figure for every class against the rest, ``(K,)``; NaN where it is undefined."""
    classes = range(len(confusion))
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    false_positives = confusion.sum(axis=0) - confusion.diagonal()
    negatives = len(labels) - confusion.sum(axis=1)
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "false_positive_rate": [_ratio(false_positives[k], negatives[k]) for k in classes],
        "auc": [_area(labels == k, ranking[:, k]) for k in classes],
    }


def _positive_intervals(confusion: np.ndarray, positive: int) -> dict[str, list[float] | None]:
    hits = confusion[positive, positive]
    found, real = confusion[:, positive].sum(), confusion[positive].sum()
    return {
        "precision": _interval(hits, found),
        "recall": _interval(hits, real),
        "false_positive_rate": _interval(found - hits, confusion.sum() - real),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _area(is_positive: np.ndarray, ranking: np.ndarray) -> float:
    if is_positive.all() or not is_positive.any():
        return math.nan
    return roc_auc_score(is_positive, ranking)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean_of_defined(values: Iterable[float]) -> float | None:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else None


def _interval(successes: int, n: int) -> list[float] | None:
    return list(wilson(int(successes), int(n))) if n else None


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15
) -> float:
    """The mean difference between confidence and accuracy, from 0 (calibrated) to 1.

    A message's confidence is the probability of its most probable class. Messages are
    sorted by it into ``bins`` intervals of equal width, closed on the right. The result is
    the mean over the intervals of |mean confidence - accuracy|, each weighted by its
    number of messages. ``(N, K)`` float, ``(N,)`` int. Source: Guo et al. 2017, equation 3.

    Raises:
        ValueError: no messages.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if not len(labels):
        raise ValueError("no messages to score")
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(number, weights=confidence - is_right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def format_scores(scores: dict[str, dict]) -> list[str]:
    """The lines of an aligned Markdown table with a row for each name.

    The values are dicts of :func:`score`.
    """
    header = [
        "model", "messages", "accuracy [95 %]", "precision", "recall", "F1", "FPR", "AUC",
    ]  # fmt: skip
    rows = [header]
    for name, figures in scores.items():
        low, high = figures["intervals"]["accuracy"]
        rows.append(
            [
                name.replace("|", "\\|"),
                f"{figures['messages']:,}",
                f"{_percent(figures['accuracy'])} [{100 * low:.2f}, {100 * high:.2f}]",
                *(_percent(figures[key]) for key in ("precision", "recall", "f1")),
                _percent(figures["false_positive_rate"]),
                MISSING if figures["auc"] is None else f"{figures['auc']:.4f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_format_row(row, widths) for row in rows]
    rule = [f"{'-' * (width - 1)}:" for width in widths[1:]]
    lines.insert(1, _format_row(["-" * widths[0], *rule], widths))
    return lines


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.2f}%"


def _format_row(cells: list[str], widths: list[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return f"| {' | '.join([first, *rest])} |"
