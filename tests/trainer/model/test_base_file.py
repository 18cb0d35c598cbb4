"""The file of a base: what is written is read, and what is not one is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from batch.errors import InputError
from trainer.model.base_file import BASE, TOKEN_MAP, find_base, read_base, write_base
from trainer.model.gpt2 import VOCAB_SIZE, GPT2Trunk, ModelConfig, init_weights
from trainer.model.load_weights import load_trunk

CONFIG = ModelConfig(
    "gpt2-mini", emb_dim=32, layers=2, heads=1, vocab_size=9, remapped=True, context_length=16
)


@pytest.fixture
def trunk(seed: int) -> GPT2Trunk:
    torch.manual_seed(seed)
    trunk = GPT2Trunk(CONFIG)
    init_weights(trunk, CONFIG.layers)
    trunk.token_map[:] = torch.arange(VOCAB_SIZE) % 9
    return trunk


@pytest.fixture
def path(trunk: GPT2Trunk, tmp_path: Path) -> Path:
    write_base(tmp_path / BASE, trunk, CONFIG, {"tokens": 7, "loss": 1.5})
    return tmp_path / BASE


def test_what_is_written_is_read(trunk: GPT2Trunk, path: Path) -> None:
    assert find_base(path) == find_base(path.parent) == path
    base = read_base(path)
    assert (base.config, base.card) == (CONFIG, {"tokens": 7, "loss": 1.5})
    assert torch.equal(base.token_map, trunk.token_map)
    again = GPT2Trunk(CONFIG)
    load_trunk(again, base.tensors)
    for name, weight in trunk.named_parameters():
        assert torch.equal(dict(again.named_parameters())[name], weight.half().float()), name


def test_what_is_no_base(tmp_path: Path) -> None:
    save_file({"wte.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "text.safetensors").write_text("mine")
    for name in ("model.safetensors", "text.safetensors", "none.safetensors", "."):
        assert find_base(tmp_path / name) is None


def rewrite(path: Path, about: dict, **tensors: torch.Tensor) -> str:
    """Write the base with other notes or tensors; the sentence that it is refused with."""
    known = {"format": "spam-train base", "format_version": "1", "card": "{}"}
    known["model"] = json.dumps(CONFIG.to_dict())
    save_file({**load_file(path), **tensors}, path, {**known, **about})
    with pytest.raises(InputError) as caught:
        read_base(path)
    return str(caught.value)


def test_refusals(path: Path) -> None:
    assert rewrite(path, {"format_version": "2"}) == (
        f"{path}: format version '2' of a base, this spam-train reads 1; make it anew with: "
        "spam-train pretrain"
    )
    damaged = f"{path}: the base is damaged: token_map is not valid; make it anew"
    assert rewrite(path, {}, **{TOKEN_MAP: torch.full((VOCAB_SIZE,), 9)}) == damaged
    assert rewrite(path, {}, **{TOKEN_MAP: torch.zeros(5, dtype=torch.int32)}) == damaged
    assert rewrite(path, {"card": "{"}).startswith(f"{path}: the base is damaged: Expecting ")
