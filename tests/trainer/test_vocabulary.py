"""The starter's small vocabulary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.model import PAD_ID, VOCAB_SIZE
from trainer.vocabulary import PAD_ROW, build_vocabulary, token_shape


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


def test_rare_tokens_share_a_row_by_shape(tokenizer) -> None:
    win, prize, call = (tokenizer.encode(text)[0] for text in (" win", " prize", " call"))
    numbers = [tokenizer.encode(text)[0] for text in (" 80", " 87", " 2")]
    messages = [[win, prize], [win, call], [win], [numbers[0]]]
    vocabulary = build_vocabulary(messages, tokenizer, min_count=2)
    row = vocabulary.token_map
    assert row[win] != row[prize]  # kept, and rare
    assert row[prize] == row[call]
    assert row[numbers[0]] == row[numbers[1]] != row[numbers[2]]
    assert row[PAD_ID] == PAD_ROW
    assert (row == row[win]).sum() == 1
    # The stand-in of a kept token is shown as the rare ones of its shape are.
    assert row[vocabulary.stand_ins[win]] == row[prize]
    assert vocabulary.stand_ins[PAD_ID] == PAD_ID


@settings(max_examples=10, deadline=None)  # each makes a map of the whole vocabulary
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
    assert counts[PAD_ROW] == 1
    assert vocabulary.token_map.max() < vocabulary.rows
