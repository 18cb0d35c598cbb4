"""What is trained, and the low-rank updates."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from trainer.model.build import build_model, merge_updates
from trainer.model.gpt2 import count_parameters, model_config
from trainer.recipe import RECIPES, get_recipe

CONFIG = model_config("starter", layers=3, context_length=16, vocab_size=100, pad_id=99)


def names_trained(trainable: str) -> set[str]:
    model = build_model(CONFIG, get_recipe("book", trainable=trainable), None)
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_what_is_trained() -> None:
    every = {name for name, _ in build_model(CONFIG, RECIPES["book"], None).named_parameters()}
    head = {name for name in every if name.startswith("score.")}
    norm = {name for name in every if ".ln_f." in name}
    last, second = ({n for n in every if n.startswith(f"transformer.h.{k}.")} for k in (2, 1))
    assert names_trained("head") == head
    assert names_trained("last_block") == head | norm | last
    assert names_trained("last_two_blocks") == head | norm | last | second
    assert names_trained("all") == every


def test_lora_changes_nothing_at_first_and_trains_only_its_own() -> None:
    plain = build_model(CONFIG, get_recipe("book", trainable="head"), None).eval()
    model = build_model(CONFIG, get_recipe("book", trainable="lora", lora_rank=4), None).eval()
    ids = torch.randint(0, 98, (3, 16))
    assert torch.equal(model(ids), plain(ids))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(".lora_a" in name or ".lora_b" in name for name in trained)
    linears = [module for module in plain.modules() if isinstance(module, nn.Linear)]
    expected = sum(4 * (module.in_features + module.out_features) for module in linears)
    assert count_parameters(model, trainable_only=True) == expected


@pytest.mark.parametrize("alpha", [1.0, 16.0])
def test_merged_lora_gives_the_same_logits(alpha: float) -> None:
    """In float64: what the updates change is a thousand times the tolerance and more."""
    recipe = get_recipe("default", trainable="lora", lora_rank=8, lora_alpha=alpha)
    model = build_model(CONFIG, recipe, None).double()
    ids, target = torch.randint(0, 98, (8, 16)), torch.randint(0, 2, (8,))
    before = model(ids).detach()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids), target).backward()
        optimizer.step()
    theirs = model.eval()(ids).detach()
    assert (theirs - before).abs().max() > 1e-9
    merge_updates(model)
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    assert (model(ids) - theirs).abs().max() < 1e-12
    plain = build_model(CONFIG, get_recipe("default"), None).double()
    plain.load_state_dict(model.state_dict())
    assert (plain.eval()(ids) - theirs).abs().max() < 1e-12
