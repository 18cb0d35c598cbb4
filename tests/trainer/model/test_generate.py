"""Greedy generation against transformers' own.

In float64, so that no kernel's rounding decides between two tokens.
"""

import os

import pytest
import torch

from batch.errors import UsageError
from trainer.model.generate import generate_greedy
from trainer.model.gpt2 import GPT2Trunk, ModelConfig
from trainer.model.load_weights import load_trunk

TINY = ModelConfig("custom", emb_dim=16, layers=2, heads=2, vocab_size=64, context_length=32)


@pytest.fixture
def trunk():
    """Random weights, large enough that the likeliest token changes as the text grows."""
    trunk = GPT2Trunk(TINY)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.normal_(std=0.5, generator=generator)
    return trunk.double()


def prompt(rows=2, tokens=4):
    return torch.randint(0, 64, (rows, tokens), generator=torch.Generator().manual_seed(2))


def test_tokens_equal_transformers():
    os.environ.setdefault("USE_TF", "0")  # it imports tensorflow where there is one: 5 s
    transformers = pytest.importorskip("transformers", reason="transformers is the reference")
    config = transformers.GPT2Config(
        vocab_size=64,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=63,
    )
    model = transformers.GPT2LMHeadModel(config).double().eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=generator)
    ids = prompt()
    theirs = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=28, do_sample=False
    )

    trunk = GPT2Trunk(TINY).double()
    load_trunk(trunk, model.state_dict())

    assert torch.equal(generate_greedy(trunk, ids, 28), theirs)
    assert len(set(theirs[0].tolist())) > 5  # else any two models would agree


def test_beyond_the_context_only_the_last_tokens_count(trunk):
    ids = prompt(rows=1, tokens=40)
    ours = generate_greedy(trunk, ids, 3)
    for end in range(40, 43):
        hidden = trunk.eval()(ours[:, end - 32 : end])
        assert ours[0, end] == (hidden @ trunk.wte.weight.T)[0, -1].argmax()


def test_prompt_is_kept_and_no_new_token_is_no_work(trunk):
    ids = prompt()
    assert torch.equal(generate_greedy(trunk, ids, 0), ids)
    assert torch.equal(generate_greedy(trunk, ids, 2)[:, :4], ids)


def test_dropout_is_off_and_the_mode_is_restored(trunk):
    noisy = GPT2Trunk(ModelConfig(**{**TINY.to_dict(), "drop_rate": 0.9})).double().train()
    noisy.load_state_dict(trunk.state_dict())
    assert torch.equal(generate_greedy(noisy, prompt(), 8), generate_greedy(trunk, prompt(), 8))
    assert noisy.training


@pytest.mark.parametrize(
    ("ids", "new_tokens", "message"),
    [
        (
            torch.zeros(1, 0, dtype=torch.int64),
            5,
            "the prompt has shape (1, 0), expected at least one token",
        ),
        (
            torch.zeros(3, dtype=torch.int64),
            5,
            "the prompt has shape (3,), expected at least one token",
        ),
        (
            torch.zeros(1, 1, dtype=torch.int64),
            -1,
            "-1 new tokens were asked for, expected 0 or more",
        ),
    ],
)
def test_wrong_requests(trunk, ids, new_tokens, message):
    with pytest.raises(UsageError) as error:
        generate_greedy(trunk, ids, new_tokens)
    assert str(error.value) == message
