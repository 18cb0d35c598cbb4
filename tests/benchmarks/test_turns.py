"""Sides take turns in slices; the median counts, and a side that wavers is said."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def turns(root: Path):
    path = root / "benchmarks" / "turns.py"
    spec = importlib.util.spec_from_file_location("turns", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["turns"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["turns"]


def make_side(turns, name: str, messages: list[int], taken: list[float]):
    """A side whose turns take these seconds, after one second to warm up."""
    times = iter([1.0, *taken])
    return turns.Side(name, messages, lambda number: (next(times), [f"{name} {number}"]))


def test_slices_have_every_item_once(turns) -> None:
    assert turns.slices([1, 2, 3, 4, 5], 2) == [[1, 3, 5], [2, 4]]


def test_every_side_has_its_turn_at_each_slice(turns) -> None:
    order = []
    sides = [
        turns.Side(name, [1, 1], lambda number, name=name: (order.append((name, number)), None))
        for name in "ab"
    ]
    turns.take_turns(sides, 1)
    assert order == [("a", 0), ("b", 0), ("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_the_median_of_each_slice_counts(turns) -> None:
    base = make_side(turns, "base", [10, 10], [1.0] * 6)
    fast = make_side(turns, "fast", [30, 10], [1.0, 1.0, 1.0, 1.0, 9.0, 1.0])
    turns.take_turns([base, fast], 3)
    assert turns.rate(base) == 10 and turns.rate(fast) == 20
    assert fast.labels == {0: ["fast 0"], 1: ["fast 1"]}
    row = turns.summary(fast, base)
    assert row["times_a"] == 2 and row["times_a_high"] == 2 and row["times_a_low"] < 2
    assert row["fastest_tenth"] == 20 and row["spread"] > 0.2


def test_the_table_says_which_side_varied(turns) -> None:
    base = make_side(turns, "base", [1], [1.0] * 4)
    wavering = make_side(turns, "wavering", [4000], [1.0, 1.0, 2.0, 2.0])
    turns.take_turns([base, wavering], 4)
    lines = turns.table([turns.summary(side, base) for side in (base, wavering)])
    assert lines[2] == "| base | 1.0 | 1.0 | 1.0 | 1.0 to 1.0 |"
    assert lines[3].startswith("| wavering | 2,667 | ")
    assert lines[4] == "the speed of wavering varied by 75% of its median"
    assert len(lines) == 5
