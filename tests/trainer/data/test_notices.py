"""Our notices: what they are, when a training takes them, and that no example is among them."""

import csv
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from trainer.data.notices import (
    NOTICES,
    add_notices,
    adds_notices,
    notices_file,
    read_notices,
)
from trainer.data.reading import DEFAULT_OPTIONS, SMS_OPTIONS, read_labelled
from trainer.data.splits import group_key, make_split
from trainer.fetch.assets import fetch_data
from trainer.recipe import RECIPES, get_recipe

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = RECIPES["default"]


@pytest.fixture(scope="module")
def notices() -> pd.DataFrame:
    return read_labelled([NOTICES]).frame


def test_the_file(notices) -> None:
    counts = notices["label"].value_counts()
    assert set(counts.index) == {"ham", "spam"}
    assert counts["ham"] > counts["spam"] > 200
    assert len(set(map(group_key, notices["text"]))) > 0.97 * len(notices)
    assert notices["text"].str.len().between(2, 480).all()
    assert notices_file().path == NOTICES
    assert not notices_file().is_sms


def test_no_message_of_the_example_is_near_one_of_them(notices) -> None:
    with (ROOT / "examples/inbox.csv").open(encoding="utf-8", newline="") as file:
        inbox = [row["text"] for row in csv.DictReader(file) if row["text"]]
    ours = {words(text): text for text in notices["text"]}
    near = [
        (mine, theirs)
        for mine, theirs in ((text, other) for text in inbox for other in ours)
        if len(words(mine) & theirs) > 0.5 * max(4, min(len(words(mine)), len(theirs)))
    ]
    assert near == []


def words(text: str) -> frozenset[tuple[str, ...]]:
    """The runs of three words of a text, in the form in which near copies are alike."""
    parts = group_key(text).split()
    return frozenset(zip(parts, parts[1:], parts[2:], strict=False))


def test_which_trainings_take_them(sms_file: Path, tmp_path: Path) -> None:
    sms = [fetch_data(tmp_path, sms_file)]
    other = [replace(sms[0], sha256="0" * 64)]
    assert adds_notices(sms, DEFAULT_OPTIONS, DEFAULT)
    assert not adds_notices(other, DEFAULT_OPTIONS, DEFAULT)
    assert not adds_notices([*sms, *other], DEFAULT_OPTIONS, DEFAULT)
    assert not adds_notices(sms, replace(DEFAULT_OPTIONS, label_column="1"), DEFAULT)
    assert not adds_notices(sms, DEFAULT_OPTIONS, RECIPES["book"])
    assert not adds_notices(sms, DEFAULT_OPTIONS, get_recipe("default", notices=False))
    assert not adds_notices(sms, DEFAULT_OPTIONS, get_recipe("default", split="book"))
    assert not adds_notices(sms, DEFAULT_OPTIONS, get_recipe("default", balance=True))


def test_they_are_in_the_training_set_alone(sms_file: Path, notices) -> None:
    frame = read_labelled([sms_file], SMS_OPTIONS).frame
    parts = make_split(frame, DEFAULT)
    found = add_notices(parts, read_notices(DEFAULT_OPTIONS).frame, DEFAULT)
    assert found["test"] is parts["test"] and found["validation"] is parts["validation"]
    assert len(found["train"]) == len(parts["train"]) + len(notices)
    assert set(found["train"]["text"]) == {*parts["train"]["text"], *notices["text"]}
    # In no order of theirs, and none of them is near a message of the collection.
    ours = found["train"]["text"].isin(notices["text"])
    assert ours[:1000].any() and not ours[:1000].all()
    assert not {*map(group_key, notices["text"])} & {*map(group_key, frame["text"])}
