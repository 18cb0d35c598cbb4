"""The notebook's reading, balancing and split: its own rows, and every refusal."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from batch.errors import InputError
from trainer.data.notebook import balance, read_as_notebook, split
from trainer.data.sets import SPLITS, read_split, write_split
from trainer.recipe import RECIPES, Recipe

BOOK = RECIPES["book"]


def frame_of(**counts: int) -> pd.DataFrame:
    """As many messages of each label, each with a text of its own."""
    rows = [(label, f"{label} {i}") for label, count in counts.items() for i in range(count)]
    return pd.DataFrame(rows, columns=["label", "text"])


def notebook_split(path: Path) -> list[pd.DataFrame]:
    """The notebook's cells from ``read_csv`` to ``random_split``."""
    df = pd.read_csv(path, sep="\t", header=None, names=["label", "text"])
    spam, ham = df[df["label"] == "spam"], df[df["label"] == "ham"]
    df = pd.concat([ham.sample(spam.shape[0], random_state=123), spam])
    df = df.sample(frac=1, random_state=123).reset_index(drop=True)
    train_end = int(len(df) * 0.7)
    validation_end = train_end + int(len(df) * 0.1)
    return [df[:train_end], df[train_end:validation_end], df[validation_end:]]


class TestBook:
    """On the real file, the figures that the notebook prints."""

    def test_counts(self, sms_file: Path) -> None:
        frame = read_as_notebook(sms_file)
        assert len(frame) == 5572
        assert frame["label"].value_counts().to_dict() == {"ham": 4825, "spam": 747}
        balanced = balance(frame, BOOK.split_seed)
        assert balanced["label"].value_counts().to_dict() == {"ham": 747, "spam": 747}
        parts = split(balanced, BOOK)
        assert {name: len(part) for name, part in parts.items()} == {
            "train": 1045,
            "validation": 149,
            "test": 300,
        }

    def test_rows_equal_the_notebooks(self, sms_file: Path, tmp_path: Path) -> None:
        ours = split(balance(read_as_notebook(sms_file), BOOK.split_seed), BOOK)
        theirs = notebook_split(sms_file)
        write_split(tmp_path, ours)
        for name, their_part in zip(SPLITS, theirs, strict=True):
            assert ours[name].to_dict("list") == their_part.to_dict("list")
            assert read_split(tmp_path, name).to_dict("list") == their_part.to_dict("list")


class TestRefusals:
    def test_too_few_messages(self) -> None:
        expected = "^4 messages are too few: the validation set would be empty$"
        with pytest.raises(InputError, match=expected):
            split(frame_of(ham=2, spam=2), BOOK)

    def test_class_without_training_message(self) -> None:
        frame = frame_of(ham=30, spam=30, zebra=1)
        for seed in range(100):
            recipe = Recipe("book", "last_position", split_seed=seed)
            shuffled = frame.sample(frac=1, random_state=seed)["label"].tolist()
            if "zebra" not in shuffled[:42]:
                break
        expected = "^no training message is labelled 'zebra'; give more data$"
        with pytest.raises(InputError, match=expected):
            split(frame, recipe)


class TestBalanceAndSplit:
    def test_three_classes_are_cut_to_the_smallest(self) -> None:
        frame = frame_of(a=9, b=30, c=12)
        balanced = balance(frame, 123)
        assert balanced["label"].tolist() == ["b"] * 9 + ["c"] * 9 + ["a"] * 9
        assert balanced["text"].is_unique
        assert set(balanced["text"]) <= set(frame["text"])
        assert balanced["text"].tolist() == balance(frame, 123)["text"].tolist()
        assert balanced["text"].tolist() != balance(frame, 124)["text"].tolist()

    def test_every_message_is_in_one_part(self) -> None:
        frame = frame_of(ham=40, spam=17)
        parts = split(frame, BOOK)
        assert tuple(parts) == SPLITS
        assert [len(part) for part in parts.values()] == [39, 5, 13]
        texts = [text for part in parts.values() for text in part["text"]]
        assert Counter(texts) == Counter(frame["text"])
