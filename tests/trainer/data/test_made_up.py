"""Texts made of pieces of others."""

import numpy as np
import pytest

from trainer.data.made_up import make_up

WORDS = ("red", "big")
TEXTS = [f"{word} at home number {word}{i} for us now" for i in range(40) for word in WORDS]
MARGINS = np.linspace(0.0, 1.0, len(TEXTS))


def made(count: int = 60, seed: int = 1, without=(), texts=TEXTS) -> list[str]:
    return make_up(texts, MARGINS[: len(texts)], count, seed, without)


def test_the_same_seed_makes_the_same_texts_and_none_is_there_already() -> None:
    first = made()
    assert first == made()
    assert first != made(seed=2)
    assert len(first) == len(set(first)) == 60
    assert not set(first) & set(TEXTS)


def test_every_word_is_of_the_texts_and_most_are_of_the_unsure_ones() -> None:
    words = {word for text in TEXTS for word in text.split(" ")}
    unsure = {text.split(" ")[4] for text in TEXTS[:10]}  # an eighth
    texts = made(200)
    assert {word for text in texts for word in text.split(" ")} <= words
    of_unsure = sum(any(word in unsure for word in text.split(" ")) for text in texts)
    assert of_unsure > 100


def test_a_rare_word_stands_in_other_texts() -> None:
    frames = [f"{one} {two} {three} at home" for one in "abc" for two in "abc" for three in "abc"]
    texts = [*frames, "a b zebra at home"]
    found = [text for text in made(200, texts=texts) if "zebra" in text.split(" ")]
    assert len(found) > 15  # of 28 texts one has it
    assert len({tuple(text.split(" ")) for text in found if len(text.split(" ")) == 5}) > 10


def test_a_near_copy_of_a_held_out_text_is_not_made() -> None:
    texts = ["yes please come", "no thanks"]
    assert "please come" in made(50, texts=texts)
    without = made(50, texts=texts, without=["PLEASE, come!"])
    assert without
    assert "please come" not in without


@pytest.mark.parametrize("texts", [["hello"], ["a  b", ""], ["\u4f60\u597d"]])
def test_few_or_short_texts_give_what_they_can(texts: list[str]) -> None:
    found = made(1000, texts=texts)
    assert len(found) < 1000
    assert all(text.strip() and text not in texts for text in found)
