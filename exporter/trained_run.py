"""What an export reads from a run folder."""

import json
from dataclasses import dataclass
from pathlib import Path

from batch.model.decision import Decision
from batch.model.tokenizer import Tokenizer
from exporter.rows import Labelled, log, read_rows
from exporter.verify import Rows
from trainer.model.gpt2 import GPT2Classifier
from trainer.run_folder import METRICS, RunConfig, read_config, read_model, read_tokenizer


@dataclass(frozen=True)
class TrainedRun:
    """All that an export takes from a run folder."""

    run: Path
    config: RunConfig
    model: GPT2Classifier
    tokenizer: Tokenizer
    metrics: dict
    decision: Decision
    rows: Rows
    labelled: Labelled

    @classmethod
    def read(cls, run: Path) -> "TrainedRun":
        """Read the run and run its validation and test messages through PyTorch."""
        config = read_config(run)
        model, tokenizer = read_model(run, config), read_tokenizer(run)
        metrics = json.loads((run / METRICS).read_text(encoding="utf-8"))
        decision = Decision(
            config.labels, config.positive_label, metrics["threshold"]["value"],
            metrics["calibration"]["temperature"],
        )  # fmt: skip
        log.info("Weights: %s", config.weights["statement"])
        log.info("PyTorch, fp32, every validation and test message padded to %d tokens",
                 config.max_length)  # fmt: skip
        rows, labelled = read_rows(run, model, tokenizer, config, decision)
        return cls(run, config, model, tokenizer, metrics, decision, rows, labelled)
