"""The steps of every run, from inputs that are read and checked to the run folder."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from batch.model.decision import Band
from batch.model.tokenizer import Tokenizer
from batch.reading.record import Record
from batch.writing.atomic import making_folder
from trainer.data.reading import DEFAULT_OPTIONS, ReadOptions
from trainer.data.sets import write_rejects, write_split
from trainer.data.teacher import Teacher
from trainer.evaluation.held_out import evaluate_held_out
from trainer.fetch.assets import BpeFile
from trainer.model.initial_weights import InitialWeights
from trainer.recipe import Recipe
from trainer.report.notebook_plots import write_plots
from trainer.report.page import write_report
from trainer.run_folder import (
    CHECKPOINT,
    PREDICTIONS,
    RunConfig,
    begin_run,
    package_versions,
    remove_leftovers,
    write_run,
)
from trainer.training.checkpoint import has_checkpoint
from trainer.training.train_model import Trained, train_model
from trainer.training.watch import LINES, Watch

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class RunOptions:
    """The options of ``spam-train fit``; None leaves the choice to the recipe or to the program."""

    out: Path
    recipe: str = "default"
    weights: str = "auto"
    size: str | None = None
    cache: Path = Path("data")
    data: tuple[Path, ...] = ()  # labelled files; none: the SMS Spam Collection
    bpe: Path | None = None
    reading: ReadOptions = DEFAULT_OPTIONS  # how they are read
    positive_label: str | None = None
    device: str = "auto"
    changes: dict | None = None  # fields of Recipe
    progress: bool = True
    trunk_cache: bool = True  # compute the frozen trunk's output only once
    log_dir: Path | None = None  # of TensorBoard's events
    restart: bool = False  # start over in spite of a checkpoint
    max_blocked: float | None = None  # share of the other class that may get the positive label
    unsure_band: Band | None = None  # scores with the label unsure; for the bundle
    expected: dict | None = None  # SHA-256 that data and weights must have

    def arguments(self) -> dict:
        """The options that ``config.json`` keeps so that the run can be repeated."""
        return {
            "recipe": self.recipe,
            "weights": self.weights,
            "size": self.size,
            "data": [str(path.resolve()) for path in self.data],
            "reading": self.reading.to_dict(),
            "positive_label": self.positive_label,
            "max_blocked": self.max_blocked,
            "unsure_band": self.unsure_band,
        }


@dataclass(frozen=True)
class RunInputs:
    """What a run is made from, read and checked before training starts."""

    bpe_file: BpeFile
    rejects: list[tuple[str, Record]]  # file, bad record
    data: dict  # what config.json and metrics.json say of the data
    labels: list[str]
    positive_label: str | None
    parts: dict[str, pd.DataFrame]  # the three sets as text
    weights: InitialWeights
    recipe: Recipe
    device: torch.device
    teacher: Teacher | None = None  # None: the model learns from labels alone
    arguments: dict = field(default_factory=dict)  # for config.json, besides those of the options


def carry_out(options: RunOptions, inputs: RunInputs) -> dict:
    """Train, evaluate, and write the run folder; returns the metrics.

    Raises:
        SpamBatchError: with one sentence on what is wrong.
    """
    checkpoint = options.out / CHECKPOINT
    trained = _train_with_checkpoint(options, inputs, checkpoint)
    held_out = evaluate_held_out(
        trained.model, trained.sets, inputs.parts, inputs.labels, inputs.positive_label,
        options.max_blocked,
        # An unsure band is checked against 0.5, before any training.
        inputs.recipe.fit_threshold and options.unsure_band is None,
        inputs.teacher.decision if inputs.teacher else None,
    )  # fmt: skip
    metrics = {
        **held_out.metrics,
        "accuracy": trained.accuracy,
        "messages": {name: len(part) for name, part in trained.sets.items()},
        "truncated": {name: part.truncated for name, part in trained.sets.items()},
        "weights": inputs.weights.statement,
        "positive_label": inputs.positive_label,
        "data": inputs.data,
        "history": trained.history.to_dict(),
    }
    config = _make_config(options, inputs, trained)
    begin_run(options.out)
    write_split(options.out, inputs.parts)
    write_rejects(options.out, inputs.rejects)
    held_out.predictions.to_csv(options.out / PREDICTIONS, index=False)
    write_plots(options.out, trained.history, trained.history.epochs)
    write_run(options.out, config, trained.model, metrics, inputs.bpe_file.path)
    write_report(options.out)
    checkpoint.unlink(missing_ok=True)
    return metrics


def _train_with_checkpoint(options: RunOptions, inputs: RunInputs, checkpoint: Path) -> Trained:
    with making_folder(options.out):  # fails now, not after an hour of training
        return _train_in_folder(options, inputs, checkpoint)


def _train_in_folder(options: RunOptions, inputs: RunInputs, checkpoint: Path) -> Trained:
    remove_leftovers(options.out)
    if options.restart:
        checkpoint.unlink(missing_ok=True)  # it is ours, or check_folder had refused
    resume_key = _make_resume_key(options, inputs)
    try:
        return train_model(
            inputs.parts, inputs.labels, Tokenizer.load(inputs.bpe_file.path), inputs.weights,
            inputs.recipe, inputs.device, trunk_cache=options.trunk_cache,
            progress=options.progress, checkpoint=checkpoint, resume_key=resume_key,
            watch=Watch(options.out / LINES, options.log_dir),
        )  # fmt: skip
    except BaseException:
        if has_checkpoint(checkpoint, resume_key):
            log.warning(
                "The checkpoint of the last whole epoch is kept; the same command resumes from it."
            )
        raise


def _make_resume_key(options: RunOptions, inputs: RunInputs) -> dict[str, str]:
    """All that decides the trained weights: a run resumes only from a checkpoint of the same."""
    reading, recipe = options.reading, inputs.recipe.to_dict()
    return {
        "--label-column": reading.label_column or "",
        **reading.input.settings(),
        "--max-rejects": reading.allowance.typed,
        "--labels": ",".join(inputs.labels),
        **{f"--{name.replace('_', '-')}": json.dumps(value) for name, value in recipe.items()},
        "--model": inputs.weights.size,
        "--device": str(inputs.device),
        "the data": inputs.data["sha256"],
        "the teacher": inputs.teacher.bundle["digest"] if inputs.teacher else "",
        "the tokenizer": inputs.bpe_file.sha256,
        "the weights": json.dumps(inputs.weights.describe(), sort_keys=True),
        "the version of torch": str(torch.__version__),
    }


def _make_config(options: RunOptions, inputs: RunInputs, trained: Trained) -> RunConfig:
    return RunConfig(
        model=trained.model.config.to_dict(),
        recipe=inputs.recipe.to_dict(),
        labels=inputs.labels,
        positive_label=inputs.positive_label,
        max_length=trained.max_length,
        weights=inputs.weights.describe(),
        data=inputs.data,
        tokenizer_sha256=inputs.bpe_file.sha256,
        device=str(inputs.device),
        unsure_band=list(options.unsure_band) if options.unsure_band else None,
        teacher=inputs.teacher.describe() if inputs.teacher else None,
        versions=package_versions("torch", "tiktoken", "pandas", "numpy", "safetensors"),
        arguments={**options.arguments(), **inputs.arguments},
    )
