"""Score a run on labelled messages from another source: ``spam-train evaluate``."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from batch.errors import InputError, MissingInputError
from batch.messages import show
from batch.model.batching import cut_batches
from batch.model.tokenizer import Tokenizer
from trainer.data.reading import DEFAULT_OPTIONS, ReadOptions, read_labelled
from trainer.data.sets import read_split
from trainer.data.splits import group_key
from trainer.data.tensors import pad_messages
from trainer.evaluation.baseline import NAME, baseline_scores
from trainer.evaluation.scores import expected_calibration_error, format_scores, score
from trainer.model.gpt2 import GPT2Classifier
from trainer.run_folder import (
    RunConfig,
    read_config,
    read_decision,
    read_model,
    read_tokenizer,
)

BATCH_TOKENS = 2048  # with padding


def evaluate(run: Path, data: Sequence[Path], reading: ReadOptions = DEFAULT_OPTIONS) -> dict:
    """Score the PyTorch model of a run folder, and the SVM trained on the same messages.

    Messages that are in the run's training set are left out; case, digits and punctuation do
    not count in the comparison. Temperature and threshold are those of the run.

    Returns:
        ``data`` (the files' names), ``counts`` (of
        their records), ``rows`` (messages in them), ``left_out``, ``truncated``
        (messages longer than the run's max_length tokens), ``labels``,
        ``positive_label``, ``weights`` (the run's statement), ``temperature``,
        ``threshold``, ``ece``, ``scores`` and ``baseline`` (of
        :func:`trainer.evaluation.scores.score`). The dict can be written as JSON.

    Raises:
        MissingInputError: a file is missing.
        InputError: the run does not have a label of the file, no message is left, or the run
            folder cannot be read.
    """
    config = read_config(run)
    decision = read_decision(run, config)
    messages = read_labelled(data, reading)
    frame, name = messages.frame, ", ".join(path.name for path in data)
    check_labels(frame, config, name)
    train = _read_training_set(run)
    kept = _leave_out_seen(frame, train)
    if kept.empty:
        raise InputError(
            f"{name}: all {len(frame):,} messages are in the training set of {run}; "
            "none is left to score"
        )
    numbers = {label: number for number, label in enumerate(config.labels)}
    labels = kept["label"].map(numbers).to_numpy()
    positive = None if config.positive_label is None else numbers[config.positive_label]
    logits, truncated = predict_logits(
        read_model(run, config), read_tokenizer(run), list(kept["text"]), config
    )
    predicted, _, probabilities = decision.decide(logits)
    return {
        "data": name,
        "counts": messages.counts(),
        "rows": len(frame),
        "left_out": len(frame) - len(kept),
        "truncated": truncated,
        "labels": config.labels,
        "positive_label": config.positive_label,
        "weights": config.weights["statement"],
        "temperature": decision.temperature,
        "threshold": decision.threshold,
        "ece": expected_calibration_error(probabilities, labels),
        "scores": score(labels, predicted, probabilities, positive),
        "baseline": baseline_scores(train, kept, config.labels, positive),
    }


def check_labels(frame: pd.DataFrame, config: RunConfig, name: str) -> None:
    unknown = frame["label"][~frame["label"].isin(config.labels)].value_counts()
    if len(unknown):
        there = set(frame["label"])
        known = [label for label in config.labels if label in there]
        listed = ", ".join(f"{show(label)} ({number:,})" for label, number in unknown[:5].items())
        advice = ""
        if len(known) > 1:
            advice = f"; to leave the others out, type --labels {shlex.quote(','.join(known))}"
        raise InputError(
            f"{name}: the run has no label {listed}; it knows {', '.join(config.labels)}{advice}"
        )


def _leave_out_seen(frame: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    seen = set(train["text"].map(group_key))
    return frame[~frame["text"].map(group_key).isin(seen)]


def _read_training_set(run: Path) -> pd.DataFrame:
    try:
        return read_split(run, "train")
    except MissingInputError as error:
        raise MissingInputError(
            f"{error}; it is needed to leave out the messages that the model was trained on"
        ) from None


@torch.no_grad()
def predict_logits(
    model: GPT2Classifier, tokenizer: Tokenizer, texts: list[str], config: RunConfig
) -> tuple[np.ndarray, int]:
    """Logits ``(N, K)`` float32 in the order of ``texts``, and how many texts were truncated.

    Where the model's logits do not depend on padding, a batch has messages of similar length
    and is as wide as its longest one. Otherwise all batches are ``max_length`` wide.
    """
    limit = config.max_length
    encoded = [tokenizer.encode(text, limit + 1) for text in texts]
    truncated = sum(len(ids) > limit for ids in encoded)
    encoded = [ids[:limit] for ids in encoded]
    fixed = limit if model.config.is_fixed_length else None
    device = next(model.parameters()).device
    logits = np.empty((len(texts), model.config.classes), dtype=np.float32)
    for rows, width in cut_batches([len(ids) for ids in encoded], BATCH_TOKENS, fixed):
        # A width is rounded up, which may be more than the model's positions.
        ids = pad_messages([encoded[row] for row in rows], min(width, limit))
        logits[rows] = model(ids.to(device)).float().cpu().numpy()
    return logits, truncated


def evaluation_lines(result: dict) -> list[str]:
    """The result of :func:`evaluate` as lines of text, with a Markdown table of the scores."""
    figures = result["scores"]
    lines = [
        f"{figures['messages']:,} of {result['rows']:,} messages of {result['data']} scored; "
        f"{result['left_out']:,} left out because they are in the training set "
        "(case, digits and punctuation aside)"
    ]
    if result["truncated"]:
        lines.append(f"truncated, because longer than the model reads: {result['truncated']:,}")
    table = format_scores({"this run": figures, NAME: result["baseline"]})
    lines += ["", *table, ""]
    for label, recall, interval in zip(
        result["labels"],
        figures["recall_per_class"],
        figures["intervals"]["recall_per_class"],
        strict=True,
    ):
        if recall is None:
            lines.append(f"{label}: no message")
        else:
            low, high = (100 * end for end in interval)
            lines.append(f"{label}: {100 * recall:.2f}% found [{low:.2f}, {high:.2f}]")
    lines.append(
        f"temperature {result['temperature']:.4g}, threshold {result['threshold']:.4g}, "
        f"expected calibration error {100 * result['ece']:.2f}%"
    )
    lines.append(f"weights: {result['weights']}")
    return lines
