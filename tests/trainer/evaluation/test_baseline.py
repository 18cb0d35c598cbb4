"""The linear SVM: its published figure, and its manners."""

from pathlib import Path

import pandas as pd
import pytest

from batch.errors import InputError
from trainer.data.notebook import balance, read_as_notebook, split
from trainer.evaluation.baseline import baseline_scores
from trainer.recipe import RECIPES


def frame_of(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "text"])


TRAIN = frame_of(
    ("ham", "see you at home"), ("ham", "home by seven"), ("ham", "you are at work"),
    ("spam", "WIN A PRIZE"), ("spam", "a prize to win"), ("spam", "win big prizes"),
)  # fmt: skip
TEST = frame_of(("ham", "at home"), ("spam", "win!"), ("spam", "your prize"), ("ham", "at work"))


def test_book_split(sms_file: Path) -> None:
    """DESIGN.md, section 5: 97.3 % on the book's test set."""
    book = RECIPES["book"]
    parts = split(balance(read_as_notebook(sms_file), book.split_seed), book)
    found = baseline_scores(parts["train"], parts["test"], ["ham", "spam"], positive=1)
    assert found["messages"] == 300
    assert found["confusion"] == [[148, 1], [7, 144]]
    assert found["accuracy"] == pytest.approx(0.9733, abs=5e-5)
    assert found["auc"] == pytest.approx(0.9944, abs=5e-4)


def test_same_frames_same_figures() -> None:
    first = baseline_scores(TRAIN, TEST, ["ham", "spam"], positive=1)
    assert first == baseline_scores(TRAIN, TEST, ["ham", "spam"], positive=1)
    assert first["accuracy"] == first["auc"] == 1.0
    assert first["confusion"] == [[2, 0], [0, 2]]


def test_the_order_of_labels_is_the_models() -> None:
    found = baseline_scores(TRAIN, TEST[:3], ["spam", "ham"], positive=0)
    assert found["confusion"] == [[2, 0], [0, 1]]
    assert found["recall"] == 1.0


def test_three_classes() -> None:
    train = pd.concat([TRAIN, frame_of(("work", "meeting minutes"), ("work", "the meeting"))])
    test = pd.concat([TEST, frame_of(("work", "minutes of the meeting"))])
    found = baseline_scores(train, test, ["ham", "spam", "work"], positive=1)
    assert found["confusion"] == [[2, 0, 0], [0, 2, 0], [0, 0, 1]]
    assert found["auc"] == 1.0


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (TRAIN[:3], "no training message is 'spam'"),
        (frame_of(("ham", "a"), ("spam", " \t ")), "no training message has two characters"),
    ],
)
def test_refusals(train: pd.DataFrame, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        baseline_scores(train, TEST, ["ham", "spam"], positive=1)
    assert str(caught.value) == f"the SVM cannot be trained: {reason}"
