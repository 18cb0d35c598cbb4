"""The trunk's cache changes nothing but the time."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from batch.errors import StorageError
from batch.model.tokenizer import PAD_ID
from trainer.data.reading import SMS_OPTIONS, read_labelled
from trainer.data.splits import make_split
from trainer.data.tensors import EncodedSet
from trainer.model.build import build_model
from trainer.model.gpt2 import POOLINGS, model_config
from trainer.model.initial_weights import InitialWeights
from trainer.recipe import RECIPES, Recipe
from trainer.training import trunk_cache as cache
from trainer.training.fit import fit
from trainer.training.train_model import CACHE_BYTES, encode_parts
from trainer.training.trunk_cache import build_caches, first_trained_block

TOLERANCE = 1e-4


def make_set(count: int, width: int = 24) -> EncodedSet:
    """Random messages of 0 to ``width`` tokens, the last one equal to the first."""
    lengths = torch.randint(0, width + 1, (count,))
    ids = torch.randint(0, 60, (count, width))
    ids[torch.arange(width) >= lengths[:, None]] = PAD_ID
    ids[-1], lengths[-1] = ids[0], lengths[0]
    return EncodedSet(ids, torch.randint(0, 2, (count,)), lengths, 0)


@pytest.fixture
def sets(seed: int) -> dict[str, EncodedSet]:
    torch.manual_seed(5 + seed)
    return {"train": make_set(40), "validation": make_set(16), "test": make_set(16)}


def model_of(recipe: Recipe, **changes):
    config = model_config(
        "starter", layers=3, context_length=24, pooling=recipe.pooling, causal=recipe.causal,
        **changes,
    )  # fmt: skip
    model = build_model(config, recipe, None)
    torch.nn.init.normal_(model.transformer.wte.weight, std=0.3)
    return model


def short(recipe: Recipe, **changes) -> Recipe:
    return replace(recipe, learning_rate=1e-3, epochs=2, eval_freq=2, eval_iter=2, **changes)


@pytest.mark.parametrize("name", ["book", "default"])
@pytest.mark.parametrize("trainable", ["head", "last_block", "last_two_blocks"])
def test_same_losses_and_logits_with_and_without(sets, name, trainable, monkeypatch) -> None:
    # AdamW scales rounding in a gradient near nought up to whole steps of 1e-3. With this eps
    # a step differs by no more than the gradients do.
    monkeypatch.setattr(torch.optim, "AdamW", partial(torch.optim.AdamW, eps=1e-3))
    recipe = short(RECIPES[name], trainable=trainable)
    results = []
    for limit in (None, 1 << 30, 0):  # no cache, in memory, on disk
        model = model_of(recipe)
        caches = {} if limit is None else build_caches(model, sets, recipe, limit)
        assert bool(caches) == (limit is not None)
        history, accuracy = fit(model, sets, recipe, False, None, caches)
        with torch.no_grad():
            logits = {key: model.eval().forward_plain(data.ids) for key, data in sets.items()}
        results.append((history, accuracy, logits))
    theirs = results[0]
    for ours in results[1:]:
        for key in ("train_losses", "validation_losses"):
            curves = [getattr(result[0], key) for result in (ours, theirs)]
            assert curves[0] == pytest.approx(curves[1], rel=0, abs=TOLERANCE)
        for key, data in sets.items():
            assert (ours[2][key] - theirs[2][key]).abs().max() < TOLERANCE
            # Only a message as near to both labels as that may get another.
            ties = (theirs[2][key].diff(dim=1).abs() < 2 * TOLERANCE).sum().item()
            assert abs(ours[1][key] - theirs[1][key]) <= ties / len(data)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("causal", [True, False])
def test_cached_logits_are_the_models(sets, pooling, causal) -> None:
    for trainable in ("head", "last_block", "last_two_blocks"):
        recipe = short(RECIPES["book"], trainable=trainable, pooling=pooling, causal=causal)
        model = model_of(recipe).eval()
        ours = build_caches(model, sets, recipe, 1 << 30)["test"]
        rows = torch.tensor([3, 0, 15, 3])
        theirs = model.forward_plain(sets["test"].ids[rows])
        assert (ours.logits(model, rows) - theirs).abs().max() < 1e-5
        # The cache is what is read: another content gives other logits.
        ours.flat.mul_(2).add_(torch.arange(64.0))
        assert (ours.logits(model, rows) - theirs).abs().max() > 1e-3


def test_equal_messages_are_kept_once_at_their_own_length(sets) -> None:
    recipe = short(RECIPES["default"])
    ours = build_caches(model_of(recipe), sets, recipe, 1 << 30)
    distinct = {
        tuple(ids[:length].tolist())
        for data in sets.values()
        for ids, length in zip(data.ids, data.lengths, strict=True)
    }
    assert len(ours["train"].lengths) == len(distinct)
    assert ours["train"].flat.shape == (sum(max(1, len(ids)) for ids in distinct), 64)
    assert ours["train"].row_of[0] == ours["train"].row_of[-1]
    assert ours["train"].flat is ours["test"].flat


@pytest.mark.parametrize(
    ("changes", "start"),
    [({"trainable": "head"}, 3), ({"trainable": "last_block"}, 2), ({"trainable": "all"}, 0)],
)
def test_first_trained_block(changes, start) -> None:
    assert first_trained_block(model_of(short(RECIPES["default"], **changes))) == start


@pytest.mark.parametrize(
    "changes",
    [
        {"trainable": "all"},
        {"trainable": "lora"},
        {"drop_rate": 0.1},
        {"token_drop_rate": 0.1},
        {"stand_in_rate": 0.1},
    ],
)
def test_nothing_is_kept_where_it_would_change(sets, changes) -> None:
    recipe = short(RECIPES["default"], **changes)
    assert build_caches(model_of(recipe), sets, recipe, 1 << 30) == {}


def test_a_full_disk_is_said(sets, monkeypatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "posix_fallocate", fail)
    recipe = short(RECIPES["default"])
    with pytest.raises(StorageError) as caught:
        build_caches(model_of(recipe), sets, recipe, 0, tmp_path)
    assert str(caught.value) == (
        "the trunk's output needs 0.0 GB on disk: No space left on device; "
        "give --no-trunk-cache to compute it again in every step"
    )
    assert list(tmp_path.iterdir()) == []


def test_gpt2_small_on_all_messages_stays_in_half_a_gigabyte(
    sms_file: Path, tokenizer, monkeypatch
) -> None:
    """With ``default`` a message takes its own length, and near copies word for word nothing."""
    asked = []

    def allocate(positions: int, channels: int, *_: object) -> torch.Tensor:
        asked.append(positions * channels * 4)
        return torch.zeros(1).expand(positions, channels)

    monkeypatch.setattr(cache, "_allocate", allocate)
    monkeypatch.setattr(cache, "_fill", lambda model, start, kept, *_: torch.zeros(len(kept)))
    recipe = RECIPES["default"]
    parts = make_split(read_labelled([sms_file], SMS_OPTIONS).frame, recipe)
    weights = InitialWeights("gpt2-small", "random", "", "", {}, None, model_config("gpt2-small"))
    sets, _ = encode_parts(parts, ["ham", "spam"], tokenizer, recipe, weights)
    config = replace(model_config("gpt2-small", layers=2, emb_dim=768), pooling=recipe.pooling)
    caches = build_caches(build_model(config, recipe, None), sets, recipe, CACHE_BYTES)
    assert sum(map(len, sets.values())) == 5574
    assert len(caches["train"].offsets) == 5171
    assert asked[0] < 500e6 < CACHE_BYTES
