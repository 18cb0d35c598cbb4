"""What a trained model is worth: calibration, threshold, scores, and the bar to clear."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from batch.errors import UsageError
from batch.model.decision import Band, Decision, softmax
from trainer.data.tensors import EncodedSet, make_loader
from trainer.evaluation.baseline import NAME, baseline_scores
from trainer.evaluation.calibration import choose_threshold, fit_temperature
from trainer.evaluation.scores import expected_calibration_error, predict, score
from trainer.model.gpt2 import GPT2Classifier
from trainer.training.accuracy import set_logits

log = logging.getLogger("trainer")

HELD_OUT = ("validation", "test")
PLAIN_THRESHOLD = 0.5  # where no budget chooses one


@dataclass(frozen=True)
class Outcome:
    """Figures for ``metrics.json`` and one row a held-out message for ``predictions.csv``."""

    metrics: dict
    predictions: pd.DataFrame  # set, row, label, predicted, score, tokens


def check_band(
    band: Band | None, max_blocked: float | None, labels: list[str], positive_label: str | None
) -> None:
    """Refuse a band of unsure scores that the bundle could not have.

    Raises:
        UsageError: it does not go with the labels or the threshold.
    """
    if band is None:
        return
    if max_blocked is not None:
        raise UsageError(
            "--unsure-band and --max-ham-blocked both say from which score on the positive label "
            "is given; choose one"
        )
    decision = Decision(labels, positive_label, PLAIN_THRESHOLD, 1.0, tuple(band))
    if problem := decision.find_problem():
        raise UsageError(problem)


def judge(
    model: GPT2Classifier,
    sets: dict[str, EncodedSet],
    parts: dict[str, pd.DataFrame],
    labels: list[str],
    positive_label: str | None,
    max_blocked: float | None = None,
) -> Outcome:
    """Score the validation and test sets, the SVM beside.

    The temperature is fitted on validation. So is the threshold, if ``max_blocked``
    says what share of the other class's messages may get the positive label; else
    it is 0.5.

    Raises:
        InputError: no threshold keeps to the share.
    """
    positive = labels.index(positive_label) if positive_label in labels else None
    logits = {name: all_logits(model, sets[name]) for name in HELD_OUT}
    truth = {name: sets[name].labels.cpu().numpy() for name in HELD_OUT}
    temperature = fit_temperature(logits["validation"], truth["validation"])
    raw = {name: softmax(values) for name, values in logits.items()}
    calibrated = {name: softmax(values / temperature) for name, values in logits.items()}
    threshold = PLAIN_THRESHOLD
    if max_blocked is not None and positive is not None:
        threshold = choose_threshold(
            calibrated["validation"][:, positive], truth["validation"] == positive, max_blocked
        )
        negatives = int((truth["validation"] != positive).sum())
        log.info(
            "Threshold %.4f: at most %d of %d validation messages of other classes above it%s",
            threshold, int(max_blocked * negatives), negatives,
            "" if max_blocked * negatives >= 1 else "; so few cannot tell shares this small apart",
        )  # fmt: skip
    frames = []
    for name in HELD_OUT:
        shown = calibrated[name].max(axis=1) if positive is None else calibrated[name][:, positive]
        predicted = predict(calibrated[name], positive, threshold)
        frames.append(
            pd.DataFrame(
                {
                    "set": name,
                    "row": np.arange(len(shown)),
                    "label": [labels[number] for number in truth[name]],
                    "predicted": [labels[number] for number in predicted],
                    "score": shown,
                    "tokens": sets[name].lengths.cpu().numpy(),
                }
            )
        )
    metrics = {
        "scores": {
            name: score(truth[name], calibrated[name], positive, threshold) for name in HELD_OUT
        },
        "calibration": {
            "temperature": temperature,
            "ece_before": expected_calibration_error(raw["test"], truth["test"]),
            "ece_after": expected_calibration_error(calibrated["test"], truth["test"]),
        },
        "threshold": {"value": threshold, "budget": max_blocked},
        "baseline": {
            "name": NAME,
            "test": baseline_scores(parts["train"], parts["test"], labels, positive),
        },
    }
    return Outcome(metrics, pd.concat(frames, ignore_index=True))


@torch.no_grad()
def all_logits(model: GPT2Classifier, data: EncodedSet) -> np.ndarray:
    """Logits ``(N, K)`` float64 of a set, in its order."""
    model.eval()
    batches = [set_logits(model, data, rows) for rows in make_loader(len(data), 32, train=False)]
    return torch.cat(batches).double().cpu().numpy()
