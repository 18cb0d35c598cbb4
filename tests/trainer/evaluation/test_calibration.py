"""Temperature, shares and thresholds, on sets whose answer can be worked out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError, InternalError, UsageError
from trainer.evaluation.calibration import (
    choose_plain_threshold,
    choose_threshold,
    fit_temperature,
    fit_temperature_to,
    is_separated,
    negative_log_likelihood,
    parse_share,
)


def logits_of(margin: float, right: int, wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Every message leans to class 0 by ``margin``; ``wrong`` of them are of class 1."""
    logits = np.tile([margin, 0.0], (right + wrong, 1))
    return logits, np.array([0] * right + [1] * wrong)


class TestTemperature:
    @pytest.mark.parametrize(("margin", "right", "wrong"), [(6.0, 9, 1), (0.5, 99, 1), (3, 7, 3)])
    def test_by_hand(self, margin: float, right: int, wrong: int) -> None:
        # The best probability is the share itself, so margin / T is its log odds.
        found = fit_temperature(*logits_of(margin, right, wrong))
        assert found == pytest.approx(margin / math.log(right / wrong), rel=1e-4)

    def test_recovers_what_the_labels_were_drawn_with(self) -> None:
        random = np.random.RandomState(0)
        logits = random.normal(scale=3, size=(20_000, 3))
        shifted = np.exp(logits / 2.5)
        edges = (shifted / shifted.sum(axis=1, keepdims=True)).cumsum(axis=1)
        labels = (random.rand(20_000, 1) > edges).sum(axis=1).clip(max=2)
        assert fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.03)

    def test_bounds(self) -> None:
        assert fit_temperature(*logits_of(1.0, 1, 9)) == pytest.approx(20, rel=1e-3)
        # The wrong one says almost nothing against the 99 that are right.
        logits, labels = logits_of(0.1, 99, 1)
        logits[-1] = [1e-9, 0]
        assert fit_temperature(logits, labels) == pytest.approx(0.05, rel=1e-3)

    def test_a_separated_set_teaches_nothing(self) -> None:
        logits, labels = logits_of(4.0, 50, 0)
        assert is_separated(logits, labels)
        assert fit_temperature(logits, labels) == 1.0
        assert fit_temperature(1000 * logits, labels) == 1.0
        tie = np.zeros((3, 2))
        assert not is_separated(tie, np.array([0, 1, 0]))
        assert fit_temperature(tie, np.array([0, 1, 0])) == 1.0

    @given(
        st.lists(
            st.tuples(st.lists(st.floats(-60, 60), min_size=3, max_size=3), st.integers(0, 2)),
            min_size=1,
        )
    )
    def test_is_never_worse_than_none(self, rows) -> None:
        logits, labels = np.array([row for row, _ in rows]), np.array([label for _, label in rows])
        found = fit_temperature(logits, labels)
        assert 0.05 <= found <= 20
        before = negative_log_likelihood(logits, labels)
        assert negative_log_likelihood(logits, labels, found) <= before

    def test_refusals(self) -> None:
        with pytest.raises(ValueError) as caught:
            fit_temperature(np.empty((0, 2)), np.array([], dtype=int))
        assert str(caught.value) == "no messages to fit the temperature on"
        with pytest.raises(InternalError) as caught:
            fit_temperature(np.array([[0, 1], [np.inf, 0]]), np.array([0, 1]))
        assert str(caught.value) == "a logit of validation message 2 is not a number"


class TestTemperatureOfAStudent:
    def test_recovers_the_teachers(self) -> None:
        """Logits that are the teacher's times 1.7; also where each label is the same."""
        logits = np.random.RandomState(1).normal(scale=4, size=(500, 3))
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert fit_temperature_to(1.7 * logits, probabilities) == pytest.approx(1.7, rel=1e-4)

    def test_is_one_where_nothing_is_closer(self) -> None:
        logits = np.zeros((4, 2))
        assert fit_temperature_to(logits, np.full((4, 2), 0.5)) == 1.0

    def test_no_messages(self) -> None:
        with pytest.raises(ValueError) as caught:
            fit_temperature_to(np.zeros((0, 2)), np.zeros((0, 2)))
        assert str(caught.value) == "no messages to fit the temperature on"


class TestShare:
    @pytest.mark.parametrize(
        ("text", "share"),
        [
            ("0.2%", 0.002), ("0.002", 0.002), ("0.7%", 0.007), (" 5 % ", 0.05), ("0", 0.0),
            ("100%", 1.0), ("1", 1.0), ("2e-3", 0.002),
        ],
    )  # fmt: skip
    def test_forms(self, text: str, share: float) -> None:
        assert parse_share(text, "--p") == share

    @pytest.mark.parametrize(
        "text",
        ["", "%", "few", "-1%", "101%", "101", "nan", "inf", "0.2%%", "0,2%", "1e999999999%"],
    )
    def test_refused(self, text: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_share(text, "--p")
        assert str(caught.value) == (
            f"--p: {text!r} is not a share from 0 to 1; write 0.2 % as 0.2% or as 0.002"
        )

    @pytest.mark.parametrize(
        ("text", "advice"),
        [
            ("5", "write 5 % as 5% or as 0.05"),
            ("1.5", "write 1.5 % as 1.5% or as 0.015"),
            ("7e0", "write 7 % as 7% or as 0.07"),
            ("100", "write 100 % as 100% or as 1"),
        ],
    )
    def test_a_percentage_without_its_sign(self, text: str, advice: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_share(text, "--p")
        assert str(caught.value) == f"--p: {text!r} is not a share from 0 to 1; {advice}"
        percentage, share = advice.split(" as ")[1].removesuffix(" or"), advice.split()[-1]
        assert parse_share(percentage, "--p") == parse_share(share, "--p")


HAM, SPAM = False, True


class TestThreshold:
    def choose(self, share: float, *pairs: tuple[float, bool]) -> float:
        scores, is_positive = zip(*pairs, strict=True)
        return choose_threshold(np.array(scores), np.array(is_positive), share)

    def test_by_hand(self) -> None:
        pairs = (0.1, HAM), (0.2, HAM), (0.4, HAM), (0.6, SPAM), (0.8, HAM), (0.9, SPAM)
        assert self.choose(0.0, *pairs) == pytest.approx(0.85)
        assert self.choose(0.24, *pairs) == pytest.approx(0.85)  # of 4 hams, none
        assert self.choose(0.25, *pairs) == pytest.approx(0.5)
        assert self.choose(0.5, *pairs) == pytest.approx(0.3)
        assert self.choose(1.0, *pairs) == 0.0

    def test_ties_fall_on_one_side(self) -> None:
        pairs = (0.3, HAM), (0.7, HAM), (0.7, HAM), (0.7, SPAM), (0.9, SPAM)
        assert self.choose(1 / 3, *pairs) == pytest.approx(0.8)  # one may, but not one of two
        assert self.choose(2 / 3, *pairs) == pytest.approx(0.5)

    def test_above_every_score(self) -> None:
        assert self.choose(0.0, (0.1, SPAM), (0.6, HAM)) == pytest.approx(0.8)
        last = math.nextafter(1.0, 0.0)
        assert self.choose(0.0, (0.1, SPAM), (last, HAM)) == 1.0

    def test_shares_are_not_lost_to_rounding(self) -> None:
        scores = np.arange(100) / 100
        threshold = choose_threshold(scores, np.zeros(100, dtype=bool), 0.29)
        assert (scores >= threshold).sum() == 29  # 0.29 * 100 is 28.999999999999996

    def test_refusals(self) -> None:
        with pytest.raises(InputError) as caught:
            self.choose(0.002, (0.9, SPAM))
        assert str(caught.value) == (
            "no threshold can be chosen: every validation message belongs to the positive class"
        )
        with pytest.raises(InputError) as caught:
            self.choose(0.002, (1.0, HAM), (1.0, HAM), (0.3, HAM), (1.0, SPAM))
        assert str(caught.value) == (
            "no threshold blocks at most 0.2% of the validation messages of other classes: "
            "2 of 3 score 1; allow more"
        )
        with pytest.raises(ValueError) as caught:
            self.choose(1.5, (0.9, SPAM))
        assert str(caught.value) == "1.5 is not a share from 0 to 1"

    @given(
        st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1),
        st.floats(0, 1),
    )
    def test_keeps_the_budget_and_wastes_nothing(self, pairs, share: float) -> None:
        scores = np.array([number / 100 for number, _ in pairs])
        is_positive = np.array([flag for _, flag in pairs])
        negatives = scores[~is_positive]
        if not len(negatives):
            return
        threshold = choose_threshold(scores, is_positive, share)
        budget = share * len(negatives) + 1e-9
        assert 0 <= threshold <= 1
        assert (negatives >= threshold).sum() <= budget
        lower = scores[scores < threshold]
        if len(lower):  # the next lower cut would take in more than is allowed
            assert (negatives >= lower.max()).sum() > budget


class TestPlainThreshold:
    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            (0, 0.5),
            (5, 0.5),  # 1 in 32 by chance, and three thresholds are tried
            (6, 0.4),  # 1 in 64
        ],
    )
    def test_moved_only_where_chance_is_rejected(self, wrong: int, expected: float) -> None:
        """Spam at 0.45 is made right by a threshold of 0.4, between it and the next ham."""
        scores = np.array([0.1] * 50 + [0.35] + [0.45] * wrong + [0.9] * 50)
        is_positive = np.array([HAM] * 51 + [SPAM] * (wrong + 50))
        assert choose_plain_threshold(scores, is_positive) == pytest.approx(expected)

    def test_the_nearest_of_equals(self) -> None:
        scores = np.array([0.1, 0.3, 0.7] + [0.75] * 7 + [0.9])
        is_positive = np.array([HAM, HAM, HAM] + [HAM] * 7 + [SPAM])
        assert choose_plain_threshold(scores, is_positive) == pytest.approx(0.825)

    @pytest.mark.parametrize("count", [60, 600])
    def test_chance_moves_it_in_one_of_twenty_at_most(self, count: int) -> None:
        """The labels are drawn by the scores, so no threshold is better than 0.5."""
        random = np.random.RandomState(0)
        moved = 0
        for _ in range(200):
            scores = random.beta(0.3, 0.3, count)
            moved += choose_plain_threshold(scores, random.rand(count) < scores) != 0.5
        assert moved <= 10

    @pytest.mark.parametrize("scores", [[], [0.2], [0.7, 0.7]])
    def test_nothing_to_choose_between(self, scores: list[float]) -> None:
        is_positive = np.zeros(len(scores), dtype=bool)
        assert choose_plain_threshold(np.array(scores), is_positive) == 0.5

    @given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60))
    def test_never_more_errors_than_at_a_half(self, pairs) -> None:
        scores = np.array([number / 20 for number, _ in pairs])
        is_positive = np.array([flag for _, flag in pairs])
        errors = [
            ((scores >= threshold) != is_positive).sum()
            for threshold in (choose_plain_threshold(scores, is_positive), 0.5)
        ]
        assert errors[0] == errors[1] or errors[0] <= errors[1] - 5
