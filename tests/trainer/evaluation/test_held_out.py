"""Which rule decides where the threshold comes from."""

import logging

import numpy as np
import pytest

from trainer.evaluation.held_out import fit_decision

# Margins of spam over ham: 20 ham are sure, and ten spam are a little on the wrong side.
MARGINS = [-6.0] * 20 + [-1.0] * 10 + [6.0] * 20
TRUTH = np.array([0] * 20 + [1] * 30)
LOGITS = np.array([[0.0, margin] for margin in MARGINS])


@pytest.mark.parametrize("fit_threshold", [False, True])
def test_the_threshold_of_fewest_errors_only_if_asked_for(fit_threshold: bool, caplog) -> None:
    caplog.set_level(logging.INFO, "trainer")
    decision = fit_decision(LOGITS, TRUTH, ["ham", "spam"], 1, None, fit_threshold)
    wrong = int((decision.decide(LOGITS)[0] != TRUTH).sum())
    assert wrong == (0 if fit_threshold else 10)
    assert (decision.threshold == 0.5) == (not fit_threshold)
    told = f"Threshold {decision.threshold:.4f}: 0 of 50 validation messages are wrong, 10 at 0.5"
    assert [record.message for record in caplog.records] == [told] * fit_threshold


def test_a_budget_comes_first() -> None:
    asked = [fit_decision(LOGITS, TRUTH, ["ham", "spam"], 1, 1.0, fit) for fit in (False, True)]
    assert [decision.threshold for decision in asked] == [0.0, 0.0]


def test_three_classes_or_no_positive_one_have_no_threshold_to_fit() -> None:
    logits = np.hstack([LOGITS, np.full((50, 1), -9.0)])
    for labels, positive in ((["ham", "other", "spam"], 1), (["ham", "other", "spam"], None)):
        assert fit_decision(logits, TRUTH, labels, positive, None, True).threshold == 0.5
