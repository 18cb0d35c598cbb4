"""What the loop trains, what it draws, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

from batch.errors import InputError
from batch.model.tokenizer import PAD_ID
from trainer.data.tensors import drop_tokens, make_loader, pad_messages, trim
from trainer.model.build import build_model, select_device
from trainer.model.gpt2 import ModelConfig, model_config
from trainer.model.load_weights import is_conv1d
from trainer.recipe import RECIPES
from trainer.training.accuracy import accuracy_over, loss_over
from trainer.training.fit import fit, learning_rate_factor

TOLERANCE = 1e-5
TINY = ModelConfig("custom", emb_dim=16, layers=2, heads=2, context_length=16)
TINY_BOOK = replace(TINY, pooling="last_position")
BOOK = replace(RECIPES["book"], epochs=3, eval_freq=2, eval_iter=2, learning_rate=1e-2)


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


def test_a_small_step_lowers_the_loss_by_what_the_gradient_says(encoded_set) -> None:
    """To first order. AdamW's first step moves each parameter by the rate against its gradient.

    In float64 and by 1e-6, so that the second order is below a hundredth of it.
    """
    data = encoded_set(44, 1)
    recipe = replace(
        RECIPES["default"], trainable="all", epochs=1, batch_size=44, learning_rate=1e-6,
        weight_decay=0.0,
    )  # fmt: skip
    model = build_model(TINY, recipe, None).double()
    before = F.cross_entropy(model(data.ids), data.labels)
    before.backward()
    # Where a gradient is nought but for rounding, eps keeps AdamW's step from being one.
    slope = sum((p.grad.abs() * p.grad.abs() / (p.grad.abs() + 1e-8)).sum()
                for p in model.parameters() if p.grad is not None)  # fmt: skip
    model.zero_grad()
    fit(model, dict.fromkeys(("train", "validation", "test"), data), recipe, progress=False)
    with torch.no_grad():
        after = F.cross_entropy(model.eval()(data.ids), data.labels)
    assert slope > 1e-3
    assert before.item() - after.item() == pytest.approx(1e-6 * slope.item(), rel=0.01)


class TestStarterOnly:
    """What the notebook has not: tokens shown by their shape, averaged weights."""

    RECIPE = replace(RECIPES["default"], trainable="all", epochs=1, learning_rate=1e-2)

    def train(self, sets, stand_ins: Tensor | None = None, **changes) -> dict[str, Tensor]:
        recipe = replace(self.RECIPE, **changes)
        model = build_model(TINY, recipe, None)
        fit(model, sets, recipe, progress=False, stand_ins=stand_ins)
        return model.state_dict()

    def test_stand_ins_take_the_place_of_every_token(self, sets) -> None:
        stand_ins = torch.arange(50257)
        stand_ins[100:150] = 100
        shown = replace(sets["train"], ids=stand_ins[sets["train"].ids])
        ours = self.train(sets, stand_ins, stand_in_rate=1.0)
        theirs = self.train({**sets, "train": shown})
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        plain = self.train(sets)
        assert not torch.equal(plain["score.weight"], ours["score.weight"])
        without = self.train(sets, None, stand_in_rate=1.0)  # a model with GPT-2's vocabulary
        assert torch.equal(plain["score.weight"], without["score.weight"])

    def test_average_of_the_weights(self, sets) -> None:
        """The head's bias after each step is given, whatever the optimizer made of it."""
        steps = torch.tensor([[1.0, -1.0], [2.0, 0.0], [4.0, -3.0], [-8.0, 1.0], [16.0, 5.0]])

        def train(**changes) -> Tensor:
            given = iter(steps)

            def set_bias(optimizer, *_) -> None:
                with torch.no_grad():
                    optimizer.param_groups[0]["params"][-1].copy_(next(given))

            hook = register_optimizer_step_post_hook(set_bias)
            try:
                bias = self.train(sets, **changes)["score.bias"]
            finally:
                hook.remove()
            assert list(given) == []
            return bias

        theirs = steps[0]
        for count, step in enumerate(steps[1:], 1):
            decay = min(0.5, (1 + count) / (10 + count))  # forgets faster at first
            theirs = decay * theirs + (1 - decay) * step
        assert (train(average_decay=0.5) - theirs).abs().max() <= TOLERANCE
        assert torch.equal(train(), steps[-1])


class TestRefusals:
    def test_loss_that_is_not_a_number(self, sets) -> None:
        recipe = replace(BOOK, learning_rate=1e30, epochs=1, eval_freq=50)
        model = build_model(TINY_BOOK, recipe, None)
        expected = "^the loss is nan at step 4; try a lower --learning-rate than 1e\\+30$"
        with pytest.raises(InputError, match=expected):
            fit(model, sets, recipe, progress=False)

    def test_less_than_one_batch(self, sets, encoded_set) -> None:
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
    assert trim(ids, torch.tensor([1, 4]), model_config("starter")).shape == (2, 4)
    assert trim(ids, torch.tensor([0, 0]), model_config("starter")).shape == (2, 1)
    assert trim(ids, torch.tensor([1, 4]), model_config("starter", causal=False)) is ids
    first = model_config("starter", pooling="first_position")
    assert trim(ids, torch.tensor([1, 4]), first).shape == (2, 1)
    for pooling in ("last_position", "mean"):
        assert trim(ids, torch.tensor([1, 4]), model_config("starter", pooling=pooling)) is ids


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
