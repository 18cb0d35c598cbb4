"""Evaluate a trained model on the held-out sets: calibration, threshold, scores, baseline."""

import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from batch.errors import UsageError
from batch.model.decision import Band, Decision, softmax
from trainer.data.splits import HELD_OUT
from trainer.data.tensors import EncodedSet, make_loader
from trainer.evaluation.agreement import measure_agreement
from trainer.evaluation.baseline import NAME, baseline_scores
from trainer.evaluation.calibration import (
    PLAIN_THRESHOLD,
    choose_plain_threshold,
    choose_threshold,
    fit_temperature,
    fit_temperature_to,
)
from trainer.evaluation.scores import expected_calibration_error, score
from trainer.model.gpt2 import GPT2Classifier
from trainer.training.accuracy import set_logits

log = logging.getLogger("trainer")

SVM_MESSAGES = 50_000  # training messages of the SVM, at most; its memory grows with them


@dataclass(frozen=True)
class HeldOutResult:
    """Figures for ``metrics.json``, and the rows of ``predictions.csv``, one for each message."""

    metrics: dict
    decision: Decision
    predictions: pd.DataFrame  # set, row, label, predicted, score, tokens


def check_band(
    band: Band | None, max_blocked: float | None, labels: list[str], positive_label: str | None
) -> None:
    """Refuse an unsure band that the bundle could not have.

    Raises:
        UsageError: the band does not fit the labels or the threshold.
    """
    if band is None:
        return
    if max_blocked is not None:
        raise UsageError(
            "--unsure-band and --max-ham-blocked both choose the score from which the positive "
            "label is given; give only one of them"
        )
    low, high = band
    decision = Decision(labels, positive_label, PLAIN_THRESHOLD, 1.0, (low, high))
    if problem := decision.find_problem():
        raise UsageError(problem)


def evaluate_held_out(
    model: GPT2Classifier,
    sets: dict[str, EncodedSet],
    parts: dict[str, pd.DataFrame],
    labels: list[str],
    positive_label: str | None,
    max_blocked: float | None = None,
    fit_threshold: bool = False,
    teacher: Decision | None = None,
) -> HeldOutResult:
    """Score the model on the validation and test sets, and the SVM on the test set.

    Args:
        sets: the three sets, encoded; ``parts`` has their messages as text.
        labels: K names in the model's order.
        max_blocked, fit_threshold: see :func:`fit_decision`.
        teacher: the rule of a student's teacher. It becomes the student's, with a temperature
            that is fitted to the teacher's probabilities.

    Raises:
        InputError: no threshold keeps to ``max_blocked``.
    """
    logits = {name: all_logits(model, sets[name]) for name in HELD_OUT}
    truth = {name: sets[name].labels.cpu().numpy() for name in HELD_OUT}
    positive = labels.index(positive_label) if positive_label in labels else None
    if teacher is None:
        decision = fit_decision(
            logits["validation"], truth["validation"], labels, positive, max_blocked, fit_threshold
        )
    else:
        decision = fit_student(logits["validation"], sets["validation"], teacher)
    predicted, scores, probabilities = {}, {}, {}
    for name in HELD_OUT:
        predicted[name], scores[name], probabilities[name] = decision.decide(logits[name])
    metrics = {
        "scores": {
            name: score(truth[name], predicted[name], probabilities[name], positive)
            for name in HELD_OUT
        },
        "calibration": {
            "temperature": decision.temperature,
            "ece_before": expected_calibration_error(softmax(logits["test"]), truth["test"]),
            "ece_after": expected_calibration_error(probabilities["test"], truth["test"]),
        },
        "threshold": {"value": decision.threshold, "budget": max_blocked},
        "baseline": {
            "name": NAME,
            "test": baseline_scores(
                svm_messages(parts["train"]) if teacher else parts["train"],
                parts["test"],
                labels,
                positive,
            ),
        },
    }
    if teacher is not None:
        metrics["agreement"] = measure_agreement(decision, logits["test"], sets["test"])
    rows = [
        _list_predictions(name, labels, truth[name], predicted[name], scores[name], sets[name])
        for name in HELD_OUT
    ]
    return HeldOutResult(metrics, decision, pd.concat(rows, ignore_index=True))


def fit_decision(
    logits: np.ndarray,
    truth: np.ndarray,
    labels: list[str],
    positive: int | None,
    max_blocked: float | None,
    fit_threshold: bool = False,
) -> Decision:
    """Fit temperature and threshold on the validation set: logits ``(N, K)``, classes ``(N,)``.

    The threshold is chosen so that at most the share ``max_blocked`` of the other class's
    messages gets the positive label. Where no share or no positive class is given it is 0.5, or,
    with ``fit_threshold`` and two classes, that of :func:`choose_plain_threshold`.

    Raises:
        InputError: no threshold keeps to the share.
    """
    positive_label = None if positive is None else labels[positive]
    decision = Decision(labels, positive_label, PLAIN_THRESHOLD, fit_temperature(logits, truth))
    if positive is None or (max_blocked is None and (len(labels) > 2 or not fit_threshold)):
        return decision
    is_positive = truth == positive
    scores = decision.probabilities(logits)[:, positive]
    if max_blocked is None:
        threshold = choose_plain_threshold(scores, is_positive)
        if threshold != PLAIN_THRESHOLD:
            wrong = [
                int(((scores >= t) != is_positive).sum()) for t in (threshold, PLAIN_THRESHOLD)
            ]
            log.info(
                "Threshold %.4f: %d of %d validation messages are wrong, %d at 0.5",
                threshold, wrong[0], len(scores), wrong[1],
            )  # fmt: skip
        return replace(decision, threshold=threshold)
    threshold = choose_threshold(scores, is_positive, max_blocked)
    negatives = int((~is_positive).sum())
    log.info(
        "Threshold %.4f: at most %d of %d validation messages of other classes reach it%s",
        threshold, int(max_blocked * negatives), negatives,
        "" if max_blocked * negatives >= 1 else "; they are too few to measure so small a share",
    )  # fmt: skip
    return replace(decision, threshold=threshold)


def fit_student(logits: np.ndarray, data: EncodedSet, teacher: Decision) -> Decision:
    """The teacher's rule without its unsure band, with the temperature of the student.

    Args:
        logits: ``(N, K)`` float, the student's of the validation set ``data``.
    """
    assert data.teacher is not None
    said = ~data.teacher[:, 0].isnan().cpu().numpy()
    probabilities = data.teacher.double().exp().cpu().numpy()
    temperature = 1.0
    if said.any():
        temperature = fit_temperature_to(logits[said], probabilities[said])
    return replace(teacher, temperature=temperature, unsure_band=None)


def svm_messages(train: pd.DataFrame) -> pd.DataFrame:
    """At most SVM_MESSAGES of a training set that may be large, and some of each class."""
    rare = train.groupby("label").head(10)
    return train[(np.arange(len(train)) < SVM_MESSAGES) | train.index.isin(rare.index)]


def _list_predictions(
    name: str,
    labels: list[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    scores: np.ndarray,
    data: EncodedSet,
) -> pd.DataFrame:
    """The rows of ``predictions.csv`` for one set."""
    return pd.DataFrame(
        {
            "set": name,
            "row": np.arange(len(scores)),
            "label": [labels[number] for number in truth],
            "predicted": [labels[number] for number in predicted],
            "score": scores,
            "tokens": data.lengths.cpu().numpy(),
        }
    )


@torch.no_grad()
def all_logits(model: GPT2Classifier, data: EncodedSet) -> np.ndarray:
    """Logits ``(N, K)`` float64 of a set, in its order."""
    model.eval()
    batches = [set_logits(model, data, rows) for rows in make_loader(len(data), 32, train=False)]
    return torch.cat(batches).double().cpu().numpy()
