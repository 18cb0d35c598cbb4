"""The classifier: its saved work is exact, and its label depends on the message alone.

In float64, where kernels that sum in another order differ by 1e-15 and what is not the same
by far more than the tolerance.
"""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from batch.model.tokenizer import PAD_ID, Tokenizer
from trainer.data.tensors import pad_messages
from trainer.model.gpt2 import (
    SIZES,
    VOCAB_SIZE,
    GPT2Classifier,
    ModelConfig,
    count_parameters,
    init_weights,
    model_config,
)

TOLERANCE = 1e-12
MESSAGES = [[5211, 345, 423, 640], [11], [], [1, 2, 3, 4, 5, 6, 7, 8, 9], [50255] * 7]


def worst(ours: Tensor, theirs: Tensor) -> float:
    return (ours - theirs).abs().max().item()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def tiny_model(tiny_model):
    return lambda *args, **changes: tiny_model(*args, **changes).double()


@pytest.mark.parametrize("pooling", ["last_token", "last_position"])
@pytest.mark.parametrize("width", [1, 9, 64])
def test_forward_equals_plain(tiny_model, pooling: str, width: int) -> None:
    model = tiny_model(pooling, classes=3)
    ids = pad_messages(MESSAGES, width)
    ours, theirs = model(ids), model.forward_plain(ids)
    assert ours.shape == (5, 3)
    assert worst(ours, theirs) <= TOLERANCE
    assert worst(ours[0], ours[3]) > 0.01  # else anything would agree


def test_plain_is_causal_attention_at_every_position(tiny_model) -> None:
    """``forward_plain`` at a message's last token is the logits of the message cut there."""
    model = tiny_model("last_position")
    ids = pad_messages([MESSAGES[3]], 9)
    hidden = model.score(model.transformer(ids))[0]
    for end in range(1, 10):
        assert worst(model.forward_plain(ids[:, :end])[0], hidden[end - 1]) <= TOLERANCE


class TestLastToken:
    def test_padded_length_does_not_matter(self, tiny_model) -> None:
        model = tiny_model()
        for message in MESSAGES:
            alone = model(pad_messages([message], max(1, len(message))))
            for width in range(max(1, len(message)), 25):
                assert worst(model(pad_messages([message], width)), alone) <= TOLERANCE

    def test_other_rows_do_not_matter(self, tiny_model) -> None:
        model = tiny_model()
        together = model(pad_messages(MESSAGES, 12))
        for row, message in enumerate(MESSAGES):
            assert worst(model(pad_messages([message], 12))[0], together[row]) <= TOLERANCE

    def test_what_stands_right_of_the_message_does_not_matter(self, tiny_model) -> None:
        trunk = tiny_model().transformer
        ids = pad_messages(MESSAGES[:1], 16)
        position = torch.tensor([3])
        expected = trunk.forward_pooled(ids, position)
        ids[:, 4:] = torch.arange(12)
        assert worst(trunk.forward_pooled(ids, position), expected) <= TOLERANCE
        ids[:, 3] = 0
        assert worst(trunk.forward_pooled(ids, position), expected) > 0.01

    def test_position(self, tiny_model) -> None:
        position = tiny_model().pooled_position(pad_messages(MESSAGES, 9))
        assert position.tolist() == [3, 0, 0, 8, 6]

    def test_empty_message_is_read_at_its_first_pad(self, tiny_model) -> None:
        model = tiny_model()
        expected = model.score(model.transformer(torch.tensor([[PAD_ID]])))[:, 0]
        assert worst(model(pad_messages([[]], 8)), expected) <= TOLERANCE

    def test_text_that_spells_the_pad_is_text(self, tiny_model, tokenizer: Tokenizer) -> None:
        model = tiny_model()
        message = tokenizer.encode("<|endoftext|>" * 3 + " call")
        ids = pad_messages([message], 64)
        assert model.pooled_position(ids).tolist() == [len(message) - 1]
        assert worst(model(ids), model(pad_messages([message], len(message)))) <= TOLERANCE


def test_last_position_reads_the_last_pad(tiny_model) -> None:
    model = tiny_model("last_position")
    ids = pad_messages(MESSAGES, 12)
    assert model.pooled_position(ids).tolist() == [11] * 5
    assert worst(model(ids), model.score(model.transformer(ids))[:, -1, :]) <= TOLERANCE
    assert worst(model(ids), model(pad_messages(MESSAGES, 13))) > 0.001


@pytest.mark.parametrize("pooling", ["last_token", "last_position"])
def test_remapped_vocabulary_is_a_lookup(tiny_model, pooling: str) -> None:
    """The small model on BPE ids is the same small model, unmapped, on row numbers."""
    token_map = torch.arange(VOCAB_SIZE) % 9 + 1
    token_map[PAD_ID] = 0
    ours = tiny_model(pooling, vocab_size=10, remapped=True)
    ours.transformer.token_map.copy_(token_map)
    theirs = tiny_model(pooling, vocab_size=10, pad_id=0)
    ids = pad_messages([*MESSAGES, [11, 49999, 640]], 10)
    assert "transformer.token_map" in ours.state_dict()
    assert "transformer.token_map" not in theirs.state_dict()
    assert worst(ours(ids), theirs(token_map[ids])) <= TOLERANCE


def test_dropout_is_drawn_in_training_only(tiny_model) -> None:
    model = tiny_model(drop_rate=0.5)
    ids = pad_messages(MESSAGES, 9)
    assert worst(model(ids), tiny_model()(ids)) <= TOLERANCE
    model.train()
    assert worst(model(ids), model(ids)) > 0.01


# 12 * C * C + 13 * C a block, (50257 + 1024) * C embeddings, 2 * C final norm, head: 2 * C + 2.
@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("gpt2-small", 124_439_808 + 1_538),
        ("gpt2-medium", 354_823_168 + 2_050),
        ("gpt2-large", 774_030_080 + 2_562),
        ("gpt2-xl", 1_557_611_200 + 3_202),
    ],
)
def test_parameter_counts(size: str, count: int) -> None:
    with torch.device("meta"):
        model = GPT2Classifier(model_config(size))
    assert count_parameters(model) == count
    model.requires_grad_(False)
    model.score.requires_grad_(True)
    assert count_parameters(model, trainable_only=True) == 2 * SIZES[size].emb_dim + 2


def test_config_round_trip_and_changes() -> None:
    config = model_config("gpt2-medium", classes=5, pooling="last_position")
    assert (config.emb_dim, config.layers, config.heads) == (1024, 24, 16)
    assert (config.classes, config.pooling, config.context_length) == (5, "last_position", 1024)
    assert config.vocab_size == VOCAB_SIZE
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_initial_weights_are_gpt2s() -> None:
    model = GPT2Classifier(model_config("starter", emb_dim=128, layers=2))
    init_weights(model.transformer, 2, torch.Generator().manual_seed(0))
    trunk = model.transformer
    for parameter, std in (
        (trunk.wte.weight, 0.02),
        (trunk.wpe.weight, 0.02),
        (trunk.h[0].attn.c_attn.weight, 0.02),
        (trunk.h[1].mlp.c_fc.weight, 0.02),
        (trunk.h[0].attn.c_proj.weight, 0.01),  # 0.02 / sqrt(2 * 2 layers)
        (trunk.h[1].mlp.c_proj.weight, 0.01),
    ):
        assert parameter.std().item() == pytest.approx(std, rel=0.05)
        assert abs(parameter.mean().item()) < 0.001
    for norm in (trunk.ln_f, trunk.h[0].ln_1, trunk.h[1].ln_2):
        assert norm.weight.unique().tolist() == [1.0]
        assert norm.bias.unique().tolist() == [0.0]
    assert trunk.h[0].attn.c_attn.bias.unique().tolist() == [0.0]


def test_the_logits_of_a_second_model_are_added(seed: int) -> None:
    torch.manual_seed(seed)
    second = model_config("starter", context_length=16, vocab_size=100, pad_id=99)
    config = replace(second, layers=2, emb_dim=32, second=second)
    model = GPT2Classifier(config).eval()
    ids = torch.randint(90, (3, 8))
    ids[1, 4:] = 99
    first = GPT2Classifier(replace(config, second=None)).eval()
    first.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(model(ids), first(ids) + model.second(ids))
    torch.testing.assert_close(model.forward_plain(ids), model(ids))
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
