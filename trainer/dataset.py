"""Messages as padded tensors, and loaders that hand out their row numbers."""

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from batch.tokenizer import PAD_ID, Tokenizer


@dataclass(frozen=True)
class EncodedSet:
    """N messages: ``ids`` ``(N, max_length)`` int64, ``labels`` and ``lengths`` ``(N,)`` int64."""

    ids: Tensor
    labels: Tensor
    lengths: Tensor  # tokens before padding, after truncation
    truncated: int  # messages that were longer than max_length

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "EncodedSet":
        return EncodedSet(
            self.ids.to(device), self.labels.to(device), self.lengths.to(device), self.truncated
        )


def longest(encoded: list[list[int]]) -> int:
    """Length of the longest message in tokens, at least 1."""
    return max(1, max(map(len, encoded)))


def pad_messages(encoded: list[list[int]], max_length: int) -> Tensor:
    """Truncate and pad on the right: ``(N, max_length)`` int64."""
    ids = torch.full((len(encoded), max_length), PAD_ID)
    for row, tokens in enumerate(encoded):
        kept = tokens[:max_length]
        ids[row, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
    return ids


def encode_frame(
    frame: pd.DataFrame, labels: list[str], tokenizer: Tokenizer, max_length: int | None
) -> EncodedSet:
    """Encode, truncate and pad on the right; ``max_length`` None: the longest message."""
    encoded = tokenizer.encode_all(frame["text"])
    if max_length is None:
        max_length = longest(encoded)
    numbers = {label: number for number, label in enumerate(labels)}
    return EncodedSet(
        ids=pad_messages(encoded, max_length),
        labels=torch.tensor([numbers[label] for label in frame["label"]]),
        lengths=torch.tensor([min(len(tokens), max_length) for tokens in encoded]),
        truncated=sum(len(tokens) > max_length for tokens in encoded),
    )


def make_loader(count: int, batch_size: int, train: bool) -> DataLoader:
    """Batches of row numbers, ``(batch_size,)`` int64.

    The loader draws from torch's global generator just as the notebook's does,
    so the same seed gives the same order; only the numbers travel, and the
    tensors stay where they are. The training loader shuffles and drops the
    last short batch.
    """
    return DataLoader(
        range(count), batch_size=batch_size, shuffle=train, drop_last=train, num_workers=0
    )
