"""The bundle's reference for drift: held-out messages in the mix that the data had."""

from types import SimpleNamespace

import numpy as np
import pytest

from batch.model.bundle import check_reference
from exporter.reference import make_reference, weigh


def test_balanced_sets_are_weighed_to_the_mix_of_the_data():
    given = ["ham"] * 50 + ["spam"] * 50
    best = np.array([0] * 49 + [1] + [1] * 45 + [0] * 5)
    scores = np.where(best == 1, 0.99, 0.01)
    found = weigh(
        given, {"ham": 900, "spam": 100}, ["ham", "spam"], best, scores, np.array([5] * 100)
    )
    # 0.9 x 1/50 of ham and 0.1 x 45/50 of spam are labelled spam.
    assert found["labels"] == pytest.approx({"ham": 0.892, "spam": 0.108})
    assert found["mix"] == {"ham": 0.9, "spam": 0.1}
    assert (found["scores"][0], found["scores"][-1]) == pytest.approx((0.892, 0.108))
    assert found["tokens"][4] == 1 and sum(found["tokens"]) == 1
    # 1 / (0.9² / 50 + 0.1² / 50): the rarer label's weigh little.
    assert found["effective_messages"] == 61.0
    assert found["messages"] == 100
    assert check_reference(found)


def test_a_label_that_no_held_out_message_has():
    found = weigh(
        ["a", "b"], {"a": 1, "b": 3, "c": 4}, ["a", "b", "c"], np.array([0, 1]),
        np.array([0.9, 0.8]), np.array([1, 2]),
    )  # fmt: skip
    assert found["mix"] == {"a": 0.25, "b": 0.75}
    assert found["labels"] == {"a": 0.25, "b": 0.75, "c": 0.0}


def test_a_run_of_before_has_none(caplog):
    trained = SimpleNamespace(config=SimpleNamespace(data={"rows": 7}, weights={"kind": "random"}))
    assert make_reference(trained) == {}
    assert caplog.messages == [
        "WARNING: this run did not record how many messages of each label its data had, so "
        "spam-batch cannot look for drift with this bundle; to change that, train again"
    ]
