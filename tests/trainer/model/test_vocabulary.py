"""The starter's small vocabulary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from batch.model.tokenizer import PAD_ID
from trainer.model.build import build_model, merge_updates, share_rows
from trainer.model.gpt2 import VOCAB_SIZE, model_config
from trainer.model.vocabulary import (
    PAD_ROW,
    build_vocabulary,
    build_vocabulary_of,
    refine_vocabulary,
    token_shape,
)
from trainer.recipe import get_recipe


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (" 150", " 3 digits"),
        ("08001", "5 digits"),
        ("0800123", "5 digits"),
        ("WIN", "long upper"),
        (" to", " short lower"),
        ("Hello", "long title"),
        ("iPhone", "long any case"),
        (" £", " other"),
        ("3rd", "mixed"),
        ("  \n", "white space"),
    ],
)
def test_token_shape(text: str, shape: str) -> None:
    assert token_shape(text) == shape


def test_what_rows_are_sums_of(tokenizer) -> None:
    win, prize, call = (tokenizer.encode(text)[0] for text in (" win", " prize", " call"))
    bare, upper = (tokenizer.encode(text)[0] for text in ("win", "WIN"))
    numbers = [tokenizer.encode(text)[0] for text in (" 80", " 87", " 2")]
    messages = [[win, prize], [win, call], [win], [numbers[0]], [bare]]
    vocabulary = build_vocabulary(messages, tokenizer, min_count=2)
    row = vocabulary.token_map
    assert vocabulary.has_own[row[win]]
    assert not vocabulary.has_own[row[bare]]  # in one message
    # Space and case aside it is the same word, so a vector is shared, and shapes differ.
    assert vocabulary.letters[row[win]] == vocabulary.letters[row[bare]] > 0
    assert vocabulary.letters[row[win]] == vocabulary.letters[row[upper]]
    assert len({int(vocabulary.shape[row[token]]) for token in (win, bare, upper)}) == 3
    assert row[prize] == row[call]  # rare ones of one shape
    assert vocabulary.letters[row[prize]] == 0
    assert row[numbers[0]] == row[numbers[1]] != row[numbers[2]]
    assert row[PAD_ID] == PAD_ROW
    # The stand-in of a kept token is shown as the rare ones of its shape are.
    assert row[vocabulary.stand_ins[win]] == row[prize]
    assert vocabulary.stand_ins[PAD_ID] == PAD_ID


@settings(max_examples=5, deadline=None)  # each makes a map of the whole vocabulary
@given(
    messages=st.lists(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=6), max_size=6),
    min_count=st.integers(1, 3),
)
def test_every_kept_token_has_a_row_of_its_own(tokenizer, messages, min_count: int) -> None:
    vocabulary = build_vocabulary(messages, tokenizer, min_count)
    tokens = {token for message in messages for token in message} - {PAD_ID}
    kept = [t for t in tokens if sum(t in message for message in messages) >= min_count]
    rows = vocabulary.token_map[torch.tensor(kept, dtype=torch.int64)]
    counts = torch.bincount(vocabulary.token_map, minlength=vocabulary.rows)
    assert counts[rows].tolist() == [1] * len(kept)
    assert vocabulary.has_own.sum() == len(kept) + 1  # padding
    assert counts[PAD_ROW] == 1
    assert counts.min() >= 1
    assert vocabulary.token_map.max() < vocabulary.rows


def test_merged_rows_give_the_same_logits(tokenizer) -> None:
    vocabulary = build_vocabulary([[5211, 345], [5211], [345, 423]], tokenizer, min_count=2)
    recipe = get_recipe("default", from_random=True)
    config = model_config("starter", vocab_size=vocabulary.rows, remapped=True)
    model = build_model(config, recipe, None)
    share_rows(model.transformer, vocabulary)
    nn.init.normal_(model.transformer.wte.parametrizations.weight.original)
    ids = torch.tensor([[5211, 345, 423, 640], [640, 1, 2, PAD_ID]])
    theirs = model.eval()(ids)
    merge_updates(model)
    assert torch.equal(model(ids), theirs)
    assert model.transformer.wte.weight.shape == (vocabulary.rows, config.emb_dim)
    assert "transformer.wte.weight" in model.state_dict()
    assert not any("parametrizations" in name for name in model.state_dict())


def test_as_many_rows_as_fit(tokenizer) -> None:
    messages = [tokenizer.encode(f"see you at {n} o'clock, {'ok' * (n % 5)}") for n in range(90)]
    most = build_vocabulary(messages, tokenizer, min_count=2)
    assert build_vocabulary_of(10_000, messages, tokenizer).rows == most.rows
    fewer = build_vocabulary_of(most.rows - 20, messages, tokenizer)
    assert fewer.rows <= most.rows - 20
    assert int(fewer.token_map.max()) == fewer.rows - 1


def test_rows_of_a_base_are_split_by_the_labelled_tokens(tokenizer) -> None:
    base = build_vocabulary([[5211, 345], [5211, 345]], tokenizer, min_count=2).token_map
    labelled = build_vocabulary([[423, 9], [423, 9]], tokenizer, min_count=2)
    refined, of_base = refine_vocabulary(base, labelled)
    assert torch.equal(of_base[refined.token_map], base)  # each id starts from its base's row
    rows = refined.token_map
    assert rows[PAD_ID] == PAD_ROW
    assert len({int(rows[token]) for token in (5211, 345, 423, 9)}) == 4
    assert refined.has_own[rows[423]]
    assert refined.rows == int(rows.max()) + 1
