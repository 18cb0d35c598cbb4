"""Greedy text from the trunk alone: the check that weights were loaded correctly.

Wrongly loaded weights still yield numbers, but no English.
"""

import torch
from torch import Tensor

from batch.errors import UsageError
from trainer.model.gpt2 import GPT2Trunk


@torch.no_grad()
def generate_greedy(trunk: GPT2Trunk, ids: Tensor, new_tokens: int) -> Tensor:
    """Append ``new_tokens`` tokens, each the most probable one: ``(B, T)`` -> ``(B, T + N)``.

    ``ids`` is int64 without padding; the result is on the trunk's device. Each token is chosen
    from the last context_length tokens before it. Dropout is off, and ``<|endoftext|>`` does not
    end the text. GPT-2's language-model head is its token embedding (Radford et al. 2018,
    section 3.1: ``P(u) = softmax(h W_e^T)``).

    Raises:
        UsageError: the prompt has no token, or ``new_tokens`` is negative.
    """
    if ids.dim() != 2 or not ids.shape[1]:
        raise UsageError(f"the prompt has shape {tuple(ids.shape)}, expected at least one token")
    if new_tokens < 0:
        raise UsageError(f"{new_tokens} new tokens were asked for, expected 0 or more")
    context_length = trunk.wpe.num_embeddings
    ids = ids.to(trunk.wte.weight.device)
    ids_of_rows = _first_ids(trunk)
    was_training = trunk.training
    trunk.eval()
    try:
        for _ in range(new_tokens):
            window = ids[:, -context_length:]
            last = torch.full((len(ids),), window.shape[1] - 1, device=ids.device)
            logits = trunk.forward_pooled(window, last) @ trunk.wte.weight.T  # (B, V)
            chosen = ids_of_rows[logits.argmax(dim=-1, keepdim=True)]
            ids = torch.cat([ids, chosen], dim=1)
    finally:
        trunk.train(was_training)
    return ids


def _first_ids(trunk: GPT2Trunk) -> Tensor:
    """The lowest id of each embedding row, ``(R,)`` int64: BPE's frequent tokens have low ids."""
    rows = trunk.wte.num_embeddings
    ids = torch.arange(rows, device=trunk.wte.weight.device)
    if not trunk.remapped:
        return ids
    every = torch.arange(len(trunk.token_map), device=ids.device)
    return torch.full_like(ids, len(every)).scatter_reduce(0, trunk.token_map, every, "amin")
