"""Groups that never straddle, in the fractions asked for; the real file's copies counted."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import InputError
from trainer.data.notebook import balance, read_as_notebook, split
from trainer.data.reading import SMS_OPTIONS, read_labelled
from trainer.data.sets import SPLITS
from trainer.data.splits import check_no_leak, group_key, make_split, split_grouped
from trainer.evaluation.baseline import baseline_scores
from trainer.recipe import RECIPES

BOOK = RECIPES["book"]
NATURAL = replace(BOOK, balance=False)
DEFAULT = RECIPES["default"]


def frame_of(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "text"])


def numbered(**counts: int) -> pd.DataFrame:
    """As many messages of each label, no two of one group."""
    rows = [
        (label, f"{label} {'x' * number}") for label, n in counts.items() for number in range(n)
    ]
    return frame_of(*rows)


class TestGroupKey:
    @pytest.mark.parametrize(
        ("text", "key"),
        [
            ("WINNER!! Call 0900-123 now", "winner call 0 0 now"),
            ("winner, call 09-9 NOW...", "winner call 0 0 now"),
            ("Straße_1", "strasse 0"),
            ("ＦＲＥＥ ٣٤", "free 0"),  # full-width letters, Arabic digits
            ("don't", "don t"),
            ("ΰ", group_key("Ϋ́")),  # folding takes them apart, composing puts them together
            (" :-) ", ":-)"),
            ("😀", "😀"),
            ("", ""),
        ],
    )
    def test_examples(self, text: str, key: str) -> None:
        assert group_key(text) == key

    def test_digits_are_not_dropped(self) -> None:
        assert group_key("1") == group_key("23") != group_key("")

    @given(st.text())
    def test_case_punctuation_and_the_number_do_not_matter(self, text: str) -> None:
        key = group_key(text)
        assert group_key(key) == key
        assert group_key(f"Call 1: {text}!") == group_key(f"CALL 22 {text} ")


class TestSplitGrouped:
    @given(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), min_size=40, max_size=150),
        st.integers(0, 5),
    )
    def test_properties(self, rows, seed: int) -> None:
        frame = frame_of(*((label, f"{'y' * number} {place}") for place, (label, number)
                           in enumerate(rows)))  # fmt: skip
        recipe = replace(NATURAL, split_seed=seed)
        try:
            parts = split_grouped(frame, recipe)
        except InputError:  # a label of one or two groups
            return
        check_no_leak(parts)
        together = pd.concat(parts.values())
        assert sorted(together["text"]) == sorted(frame["text"])
        assert dict(zip(together["text"], together["label"], strict=True)) == dict(
            zip(frame["text"], frame["label"], strict=True)
        )
        # Each label's stretch is off by half a group at each end, at most.
        slack = 2 * frame["text"].map(group_key).value_counts().max()
        for name, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
            assert abs(len(parts[name]) - share * len(frame)) <= slack
        again = split_grouped(frame, recipe)
        assert all(again[name].equals(parts[name]) for name in SPLITS)

    def test_stratified_and_in_the_natural_mix(self) -> None:
        parts = split_grouped(numbered(ham=860, spam=140), NATURAL)
        counts = {name: part["label"].value_counts().to_dict() for name, part in parts.items()}
        assert counts == {
            "train": {"ham": 602, "spam": 98},
            "validation": {"ham": 86, "spam": 14},
            "test": {"ham": 172, "spam": 28},
        }

    def test_every_set_is_balanced_on_its_own(self) -> None:
        parts = split_grouped(numbered(ham=860, spam=140), BOOK)
        counts = {name: part["label"].value_counts().to_dict() for name, part in parts.items()}
        assert counts == {
            name: {"ham": n, "spam": n}
            for name, n in [("train", 98), ("validation", 14), ("test", 28)]
        }
        assert parts["test"]["label"].iloc[:28].nunique() == 2  # shuffled

    def test_the_seed_decides(self) -> None:
        frame = numbered(ham=50, spam=50)
        tests = [split_grouped(frame, replace(BOOK, split_seed=seed))["test"] for seed in (1, 2)]
        assert set(tests[0]["text"]) != set(tests[1]["text"])

    def test_a_group_with_two_labels_stays_together(self) -> None:
        frame = pd.concat(
            [numbered(ham=30, spam=30), frame_of(*[("ham", "Win 1")] * 3, ("spam", "win 2!"))]
        )
        parts = split_grouped(frame, NATURAL)
        check_no_leak(parts)
        assert sum(len(part) for part in parts.values()) == 64

    @pytest.mark.parametrize("seed", range(8))
    def test_a_group_counts_under_its_most_frequent_label(self, seed: int) -> None:
        mixed = frame_of(("ham", "Win 1"), *[("spam", "win 2!")] * 3)
        parts = split_grouped(
            pd.concat([numbered(ham=30), mixed]), replace(NATURAL, split_seed=seed)
        )
        # The only group of its label has its middle at half of it.
        assert parts["train"]["text"].str.lower().str.startswith("win").sum() == 4

    def test_refusals(self) -> None:
        copies = frame_of(*[("ham", f"Hello {n}") for n in range(50)], ("spam", "win"))
        with pytest.raises(InputError) as caught:
            split_grouped(copies, NATURAL)
        assert str(caught.value) == (
            "2 different messages (case, digits and punctuation aside) are too few: the "
            "validation set would be empty; give more data, or type --split book to split at random"
        )
        tail = replace(NATURAL, train_fraction=0.2, validation_fraction=0.4)
        with pytest.raises(InputError) as caught:
            split_grouped(numbered(ham=50, spam=1), tail)
        assert str(caught.value) == "no training message is labelled 'spam'; give more data"

    def test_a_label_that_a_set_misses_is_told(self, caplog) -> None:
        """All messages of one label are near copies of one another."""
        frame = pd.concat([numbered(ham=50), frame_of(*[("spam", f"win {n}") for n in range(20)])])
        parts = make_split(frame, DEFAULT)
        assert [part["label"].nunique() for part in parts.values()] == [2, 1, 1]
        assert [record.message for record in caplog.records] == [
            f"WARNING: no {name} message is labelled 'spam', whose messages are few or near copies "
            "of each other; give more data, or type --split book to split at random"
            for name in ("validation", "test")
        ]
        caplog.clear()
        parts = make_split(frame, replace(DEFAULT, split="book"))
        assert [part["label"].nunique() for part in parts.values()] == [2, 2, 2]
        assert not caplog.records

    @pytest.mark.parametrize("count", [20, 50, 100, 300])
    def test_few_messages_of_the_natural_mix(self, count: int, caplog) -> None:
        """Every set has each label from 10 messages a label on, which is the default floor."""
        spam = max(10, round(count * 0.13))
        for seed in range(5):
            parts = make_split(
                numbered(ham=count - spam, spam=spam), replace(DEFAULT, split_seed=seed)
            )
            assert all(part["label"].nunique() == 2 for part in parts.values())
        assert not caplog.records


class TestLeak:
    def test_refused(self) -> None:
        parts = {
            "train": frame_of(("ham", "See you at 5"), ("ham", "bye")),
            "validation": frame_of(("ham", "hello")),
            "test": frame_of(("ham", "see you at 17!"), ("ham", "SEE YOU AT 8"), ("ham", "new")),
        }
        with pytest.raises(InputError) as caught:
            check_no_leak(parts)
        assert str(caught.value) == (
            "2 of 3 messages of the test set are also in the train set "
            "(case, digits and punctuation aside)"
        )
        parts["test"] = parts["test"][2:]
        check_no_leak(parts)


class TestRealFile:
    def test_lines(self, sms_file: Path) -> None:
        frame = read_labelled([sms_file], SMS_OPTIONS).frame
        assert frame["label"].value_counts().to_dict() == {"ham": 4827, "spam": 747}
        assert frame["text"].nunique() == 5171  # DESIGN.md, section 5
        assert frame["text"].map(group_key).nunique() == 5101

    def test_the_book_split_leaks(self, sms_file: Path) -> None:
        parts = split(balance(read_as_notebook(sms_file), BOOK.split_seed), BOOK)
        seen = set(parts["train"]["text"])
        assert parts["test"]["text"].isin(seen).sum() == 37  # DESIGN.md, section 5
        with pytest.raises(InputError) as caught:
            check_no_leak(parts)
        assert str(caught.value) == (
            "17 of 149 messages of the validation set are also in the train set "
            "(case, digits and punctuation aside)"
        )

    @pytest.mark.parametrize(
        ("recipe", "sizes", "accuracy"),
        [(BOOK, [1046, 150, 298], 0.983), (NATURAL, [3902, 557, 1115], 0.991)],
    )
    def test_the_svm_on_grouped(self, sms_file, recipe, sizes, accuracy: float) -> None:
        parts = split_grouped(read_labelled([sms_file], SMS_OPTIONS).frame, recipe)
        check_no_leak(parts)
        assert [len(part) for part in parts.values()] == sizes
        found = baseline_scores(parts["train"], parts["test"], ["ham", "spam"], positive=1)
        assert found["accuracy"] == pytest.approx(accuracy, abs=5e-4)
