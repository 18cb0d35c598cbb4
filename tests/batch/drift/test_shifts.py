"""What counts as drift, and what chance may do."""

from math import inf

import numpy as np
import pytest

from batch.drift.histograms import SCORE_BINS, TOKEN_EDGES, Histograms
from batch.drift.shifts import (
    compare_asked,
    compare_histogram,
    compare_rate,
    find_drift,
    find_rates,
    join_bins,
)
from batch.errors import BundleError
from batch.model.bundle import check_reference, open_bundle

SHARES = [0.82, *[0.0] * 8, 0.02, 0.02, *[0.0] * 8, 0.14]
LENGTHS = [0.0, 0.0, 0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1, 0.1, *[0.0] * 10]
REFERENCE = {
    "effective_messages": 285.0,
    "labels": {"ham": 0.85, "spam": 0.15},
    "scores": SHARES,
    "tokens": LENGTHS,
    "token_edges": list(TOKEN_EDGES),
}


SPAM = {"spam": (0.5, inf)}


def drift(rows: int, spam: int, scores=SHARES, tokens=LENGTHS, ranges=SPAM, unsure=0, **changes):
    counts = [tuple(round(share * rows) for share in shares) for shares in (scores, tokens)]
    return find_drift(
        {**REFERENCE, **changes},
        ranges,
        0.5,
        {"ham": rows - spam - unsure, "spam": spam, "unsure": unsure},
        Histograms(*counts),
    )


def test_the_same_mix_is_no_drift():
    assert [(shift.what, shift.is_out) for shift in drift(10_000, 1500)] == [
        ("label spam", False), ("scores", False), ("tokens", False)
    ]  # fmt: skip


def test_each_that_left_its_band_is_said():
    rate, scores, tokens = drift(10_000, 4000, SHARES[::-1], LENGTHS[::-1])
    assert rate.sentence() == (
        "drift: 40.00% are labelled spam; of the training data 15.00%, band 8.04% to 22.21%"
    )
    assert scores.sentence() == (
        f"drift: the scores are not distributed as the training data's: population stability "
        f"index {scores.value:.3f}, band up to 0.200"
    )
    assert tokens.sentence() == (
        "drift: the lengths in tokens are not distributed as the training data's: population "
        f"stability index {tokens.value:.3f}, band up to 0.200"
    )
    assert rate.is_out and scores.is_out and tokens.is_out


def test_chance_is_no_drift():
    """Of 300 honest inputs of each size, a handful at most."""
    random = np.random.default_rng(7)
    for rows in (1, 30, 300):
        flagged = 0
        for _ in range(300):
            spam = random.binomial(rows, 0.15)
            scores = random.multinomial(rows, SHARES) / rows
            tokens = random.multinomial(rows, LENGTHS) / rows
            flagged += any(shift.is_out for shift in drift(rows, spam, scores, tokens))
        assert flagged <= 4, rows


def test_a_small_input_that_is_all_spam():
    assert drift(10, 10)[0].is_out and not drift(2, 2)[0].is_out


def test_what_cannot_be_told_is_left_out():
    assert drift(0, 0) == []
    assert [shift.what for shift in drift(5, 1)] == ["label spam"]
    assert [shift.what for shift in drift(10_000, 1500, token_edges=[0, 1])] == [
        "label spam", "scores"
    ]  # fmt: skip
    assert find_drift({}, SPAM, 0.5, {"ham": 5}, Histograms()) is None


@pytest.mark.parametrize(
    ("ranges", "rates"),
    [
        ({"spam": (0.5, inf)}, {"spam": (0.15, 0.15)}),  # the reference's own
        ({"spam": (0.95, inf)}, {"spam": (0.14, 0.14)}),  # the edge of a bin
        ({"spam": (0.97, inf)}, {"spam": (0.0, 0.14)}),  # inside it
        ({"spam": (1.0, inf)}, {"spam": (0.0, 0.14)}),
        ({"spam": (0.45, inf)}, {"spam": (0.18, 0.18)}),
        ({"spam": (0.47, inf)}, {"spam": (0.16, 0.18)}),
        ({"spam": (0.51, inf)}, {"spam": (0.14, 0.15)}),  # not above the reference's own rate
        ({"spam": (0.0, inf)}, {"spam": (1.0, 1.0)}),
        ({"spam": (0.9, inf), "unsure": (0.45, 0.9)},
         {"spam": (0.14, 0.14), "unsure": (0.04, 0.04)}),
        ({"spam": (0.9, inf), "unsure": (0.46, 0.9)},
         {"spam": (0.14, 0.14), "unsure": (0.02, 0.04)}),
    ],
)  # fmt: skip
def test_the_rate_at_the_threshold_and_the_band_of_the_run(ranges, rates):
    shares = [0.82, *[0.0] * 8, 0.02, 0.02, *[0.0] * 8, 0.14]
    found = find_rates({"scores": shares, "labels": {"spam": 0.15}}, ranges, 0.5)
    assert {name: pytest.approx(rate) for name, rate in found.items()} == rates


def test_another_threshold_is_no_drift():
    """At 0.95, 14 % of the training data are spam: so are 14 % of the rows, and 40 % are not."""
    at = {"spam": (0.95, inf)}
    assert not drift(10_000, 1400, ranges=at)[0].is_out
    rate = drift(10_000, 4000, ranges=at)[0]
    assert (rate.what, rate.reference, rate.is_out) == ("label spam", pytest.approx(0.14), True)
    low = drift(10_000, 9900, ranges={"spam": (0.0, inf)})[0]
    assert (low.reference, low.is_out) == (1.0, False)


def test_a_band_has_a_rate_of_its_own():
    band = {"spam": (0.55, inf), "unsure": (0.45, 0.55)}
    found = drift(10_000, 1400, ranges=band, unsure=400)
    assert [(shift.what, shift.is_out) for shift in found[:2]] == [
        ("label spam", False), ("label unsure", False)
    ]  # fmt: skip
    assert [shift.is_out for shift in drift(10_000, 1400, ranges=band, unsure=4000)[:2]] == [
        False, True
    ]  # fmt: skip


def test_the_threshold_of_the_reference_comes_before_the_bundles():
    """A user has changed the bundle's to 0.5; the reference was made at 0.95."""
    found = find_rates(
        {"scores": SHARES, "labels": {"spam": 0.14}, "threshold": 0.95}, {"spam": (0.95, inf)}, 0.5
    )
    assert found == {"spam": (pytest.approx(0.14), pytest.approx(0.14))}


def test_every_label_of_several_has_its_rate():
    reference = {**REFERENCE, "labels": {"a": 0.5, "b": 0.3, "c": 0.2}}
    found = find_drift(reference, {}, 0.5, {"a": 1000}, Histograms())
    assert [(shift.what, shift.is_out) for shift in found[:3]] == [
        ("label a", True), ("label b", True), ("label c", True)
    ]  # fmt: skip


def test_the_index_by_hand():
    # Two bins, 900.5 : 100.5 of 1001 against 1/2 : 1/2; 0.3996 (ln 1.7992 + ln 4.9801) is 0.8762.
    shift = compare_histogram("scores", [900, 100], [0.5, 0.5], 1e9)
    assert shift.value == pytest.approx(0.8762, abs=1e-4)


def test_a_rate_of_nought_lets_a_few_through():
    assert not compare_rate("label x", 1, 1000, (0.0, 0.0), 285).is_out
    assert compare_rate("label x", 50, 1000, (0.0, 0.0), 285).is_out


def test_thin_bins_are_joined():
    assert join_bins([0.5, 0.1, 0.1, 0.3], 0.2) == [0, 1, 3]
    assert join_bins([0.5, 0.3, 0.1, 0.1], 0.25) == [0, 1]
    assert join_bins([1.0, 0.0], 0.5) == [0]


def test_a_reference_that_is_none(make_bundle):
    assert check_reference({}) and check_reference(REFERENCE)
    assert len(SHARES) == SCORE_BINS
    for change in ({"scores": 3}, {"labels": {"ham": 2.0}}, {"effective_messages": 0}):
        folder = make_bundle(reference={**REFERENCE, **change})
        with pytest.raises(BundleError) as error:
            open_bundle(folder)
        said = str(error.value)
        assert said.startswith(f"{folder / 'bundle.json'}: reference is {{'effective_messages'")
        assert said.endswith("}, which is not valid")


@pytest.mark.parametrize(
    ("asked", "rows", "share", "high"),
    [
        (300, 10_000, 0.02, 0.04),  # twice the share
        (3000, 10_000, 0.2, 0.25),  # five points more
        (6, 20, 0.02, 0.15),  # chance, with few rows
        (9, 10, 0.99, 1.0),
    ],
)
def test_the_share_that_is_asked_may_be_so_large(asked, rows, share, high):
    found = compare_asked(asked, rows, share, 100_000)
    assert (found.what, found.low, found.reference) == ("asked", 0.0, share)
    assert found.high == pytest.approx(high, abs=0.01)
    assert found.is_out == (asked / rows > found.high)
    assert not compare_asked(0, rows, share, 100_000).is_out  # less is no harm


def test_the_reference_may_be_another_text():
    rate, scores, _ = drift(10_000, 4000, SHARES[::-1], LENGTHS[::-1])
    assert "; of the proof's text 15.00%, band" in rate.sentence("the proof's text")
    assert "not distributed as those of the proof's text: " in scores.sentence("the proof's text")
