"""The frozen trunk's output, computed once for each distinct message.

While the first blocks are frozen and there is no dropout, their output for a message never
changes. :class:`TrunkCache` has the input of the first trained block or, if only the head is
trained, the vector that the head reads.
"""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from batch.errors import StorageError
from trainer.data.tensors import EncodedSet, trim
from trainer.model.gpt2 import GPT2Classifier
from trainer.recipe import Recipe

log = logging.getLogger("trainer")

BATCH_TOKENS = 4096  # tokens that pass through the trunk at once


@dataclass(frozen=True)
class TrunkCache:
    """Trunk outputs of N messages, D of them distinct, S positions in all.

    Attributes:
        start: the first block that has to run; the number of blocks if only the head has to.
        flat: ``(S, C)`` float32, the distinct messages' positions one after the other.
        offsets: ``(D,)`` int64, where each message begins in ``flat``.
        lengths: ``(D,)`` int64, positions of each message.
        row_of: ``(N,)`` int64, the number of each message's distinct message.
        position: ``(D,)`` int64, the position that the class is read at.
    """

    start: int
    flat: Tensor
    offsets: Tensor
    lengths: Tensor
    row_of: Tensor
    position: Tensor

    def logits(self, model: GPT2Classifier, rows: Tensor) -> Tensor:
        """Logits ``(B, K)`` of the messages ``rows`` ``(B,)``; only the trained part runs."""
        distinct = self.row_of[rows]
        lengths = self.lengths[distinct]
        steps = torch.arange(int(lengths.max()), device=self.flat.device)
        # After a message's end its last position is repeated: finite, and never attended to.
        index = self.offsets[distinct][:, None] + torch.minimum(
            steps[None, :], lengths[:, None] - 1
        )
        x = self.flat[index].to(model.score.weight.device)
        if self.start == len(model.transformer.h):
            return model.score(x[:, 0])
        return model.score(model.pool_from(x, self.start, self.position[distinct]))


def first_trained_block(model: GPT2Classifier) -> int:
    """The first block that has to run in every step; the number of blocks if none has."""
    trunk = model.transformer
    if trunk.wte.weight.requires_grad or trunk.wpe.weight.requires_grad:
        return 0
    for number, block in enumerate(trunk.h):
        if any(p.requires_grad for p in block.parameters()):
            return number
    # A trained final norm reads the output of the last block.
    return len(trunk.h) - any(p.requires_grad for p in trunk.ln_f.parameters())


def build_caches(
    model: GPT2Classifier,
    sets: dict[str, EncodedSet],
    recipe: Recipe,
    memory_limit: int,
    folder: Path | None = None,
) -> dict[str, TrunkCache]:
    """Run the frozen blocks over every distinct message of all sets.

    Outputs of more than ``memory_limit`` bytes are in an unnamed file in ``folder``, mapped
    into memory. Returns an empty dict if a cache is of no use: the first block is trained, or
    training uses dropout.

    Raises:
        StorageError: the file does not fit on the disk.
    """
    start = first_trained_block(model)
    blocks = len(model.transformer.h)
    if start == 0 or recipe.drop_rate or recipe.token_drop_rate or recipe.stand_in_rate:
        return {}
    kept_ids, row_of = _find_distinct(model, sets)
    pooled = start == blocks
    lengths = torch.tensor([1 if pooled else len(ids) for ids in kept_ids])
    offsets = torch.cumsum(lengths, 0) - lengths
    flat = _allocate(int(lengths.sum()), model.config.emb_dim, memory_limit, folder)
    position = _fill(model, start, kept_ids, offsets, flat)
    device = model.score.weight.device
    if flat.numel() * 4 <= memory_limit:
        flat = flat.to(device)
    log.info(
        "The trunk's output for %d distinct messages is cached: %.0f MB",
        len(kept_ids), flat.numel() * 4 / 1e6,
    )  # fmt: skip
    offsets, lengths = offsets.to(flat.device), lengths.to(flat.device)
    return {
        name: TrunkCache(
            start,
            flat,
            offsets,
            lengths,
            torch.tensor(rows, device=flat.device),
            position.to(device),
        )
        for name, rows in row_of.items()
    }


def _find_distinct(
    model: GPT2Classifier, sets: dict[str, EncodedSet]
) -> tuple[list[Tensor], dict[str, list[int]]]:
    """Ids of each distinct message without needless padding, and each row's number among them."""
    numbers: dict[bytes, int] = {}
    kept_ids: list[Tensor] = []
    row_of: dict[str, list[int]] = {name: [] for name in sets}
    for name, data in sets.items():
        for ids, length in zip(data.ids.cpu(), data.lengths.tolist(), strict=True):
            kept = trim(ids[None], torch.tensor([length]), model.config)[0]
            number = numbers.setdefault(kept.numpy().tobytes(), len(numbers))
            if number == len(kept_ids):
                kept_ids.append(kept)
            row_of[name].append(number)
    return kept_ids, row_of


def _allocate(positions: int, channels: int, memory_limit: int, folder: Path | None) -> Tensor:
    if positions * channels * 4 <= memory_limit:
        return torch.empty(positions, channels)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # Space is reserved now: a write to a mapped hole on a full disk would crash.
            os.posix_fallocate(file.fileno(), 0, positions * channels * 4)
            return torch.from_numpy(
                np.memmap(file, dtype=np.float32, mode="r+", shape=(positions, channels))
            )
    except OSError as error:
        raise StorageError(
            f"the trunk's output needs {positions * channels * 4 / 1e9:.1f} GB on disk: "
            f"{error.strerror}; give --no-trunk-cache to compute it again in every step"
        ) from None


@torch.no_grad()
def _fill(
    model: GPT2Classifier, start: int, kept_ids: list[Tensor], offsets: Tensor, flat: Tensor
) -> Tensor:
    """Fill ``flat`` batch by batch; returns the position that each class is read at, ``(D,)``."""
    model.eval()
    device = model.score.weight.device
    trunk = model.transformer
    position = torch.zeros(len(kept_ids), dtype=torch.int64)
    order = sorted(range(len(kept_ids)), key=lambda row: len(kept_ids[row]))
    while order:
        # The longest messages come first, so later batches are never wider.
        width = len(kept_ids[order[-1]])
        count = max(1, BATCH_TOKENS // width)
        rows, order = order[-count:], order[:-count]
        ids = torch.full((len(rows), width), model.config.pad_id)
        for place, row in enumerate(rows):
            ids[place, : len(kept_ids[row])] = kept_ids[row]
        ids = ids.to(device)
        where = model.pooled_position(ids)
        position[torch.tensor(rows)] = where.cpu()
        x = trunk.embed(ids)
        if start == len(trunk.h):
            x = model.pool_from(x, 0, where)[:, None, :]
        else:
            x = trunk.run_blocks(x, 0, start)
        x = x.cpu()
        for place, row in enumerate(rows):
            length = 1 if start == len(trunk.h) else len(kept_ids[row])
            flat[offsets[row] : offsets[row] + length] = x[place, :length]
    return position
