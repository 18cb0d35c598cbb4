"""The messages that every export is checked on, and what PyTorch says of them.

N messages, K classes. PyTorch's side is fp32 on the CPU, with every message padded to
max_length: the classifier as it was trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from batch.model.batching import pad_batch
from batch.model.decision import Decision
from batch.model.tokenizer import Tokenizer
from trainer.data.sets import read_split
from trainer.data.splits import HELD_OUT
from trainer.model.gpt2 import GPT2Classifier
from trainer.run_folder import RunConfig

# Checked besides the run's own messages. Their longest one is checked with those.
NASTY_TEXTS = (
    "",
    " ",
    "ok",
    "\n\r\n\t\n",
    "<|endoftext|>",
    "<|endoftext|>" * 50,
    "caf\ufffd \ufffd\ufffd",
    "\0",
    "😀" * 40,
    "word " * 2000,
    "a" * 10_000,
)
# The messages of golden.json, which are ours: a bundle has no user's text.
GOLDEN_TEXTS = (*NASTY_TEXTS, "You won a prize! Call now", "See you at dinner tonight, ok?")


@dataclass(frozen=True)
class VerificationSet:
    """The N messages of a check, and PyTorch's logits of them."""

    names: list[str]  # such as "test message 17"
    sequences: list[list[int]]  # token ids, cut to max_length
    logits: np.ndarray  # (N, K) float32
    decision: Decision
    max_length: int  # tokens
    pad_id: int
    fixed_length: bool


@dataclass(frozen=True)
class ValidationSet:
    """The V messages of the verification set that the accuracy gate looks at."""

    rows: np.ndarray  # (V,) row numbers within the verification set
    classes: np.ndarray  # (V,) true class numbers


def read_verification_set(
    run: Path,
    model: GPT2Classifier,
    tokenizer: Tokenizer,
    config: RunConfig,
    decision: Decision,
    progress: bool = False,
) -> tuple[VerificationSet, ValidationSet]:
    """The run's validation and test messages and the nasty ones, run through PyTorch."""
    texts, names, classes = [], [], []
    for part in HELD_OUT:
        frame = read_split(run, part)
        texts += list(frame["text"])
        names += [f"{part} message {number}" for number in range(1, len(frame) + 1)]
        if part == "validation":
            classes = [config.labels.index(label) for label in frame["label"]]
    texts += NASTY_TEXTS
    names += [f"nasty message {number}" for number in range(1, len(NASTY_TEXTS) + 1)]
    sequences = [tokenizer.encode(text, config.max_length) for text in texts]
    rows = VerificationSet(
        names=names,
        sequences=sequences,
        logits=torch_logits(model, sequences, config.max_length, progress=progress),
        decision=decision,
        max_length=config.max_length,
        pad_id=model.config.pad_id,
        fixed_length=model.config.is_fixed_length,
    )
    return rows, ValidationSet(np.arange(len(classes)), np.array(classes, dtype=np.int64))


def torch_logits(
    model: GPT2Classifier,
    sequences: Sequence[Sequence[int]],
    max_length: int,
    batch_size: int = 32,
    progress: bool = False,
) -> np.ndarray:
    """PyTorch's logits ``(N, K)`` float32, every message padded to ``max_length``.

    With ``progress`` a terminal shows a bar: on a CPU a large model takes minutes.
    """
    model.eval()
    logits = []
    with torch.no_grad(), tqdm(
        total=len(sequences), desc="PyTorch", unit="message", disable=None if progress else True
    ) as bar:  # fmt: skip
        for start in range(0, len(sequences), batch_size):
            ids = pad_batch(sequences[start : start + batch_size], max_length, model.config.pad_id)
            logits.append(model(torch.from_numpy(ids)).numpy())
            bar.update(len(ids))
    return np.concatenate(logits)
