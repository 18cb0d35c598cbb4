"""The comparison itself: what it measures, and what does not pass."""

import numpy as np
import pytest

from batch.inference import InferenceSession
from exporter.verify import (
    BATCH_SIZES,
    FP32_TOLERANCE,
    Comparison,
    compare,
    onnx_logits,
    torch_logits,
)
from trainer.model import PAD_ID
from trainer.run_folder import read_config, read_model

MESSAGES = [[5211, 345, 423, 640], [11], [], list(range(16)), [7] * 9]


def logits(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


class TestCompare:
    def test_equal(self) -> None:
        found = compare(logits([1, 2], [4, 3]), logits([1, 2], [4, 3]), 7)
        assert found == Comparison(
            batch_size=7,
            messages=2,
            worst=0.0,
            worst_message=0,
            worst_ours=[1.0, 2.0],
            worst_theirs=[1.0, 2.0],
            labels_differ=[],
            finite=True,
        )
        assert found.passed(0.0)

    def test_worst_is_where_it_is(self) -> None:
        ours = logits([1, 2, 0], [4, 3, 0.5], [1, 5, 0])
        found = compare(ours, logits([1, 2, 0], [4, 3, 0], [1, 5, 0.25]), 1)
        assert (found.worst, found.worst_message) == (0.5, 1)
        assert found.worst_ours == [4.0, 3.0, 0.5]
        assert found.worst_theirs == [4.0, 3.0, 0.0]
        assert found.passed(0.5)
        assert not found.passed(0.49)

    def test_label_that_differs_does_not_pass_at_any_tolerance(self) -> None:
        found = compare(logits([1, 2], [1, 1.1]), logits([1, 2], [1.1, 1]), 1)
        assert found.labels_differ == [1]
        assert not found.passed(10.0)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("side", ["ours", "theirs", "both"])
    def test_what_is_not_finite_does_not_pass(self, bad: float, side: str) -> None:
        ours, theirs = logits([1, 2], [1, 2]), logits([1, 2], [1, 2])
        if side != "theirs":
            ours[1, 1] = bad
        if side != "ours":
            theirs[1, 1] = bad
        found = compare(ours, theirs, 1)
        assert (found.worst, found.worst_message, found.finite) == (np.inf, 1, False)
        assert not found.passed(np.inf)

    def test_dict_is_what_the_report_holds(self) -> None:
        values = compare(logits([1, 2]), logits([1, 2]), 1).to_dict()
        assert Comparison(**values) == compare(logits([1, 2]), logits([1, 2]), 1)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_logits_do_not_depend_on_the_batch_size(exported, batch_size: int) -> None:
    run, bundle, _ = exported
    model = read_model(run, read_config(run))
    fixed = 16 if model.config.pooling == "last_position" else None
    session = InferenceSession((bundle / "model.onnx").read_bytes(), "cpu", threads=1)
    theirs = torch_logits(model.train(), MESSAGES, 16, batch_size)
    assert not model.training
    assert theirs.shape == (5, model.config.classes)
    ours = onnx_logits(session, MESSAGES, batch_size, PAD_ID, fixed)
    assert compare(ours, theirs, batch_size).worst <= 1e-5
    assert np.abs(theirs - torch_logits(model, MESSAGES, 16, 5)).max() <= 1e-5
    assert np.ptp(theirs, axis=0).max() > 0.01  # else anything would agree


def test_several_batch_sizes_are_tried() -> None:
    assert {1, 2} < set(BATCH_SIZES)
    assert max(BATCH_SIZES) > 32
    assert FP32_TOLERANCE <= 1e-4
