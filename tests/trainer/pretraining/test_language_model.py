"""The next-token loss: its definition, and the softmax over drawn rows."""

import torch
from torch.nn import functional as F

from trainer.model.build import share_rows
from trainer.model.gpt2 import GPT2Trunk, ModelConfig, init_weights
from trainer.model.vocabulary import build_vocabulary
from trainer.pretraining.language_model import LanguageModel, plain_trunk, sampled_loss

CONFIG = ModelConfig(
    "tiny", emb_dim=32, layers=2, heads=2, vocab_size=50, remapped=True, context_length=16
)


def make_trunk(seed: int, config: ModelConfig = CONFIG) -> GPT2Trunk:
    torch.manual_seed(seed)
    trunk = GPT2Trunk(config)
    init_weights(trunk, config.layers)
    return trunk


def test_the_loss_is_that_of_a_tied_head(seed: int) -> None:
    trunk = make_trunk(seed)
    trunk.token_map[:50] = torch.arange(50)
    ids = torch.randint(50, (3, 10))
    logits = trunk(ids[:, :-1]) @ trunk.wte.weight.T
    expected = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    found = LanguageModel(trunk)(ids[:, :-1], ids[:, 1:], 0)
    torch.testing.assert_close(found, expected)
    # All other rows are drawn: the estimate is the loss itself.
    torch.testing.assert_close(LanguageModel(trunk)(ids[:, :-1], ids[:, 1:], 50), expected)


def test_the_sum_over_drawn_rows_has_no_bias(seed: int) -> None:
    torch.manual_seed(seed)
    x, table = torch.randn(6, 8), 0.3 * torch.randn(200, 8)
    targets = torch.randint(200, (6,))
    exact = F.cross_entropy(x @ table.T, targets).item()
    drawn = [sampled_loss(x, table, targets, 40).item() for _ in range(400)]
    assert abs(sum(drawn) / len(drawn) - exact) < 0.05
    few = [sampled_loss(x, table, targets, 2).item() for _ in range(400)]
    assert torch.tensor(few).std() > torch.tensor(drawn).std()


def test_a_plain_copy_gives_the_same_and_leaves_the_sums(tokenizer, seed: int) -> None:
    vocabulary = build_vocabulary([[5211, 345], [5211], [345, 423]], tokenizer, min_count=2)
    config = ModelConfig(
        "tiny", emb_dim=32, layers=2, heads=2, vocab_size=vocabulary.rows, remapped=True
    )
    trunk = make_trunk(seed, config)
    share_rows(trunk, vocabulary)
    plain = plain_trunk(trunk, config)
    ids = torch.tensor([[5211, 345, 9, 40]])
    assert torch.equal(plain(ids), trunk(ids))
    assert "wte.weight" in dict(plain.named_parameters())
    assert "wte.weight" not in dict(trunk.named_parameters())
