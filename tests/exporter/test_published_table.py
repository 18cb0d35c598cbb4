"""Every row of the published table exports, verifies, and obeys its lengths, in fp32 and int8."""

from pathlib import Path

import numpy as np
import pytest
import torch

from batch.model.bundle import open_bundle
from batch.model.classifier import Classifier
from exporter.convert.graph import trace
from exporter.verification_set import torch_logits
from trainer.model.build import build_model, merge_updates
from trainer.model.gpt2 import GPT2Classifier, model_config
from trainer.published_table import EXPERIMENTS
from trainer.recipe import get_recipe
from trainer.run_folder import read_config, read_model

# Pooling, causal, and whether tied to one length. A graph is traced from the architecture,
# and these are all in which the rows' differ; the others train the same one in another way.
KINDS = {
    ("last_position", True): True,
    ("first_position", True): False,
    ("last_token", True): False,
    ("last_position", False): True,
    ("mean", True): True,
}
TEXTS = ["", "ok", "You won a prize! Call now " * 3, "See you at lunch"]


def build_row(number: int) -> GPT2Classifier:
    """What training would hand over, with every weight random: few channels, two blocks."""
    recipe = get_recipe("book", **EXPERIMENTS[number].changes)
    config = model_config(
        EXPERIMENTS[number].size, emb_dim=16, heads=2, layers=2, context_length=64,
        pooling=recipe.pooling, causal=recipe.causal,
    )  # fmt: skip
    model = build_model(config, recipe, None)
    generator = torch.Generator().manual_seed(number)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    merge_updates(model)
    return model.eval()


def check_bundle(run: Path, bundle: Path, results, is_fixed: bool) -> None:
    assert [(result.precision, result.problems()) for result in results] == [
        ("fp32", []),
        ("int8", []),
    ]
    assert [result.check.batch_variance.value for result in results] == [0, 0]
    assert open_bundle(bundle).manifest.fixed_length is is_fixed
    model = read_model(run, read_config(run))
    for precision, tolerance in (("fp32", 1e-4), ("int8", 0.05)):
        classifier = Classifier.load(bundle, "cpu", 1, precision=precision)
        ids = classifier.tokenizer.encode_batch(TEXTS, classifier.manifest.max_length)
        theirs = torch_logits(model, [ids.row(row) for row in range(len(ids))], 16)
        assert np.abs(classifier.logits(ids) - theirs).max() < tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("number", EXPERIMENTS)
def test_row_has_one_of_these_architectures(number: int, tiny_model) -> None:
    model = build_row(number)
    pooling, causal = model.config.pooling, model.config.causal
    kind = tiny_model(pooling, causal=causal)
    assert str(model) == str(kind)
    assert model.config.is_fixed_length is KINDS[pooling, causal]
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in kind.state_dict().items()}


def test_every_architecture_is_of_some_row() -> None:
    recipes = [get_recipe("book", **row.changes) for row in EXPERIMENTS.values()]
    assert {(recipe.pooling, recipe.causal) for recipe in recipes} == set(KINDS)


@pytest.mark.parametrize(("pooling", "causal"), KINDS)
def test_architecture(
    pooling: str, causal: bool, traced, write_run_folder, export_graph, tmp_path: Path
) -> None:
    model, proto = traced(pooling, causal=causal)
    run, bundle = write_run_folder(tmp_path / "run", model), tmp_path / "bundle"
    results = export_graph(proto, run, bundle, "fp32", "int8")
    check_bundle(run, bundle, results, KINDS[pooling, causal])


def test_low_rank_updates_are_in_the_weights(
    write_run_folder, export_graph, tmp_path: Path
) -> None:
    model = build_row(11)
    run, bundle = write_run_folder(tmp_path / "run", model), tmp_path / "bundle"
    results = export_graph(trace(model, 16), run, bundle, "fp32", "int8")
    check_bundle(run, bundle, results, is_fixed=True)
