"""Scores against numbers worked out by hand, and intervals against published ones."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InternalError
from trainer.evaluation.scores import (
    expected_calibration_error,
    format_scores,
    score,
    wilson,
)

# Ten messages, ham 0 and spam 1; at 0.5: 3 hits, 1 miss, 2 false alarms, 4 right hams.
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
SPAM = np.array([0.9, 0.8, 0.5, 0.2, 0.7, 0.6, 0.3, 0.2, 0.1, 0.0])
PROBABILITIES = np.stack([1 - SPAM, SPAM], axis=1)
PREDICTED = (SPAM >= 0.5).astype(int)


class TestWilson:
    @pytest.mark.parametrize(
        ("successes", "n", "low", "high"),
        [  # Newcombe 1998, table I, method 3
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0000, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ],
    )
    def test_published(self, successes: int, n: int, low: float, high: float) -> None:
        assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)

    def test_ends_are_exact(self) -> None:
        assert wilson(0, 7)[0] == 0.0
        assert wilson(7, 7)[1] == 1.0
        assert wilson(0, 0) == (0.0, 1.0)
        assert wilson(292, 300) == (0.9482710570494102, 0.9864269301913529)

    @given(st.integers(0, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_holds_the_share_and_mirrors(self, pair: tuple[int, int]) -> None:
        successes, n = pair
        low, high = wilson(successes, n)
        assert 0 <= low <= high <= 1
        if n:
            assert low <= successes / n <= high
        assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)

    @pytest.mark.parametrize("pair", [(-1, 3), (4, 3)])
    def test_refused(self, pair: tuple[int, int]) -> None:
        with pytest.raises(ValueError) as caught:
            wilson(*pair)
        assert str(caught.value) == f"{pair[0]} successes of {pair[1]}"


class TestScore:
    def test_by_hand(self) -> None:
        found = score(LABELS, PREDICTED, PROBABILITIES, positive=1)
        intervals, confusion = found.pop("intervals"), found.pop("confusion")
        assert confusion == [[4, 2], [1, 3]]
        assert found.pop("recall_per_class") == [4 / 6, 3 / 4]
        # AUC: of the 24 pairs spam outranks ham in 6 + 6 + 4 + 2, and 0.2 ties once.
        assert found == pytest.approx(
            {
                "messages": 10, "accuracy": 0.7, "precision": 3 / 5, "recall": 3 / 4,
                "f1": 2 / 3, "false_positive_rate": 2 / 6, "auc": 18.5 / 24,
            }
        )  # fmt: skip
        assert intervals == {
            "accuracy": list(wilson(7, 10)),
            "recall_per_class": [list(wilson(4, 6)), list(wilson(3, 4))],
            "precision": list(wilson(3, 5)),
            "recall": list(wilson(3, 4)),
            "false_positive_rate": list(wilson(2, 6)),
        }

    def test_positive_may_be_the_first_class(self) -> None:
        found = score(1 - LABELS, 1 - PREDICTED, PROBABILITIES[:, ::-1], positive=0)
        assert found["precision"] == 3 / 5
        assert found["recall"] == 3 / 4
        assert found["auc"] == pytest.approx(18.5 / 24)
        assert found["confusion"] == [[3, 1], [2, 4]]

    def test_the_auc_does_not_depend_on_the_threshold(self) -> None:
        found = score(LABELS, SPAM >= 0.75, PROBABILITIES, positive=1)
        assert found["confusion"] == [[6, 0], [2, 2]]
        assert found["false_positive_rate"] == 0.0
        assert found["auc"] == pytest.approx(18.5 / 24)

    def test_macro_of_three_classes(self) -> None:
        labels = np.array([0, 0, 1, 1, 2])
        predicted = np.array([0, 1, 1, 1, 0])
        found = score(labels, predicted, np.eye(3)[predicted], positive=2)
        assert found["confusion"] == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
        # Class 2 was never predicted: its precision is none, its F1 is 0.
        assert found["precision"] == pytest.approx((1 / 2 + 2 / 3) / 2)
        assert found["recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
        assert found["f1"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)
        assert found["false_positive_rate"] == pytest.approx((1 / 3 + 1 / 3 + 0) / 3)
        # One against the rest: (0.5, 0) wins against (0, 0, 1) 2/3 of the half, ties count 1/2.
        assert found["auc"] == pytest.approx((3.5 / 6 + 5 / 6 + 2 / 4) / 3)
        assert set(found["intervals"]) == {"accuracy", "recall_per_class"}

    def test_two_classes_without_a_positive_one(self) -> None:
        found = score(LABELS, SPAM > 0.5, PROBABILITIES, positive=None)
        assert found["confusion"] == [[4, 2], [2, 2]]
        assert found["recall"] == pytest.approx((4 / 6 + 2 / 4) / 2)
        assert found["auc"] == pytest.approx(18.5 / 24)

    def test_undefined_is_none(self) -> None:
        found = score(np.zeros(3, int), np.zeros(3, int), PROBABILITIES[-3:], positive=1)
        assert [found[key] for key in ("precision", "recall", "f1", "auc")] == [None] * 4
        assert found["accuracy"] == 1.0
        assert found["false_positive_rate"] == 0.0
        assert found["recall_per_class"] == [1.0, None]
        assert found["intervals"]["recall_per_class"] == [list(wilson(3, 3)), None]
        assert found["intervals"]["precision"] is found["intervals"]["recall"] is None
        json.dumps(found, allow_nan=False)

    def test_is_json(self) -> None:
        found = score(LABELS, PREDICTED, PROBABILITIES.astype(np.float32), positive=1)
        assert json.loads(json.dumps(found, allow_nan=False)) == found

    def test_refusals(self) -> None:
        with pytest.raises(ValueError) as caught:
            score(np.array([], dtype=int), np.array([], dtype=int), np.empty((0, 2)), 1)
        assert str(caught.value) == "no messages to score"
        with pytest.raises(ValueError) as caught:
            score(LABELS[:3], PREDICTED, PROBABILITIES, 1)
        assert str(caught.value) == ("labels (3,), predictions (10,) and scores (10, 2) do not fit")
        broken = PROBABILITIES.copy()
        broken[6, 0] = np.nan
        with pytest.raises(InternalError) as caught:
            score(LABELS, PREDICTED, broken, 1)
        assert str(caught.value) == "the score of message 7 is not a number"


class TestCalibrationError:
    def test_by_hand(self) -> None:
        # Five bins. (0.6, 0.8]: two, sure at 0.7 and 0.8, one right. (0.8, 1]: one, 0.9, wrong.
        probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]])
        labels = np.array([0, 0, 1])
        expected = (2 * abs(0.75 - 0.5) + abs(0.9 - 0)) / 3
        assert expected_calibration_error(probabilities, labels, bins=5) == pytest.approx(expected)

    def test_ends(self) -> None:
        certain = np.array([[1.0, 0.0], [0.0, 1.0]])
        assert expected_calibration_error(certain, np.array([0, 1])) == 0.0
        assert expected_calibration_error(certain, np.array([1, 0])) == 1.0
        even = np.full((4, 2), 0.5)
        assert expected_calibration_error(even, np.array([0, 1, 0, 1])) == 0.0
        with pytest.raises(ValueError) as caught:
            expected_calibration_error(np.empty((0, 2)), np.array([], dtype=int))
        assert str(caught.value) == "no messages to score"

    def test_of_calibrated_guesses_is_small(self) -> None:
        random = np.random.RandomState(0)
        first = random.rand(100_000)
        probabilities = np.stack([first, 1 - first], axis=1)
        labels = (random.rand(100_000) >= first).astype(int)
        assert expected_calibration_error(probabilities, labels) < 0.01


def test_table() -> None:
    alone = score(np.zeros(3, int), np.zeros(3, int), PROBABILITIES[-3:], positive=1)
    table = format_scores(
        {"starter": score(LABELS, PREDICTED, PROBABILITIES, positive=1), "a|b": alone}
    )
    assert table == [
        "| model   | messages |         accuracy [95 %] | precision | recall |     F1 |    FPR |    AUC |",  # noqa: E501
        "| ------- | -------: | ----------------------: | --------: | -----: | -----: | -----: | -----: |",  # noqa: E501
        "| starter |       10 |   70.00% [39.68, 89.22] |    60.00% | 75.00% | 66.67% | 33.33% | 0.7708 |",  # noqa: E501
        "| a\\|b    |        3 | 100.00% [43.85, 100.00] |         – |      – |      – |  0.00% |      – |",  # noqa: E501
    ]
