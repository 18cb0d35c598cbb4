"""Rows whose label a model that has not seen them does not give. N rows, K classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from batch.messages import count
from trainer.data.splits import group_key
from trainer.evaluation.baseline import NGRAMS
from trainer.evaluation.evaluate import check_labels, predict_logits
from trainer.run_folder import read_config, read_decision, read_model, read_tokenizer

FOLDS = 5
STRENGTH = 100.0  # C of the logistic regression; the SMS set's flipped labels chose it


@dataclass(frozen=True)
class Doubts:
    """The doubted rows, worst first, and a sentence on how they were found.

    ``rows`` has also ``suggested``, the model's label, and ``score``, the probability that the
    model gives the row's own label.
    """

    rows: pd.DataFrame
    sentence: str


def doubt_by_folds(rows: pd.DataFrame) -> Doubts:
    """Doubt labels by cross-validation; no near copy of a row is in the folds that judge it.

    Too few messages of a class for two folds: no row is doubted, and the sentence says so.
    """
    labels = sorted(rows["label"].unique())
    classes = rows["label"].map({label: number for number, label in enumerate(labels)}).to_numpy()
    groups = rows["text"].map(group_key)
    fewest = min(groups[rows["label"] == label].nunique() for label in labels)
    if len(labels) < 2 or fewest < 2 or not (rows["text"].str.strip().str.len() >= NGRAMS[0]).any():
        empty = rows.head(0).assign(suggested=None, score=None)
        return Doubts(empty, "doubted labels: not looked for; a class has fewer than two messages")
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    features = TfidfVectorizer(analyzer="char", ngram_range=NGRAMS, dtype=np.float32)
    matrix = features.fit_transform(rows["text"])  # knows no label, so it may see all rows
    probabilities = np.zeros((len(rows), len(labels)))
    for train, test in folds.split(matrix, classes, groups.factorize()[0]):
        if len(np.unique(classes[train])) < 2:  # nothing to judge by: near copies share a fold
            probabilities[test, classes[test]] = 1
            continue
        machine = LogisticRegression(C=STRENGTH, max_iter=200, class_weight="balanced")
        machine.fit(matrix[train], classes[train])
        probabilities[np.ix_(test, machine.classes_)] = machine.predict_proba(matrix[test])
    doubted = rank(rows, labels, classes, probabilities)
    return Doubts(doubted, _sentence(doubted, rows, f"cross-validation ({folds.n_splits} folds)"))


def doubt_by_run(rows: pd.DataFrame, run: Path) -> Doubts:
    """Doubt labels by a trained run. It doubts less what it was trained on.

    Raises:
        InputError: the run does not have a label of the rows, or cannot be read.
    """
    config = read_config(run)
    check_labels(rows, config, "the data")
    logits, _ = predict_logits(
        read_model(run, config), read_tokenizer(run), list(rows["text"]), config
    )
    probabilities = read_decision(run, config).probabilities(logits)
    numbers = {label: number for number, label in enumerate(config.labels)}
    classes = rows["label"].map(numbers).to_numpy()
    doubted = rank(rows, config.labels, classes, probabilities)
    return Doubts(doubted, _sentence(doubted, rows, f"the run {run}"))


def rank(
    rows: pd.DataFrame, labels: list[str], classes: np.ndarray, probabilities: np.ndarray
) -> pd.DataFrame:
    """Rows whose most probable label is another, by cleanlab's self-confidence, worst first.

    Args:
        classes: ``(N,)`` int, the given classes. probabilities: ``(N, K)``.
    """
    from cleanlab import rank as quality

    # Without rounding errors in the sums cleanlab does not complain.
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    best = probabilities.argmax(axis=1)
    scores = quality.get_label_quality_scores(classes, probabilities, method="self_confidence")
    found = rows.assign(suggested=[labels[number] for number in best], score=scores)
    return found[best != classes].sort_values("score", kind="stable")


def _sentence(doubted: pd.DataFrame, rows: pd.DataFrame, how: str) -> str:
    return f"doubted labels: {count(len(doubted), 'row')} of {len(rows):,}, by {how}, worst first"
