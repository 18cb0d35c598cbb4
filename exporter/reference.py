"""What a run's held-out messages give, for spam-batch to hold the nightly rows against."""

import logging

import numpy as np

from batch.drift.histograms import TOKEN_EDGES, count_scores, count_tokens
from exporter.trained_run import TrainedRun
from trainer.data.labelled_file import read_split

log = logging.getLogger("exporter")
HELD_OUT = ("validation", "test")  # the model has not learned them


def make_reference(trained: TrainedRun) -> dict:
    """``reference`` of the bundle's manifest; empty if the run does not know its data's mix.

    Held-out sets are often balanced, the mail is not: each label's messages are weighed so that
    they make up the share that the label had in the data before balancing.
    """
    counts = trained.config.data.get("labels")
    if not counts:
        log.warning(
            "WARNING: this run does not say how many messages of each label its data had, so "
            "spam-batch will not look for drift; train it again to have that"
        )
        return {}
    given = [label for part in HELD_OUT for label in read_split(trained.folder, part)["label"]]
    return weigh(
        given,
        counts,
        trained.config.labels,
        *trained.decision.decide(trained.rows.logits[: len(given)])[:2],
        np.array([len(ids) for ids in trained.rows.sequences[: len(given)]]),
    )


def weigh(
    given: list[str],
    counts: dict[str, int],
    labels: list[str],
    best: np.ndarray,
    scores: np.ndarray,
    tokens: np.ndarray,
) -> dict:
    """
    Args:
        given: true labels of N messages.
        counts: messages of each label in the data.
        labels: K names; ``best`` ``(N,)`` are the numbers of those that the model gave.
        scores: ``(N,)``. tokens: ``(N,)``.
    """
    there = {name: counts[name] for name in labels if name in given}
    mix = {name: count / sum(there.values()) for name, count in there.items()}
    rated, scored, long = np.zeros(len(labels)), 0.0, 0.0
    variance = 0.0
    for name, share in mix.items():
        own = np.flatnonzero([label == name for label in given])
        weight = share / len(own)
        rated = rated + weight * np.bincount(best[own], minlength=len(labels))
        scored = scored + weight * count_scores(scores[own])
        long = long + weight * count_tokens(tokens[own])
        variance += weight**2 * len(own)
    return {
        "sets": list(HELD_OUT),
        "messages": len(given),
        # As many unweighted ones would tell as much (Kish, Survey Sampling, 1965).
        "effective_messages": round(1 / variance, 1),
        "mix": {name: round(share, 6) for name, share in mix.items()},
        "labels": {name: _round(rate) for name, rate in zip(labels, rated, strict=True)},
        "scores": [_round(share) for share in scored],
        "tokens": [_round(share) for share in long],
        "token_edges": list(TOKEN_EDGES),
    }


def _round(share: float) -> float:
    return min(round(float(share), 6), 1.0)
