"""The messages that every export is checked on, and what PyTorch says of them."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batch.model.decision import Decision
from batch.model.tokenizer import Tokenizer
from exporter.verify import Rows, torch_logits
from trainer.data.labelled_file import read_split
from trainer.model.gpt2 import GPT2Classifier
from trainer.run_folder import RunConfig

log = logging.getLogger("exporter")

# Beside the run's own. The longest message is among those; the rest is here.
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


@dataclass(frozen=True)
class Labelled:
    """The validation set within the rows of a check: its labels, for the accuracy gate."""

    rows: np.ndarray  # (V,) row numbers
    classes: np.ndarray  # (V,) class numbers


def read_rows(
    run: Path, model: GPT2Classifier, tokenizer: Tokenizer, config: RunConfig, decision: Decision
) -> tuple[Rows, Labelled]:
    """Validation and test messages and the nasty ones, run through PyTorch."""
    texts, names, classes = [], [], []
    for part in ("validation", "test"):
        frame = read_split(run, part)
        texts += list(frame["text"])
        names += [f"{part} message {number}" for number in range(1, len(frame) + 1)]
        if part == "validation":
            classes = [config.labels.index(label) for label in frame["label"]]
    texts += NASTY_TEXTS
    names += [f"nasty message {number}" for number in range(1, len(NASTY_TEXTS) + 1)]
    sequences = [tokenizer.encode(text, config.max_length) for text in texts]
    rows = Rows(
        names=names,
        sequences=sequences,
        logits=torch_logits(model, sequences, config.max_length),
        decision=decision,
        max_length=config.max_length,
        pad_id=model.config.pad_id,
        fixed_length=model.config.is_fixed_length,
    )
    return rows, Labelled(np.arange(len(classes)), np.array(classes, dtype=np.int64))
