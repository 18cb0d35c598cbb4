"""The recipes: what the notebook has, and what may differ from it."""

import json
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from trainer.recipe import (
    DISTILLED,
    FROM_BASE,
    FROM_RANDOM,
    LOSSES,
    RECIPES,
    TRAINABLE,
    Recipe,
    fit_to_size,
    fit_vocabulary,
    get_recipe,
    starter_recipe,
)


def test_book_is_the_notebook() -> None:
    book = RECIPES["book"].to_dict()
    expected = {
        "name": "book",
        "pooling": "last_position",
        "trainable": "last_block",
        "balance": True,
        "train_fraction": 0.7,
        "validation_fraction": 0.1,
        "split_seed": 123,
        "max_length": None,
        "batch_size": 8,
        "epochs": 5,
        "learning_rate": 5e-5,
        "weight_decay": 0.1,
        "schedule": "constant",
        "warmup_fraction": 0.0,
        "clip_norm": None,
        "drop_rate": 0.0,
        "average_decay": None,
        "token_drop_rate": 0.0,
        "stand_in_rate": 0.0,
        "eval_freq": 50,
        "eval_iter": 5,
        "seed": 123,
        "split": "book",
        "causal": True,
        "accumulate": 1,
        "group_by_length": False,
        "loss": "labels",
        "ignore_index": -100,  # cross_entropy's own
        "keep": "last",
        "fit_threshold": False,
        "notices": False,
        "patience": None,
        "bf16": False,
    }
    assert {key: book[key] for key in expected} == expected
    # Of the starter's vocabulary, and of a way to train that the book does not take.
    assert set(book) - set(expected) == {
        "min_token_count", "lora_rank", "lora_alpha", "min_steps", "adds_starter",
    }  # fmt: skip


def test_default_is_for_use() -> None:
    """All messages, near copies in one set, the last real token, the best epoch."""
    book, default = RECIPES["book"].to_dict(), RECIPES["default"].to_dict()
    assert {key: default[key] for key in book if book[key] != default[key]} == {
        "name": "default",
        "pooling": "last_token",
        "split": "grouped",
        "balance": False,
        "keep": "best",
        "fit_threshold": True,
        "notices": True,
    }


@pytest.mark.parametrize("name", RECIPES)
def test_from_random_changes_only_what_it_names(name: str) -> None:
    ours, published = get_recipe(name, from_random=True), RECIPES[name]
    assert asdict(ours) == {**asdict(published), **FROM_RANDOM}
    kept = (
        "name", "pooling", "split", "balance", "keep", "fit_threshold", "split_seed",
        "train_fraction", "max_length", "seed",
    )  # fmt: skip
    assert not set(kept) & set(FROM_RANDOM)
    assert ours.trainable in TRAINABLE


def test_changes_win_and_none_is_no_change() -> None:
    recipe = get_recipe("book", from_random=True, epochs=2, balance=False, seed=None)
    assert (recipe.epochs, recipe.balance, recipe.seed) == (2, False, 123)
    recipe = get_recipe("default", balance=True, split="book", keep="last")
    assert (recipe.balance, recipe.split, recipe.keep) == (True, "book", "last")
    assert get_recipe("default", epochs=None) == RECIPES["default"]


def test_a_distillation_changes_fields_that_there_are() -> None:
    assert set(DISTILLED) <= set(RECIPES["default"].to_dict())
    assert DISTILLED["loss"] in LOSSES
    recipe = RECIPES["default"]
    assert (recipe.split, recipe.balance, recipe.keep) == ("grouped", False, "best")


def test_a_rare_token_of_a_student_shares_its_vector() -> None:
    given = RECIPES["default"]
    counts = [fit_vocabulary(given, texts).min_token_count for texts in (3, 49_000, 2_476_224)]
    assert counts == [2, 2, 124]
    assert fit_vocabulary(replace(given, min_token_count=9), 100_000).min_token_count == 9


def test_unknown_names_are_errors() -> None:
    with pytest.raises(KeyError):
        get_recipe("cook")
    with pytest.raises(TypeError):
        get_recipe("book", epoch=3)


def test_recipe_is_frozen_and_goes_through_json() -> None:
    recipe = get_recipe("default", max_length=17)
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 1
    assert Recipe(**json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_base_changes_only_what_it_names() -> None:
    ours = get_recipe("default", from_base=True)
    assert asdict(ours) == {**asdict(RECIPES["default"]), **FROM_BASE}
    assert starter_recipe(ours) == replace(
        ours, **FROM_RANDOM, batch_size=8, group_by_length=False, adds_starter=False
    )


def test_few_messages_take_more_epochs_unless_the_user_says_how_many() -> None:
    ours = get_recipe("default", from_base=True)
    assert fit_to_size(ours, 4000) == ours
    few = fit_to_size(ours, 50)
    assert (few.batch_size, few.epochs) == (6, 13)
    asked = get_recipe("default", from_base=True, epochs=2)
    assert fit_to_size(asked, 50) == asked
    again = get_recipe(
        "default",
        from_base=True,
        **{key: value for key, value in asdict(ours).items() if key != "name"},
    )
    assert again == ours
