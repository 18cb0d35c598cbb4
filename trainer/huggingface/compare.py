"""transformers' logits of a folder, beside ours. N messages, K classes."""

import importlib.util
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from batch.model.tokenizer import PAD_ID

log = logging.getLogger("trainer")


def has_transformers() -> bool:
    """True if transformers is installed."""
    return importlib.util.find_spec("transformers") is not None


def transformers_logits(folder: Path, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """transformers' logits ``(N, K)`` float32 of token ids, each message alone and unpadded.

    A message without tokens is one pad, which transformers reads there.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a folder is all that is read
    os.environ.setdefault("USE_TF", "0")
    from transformers import GPT2ForSequenceClassification
    from transformers.utils import logging as their_log

    their_log.disable_progress_bar()
    model = GPT2ForSequenceClassification.from_pretrained(folder, local_files_only=True)
    model = model.float().eval()
    logits = []
    with torch.no_grad():
        for ids in sequences:
            batch = torch.tensor([ids or [PAD_ID]])
            found = model(batch, attention_mask=torch.ones_like(batch))
            logits.append(found.logits[0].numpy())
    return np.stack(logits).astype(np.float32)


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, int]:
    """The largest difference, that divided by the largest logit above 1, and the row of it."""
    difference = np.abs(ours.astype(np.float64) - theirs)
    worst = float(np.nan_to_num(difference, nan=np.inf).max())
    row = int(np.nan_to_num(difference, nan=np.inf).max(axis=1).argmax())
    return worst, worst / max(1.0, float(np.abs(theirs).max())), row
