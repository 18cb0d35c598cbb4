"""The loop against the notebook's, written here again in its plainest form.

Both in float64, and the loss in float32 as ours takes it: the two sum in another order, and
AdamW scales what differs in a gradient near nought up to whole steps. There a difference is of
the order of 1e-16, which divided by AdamW's eps of 1e-8 and times the learning rate of 1e-2 is
1e-10 a step.
"""

import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from trainer.data.tensors import EncodedSet
from trainer.model.build import build_model
from trainer.model.gpt2 import GPT2Classifier, ModelConfig
from trainer.recipe import RECIPES, Recipe
from trainer.training.fit import fit

TOLERANCE = 1e-8  # 15 steps
TINY_BOOK = ModelConfig(
    "custom", emb_dim=16, layers=2, heads=2, context_length=16, pooling="last_position"
)
BOOK = replace(RECIPES["book"], epochs=3, eval_freq=2, eval_iter=2, learning_rate=1e-2)


def notebook_training(model: GPT2Classifier, sets: dict[str, EncodedSet], recipe: Recipe):
    """The notebook from its loaders to its last accuracies, on (B, T, K) outputs."""
    loaders = {
        name: DataLoader(
            TensorDataset(data.ids, data.labels),
            batch_size=recipe.batch_size,
            shuffle=name == "train",
            drop_last=name == "train",
        )
        for name, data in sets.items()
    }

    def outputs(ids: Tensor) -> Tensor:
        return model.score(model.transformer(ids))[:, -1, :]

    @torch.no_grad()
    def calc_accuracy(name: str, num_batches: int | None = None) -> float:
        model.eval()
        correct, seen = 0, 0
        for i, (ids, target) in enumerate(loaders[name]):
            if num_batches is not None and i >= num_batches:
                break
            correct += (outputs(ids).argmax(dim=-1) == target).sum().item()
            seen += len(target)
        return correct / seen

    @torch.no_grad()
    def calc_loss(name: str, num_batches: int) -> float:
        model.eval()
        losses = []
        for i, (ids, target) in enumerate(loaders[name]):
            if i >= num_batches:
                break
            losses.append(F.cross_entropy(outputs(ids), target).item())
        return sum(losses) / len(losses)

    torch.manual_seed(123)
    initial = [calc_accuracy(name, 10) for name in sets]
    initial += [calc_loss(name, recipe.eval_iter) for name in sets]
    torch.manual_seed(123)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    losses, accuracies, examples_seen, global_step = [], [], 0, -1
    for _ in range(recipe.epochs):
        for ids, target in loaders["train"]:
            model.train()
            optimizer.zero_grad()
            F.cross_entropy(outputs(ids).float(), target).backward()
            optimizer.step()
            examples_seen += len(ids)
            global_step += 1
            if global_step % recipe.eval_freq == 0:
                losses.append([calc_loss(n, recipe.eval_iter) for n in ("train", "validation")])
        accuracies.append([calc_accuracy(n, recipe.eval_iter) for n in ("train", "validation")])
    return initial, losses, accuracies, examples_seen, {name: calc_accuracy(name) for name in sets}


@pytest.fixture(scope="module")
def both(sets: dict[str, EncodedSet]):
    """Ours and theirs, trained from equal weights with the recipe ``book``; and our log's lines."""
    lines: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("trainer")
    handler.emit = lambda record: lines.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    model = build_model(TINY_BOOK, BOOK, None).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history, final = fit(model, sets, BOOK, progress=False)
    logger.removeHandler(handler)
    logger.setLevel(level)
    their_model = build_model(TINY_BOOK, BOOK, None).double()
    theirs = notebook_training(their_model, sets, BOOK)
    # Both have moved, so that equality says something: AdamW's first step alone is as large.
    moved = [
        (value - before[name]).abs().max() for name, value in their_model.state_dict().items()
        if name.startswith(("score.", "transformer.ln_f.", "transformer.h.1."))
    ]  # fmt: skip
    assert min(moved) > BOOK.learning_rate / 10
    return model, history, final, lines, their_model, theirs


class TestAgainstTheNotebook:
    def test_losses_and_accuracies(self, both) -> None:
        _, history, final, _, _, (_, losses, accuracies, examples_seen, their_final) = both
        ours = list(zip(history.train_losses, history.validation_losses, strict=True))
        assert torch.allclose(torch.tensor(ours), torch.tensor(losses), rtol=0, atol=TOLERANCE)
        ours = list(zip(history.train_accuracies, history.validation_accuracies, strict=True))
        assert ours == [tuple(pair) for pair in accuracies]
        assert final == their_final
        assert history.examples_seen == examples_seen == 3 * 40
        assert history.steps == list(range(0, 15, 2))

    def test_weights(self, both) -> None:
        model, _, _, _, their_model, _ = both
        theirs = their_model.state_dict()
        for name, ours in model.state_dict().items():
            assert (ours - theirs[name]).abs().max() <= TOLERANCE, name

    def test_printed_lines_have_the_notebooks_figures(self, both) -> None:
        _, history, _, lines, _, (initial, losses, accuracies, _, final) = both
        sets = ("Training", "Validation", "Test")
        expected = ["5 train / 2 validation / 2 test batches"]
        expected += [
            f"Before training: {name} accuracy: {value * 100:.2f}%"
            for name, value in zip(sets, initial[:3], strict=True)
        ]
        expected += [
            f"Before training: {name} loss: {value:.3f}"
            for name, value in zip(sets, initial[3:], strict=True)
        ]
        for epoch in range(3):
            for step in range(5 * epoch, 5 * epoch + 5):
                if step % 2 == 0:
                    train, validation = losses[step // 2]
                    expected.append(
                        f"Ep {epoch + 1} (Step {step:06d}): "
                        f"Train loss {train:.3f}, Val loss {validation:.3f}"
                    )
            train, validation = accuracies[epoch]
            expected.append(
                f"Training accuracy: {train * 100:.2f}% | "
                f"Validation accuracy: {validation * 100:.2f}%"
            )
        expected.append(f"Training completed in {history.seconds / 60:.2f} minutes.")
        values = final.values()
        expected += [f"{n} accuracy: {v * 100:.2f}%" for n, v in zip(sets, values, strict=True)]
        assert lines == expected
