"""A smaller vocabulary for a model that is trained from nothing.

A message set of a thousand texts shows a few thousand of GPT-2's 50,257 tokens.
Rows of the embedding that no message ever trains would stay random; here every
token outside the kept ones shares one trained row, and the model is a tenth of
the size. Text is still encoded with GPT-2's BPE: the map is part of the model.
"""

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from trainer.model import PAD_ID, VOCAB_SIZE

UNKNOWN_ROW = 0
PAD_ROW = 1


def build_token_map(messages: Iterable[list[int]], min_count: int) -> tuple[Tensor, int]:
    """Rows of a small embedding for all BPE ids: ``(50257,)`` int64, and their number.

    Ids seen in fewer than ``min_count`` messages share :data:`UNKNOWN_ROW`.
    """
    counts = Counter(token for message in messages for token in set(message))
    kept = sorted(t for t, count in counts.items() if count >= min_count and t != PAD_ID)
    token_map = torch.full((VOCAB_SIZE,), UNKNOWN_ROW)
    token_map[PAD_ID] = PAD_ROW
    token_map[torch.tensor(kept, dtype=torch.int64)] = torch.arange(2, 2 + len(kept))
    return token_map, 2 + len(kept)


def unknown_id(token_map: Tensor) -> int:
    """A BPE id that the map sends to the shared row."""
    return int((token_map == UNKNOWN_ROW).nonzero()[0])
