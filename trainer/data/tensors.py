"""Messages as padded tensors, and loaders that give their row numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from batch.formats.columns import CLASS_COLUMN
from batch.model.tokenizer import PAD_ID, Tokenizer
from trainer.model.gpt2 import ModelConfig

GOLD = "gold"  # column of a distillation's sets: the label in the files of --data; empty: none
NO_GOLD = -100
FLOOR = 5e-7  # half of the last digit that spam-batch writes: 0.000000 means at most that


@dataclass(frozen=True)
class EncodedSet:
    """N messages: ``ids`` ``(N, max_length)`` int64, ``labels`` and ``lengths`` ``(N,)`` int64.

    Of a distillation also what :mod:`trainer.data.teacher` knows of each message.
    """

    ids: Tensor
    labels: Tensor
    lengths: Tensor  # tokens before padding, after truncation
    truncated: int  # messages that were longer than max_length
    teacher: Tensor | None = None  # (N, K) float32 log-probabilities; NaN: the teacher did not say
    gold: Tensor | None = None  # (N,) int64 class numbers; NO_GOLD: nobody said

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "EncodedSet":
        names = ("ids", "labels", "lengths", "teacher", "gold")
        tensors = {name: getattr(self, name) for name in names}
        moved = {name: None if t is None else t.to(device) for name, t in tensors.items()}
        return replace(self, **moved)


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
    """Encode, truncate and pad on the right, to the longest message if ``max_length`` is None."""
    encoded = tokenizer.encode_all(frame["text"])
    if max_length is None:
        max_length = longest(encoded)
    numbers = {label: number for number, label in enumerate(labels)}
    return EncodedSet(
        ids=pad_messages(encoded, max_length),
        labels=torch.tensor([numbers[label] for label in frame["label"]]),
        lengths=torch.tensor([min(len(tokens), max_length) for tokens in encoded]),
        truncated=sum(len(tokens) > max_length for tokens in encoded),
        teacher=_read_teacher(frame, labels),
        gold=None if GOLD not in frame else torch.tensor(
            [numbers.get(label, NO_GOLD) for label in frame[GOLD]]
        ),
    )  # fmt: skip


def _read_teacher(frame: pd.DataFrame, labels: list[str]) -> Tensor | None:
    """The teacher's log-probabilities ``(N, K)``, if the frame has columns of them."""
    columns = [CLASS_COLUMN + label for label in labels]
    if not {*columns} <= {*frame.columns}:
        return None
    probabilities = frame[columns].to_numpy(dtype=np.float64).clip(min=FLOOR)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return torch.tensor(np.log(probabilities), dtype=torch.float32)


def make_loader(
    count: int, batch_size: int, train: bool, lengths: Tensor | None = None
) -> DataLoader:
    """Batches of row numbers, ``(batch_size,)`` int64.

    The loader draws from torch's global generator as the notebook's does, so the same seed
    gives the same order. It gives only numbers, and the tensors stay on their device. The
    training loader shuffles and drops an incomplete last batch. With ``lengths`` ``(count,)``
    its batches have messages of similar length.
    """
    if train and lengths is not None:
        return DataLoader(range(count), batch_sampler=LengthGroupedSampler(lengths, batch_size))
    return DataLoader(
        range(count), batch_size=batch_size, shuffle=train, drop_last=train, num_workers=0
    )


class LengthGroupedSampler:
    """Shuffles all rows, sorts each stretch of 50 batches by length, and shuffles the batches."""

    STRETCH = 50  # batches

    def __init__(self, lengths: Tensor, batch_size: int):
        self.lengths = lengths.cpu()
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.lengths) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        rows = torch.randperm(len(self.lengths))[: len(self) * self.batch_size]
        stretches = rows.split(self.STRETCH * self.batch_size)
        ordered = [part[self.lengths[part].argsort(stable=True)] for part in stretches]
        batches = torch.cat(ordered).split(self.batch_size)
        return iter([batches[number].tolist() for number in torch.randperm(len(batches))])


def trim(ids: Tensor, lengths: Tensor, config: ModelConfig) -> Tensor:
    """Cut the columns that no message of the batch needs: ``(B, T)``, ``(B,)`` -> ``(B, <= T)``.

    This does not change the logits: no position after the pooled one affects them. Where
    logits depend on the padding, nothing is cut.
    """
    if config.is_fixed_length:
        return ids
    if config.pooling == "first_position":
        return ids[:, :1]
    return ids[:, : max(1, int(lengths.max()))]


def drop_tokens(ids: Tensor, lengths: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Delete each token with probability ``rate``; every message keeps at least one.

    ``(B, T)``, ``(B,)`` -> ``(B, T)`` padded again on the right, ``(B,)``.
    """
    position = torch.arange(ids.shape[1], device=ids.device)[None, :]
    real = position < lengths[:, None]
    draw = torch.rand(ids.shape, device=ids.device).masked_fill(~real, -1.0)
    keep = real & ((draw >= rate) | (draw == draw.max(dim=1, keepdim=True).values))
    order = torch.argsort((~keep).to(torch.int8), dim=1, stable=True)
    kept = keep.sum(dim=1)
    return ids.gather(1, order).masked_fill(position >= kept[:, None], PAD_ID), kept
