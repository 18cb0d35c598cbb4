"""The bound is exact, the band asks as few as it may, and the promise is honest."""

import math

import numpy as np
import pytest
from scipy.stats import beta, binom

from batch.model.cascade.proof import show_bound
from exporter.cascade.bound import (
    FAR,
    choose_band,
    count_allowed,
    find_needed,
    make_curve,
    upper_bound,
)
from exporter.cascade.texts import ProofText

PROMISED = 0.01


@pytest.mark.parametrize(
    ("differ", "messages"), [(0, 1), (0, 2995), (3, 500), (499, 500), (20, 9000)]
)
def test_the_bound_is_clopper_and_pearsons(differ, messages) -> None:
    found = upper_bound(differ, messages)
    assert math.isclose(found, beta.ppf(0.95, differ + 1, messages - differ), rel_tol=1e-9)
    # At that share, so few differ with a chance of 5 %.
    assert math.isclose(binom.cdf(differ, messages, found), 0.05, rel_tol=1e-6)


def test_all_may_differ() -> None:
    assert upper_bound(5, 5) == 1.0


@pytest.mark.parametrize("promised", [0.0005, 0.001, 0.01, 0.2])
def test_how_many_are_needed(promised) -> None:
    needed = find_needed(promised)
    assert upper_bound(0, needed) <= promised < upper_bound(0, needed - 1)
    assert (count_allowed(needed, promised), count_allowed(needed - 1, promised)) == (0, -1)


@pytest.mark.parametrize("messages", [3000, 5000, 40_000])
def test_how_many_may_differ(messages) -> None:
    allowed = count_allowed(messages, 0.001)
    assert upper_bound(allowed, messages) <= 0.001 < upper_bound(allowed + 1, messages)


def test_a_band_around_the_messages_that_differ() -> None:
    leanings = np.arange(-50.0, 50.0)  # a message at each
    differs = np.isin(leanings, (-3, 2))
    # Enough may differ that the proof succeeds with none left: the band ends at those two.
    band = choose_band(leanings, differs, 0.0, allowed=5, proving=100)
    assert (band.low, band.high, band.left, band.asked) == (-3.5, 2.5, 0, 6)
    # Too few may: it is wider.
    band = choose_band(leanings, differs, 0.0, allowed=0, proving=100)
    assert (band.low, band.high, band.left, band.asked) == (-6.5, 5.5, 0, 12)


def test_what_may_be_left_is_left_where_it_saves_most() -> None:
    leanings = np.arange(-50.0, 50.0)
    differs = np.isin(leanings, (-40, -1, 2, 3))
    band = choose_band(leanings, differs, 0.0, allowed=7, proving=100)
    assert (band.low, band.high, band.left) == (-1.5, 3.5, 1)  # the one at -40 is left


def test_without_a_message_that_differs_nobody_is_asked() -> None:
    leanings = np.arange(-50.0, 50.0)
    band = choose_band(leanings, np.zeros(100, dtype=bool), 0.0, allowed=9, proving=100)
    assert (band.low, band.high, band.asked) == (0.0, 0.0, 0)


def test_the_last_of_a_side_leaves_no_end() -> None:
    leanings = np.arange(-5.0, 5.0)
    band = choose_band(leanings, leanings == 4, 0.0, allowed=5, proving=10)
    assert (band.low, band.high, band.asked) == (0.0, FAR, 5)


def test_equal_leanings_are_on_one_side_of_an_end() -> None:
    leanings = np.array([-2.0, -1.0, 1.0, 1.0, 1.0, 3.0])
    differs = np.array([False, False, True, False, False, False])
    band = choose_band(leanings, differs, 0.0, allowed=5, proving=6)
    assert 1.0 < band.high < 1.0001 and band.asked == 3 and band.left == 0


def test_a_margin_has_one_end() -> None:
    margins = np.arange(100.0)
    band = choose_band(margins, margins == 4, 0.0, allowed=4, proving=100)
    assert (band.low, band.high) == (0.0, 4.5)


def test_the_curve_falls() -> None:
    leanings = np.arange(-50.0, 50.0)
    differs = np.isin(leanings, (-30, 0, 1))
    assert make_curve(leanings, differs, 0.0, (0.0, 0.05, 1.0)) == [
        [0.0, 0.03],
        [0.05, 0.01],
        [1.0, 0.0],
    ]


class Source:
    """Messages of which all is known: how the fast model leans, and its chance to be wrong.

    The chance falls with the leaning, and a few sure messages are wrong, too.
    """

    def __init__(self, seed: int, size: int):
        random = np.random.default_rng(seed)
        self.leanings = random.normal(0, 6, size)
        chance = 0.5 * np.exp(-np.abs(self.leanings)) + 0.002
        self.differs = random.random(size) < chance


def try_split(source: Source, tuning: np.ndarray, proving: np.ndarray) -> tuple[bool, float]:
    """Whether the bound is proved, and the share of all messages that truly differ then."""
    allowed = count_allowed(int(proving.sum()), PROMISED)
    band = choose_band(
        source.leanings[tuning], source.differs[tuning], 0.0, allowed, int(proving.sum())
    )
    left = source.differs & ~band.asks(source.leanings)
    bound = upper_bound(int(left[proving].sum()), int(proving.sum()))
    return bound <= PROMISED, float(left.mean())


@pytest.mark.parametrize("size", [1000, 4000])
def test_the_promise_is_kept_in_95_of_100_splits(seed, size) -> None:
    # The whole source is known, so the true share is; a split sees a small part of it.
    source = Source(seed + 1, 50_000)
    random = np.random.default_rng(seed + 2)
    broken = proved = 0
    for _ in range(200):
        chosen = random.permutation(len(source.leanings))[:size]
        tuning, proving = np.zeros((2, len(source.leanings)), dtype=bool)
        tuning[chosen[: size // 2]], proving[chosen[size // 2 :]] = True, True
        is_proved, share = try_split(source, tuning, proving)
        proved += is_proved
        broken += is_proved and share > PROMISED
    assert broken <= 10  # 5 % of 200
    assert proved >= 100  # and it is not kept by refusing


def test_the_halves_depend_on_the_texts_alone() -> None:
    texts = [f"message number {word}" for word in "abcdefghijklmnopqrstuvwxyz"]
    found = ProofText.of([*texts, *texts[:5]], {})
    again = ProofText.of(list(reversed(texts)), {"x": "y"})
    assert sorted(found.tuning) == sorted(again.tuning)
    assert sorted([*found.tuning, *found.proving]) == texts
    assert found.tuning and found.proving
    sha256 = again.describe()["sha256"]
    assert found.describe() == {
        "files": {}, "rows": 31, "distinct": 26, "messages": 26, "sha256": sha256
    }  # fmt: skip
    assert sorted(ProofText.of(texts, {}, "other").tuning) != sorted(found.tuning)


def test_near_copies_count_once() -> None:
    found = ProofText.of(["Call 0900-123 now!", "call 0900 99 now", "CALL 1 2 NOW", "other"], {})
    assert len(found.tuning) + len(found.proving) == 2 and len(found.counts) == 4


@pytest.mark.parametrize(
    ("bound", "shown"),
    [(0.000674, "0.068 %"), (0.0034, "0.340 %"), (0.02046, "2.046 %"), (1e-9, "0.001 %")],
)
def test_a_bound_is_never_shown_below_its_value(bound: float, shown: str) -> None:
    assert show_bound(bound) == shown
