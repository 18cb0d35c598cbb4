"""A widened model gives the logits of the one that it was made of."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batch.model.tokenizer import PAD_ID
from trainer.model.gpt2 import GPT2Classifier, ModelConfig
from trainer.recipe import RECIPES
from trainer.run_folder import RunConfig, read_config, read_model, write_run

WIDE = ModelConfig("wide", emb_dim=96, layers=4, heads=6, context_length=128)


@pytest.fixture(scope="module")
def benchmark(root: Path):
    path = root / "benchmarks" / "cascade" / "widen.py"
    spec = importlib.util.spec_from_file_location("widen", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    """Messages of 1 to 40 tokens, padded."""
    random = torch.Generator().manual_seed(0)
    found = torch.full((9, 40), PAD_ID)
    for row in range(9):
        found[row, : 5 * row or 1] = torch.randint(0, PAD_ID, (5 * row or 1,), generator=random)
    return found


@pytest.mark.parametrize("pooling", ["last_token", "mean"])
def test_logits_are_equal_to_1e_4(benchmark, tiny_model, ids, pooling) -> None:
    theirs = tiny_model(pooling)  # 16 channels, 2 layers, 2 heads
    ours = benchmark.widen(theirs, WIDE)
    shape = [(c.emb_dim, c.layers, c.heads, c.vocab_size) for c in (ours.config,)]
    assert shape == [(96, 4, 6, PAD_ID + 1)]
    with torch.no_grad():
        for run in (GPT2Classifier.forward, GPT2Classifier.forward_plain):
            found, expected = run(ours, ids).numpy(), run(theirs, ids).numpy()
            assert np.ptp(expected) > 0.1
            np.testing.assert_allclose(found, expected, rtol=0, atol=benchmark.TOLERANCE)


def test_a_token_map_becomes_rows_of_the_whole_vocabulary(benchmark, tiny_model, ids) -> None:
    theirs = tiny_model(vocab_size=50, remapped=True)
    theirs.transformer.token_map.copy_(torch.arange(PAD_ID + 1) % 50)
    ours = benchmark.widen(theirs, WIDE)
    assert ours.transformer.wte.weight.shape == (PAD_ID + 1, 96) and not ours.config.remapped
    with torch.no_grad():
        found, expected = ours(ids).numpy(), theirs(ids).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=benchmark.TOLERANCE)


def test_a_second_model_is_added_as_before(benchmark, tiny_model, ids) -> None:
    first, second = tiny_model(), tiny_model("last_token", seed=7)
    both = GPT2Classifier(replace(first.config, second=second.config)).eval()
    both.transformer, both.score, both.second = first.transformer, first.score, second
    ours = benchmark.widen(both, WIDE)
    with torch.no_grad():
        found, expected = ours(ids).numpy(), both(ids).numpy()
        assert np.ptp(expected - first(ids).numpy()) > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=benchmark.TOLERANCE)


def test_further_blocks_cost_and_add_nothing(benchmark, tiny_model) -> None:
    ours = benchmark.widen(tiny_model(), WIDE)
    added = ours.transformer.h[-1]
    assert added.attn.c_attn.weight.abs().sum() > 0 and added.mlp.c_fc.weight.abs().sum() > 0
    x = torch.randn(2, 5, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(added(x), x)


def test_a_shape_that_is_no_multiple_is_refused(benchmark, tiny_model) -> None:
    with pytest.raises(ValueError) as caught:
        benchmark.widen(tiny_model(), ModelConfig("odd", emb_dim=60, layers=2, heads=6))
    assert str(caught.value) == (
        "custom with 2 heads of 8 channels in 2 layers cannot be widened to 6 heads of 10 in 2"
    )


def test_the_program_writes_a_run_folder(
    benchmark, tiny_model, tmp_path, bpe_file, monkeypatch, ids
) -> None:
    model = tiny_model()
    run = tmp_path / "run"
    run.mkdir()
    for part in ("train", "validation", "test"):
        (run / f"{part}.csv").write_text("label,text\nham,x\n", encoding="utf-8")
    config = RunConfig(
        model=model.config.to_dict(), recipe=RECIPES["default"].to_dict(), labels=["ham", "spam"],
        positive_label="spam", max_length=16, data={"sha256": "0" * 64},
        weights={"kind": "random", "origin": "random", "sha256": {}, "statement": "Random."},
        tokenizer_sha256="0" * 64, device="cpu", versions={},
    )  # fmt: skip
    write_run(run, config, model, {"accuracy": {}}, bpe_file)
    monkeypatch.setattr(benchmark, "model_config", lambda size: WIDE)
    monkeypatch.setattr(sys, "argv", ["widen.py", "--run", str(run), "--out", str(tmp_path / "w")])
    benchmark.main()
    wide = read_config(tmp_path / "w")
    assert wide.weights["statement"] == "Random. Widened to gpt2-small, with the same logits."
    found = read_model(tmp_path / "w", wide)
    with torch.no_grad():
        np.testing.assert_allclose(found(ids).numpy(), model(ids).numpy(), rtol=0, atol=1e-4)
    assert json.loads((tmp_path / "w" / "metrics.json").read_bytes()) == {"accuracy": {}}
