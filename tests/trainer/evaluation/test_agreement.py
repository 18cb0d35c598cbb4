"""Agreement of a student with its teacher, counted by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batch.model.decision import Decision
from trainer.data.tensors import NO_GOLD, EncodedSet, pad_messages
from trainer.evaluation.agreement import agreement_lines, left_after_asking, measure_agreement

HALF = Decision(["ham", "spam"], "spam", 0.5, 1.0)
# Scores of the student; the teacher says spam of the first two and the last, the third it did
# not label.
SCORES = np.array([0.95, 0.45, 0.7, 0.02, 0.03, 0.55])
LABELS = [1, 1, 0, 0, 0, 0]
GOLD = [1, 0, 1, NO_GOLD, NO_GOLD, 0]


def make_set(gold: list[int] | None) -> EncodedSet:
    teacher = torch.tensor([[1.0 - label, float(label)] for label in LABELS]).clamp(0.01).log()
    teacher[2] = math.nan
    return EncodedSet(
        pad_messages([[1]] * 6, 1), torch.tensor(LABELS), torch.ones(6, dtype=torch.int64), 0,
        teacher, None if gold is None else torch.tensor(gold),
    )  # fmt: skip


def measure(gold: list[int] | None = None) -> dict:
    logits = np.log(np.stack([1 - SCORES, SCORES], axis=1))
    return measure_agreement(HALF, logits, make_set(gold))


def test_counts_by_class_and_score() -> None:
    found = measure()
    assert found["messages"] == 5
    assert (found["disagreement"]["count"], found["disagreement"]["share"]) == (2, 0.4)
    assert [(part["label"], part["count"], part["messages"]) for part in found["by_class"]] == [
        ("ham", 1, 3),
        ("spam", 1, 2),
    ]
    bins = {part["from"]: (part["count"], part["messages"]) for part in found["by_score"]}
    assert bins[0.0] == (0, 2)
    assert bins[0.4] == bins[0.5] == (1, 1)
    assert bins[0.7] == (0, 0)  # the message that the teacher did not label
    assert found["gold"] is None


def test_beside_gold_labels() -> None:
    gold = measure(GOLD)["gold"]
    assert (gold["student"]["count"], gold["student"]["messages"]) == (1, 4)
    assert (gold["student_where_both"]["count"], gold["student_where_both"]["messages"]) == (1, 3)
    assert (gold["teacher"]["count"], gold["teacher"]["messages"]) == (1, 3)


def test_lines() -> None:
    assert agreement_lines(measure(GOLD), {"accuracy": 0.75}) == [
        "disagrees with the teacher on 40.00 % (2 of 5) held-out messages",
        "by the teacher's class: ham 33.33 % (1 of 3), spam 50.00 % (1 of 2)",
        "by the student's score: 0.4 to 0.5 100.00 % (1 of 1), 0.5 to 0.6 100.00 % (1 of 1)",
        "if the least sure are asked of the teacher again: 1 % asked, 40.000 % left; 2 % asked, "
        "40.000 % left; 5 % asked, 40.000 % left; 10 % asked, 40.000 % left",
        "the SVM, trained on the teacher's labels, disagrees on 25.00 %",
        "against the gold labels: the student errs on 25.00 % (1 of 4)",
        "where the teacher labelled them too: the teacher errs on 33.33 % (1 of 3), the student "
        "on 33.33 % (1 of 3)",
    ]


class TestLeft:
    def test_the_least_sure_are_asked_first(self) -> None:
        differs = np.array([True, False, True, False])
        margins = np.array([0.4, 0.3, 0.1, 0.2])
        asked = (0.0, 0.25, 0.5, 0.75, 1.0)
        assert left_after_asking(differs, margins, asked) == [0.5, 0.25, 0.25, 0.25, 0.0]

    def test_of_equal_margins_none_is_asked_alone(self) -> None:
        differs, margins = np.array([True, True, False]), np.array([0.1, 0.1, 0.3])
        assert left_after_asking(differs, margins, (1 / 3, 2 / 3)) == [2 / 3, 0.0]

    def test_no_messages(self) -> None:
        assert left_after_asking(np.zeros(0, bool), np.zeros(0), (0.0, 0.5)) == [0.0, 0.0]

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=30))
    def test_asking_more_never_leaves_more(self, rows: list[tuple[bool, int]]) -> None:
        differs = np.array([flag for flag, _ in rows])
        margins = np.array([value / 10 for _, value in rows])
        left = left_after_asking(differs, margins)
        assert left == sorted(left, reverse=True)
        assert left[0] == pytest.approx(differs.mean())
