"""The next-token loss of a trunk whose token embedding is also its head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from trainer.model.gpt2 import GPT2Trunk, ModelConfig


class LanguageModel(nn.Module):
    """Rows of tokens -> loss of the next ones. The head is tied: P = softmax(h W_e^T).

    Source: Radford et al. 2018, section 3.1.
    """

    def __init__(self, trunk: GPT2Trunk):
        super().__init__()
        self.transformer = trunk

    def forward(self, rows: Tensor, targets: Tensor, drawn: int, first: int = 0) -> Tensor:
        """Mean cross-entropy in nats: two times ``(B, T)`` int64 -> scalar.

        Args:
            drawn: rows that the softmax draws beside those of ``targets``; 0 for all rows.
            first: position of the first token.
        """
        trunk = self.transformer
        with parametrize.cached():  # the sums of shared rows are computed once
            table = trunk.wte.weight
            positions = torch.arange(first, first + rows.shape[1], device=rows.device)
            x = trunk.drop(F.embedding(rows, table) + trunk.wpe(positions))
            x = trunk.ln_f(trunk.run_blocks(x, 0, len(trunk.h))).flatten(0, 1)
            if drawn == 0:
                return F.cross_entropy((x @ table.T).float(), targets.flatten())
            return sampled_loss(x, table, targets.flatten(), drawn)


def sampled_loss(x: Tensor, table: Tensor, targets: Tensor, drawn: int) -> Tensor:
    """Cross-entropy with a softmax over the batch's own rows and ``drawn`` of the others.

    The others' part of the sum is estimated from those drawn, each of which stands for
    ``others / drawn`` rows, so the estimate of the sum has no bias. ``x`` ``(N, C)``, ``table``
    ``(R, C)``, ``targets`` ``(N,)`` int64. Source: stratified importance sampling of the
    partition function, Bengio and Senecal 2003.
    """
    own, numbers = torch.unique(targets, return_inverse=True)
    is_other = torch.ones(len(table), dtype=torch.bool, device=table.device)
    is_other[own] = False
    others = is_other.nonzero().flatten()
    drawn = min(drawn, len(others))
    chosen = others[torch.randperm(len(others), device=others.device)[:drawn]]
    logits = (x @ table[torch.cat([own, chosen])].T).float()
    if drawn:
        weight = torch.zeros(logits.shape[1], device=logits.device)
        weight[len(own) :] = len(others) / drawn
        weight[len(own) :].log_()
        logits = logits + weight
    return F.cross_entropy(logits, numbers)


def plain_trunk(trunk: GPT2Trunk, config: ModelConfig) -> GPT2Trunk:
    """A copy whose token embedding is a plain table, not a sum of shared rows."""
    plain = GPT2Trunk(config)
    state = trunk.state_dict()
    state = {name: state[name] for name in plain.state_dict() if name in state}
    plain.load_state_dict({**state, "wte.weight": trunk.wte.weight.detach()})
    return plain
