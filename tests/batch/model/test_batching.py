"""Batches: every row once, little padding, and widths that do not change a message's bits."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.model.batching import (
    GPU_WIDTH_STEP,
    WIDTH_STEP,
    Shapes,
    cut_batches,
    pad_batch,
    round_up,
)

LENGTHS = st.lists(st.integers(0, 130), max_size=200)
BUDGETS = st.integers(1, 2000)


def test_the_example():
    batches = [(rows.tolist(), width) for rows, width in cut_batches([9, 1, 3], 16)]
    assert batches == [([1, 2], 4), ([0], 12)]


@given(LENGTHS, BUDGETS, st.none() | st.just(130))
def test_every_row_comes_once_and_fits(lengths, max_tokens, fixed_length):
    batches = list(cut_batches(lengths, max_tokens, fixed_length))
    rows = [row for batch, _ in batches for row in batch.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    assert rows == sorted(rows, key=lambda row: (lengths[row], row))
    for batch, width in batches:
        assert len(batch) >= 1
        assert all(lengths[row] <= width for row in batch)


@given(LENGTHS, BUDGETS)
def test_the_budget_is_obeyed_and_used(lengths, max_tokens):
    batches = list(cut_batches(lengths, max_tokens))
    for batch, width in batches:
        assert len(batch) == 1 or len(batch) * width <= max_tokens
    for (batch, _), (following, _) in pairwise(batches):
        assert round_up(lengths[following[0]]) * (len(batch) + 1) > max_tokens


@given(LENGTHS, BUDGETS)
def test_widths_are_the_least_multiples_of_four(lengths, max_tokens):
    for batch, width in cut_batches(lengths, max_tokens):
        longest = max(lengths[row] for row in batch)
        assert width % WIDTH_STEP == 0
        assert width - WIDTH_STEP < max(longest, 1) <= width


@given(LENGTHS, BUDGETS, st.integers(130, 140))
def test_a_fixed_length_is_every_width(lengths, max_tokens, fixed_length):
    for batch, width in cut_batches(lengths, max_tokens, fixed_length):
        assert width == fixed_length
        assert len(batch) == 1 or len(batch) * width <= max_tokens


@given(LENGTHS, st.integers(200, 4000))
def test_a_gpu_gets_one_shape_for_each_of_a_few_widths(lengths, tokens):
    shapes = Shapes(tokens, 132, 50256)
    seen = {}
    for batch, width in cut_batches(lengths, tokens, None, shapes):
        assert width % GPU_WIDTH_STEP == 0 or width == 132
        ids = pad_batch([[1] * lengths[row] for row in batch], width, 50256)
        fitted = shapes.fit(ids)
        assert fitted[: len(ids)].tolist() == ids.tolist()
        assert (fitted[len(ids) :] == 50256).all()
        assert seen.setdefault(width, fitted.shape) == fitted.shape == (tokens // width, width)


def test_the_longest_shape_is_the_model_s():
    model = SimpleNamespace(max_length=121, fixed_length=False, pad_id=50256)
    assert Shapes.of(model, 4096) == Shapes(4096, 124, 50256)
    assert Shapes.of(model).tokens == 16384
    assert Shapes.of(model).fit(np.zeros((1, 121), dtype=np.int64)).shape == (132, 124)
    tied = SimpleNamespace(max_length=121, fixed_length=True, pad_id=50256)
    assert Shapes.of(tied, 242).fit(np.zeros((1, 121), dtype=np.int64)).shape == (2, 121)


@pytest.mark.parametrize(
    ("length", "width"), [(0, 4), (1, 4), (4, 4), (5, 8), (8, 8), (120, 120), (121, 124)]
)
def test_round_up(length, width):
    assert round_up(length) == width


def test_pads_on_the_right():
    ids = pad_batch([[1, 2], [], [3, 4, 5, 6]], 4, 50256)
    pad = 50256
    assert ids.tolist() == [[1, 2, pad, pad], [pad] * 4, [3, 4, 5, 6]]
    assert ids.dtype == np.int64


def test_a_sequence_longer_than_the_width_is_our_mistake():
    with pytest.raises(ValueError, match="could not broadcast"):
        pad_batch([[1, 2, 3, 4, 5]], 4, 50256)
