"""The comparison itself: what it runs, what it measures, and what does not pass."""

from dataclasses import replace

import numpy as np
import pytest

from batch.model.batching import TRIED_BATCH_TOKENS, WIDTH_STEP, Shapes
from batch.model.decision import Decision
from batch.model.tokenizer import PAD_ID
from exporter.parity import (
    BATCH_SIZES,
    BATCH_VARIANCE,
    TOLERANCES,
    ParityCheck,
    Worst,
    check_variant,
)
from exporter.verification_set import VerificationSet

SEQUENCES = [[5211, 345, 423, 640], [11], [], list(range(16)), [7] * 9]
NAMES = [f"test message {number}" for number in range(1, 6)]


def logits_of(ids: np.ndarray) -> np.ndarray:
    """A model made up: one number of a row's ids, twice."""
    value = np.where(ids == PAD_ID, 0, ids % 11).sum(axis=1) % 5 - 2.25
    return np.stack([value, -value], axis=1).astype(np.float32)


@pytest.fixture
def rows() -> VerificationSet:
    padded = np.full((5, 16), PAD_ID)
    for row, sequence in enumerate(SEQUENCES):
        padded[row, : len(sequence)] = sequence
    decision = Decision(["ham", "spam"], "spam", 0.5, 1.0)
    return VerificationSet(NAMES, SEQUENCES, logits_of(padded), decision, 16, PAD_ID, False)


class FakeSession:
    """Gives ``logits_of`` and what ``error(ids)`` adds to it; notes the shapes of batches."""

    def __init__(self, error=lambda ids: 0.0, device: str = "cpu"):
        self.device, self.error, self.ran = device, error, []
        self.shapes = Shapes(64, 16, PAD_ID) if device == "cuda" else None

    def run(self, ids: np.ndarray, check_finite: bool = True) -> np.ndarray:
        self.ran.append(ids.shape)
        return (logits_of(ids) + self.error(ids)).astype(np.float32)


def check(rows, error=lambda ids: 0.0, precision: str = "fp32", device: str = "cpu") -> ParityCheck:
    return check_variant(FakeSession(error, device), rows, precision, list)


def in_row(first_id: int, error: list[float]):
    """An error in the row that begins with ``first_id``."""
    return lambda ids: np.where(ids[:, :1] == first_id, np.array([error]), 0.0)


class TestRuns:
    def test_free_length(self, rows) -> None:
        session = FakeSession()
        found = check_variant(session, rows, "fp32", list)
        assert found.batches == [
            "1 row, own width", "2 rows, own width", "7 rows, own width", "64 rows, own width",
            "64 rows, 16 tokens wide", "batches of 128 tokens", "batches of 256 tokens",
            "batches of 512 tokens", "batches of 1024 tokens", "batches of 4096 tokens",
        ]  # fmt: skip
        assert BATCH_SIZES == (1, 2, 7, 64)
        alone = [(1, 4), (1, 4), (1, 4), (1, 16), (1, 12)]
        assert session.ran[:5] == alone
        assert session.ran[5:8] == [(2, 4), (2, 16), (1, 12)]  # a ragged tail
        assert session.ran[8:] == [(5, 16)] * 8
        assert all(width % WIDTH_STEP == 0 for _, width in session.ran)

    def test_tied_length(self, rows) -> None:
        session = FakeSession()
        found = check_variant(session, replace(rows, fixed_length=True), "fp32", list)
        assert found.batches[0] == "1 row, width of the model"
        assert {width for _, width in session.ran} == {16}
        assert len(found.batches) == 9

    def test_progress_wraps_them(self, rows) -> None:
        seen = []

        def progress(runs):
            seen.extend(run.name for run in runs)
            return runs

        found = check_variant(FakeSession(), rows, "fp32", progress)
        assert seen == found.batches


class TestFigures:
    def test_equal(self, rows) -> None:
        found = check(rows)
        assert found.problems() == []
        assert (found.logit.value, found.logit_p99, found.probability.value) == (0, 0, 0)
        assert (found.batch_variance.value, found.labels_differ, found.rows) == (0, [], 5)
        assert (found.precision, found.device, found.tolerance) == ("fp32", "cpu", 1e-4)
        assert found.rows_per_second > 0
        assert found.batch_tokens in TRIED_BATCH_TOKENS["cpu"]

    def test_the_worst_is_where_it_is(self, rows) -> None:
        found = check(rows, in_row(7, [0.5, 0.0]))
        theirs = rows.logits[4].tolist()
        assert found.logit == Worst(
            0.5, "test message 5", [theirs[0] + 0.5, theirs[1]], theirs, "1 row, own width"
        )
        assert found.logit_p99 == 0.5
        assert found.probability.row == "test message 5"
        assert 0 < found.probability.value < 0.25
        assert found.problems() == [
            "the logits of test message 5 differ by 0.5, more than 0.0001 (1 row, own width): "
            f"ONNX Runtime gives [{theirs[0] + 0.5}, {theirs[1]}], PyTorch {theirs}"
        ]

    def test_an_error_at_one_width_only(self, rows) -> None:
        """The pooling that reads pads is caught where there are more of them."""
        found = check(rows, lambda ids: 0.001 * (ids.shape == (5, 16)) * (ids[:, :1] == 11))
        assert found.logit.row == found.batch_variance.row == "test message 2"
        theirs = rows.logits[1].tolist()
        ours = np.round([logit + 0.001 for logit in theirs], 6).tolist()
        assert found.problems() == [
            "the logits of test message 2 differ by 0.001, more than 0.0001 "
            f"(7 rows, own width): ONNX Runtime gives {ours}, PyTorch {theirs}",
            "the logits of test message 2 differ by 0.001 between alone and 7 rows, own width, "
            "more than 0",
        ]

    def test_one_bit_of_batch_variance_is_too_much_on_a_cpu(self, rows) -> None:
        error = lambda ids: 1e-6 * (len(ids) == 2) * (ids[:, :1] == 5211)  # noqa: E731
        found = check(rows, error)
        assert found.problems() == [
            f"the logits of test message 1 differ by {found.batch_variance.value:.3g} between "
            "alone and 2 rows, own width, more than 0"
        ]
        assert check(rows, error, device="cuda").problems() == []
        assert BATCH_VARIANCE == {"cpu": 0.0, "cuda": 1e-3}

    def test_a_label_that_differs_does_not_pass_at_any_tolerance(self, rows) -> None:
        close = np.array([1e-6, 0.0], np.float32)
        theirs = replace(rows, logits=rows.logits.copy())
        theirs.logits[1] = close
        swap = in_row(11, close[::-1] - logits_of(np.array([[11]]))[0])
        found = check(theirs, swap)
        assert found.labels_differ == [
            {"row": "test message 2", "margin": pytest.approx(2.5e-7, rel=0.1)}
        ]
        assert found.problems() == ["1 labels differ, the first that of test message 2"]
        assert check(theirs, swap, "int8").problems() == []  # the accuracy gate's to judge

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_what_is_not_finite_does_not_pass(self, rows, bad, precision: str) -> None:
        found = check(rows, in_row(11, [bad, 0.0]), precision)
        assert found.logit.value == np.inf
        theirs = rows.logits[1].tolist()
        tolerance = f"{found.tolerance:.3g}"
        assert found.problems()[0] == (
            f"the logits of test message 2 differ by inf, more than {tolerance} "
            f"(1 row, own width): ONNX Runtime gives [{bad}, {theirs[1]}], PyTorch {theirs}"
        )

    def test_nan_on_both_sides_does_not_pass(self, rows) -> None:
        theirs = replace(rows, logits=np.full_like(rows.logits, np.nan))
        found = check(theirs, lambda ids: np.nan)
        assert found.problems()[0] == (
            "the logits of test message 1 differ by inf, more than 0.0001 (1 row, own width): "
            "ONNX Runtime gives [nan, nan], PyTorch [nan, nan]"
        )

    def test_a_reduced_precisions_tolerance_is_of_the_largest_logit(self, rows) -> None:
        large = replace(rows, logits=rows.logits * 4)
        largest = float(np.abs(large.logits).max())
        assert largest > 4
        found = check_variant(FakeSession(), large, "int8", list)
        assert found.tolerance == pytest.approx(0.25 * largest)
        assert check_variant(FakeSession(), large, "fp32", list).tolerance == 1e-4
        small = replace(rows, logits=rows.logits * 0)
        assert check_variant(FakeSession(), small, "int8", list).tolerance == 0.25


def test_every_precision_has_a_tolerance_on_every_provider() -> None:
    precisions = {precision for precision, _ in TOLERANCES}
    assert precisions == {"fp32", "int8", "fp16", "bf16"}
    assert len(TOLERANCES) == len(precisions) * len(BATCH_VARIANCE)
    assert TOLERANCES["fp32", "cpu"] <= 1e-4
