"""The starter's small vocabulary."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.model import PAD_ID, VOCAB_SIZE
from trainer.vocabulary import PAD_ROW, UNKNOWN_ROW, build_token_map


def test_rows_of_an_example() -> None:
    messages = [[7, 7, 7], [3, 9], [3, 50255], [], [50255, PAD_ID]]
    token_map, rows = build_token_map(messages, min_count=2)
    assert token_map.shape == (VOCAB_SIZE,)
    assert token_map.dtype == torch.int64
    assert rows == 4
    assert token_map[[3, 50255, PAD_ID]].tolist() == [2, 3, PAD_ROW]
    # 7 stands three times, but in one message.
    assert token_map[[7, 9, 0]].tolist() == [UNKNOWN_ROW] * 3


def test_no_messages_leave_the_two_shared_rows() -> None:
    token_map, rows = build_token_map([], min_count=1)
    assert rows == 2
    assert token_map.unique().tolist() == [UNKNOWN_ROW, PAD_ROW]


messages = st.lists(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=6), max_size=6)


@settings(max_examples=25)  # each makes a map of the whole vocabulary
@given(messages=messages, min_count=st.integers(1, 3))
def test_every_kept_token_has_a_row_of_its_own(messages: list[list[int]], min_count: int) -> None:
    token_map, rows = build_token_map(messages, min_count)
    tokens = {token for message in messages for token in message} - {PAD_ID}
    kept = {token for token in tokens if sum(token in message for message in messages) >= min_count}
    assert rows == 2 + len(kept)
    assert sorted(token_map[token].item() for token in kept) == list(range(2, rows))
    assert token_map[PAD_ID] == PAD_ROW
    assert (token_map == UNKNOWN_ROW).sum() == VOCAB_SIZE - len(kept) - 1
