"""The messages of a check: the run's own and nasty ones, and what PyTorch says of them."""

import numpy as np
import pytest

from exporter.trained_run import TrainedRun
from exporter.verification_set import NASTY_TEXTS, torch_logits

SEQUENCES = [[5211, 345, 423, 640], [11], [], list(range(16)), [7] * 9]


def test_source(exported) -> None:
    run, _, _ = exported
    trained = TrainedRun.read(run)
    rows = trained.rows
    own = [f"validation message {n}" for n in (1, 2, 3)] + [
        f"test message {n}" for n in range(1, 5)
    ]
    assert rows.names[:7] == own
    assert rows.names[7:] == [f"nasty message {n + 1}" for n in range(len(NASTY_TEXTS))]
    texts = ["You won a car! Text us", "See you at lunch", "", "NA", "a\r\nb", "ok " * 30, "time"]
    assert rows.sequences == [trained.tokenizer.encode(text, 16) for text in (*texts, *NASTY_TEXTS)]
    assert rows.logits.shape == (len(rows.names), len(trained.config.labels))
    assert rows.fixed_length == (trained.config.model["pooling"] == "last_position")
    assert (rows.max_length, rows.pad_id) == (16, 50256)
    assert np.ptp(rows.logits, axis=0).max() > 0.01  # else anything would agree
    assert trained.validation.rows.tolist() == [0, 1, 2]
    labels = [trained.config.labels[number] for number in trained.validation.classes]
    assert labels == (["ham", "spam", "zebra"] if rows.fixed_length else ["ham", "spam", "ham"])


def test_nasty_texts_reach_every_length(tokenizer) -> None:
    """Empty, one token, longest, special-token text, replaced bytes, 10,000 characters."""
    lengths = {len(tokenizer.encode(text, 120)) for text in NASTY_TEXTS}
    assert {0, 1, 120} <= lengths
    assert "<|endoftext|>" in NASTY_TEXTS
    assert any("\ufffd" in text for text in NASTY_TEXTS)
    assert max(map(len, NASTY_TEXTS)) >= 10_000


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_torch_is_run_in_eval_mode_padded_to_the_full_length(tiny_model, batch_size) -> None:
    model = tiny_model("last_position", drop_rate=0.5).train()
    found = torch_logits(model, SEQUENCES, 16, batch_size)
    assert not model.training
    assert (found.shape, found.dtype) == ((5, 2), np.float32)
    assert np.abs(found - torch_logits(model, SEQUENCES, 16, 5)).max() <= 1e-5
    assert np.abs(found - torch_logits(model, SEQUENCES, 20, 5)).max() > 1e-3
