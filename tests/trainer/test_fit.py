"""The loop against the notebook's, written here again in its plainest form."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from batch.errors import InputError
from batch.tokenizer import PAD_ID
from trainer.dataset import EncodedSet, make_loader, pad_messages
from trainer.fit import (
    accuracy_over,
    build_model,
    drop_tokens,
    fit,
    learning_rate_factor,
    loss_over,
    select_device,
    trim,
)
from trainer.model import GPT2Classifier, ModelConfig
from trainer.recipe import RECIPES, Recipe
from trainer.weights import is_conv1d

TOLERANCE = 1e-5
TINY = ModelConfig("custom", emb_dim=16, layers=2, heads=2, context_length=16)
TINY_BOOK = replace(TINY, pooling="last_position")
BOOK = replace(RECIPES["book"], epochs=3, eval_freq=2, eval_iter=2, learning_rate=1e-2)


def encoded_set(count: int, seed: int) -> EncodedSet:
    """Messages of 1 to 12 tokens padded to 12; those of class 1 hold the token 77."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    messages = []
    for label in labels:
        length = int(torch.randint(1, 13, (), generator=generator))
        message = torch.randint(100, 200, (length,), generator=generator).tolist()
        messages.append([77, *message[1:]] if label else message)
    lengths = torch.tensor([len(message) for message in messages])
    return EncodedSet(pad_messages(messages, 12), labels, lengths, truncated=0)


@pytest.fixture(scope="module")
def sets() -> dict[str, EncodedSet]:
    return {
        "train": encoded_set(44, 1),
        "validation": encoded_set(11, 2),
        "test": encoded_set(13, 3),
    }


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
            F.cross_entropy(outputs(ids), target).backward()
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
    model = build_model(TINY_BOOK, BOOK, None)
    history, final = fit(model, sets, BOOK, progress=False)
    logger.removeHandler(handler)
    logger.setLevel(level)
    their_model = build_model(TINY_BOOK, BOOK, None)
    theirs = notebook_training(their_model, sets, BOOK)
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
        assert losses[-1][0] < losses[0][0] - 0.01  # it learned, so that equality says something

    def test_weights(self, both) -> None:
        model, _, _, _, their_model, _ = both
        theirs = their_model.state_dict()
        for name, ours in model.state_dict().items():
            difference = (ours - theirs[name]).abs()
            if name.endswith("c_attn.bias"):
                # Softmax cancels a bias on the keys: its gradient is rounding noise, which
                # AdamW scales up to whole steps.
                difference[16:32] = 0
            assert difference.max() <= TOLERANCE, name

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


class TestWhatLearns:
    @pytest.mark.parametrize(
        ("trainable", "moving"),
        [
            ("head", ("score.",)),
            ("last_block", ("score.", "transformer.ln_f.", "transformer.h.1.")),
            ("all", ("",)),
        ],
    )
    def test_frozen_parameters_do_not_move(self, sets, trainable: str, moving: tuple) -> None:
        recipe = replace(RECIPES["default"], trainable=trainable, epochs=1)
        model = build_model(TINY, recipe, None)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        fit(model, sets, recipe, progress=False)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]) != name.startswith(moving), name

    def test_seeds_reproduce(self, sets) -> None:
        """Also with everything that draws: dropout, hidden tokens, order, first weights."""

        def train(seed: int) -> dict[str, Tensor]:
            recipe = replace(
                BOOK, trainable="all", drop_rate=0.2, token_drop_rate=0.3, seed=seed, epochs=1
            )
            model = build_model(replace(TINY, drop_rate=0.2), recipe, None)
            fit(model, sets, recipe, progress=False)
            return model.state_dict()

        first, again, other = train(1), train(1), train(2)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["score.weight"], other["score.weight"])

    def test_published_tensors_are_loaded_and_the_head_is_the_seeds(self, tiny_model) -> None:
        expected = tiny_model(context_length=16).transformer.state_dict()
        tensors = {name: t.T if is_conv1d(name) else t for name, t in expected.items()}
        model = build_model(TINY, RECIPES["default"], tensors)
        for name, value in model.transformer.state_dict().items():
            assert torch.equal(value, expected[name]), name
        torch.manual_seed(123)
        assert torch.equal(model.score.weight, nn.Linear(16, 2).weight)

    def test_last_token_ignores_the_padding(self, sets) -> None:
        """Twice the padding, the same weights."""
        padded = {
            name: replace(data, ids=F.pad(data.ids, (0, 4), value=PAD_ID))
            for name, data in sets.items()
        }
        recipe = replace(RECIPES["default"], epochs=1)
        trained = []
        for data in (sets, padded):
            model = build_model(TINY, recipe, None)
            fit(model, data, recipe, progress=False)
            trained.append(model.score.weight)
        assert torch.equal(*trained)


class TestRefusals:
    def test_loss_that_is_not_a_number(self, sets) -> None:
        recipe = replace(BOOK, learning_rate=1e30, epochs=1, eval_freq=50)
        model = build_model(TINY_BOOK, recipe, None)
        expected = "^the loss is nan at step 4; try a lower --learning-rate than 1e\\+30$"
        with pytest.raises(InputError, match=expected):
            fit(model, sets, recipe, progress=False)

    def test_less_than_one_batch(self, sets) -> None:
        few = {**sets, "train": encoded_set(7, 1)}
        expected = "^7 training messages do not fill one batch of 8$"
        with pytest.raises(InputError, match=expected):
            fit(build_model(TINY, BOOK, None), few, BOOK, progress=False)

    def test_device_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        expected = f"the device cuda is not available to torch {torch.__version__} here"
        with pytest.raises(InputError) as caught:
            select_device("cuda")
        assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("cuda", "mps", "version", "expected"),
    [
        (True, True, "2.13.0", "cuda"),
        (False, True, "2.10.0+cu128", "mps"),
        (False, True, "2.9.0a0", "mps"),
        (False, True, "2.8.1", "cpu"),  # unstable there
        (False, False, "2.13.0", "cpu"),
    ],
)
def test_device_order(monkeypatch, cuda: bool, mps: bool, version: str, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "__version__", version)
    assert select_device().type == expected


def test_evaluation_weighs_batches_as_the_notebook_does(sets, tiny_model) -> None:
    """Losses: the mean of batch means. Accuracies: the mean over messages."""
    model, data = tiny_model(), sets["validation"]
    loader = make_loader(11, 8, train=False)
    with torch.no_grad():
        logits = model(data.ids)
    right = logits.argmax(dim=-1) == data.labels
    parts = [F.cross_entropy(logits[a:b], data.labels[a:b]).item() for a, b in ((0, 8), (8, 11))]
    assert loss_over(model, data, loader, 5) == pytest.approx(sum(parts) / 2, abs=TOLERANCE)
    assert loss_over(model, data, loader, 1) == pytest.approx(parts[0], abs=TOLERANCE)
    assert accuracy_over(model, data, loader) == right.sum().item() / 11
    assert accuracy_over(model, data, loader, batches=1) == right[:8].sum().item() / 8
    assert math.isnan(loss_over(model, data, [], 5))
    assert math.isnan(accuracy_over(model, data, []))


def test_trim() -> None:
    ids = torch.arange(12).view(2, 6)
    assert trim(ids, torch.tensor([1, 4]), "last_token").shape == (2, 4)
    assert trim(ids, torch.tensor([0, 0]), "last_token").shape == (2, 1)
    assert trim(ids, torch.tensor([1, 4]), "last_position") is ids


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9, 1.0])
def test_drop_tokens(rate: float) -> None:
    torch.manual_seed(0)
    messages = [list(range(10, 10 + length)) for length in (0, 1, 2, 7, 12)] * 20
    lengths = torch.tensor([len(message) for message in messages])
    ids, kept = drop_tokens(pad_messages(messages, 12), lengths, rate)
    assert ids.shape == (100, 12)
    for row, length, before in zip(ids.tolist(), kept.tolist(), messages, strict=True):
        assert row[:length] == sorted(set(row[:length]))  # order kept, nothing twice
        assert set(row[:length]) <= set(before)
        assert row[length:] == [PAD_ID] * (12 - length)
        assert length >= min(1, len(before))
    share = 1 - kept.sum().item() / lengths.sum().item()
    assert share == pytest.approx(min(rate, 1 - 80 / 440), abs=0.1)


class TestLearningRate:
    def test_constant(self) -> None:
        assert {learning_rate_factor(step, 10, BOOK) for step in range(10)} == {1.0}

    def test_warm_up_then_cosine(self) -> None:
        recipe = replace(BOOK, schedule="cosine", warmup_fraction=0.2)
        factors = [learning_rate_factor(step, 20, recipe) for step in range(20)]
        assert factors[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
        assert factors[12] == pytest.approx(0.5)
        assert factors[4:] == sorted(factors[4:], reverse=True)
        assert 0 < factors[19] < 0.01

    def test_no_warm_up_and_the_step_after_the_last(self) -> None:
        recipe = replace(BOOK, schedule="cosine")
        assert learning_rate_factor(0, 1, recipe) == 1.0
        assert learning_rate_factor(1, 1, recipe) == 0.0
