"""Score a run on labelled messages from another source."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from batch.errors import InputError, MissingInputError
from batch.model.batching import cut_batches
from batch.model.decision import softmax
from batch.model.tokenizer import Tokenizer
from trainer.data.labelled_file import Columns, read_labelled, read_split
from trainer.data.splits import group_key
from trainer.data.tensors import pad_messages
from trainer.evaluation.baseline import NAME, baseline_scores
from trainer.evaluation.scores import expected_calibration_error, format_scores, score
from trainer.model.gpt2 import GPT2Classifier
from trainer.run_folder import METRICS, RunConfig, read_config, read_model, read_tokenizer

BATCH_TOKENS = 2048  # padding counted


def evaluate(run: Path, data: Path, columns: Columns | None = None) -> dict:
    """Score the PyTorch model of a run folder, and the SVM trained on the same messages.

    Messages that stand in the run's training set, case, digits and punctuation aside,
    are left out. Temperature and threshold are the run's; a run without them has 1
    and 0.5.

    Returns:
        ``data`` (the file's name), ``rows`` (in it), ``left_out``, ``truncated``
        (messages longer than the run's max_length tokens), ``labels``,
        ``positive_label``, ``weights`` (the run's sentence), ``temperature``,
        ``threshold``, ``ece``, ``scores`` and ``baseline`` (of
        :func:`trainer.evaluation.scores.score`); JSON as it is.

    Raises:
        MissingInputError: a file is missing. InputError: a label that the run does not
            know, no message left, or a run folder that cannot be read.
    """
    config = read_config(run)
    temperature, threshold = read_decision(run)
    frame = read_labelled(data, columns or Columns())
    unknown = sorted(set(frame["label"]) - set(config.labels))
    if unknown:
        raise InputError(
            f"{data}: the label {unknown[0]!r} is none of the run's: {', '.join(config.labels)}"
        )
    train = _read_training_set(run)
    is_seen = frame["text"].map(group_key).isin(set(train["text"].map(group_key)))
    kept = frame[~is_seen]
    if kept.empty:
        raise InputError(
            f"{data}: all {len(frame):,} messages stand in the training set of {run}; "
            "none is left to score"
        )
    numbers = {label: number for number, label in enumerate(config.labels)}
    labels = kept["label"].map(numbers).to_numpy()
    positive = None if config.positive_label is None else numbers[config.positive_label]
    logits, truncated = predict_logits(
        read_model(run, config), read_tokenizer(run), list(kept["text"]), config
    )
    probabilities = softmax(logits.astype(np.float64) / temperature)
    return {
        "data": data.name,
        "rows": len(frame),
        "left_out": int(is_seen.sum()),
        "truncated": truncated,
        "labels": config.labels,
        "positive_label": config.positive_label,
        "weights": config.weights["statement"],
        "temperature": temperature,
        "threshold": threshold,
        "ece": expected_calibration_error(probabilities, labels),
        "scores": score(labels, probabilities, positive, threshold),
        "baseline": baseline_scores(train, kept, config.labels, positive),
    }


def read_decision(run: Path) -> tuple[float, float]:
    """Temperature and threshold of ``metrics.json``."""
    path = run / METRICS
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        temperature = float(metrics.get("calibration", {}).get("temperature", 1.0))
        threshold = float(metrics.get("threshold", {}).get("value", 0.5))
    except OSError as error:
        raise MissingInputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from None
    if not (temperature > 0 and 0 <= threshold <= 1):
        raise InputError(
            f"{path}: a temperature of {temperature:g} and a threshold of {threshold:g} "
            "are not valid"
        )
    return temperature, threshold


def _read_training_set(run: Path) -> pd.DataFrame:
    try:
        return read_split(run, "train")
    except MissingInputError as error:
        raise MissingInputError(
            f"{error}; without it nobody knows which messages the model has seen"
        ) from None


@torch.no_grad()
def predict_logits(
    model: GPT2Classifier, tokenizer: Tokenizer, texts: list[str], config: RunConfig
) -> tuple[np.ndarray, int]:
    """Logits ``(N, K)`` float32 in the order given, and how many texts were cut.

    Batches are of messages of like length, each as wide as its longest, where the
    model's logits do not depend on padding; else all are ``max_length`` wide.
    """
    limit = config.max_length
    encoded = [tokenizer.encode(text, limit + 1) for text in texts]
    truncated = sum(len(ids) > limit for ids in encoded)
    encoded = [ids[:limit] for ids in encoded]
    fixed = limit if model.config.is_fixed_length else None
    device = next(model.parameters()).device
    logits = np.empty((len(texts), model.config.classes), dtype=np.float32)
    for rows, width in cut_batches([len(ids) for ids in encoded], BATCH_TOKENS, fixed):
        # A width is rounded up, and may so be beyond the positions that the model has.
        ids = pad_messages([encoded[row] for row in rows], min(width, limit))
        logits[rows] = model(ids.to(device)).float().cpu().numpy()
    return logits, truncated


def evaluation_lines(result: dict) -> list[str]:
    """What :func:`evaluate` found, for a person to read; a Markdown table among it."""
    figures = result["scores"]
    lines = [
        f"{figures['messages']:,} of {result['rows']:,} messages of {result['data']} scored; "
        f"{result['left_out']:,} left out that stand in the training set "
        "(case, digits and punctuation aside)"
    ]
    if result["truncated"]:
        lines.append(f"longer than the model reads, and cut: {result['truncated']:,}")
    table = format_scores({"this run": figures, NAME: result["baseline"]})
    lines += ["", *table.splitlines(), ""]
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
