"""What an export reads from a run folder."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batch.errors import InputError
from batch.model.bundle_files import TOKENIZER
from batch.model.decision import Decision
from batch.model.tokenizer import Tokenizer
from exporter.verification_set import ValidationSet, VerificationSet, read_verification_set
from trainer.model.gpt2 import GPT2Classifier
from trainer.run_folder import (
    METRICS,
    RunConfig,
    read_config,
    read_decision,
    read_metrics,
    read_model,
    read_tokenizer,
)

TRAINING_KEYS = ("accuracy", "messages", "data")  # of metrics.json, kept in bundle.json

log = logging.getLogger("exporter")


@dataclass(frozen=True)
class TrainedRun:
    """A run folder's settings, model and tokenizer, and PyTorch's logits of its messages."""

    folder: Path
    config: RunConfig
    model: GPT2Classifier
    tokenizer: Tokenizer
    metrics: dict
    decision: Decision
    rows: VerificationSet
    validation: ValidationSet
    ranks: bytes  # of gpt2.tiktoken

    @classmethod
    def read(cls, folder: Path, progress: bool = False) -> "TrainedRun":
        """Read a run folder and run its validation and test messages through PyTorch.

        Raises:
            MissingInputError: a file of the folder is missing.
            InputError: a file of the folder cannot be read as what it is.
        """
        config = read_config(folder)
        metrics, decision = read_metrics(folder), read_decision(folder, config)
        for key in TRAINING_KEYS:
            if not isinstance(metrics.get(key), dict):
                path = folder / METRICS
                raise InputError(f"{path}: not the {METRICS} of a run: {key} is not valid")
        model, tokenizer = read_model(folder, config), read_tokenizer(folder)
        log.info("Weights: %s", config.weights["statement"])
        log.info("PyTorch, fp32, every validation and test message padded to %d tokens",
                 config.max_length)  # fmt: skip
        rows, validation = read_verification_set(
            folder, model, tokenizer, config, decision, progress
        )
        ranks = (folder / TOKENIZER).read_bytes()
        return cls(folder, config, model, tokenizer, metrics, decision, rows, validation, ranks)


# A run folder, or what reads something else as a run, with a progress bar or without.
Source = Path | Callable[[bool], TrainedRun]


def read_source(source: Source, progress: bool = False) -> TrainedRun:
    """What an export is made from; see :meth:`TrainedRun.read`."""
    return TrainedRun.read(source, progress) if isinstance(source, Path) else source(progress)
