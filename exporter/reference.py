"""The bundle's reference: label, score and length shares that spam-batch compares rows with."""

import logging

import numpy as np

from batch.drift.histograms import SCORE_BINS, TOKEN_EDGES, count_scores, count_tokens
from exporter.trained_run import TrainedRun
from trainer.data.sets import read_split
from trainer.data.splits import HELD_OUT
from trainer.huggingface.names import KIND

log = logging.getLogger("exporter")


def make_reference(trained: TrainedRun) -> dict:
    """The ``reference`` of ``bundle.json``; empty if its label counts are not known.

    Held-out sets are often balanced, and real mail is not. So each label's messages are weighted
    to the share that the label had in the data before balancing.
    """
    if trained.config.weights["kind"] == KIND:
        log.info("A folder of transformers has no training data, so spam-batch will not look for "
                 "drift with this bundle.")  # fmt: skip
        return {}
    counts = trained.config.data.get("labels")
    if not counts:
        log.warning(
            "WARNING: this run did not record how many messages of each label its data had, so "
            "spam-batch cannot look for drift with this bundle; to change that, train again"
        )
        return {}
    truth = [label for part in HELD_OUT for label in read_split(trained.folder, part)["label"]]
    # The verification set begins with the held-out messages, in this order.
    predicted, scores, _ = trained.decision.decide(trained.rows.logits[: len(truth)])
    tokens = np.array([len(ids) for ids in trained.rows.sequences[: len(truth)]])
    found = weigh(truth, counts, trained.config.labels, predicted, scores, tokens)
    return {**found, "threshold": trained.decision.threshold}  # the bundle's may be changed later


def weigh(
    truth: list[str],
    counts: dict[str, int],
    labels: list[str],
    predicted: np.ndarray,
    scores: np.ndarray,
    tokens: np.ndarray,
) -> dict:
    """Weighted shares of labels, scores and token counts.

    Args:
        truth: true labels of N messages.
        counts: messages of each label in the data before balancing.
        labels: K names.
        predicted: ``(N,)`` int, the numbers of the labels that the model gave.
        scores: ``(N,)`` float.
        tokens: ``(N,)`` int, tokens of each message.
    """
    there = {name: counts[name] for name in labels if name in truth}
    mix = {name: count / sum(there.values()) for name, count in there.items()}
    label_shares = np.zeros(len(labels))
    score_shares, token_shares = np.zeros(SCORE_BINS), np.zeros(len(TOKEN_EDGES))
    sum_of_squares = 0.0  # of the weights of all messages
    for name, share in mix.items():
        own = np.flatnonzero([label == name for label in truth])
        weight = share / len(own)
        label_shares += weight * np.bincount(predicted[own], minlength=len(labels))
        score_shares += weight * count_scores(scores[own])
        token_shares += weight * count_tokens(tokens[own])
        sum_of_squares += weight**2 * len(own)
    return {
        "sets": list(HELD_OUT),
        "messages": len(truth),
        # So many unweighted messages would tell as much (Kish, Survey Sampling, 1965).
        "effective_messages": round(1 / sum_of_squares, 1),
        "mix": {name: round(share, 6) for name, share in mix.items()},
        "labels": {name: _round(share) for name, share in zip(labels, label_shares, strict=True)},
        "scores": [_round(share) for share in score_shares],
        "tokens": [_round(share) for share in token_shares],
        "token_edges": list(TOKEN_EDGES),
    }


def _round(share: float) -> float:
    return min(round(float(share), 6), 1.0)
