"""From logits to labels and scores: by hand, and what holds of any logits."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from batch.model.decision import Decision, softmax

LABELS = ["ham", "spam", "news"]


def decision(classes: int = 2, positive: str | None = "spam", **changes) -> Decision:
    return Decision(LABELS[:classes], positive, **{"threshold": 0.5, "temperature": 1.0} | changes)


def test_softmax_of_large_logits():
    assert softmax(np.array([[1000.0, 0], [-1000, -1000]])).tolist() == [[1, 0], [0.5, 0.5]]


def test_a_score_on_the_threshold_is_positive():
    best, scores, _ = decision().decide(np.zeros((1, 2), np.float32))
    assert (best.tolist(), scores.tolist()) == ([1], [0.5])


def test_the_scores_of_each_label():
    assert decision().score_ranges == {"spam": (0.5, inf)}
    assert decision(unsure_band=(0.4, 0.6)).score_ranges == {
        "spam": (0.6, inf), "unsure": (0.4, 0.6)
    }  # fmt: skip
    assert decision(positive=None).score_ranges == decision(classes=3).score_ranges == {}


def test_a_positive_label_that_comes_first():
    chosen = decision(positive="ham", threshold=0.9)
    best, scores, _ = chosen.decide(np.array([[3.0, 0], [1, 0]]))
    assert best.tolist() == [0, 1]
    assert scores == pytest.approx([0.952574, 0.731059], abs=1e-6)


def test_the_temperature_divides_the_logits():
    logits = np.array([[1.0, 3.0], [0.5, -2.5]])
    warm = decision(temperature=2.0).decide(logits)
    halved = decision().decide(logits / 2)
    for ours, theirs in zip(warm, halved, strict=True):
        assert ours.tolist() == theirs.tolist()


def test_three_classes_take_the_most_probable_whatever_the_threshold():
    logits = np.log([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    best, scores, _ = decision(3, threshold=0.1).decide(logits)
    assert best.tolist() == [0, 2]
    assert scores == pytest.approx([0.3, 0.3])  # of spam
    best, scores, _ = decision(3, positive=None).decide(logits)
    assert best.tolist() == [0, 2]
    assert scores == pytest.approx([0.5, 0.5])  # of the label given


@pytest.mark.parametrize(
    ("chosen", "margins"),
    [
        (decision(threshold=0.9), [0.6, 0.0]),
        (decision(positive=None), [0.4, 0.8]),
    ],
)
def test_the_margin_of_two_classes(chosen: Decision, margins: list[float]):
    logits = np.log([[0.7, 0.3], [0.1, 0.9]])
    assert chosen.margins(logits) == pytest.approx(margins, abs=1e-12)


def test_the_margin_of_three_classes():
    logits = np.log([[0.5, 0.3, 0.2], [0.2, 0.4, 0.4]])
    assert decision(3).margins(logits) == pytest.approx([0.2, 0.0], abs=1e-12)


@given(
    arrays(np.float32, (5, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.floats(0.01, 100),
)
def test_any_logits_give_probabilities(logits: np.ndarray, temperature: float):
    chosen = decision(3, temperature=temperature)
    best, scores, probabilities = chosen.decide(logits)
    assert np.isfinite(probabilities).all()
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (probabilities[range(5), best] == probabilities.max(axis=1)).all()
    assert (scores == probabilities[:, 1]).all()
    assert (chosen.margins(logits) >= 0).all()
