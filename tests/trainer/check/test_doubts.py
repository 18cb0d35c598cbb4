"""Rows whose label a model that has not seen them does not give."""

import numpy as np
import pandas as pd
import pytest

from trainer.check.doubts import doubt_by_folds, rank


def test_rank_has_the_worst_first():
    pytest.importorskip("cleanlab", reason="cleanlab (the extra check) is not installed")
    rows = pd.DataFrame({"text": list("abc"), "label": ["x", "y", "x"]})
    probabilities = np.array([[0.4, 0.6], [0.2, 0.8], [0.1, 0.9]])
    found = rank(rows, ["x", "y"], np.array([0, 1, 0]), probabilities)
    assert found["text"].tolist() == ["c", "a"]
    assert found["suggested"].tolist() == ["y", "y"]
    np.testing.assert_allclose(found["score"], [0.1, 0.4])


@pytest.mark.parametrize("texts", [["a b", "c d", "e f"], ["x", "y", "z"]])
def test_too_few_messages_are_a_sentence(texts):
    rows = pd.DataFrame({"text": texts, "label": ["x", "x", "y"]})
    found = doubt_by_folds(rows)
    assert found.rows.empty
    assert found.sentence == "doubted labels: not looked for; a class has fewer than two messages"


def test_a_fold_that_leaves_one_class_to_learn_from_doubts_nothing():
    """Near copies with two labels share a fold, and may take a class with them."""
    pytest.importorskip("cleanlab", reason="cleanlab (the extra check) is not installed")
    texts = ["alpha 1", "bravo x", "bravo y", "alpha 2", "alpha 3", "bravo x"]
    rows = pd.DataFrame({"text": texts, "label": ["a", "a", "a", "b", "b", "b"]})
    assert doubt_by_folds(rows).sentence.startswith("doubted labels: ")
    texts = ["alpha", "bravo 1", "bravo 2", "alpha", "alpha", "bravo"]
    rows = pd.DataFrame({"text": texts, "label": ["a", "a", "a", "b", "b", "b"]})
    assert doubt_by_folds(rows).sentence.startswith("doubted labels: ")
