"""Logits, accuracy and loss over the batches of a loader, computed as in the notebook."""

import math
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trainer.data.tensors import EncodedSet, trim
from trainer.model.gpt2 import GPT2Classifier
from trainer.training.loss import batch_loss
from trainer.training.trunk_cache import TrunkCache


def set_logits(
    model: GPT2Classifier, data: EncodedSet, rows: Tensor, cache: TrunkCache | None = None
) -> Tensor:
    """Logits ``(B, K)`` of the messages with these row numbers ``(B,)``, from the cache if any."""
    rows = rows.to(data.ids.device)
    if cache is not None:
        return cache.logits(model, rows.to(cache.flat.device))
    return model(trim(data.ids[rows], data.lengths[rows], model.config))


@torch.no_grad()
def accuracy_over(
    model: GPT2Classifier,
    data: EncodedSet,
    loader: DataLoader,
    batches: int | None = None,
    cache: TrunkCache | None = None,
) -> float:
    """Share of the messages labelled right in the first ``batches`` batches; None: all batches."""
    model.eval()
    right = torch.zeros((), dtype=torch.int64, device=data.ids.device)
    seen = 0
    for rows in islice(loader, batches):
        predicted = set_logits(model, data, rows, cache).argmax(dim=-1)
        right += (predicted == data.labels[rows.to(predicted.device)]).sum()
        seen += len(rows)
    return right.item() / seen if seen else math.nan


@torch.no_grad()
def loss_over(
    model: GPT2Classifier,
    data: EncodedSet,
    loader: DataLoader,
    batches: int | None = None,
    cache: TrunkCache | None = None,
) -> float:
    """Mean cross-entropy of the first ``batches`` batches, every batch with the same weight.

    In a distillation it is the cross-entropy with the teacher's probabilities.
    """
    model.eval()
    losses = []
    for rows in islice(loader, batches):
        logits = set_logits(model, data, rows, cache)
        losses.append(batch_loss(logits, data, rows.to(data.labels.device)))
    return torch.stack(losses).mean().item() if losses else math.nan
