"""Each kind of graph in the published table exports, verifies, and obeys its lengths."""

import pytest
import torch

from batch.bundle import open_bundle
from batch.classifier import Classifier
from exporter.export import export
from trainer.build import build_model, merge_updates
from trainer.model import model_config
from trainer.recipe import get_recipe
from trainer.run_folder import read_config, read_model, read_tokenizer
from trainer.table import ROWS

# Rows that differ in their graph; the others train the same one in another way.
KINDS = {1: True, 2: False, 11: True, 16: False, 17: True, 19: True}  # row: tied to one length


def test_every_row_has_the_graph_of_one_of_these() -> None:
    def kind(row) -> tuple:
        recipe = get_recipe("book", **row.changes)
        return recipe.pooling, recipe.causal

    assert {kind(row) for row in ROWS.values()} == {kind(ROWS[number]) for number in KINDS}


@pytest.mark.parametrize("number", KINDS)
def test_row(number: int, write_run_folder, tmp_path) -> None:
    recipe = get_recipe("book", **ROWS[number].changes)
    config = model_config(
        "starter", emb_dim=8, heads=2, layers=2, context_length=32, pooling=recipe.pooling,
        causal=recipe.causal,
    )  # fmt: skip
    model = build_model(config, recipe, None)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    merge_updates(model)
    run = write_run_folder(tmp_path / "run", model.eval())
    comparisons = export(run, tmp_path / "bundle", "cpu", progress=False)
    assert all(result.passed(1e-4) for result in comparisons)
    assert open_bundle(tmp_path / "bundle").manifest.fixed_length is KINDS[number]

    classifier = Classifier.load(tmp_path / "bundle", "cpu")
    texts = ["", "ok", "You won a prize! Call now " * 3, "See you at lunch"]
    ours = classifier.logits([classifier.encode(text)[0] for text in texts])
    run_config, tokenizer = read_config(run), read_tokenizer(run)
    ids = torch.full((len(texts), 16), config.pad_id)
    for place, text in enumerate(texts):
        tokens = tokenizer.encode(text, 16)
        ids[place, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
    with torch.no_grad():
        theirs = read_model(run, run_config).forward_plain(ids).numpy()
    assert abs(ours - theirs).max() < 1e-4
