"""One training run, from its input files to its run folder."""

import hashlib
import json
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from batch.errors import InputError, UsageError
from batch.model.decision import Band
from batch.model.tokenizer import Tokenizer
from batch.writing.atomic import making_folder
from trainer.data.labels import check_classes, find_positive_label
from trainer.data.reading import DEFAULT_OPTIONS, LabelledData, ReadOptions, read_messages
from trainer.data.sets import write_rejects, write_split
from trainer.data.splits import make_split
from trainer.evaluation.held_out import check_band, evaluate_held_out
from trainer.evaluation.scores import format_scores
from trainer.fetch.assets import BpeFile, DataFile, fetch_bpe, fetch_files
from trainer.model.build import select_device
from trainer.model.initial_weights import MINI, SHIPPED, InitialWeights, resolve_weights
from trainer.recipe import Recipe, get_recipe
from trainer.report.notebook_plots import write_plots
from trainer.report.page import write_report
from trainer.run_folder import (
    CHECKPOINT,
    PREDICTIONS,
    RunConfig,
    begin_run,
    check_folder,
    package_versions,
    read_config,
    remove_leftovers,
    write_run,
)
from trainer.training.checkpoint import has_checkpoint
from trainer.training.train_model import Trained, train_model

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


def options_of_config(path: Path, options: RunOptions) -> RunOptions:
    """``options`` with what repeats the run of the ``config.json`` at ``path``.

    Raises:
        MissingInputError: there is no such file.
        InputError: the file is not a ``config.json``, or does not have the run's options.
    """
    config = read_config(path)
    if not config.arguments:
        raise InputError(f"{path}: does not have the options of the run, so it cannot be repeated")
    if "reading" not in config.arguments:
        raise InputError(
            f"{path}: was written by an older spam-train, which kept other options; type the "
            "options of that run instead of --config"
        )
    try:
        return _repeat(config, options)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: the options of the run are damaged ({error}), so it cannot be repeated"
        ) from None


def _repeat(config: RunConfig, options: RunOptions) -> RunOptions:
    asked, weights = config.arguments, config.arguments["weights"]
    # Not auto, but what auto chose then: it may choose something else now.
    if config.weights["kind"] == "random":
        weights = "random"
    elif config.weights.get("origin") == SHIPPED:
        weights = MINI
    return replace(
        options,
        recipe=asked["recipe"],
        weights=weights,
        size=config.model["size"],
        data=tuple(map(Path, asked["data"])) or options.data,
        reading=ReadOptions.from_dict(asked["reading"]),
        positive_label=asked["positive_label"],
        max_blocked=asked["max_blocked"],
        unsure_band=asked.get("unsure_band"),
        changes={key: value for key, value in config.recipe.items() if key != "name"},
        expected={"data": config.data["sha256"], "weights": config.weights["sha256"]},
    )


@dataclass(frozen=True)
class RunInputs:
    """What a run is made from, read and checked before training starts."""

    data_files: list[DataFile]
    bpe_file: BpeFile
    messages: LabelledData
    data: dict  # what config.json and metrics.json say of the data
    labels: list[str]
    positive_label: str | None
    parts: dict[str, pd.DataFrame]  # the three sets as text
    weights: InitialWeights
    recipe: Recipe
    device: torch.device


def train(options: RunOptions) -> dict:
    """Train a classifier and write its run folder; returns the metrics.

    Raises:
        SpamBatchError: with one sentence on what is wrong.
    """
    inputs = _prepare(options)
    checkpoint = options.out / CHECKPOINT
    trained = _train_with_checkpoint(options, inputs, checkpoint)
    held_out = evaluate_held_out(
        trained.model, trained.sets, inputs.parts, inputs.labels, inputs.positive_label,
        options.max_blocked,
        # An unsure band is checked against 0.5, before any training.
        inputs.recipe.fit_threshold and options.unsure_band is None,
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
    write_rejects(options.out, inputs.messages.rejects)
    held_out.predictions.to_csv(options.out / PREDICTIONS, index=False)
    write_plots(options.out, trained.history, trained.history.epochs)
    write_run(options.out, config, trained.model, metrics, inputs.bpe_file.path)
    write_report(options.out)
    checkpoint.unlink(missing_ok=True)
    return metrics


def _prepare(options: RunOptions) -> RunInputs:
    """Fetch, read and split the data, resolve the weights, and check the options against them."""
    data_files = fetch_files(options.cache, options.data)
    bpe_file = fetch_bpe(options.cache, options.bpe)
    if data_files[0].is_partial:
        log.warning(
            "WARNING: an incomplete copy of the SMS Spam Collection: %s lines of 5,574.",
            f"{data_files[0].lines:,}",
        )
    changes = options.changes or {}
    recipe = get_recipe(options.recipe, **changes)  # its data fields do not depend on the weights
    device = select_device(options.device)
    messages = read_messages(data_files, options.reading, recipe)
    frame, labels = messages.frame, sorted(messages.frame["label"].unique())
    data = _describe_data(data_files, messages)
    log.info("%s", messages.sentence())
    check_classes(frame["label"], options.reading.labels.floor(recipe), data["name"])
    positive = _choose_positive_label(options, labels)
    log.info("Positive label, whose probability is the score: %s", positive or "none")
    parts = make_split(frame, recipe)
    given = Path(options.weights) if os.path.exists(options.weights) else None
    paths = [*options.data, *(file.path for file in data_files)]
    check_folder(options.out, *paths, bpe_file.path, given)
    weights = resolve_weights(options.weights, options.size, options.cache)
    _check_expected(options.expected, data["sha256"], weights)
    recipe = get_recipe(options.recipe, **weights.starts, **changes)
    log.info("Recipe: %s. Device: %s. Weights: %s", recipe.name, device, weights.statement)
    return RunInputs(
        data_files, bpe_file, messages, data, labels, positive, parts, weights, recipe, device
    )


def _describe_data(files: list[DataFile], messages: LabelledData) -> dict:
    """What ``config.json`` says of the data; ``labels`` counts messages before balancing."""
    sha256 = files[0].sha256
    if len(files) > 1:
        sha256 = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
    return {
        "name": ", ".join(file.name for file in files),
        "origin": "; ".join(file.origin for file in files),
        "sha256": sha256,
        "lines": sum(file.lines for file in files),
        "is_partial": any(file.is_partial for file in files),
        "rows": len(messages.frame),
        **messages.counts(),
    }


def _choose_positive_label(options: RunOptions, labels: list[str]) -> str | None:
    """The positive label, after the options that need one are checked against the labels."""
    positive = find_positive_label(options.positive_label, labels)
    if options.max_blocked is not None and (len(labels) > 2 or positive is None):
        raise UsageError("--max-ham-blocked needs two classes, one of them the positive one")
    check_band(options.unsure_band, options.max_blocked, labels, positive)
    return positive


def _check_expected(expected: dict | None, data_sha256: str, weights: InitialWeights) -> None:
    """Refuse to repeat a run with other data or weights.

    Raises:
        InputError: which of the two differ, with both hashes.
    """
    if expected is None:
        return
    for what, found, wanted in (
        ("data", data_sha256, expected["data"]),
        ("weights", weights.sha256, expected["weights"]),
    ):
        if found != wanted:
            raise InputError(
                f"the {what} of this run differ from those of the first: "
                f"{found} instead of {wanted}"
            )


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
        versions=package_versions("torch", "tiktoken", "pandas", "numpy", "safetensors"),
        arguments=options.arguments(),
    )


def summary_lines(metrics: dict) -> list[str]:
    """The result of a run in a few lines: accuracies, scores, calibration, weights, data."""
    lines = [
        f"{name} accuracy: {100 * value:.2f}% of {metrics['messages'][name]} messages"
        for name, value in metrics["accuracy"].items()
    ]
    baseline = metrics["baseline"]
    scores = {"test set": metrics["scores"]["test"], baseline["name"]: baseline["test"]}
    lines += format_scores(scores)
    calibration, threshold = metrics["calibration"], metrics["threshold"]
    lines.append(
        f"temperature {calibration['temperature']:.3f}: calibration error on test "
        f"{calibration['ece_before']:.4f} before, {calibration['ece_after']:.4f} after; "
        f"threshold {threshold['value']:.4f}"
    )
    data = metrics["data"]
    lines.append(f"weights: {metrics['weights']}")
    lines.append(f"positive label: {metrics['positive_label'] or 'none'}")
    lines.append(f"data: {data['name']}, {data['rows']:,} rows ({data['origin']})")
    if data["is_partial"]:
        lines.append(
            f"WARNING: an incomplete copy of the SMS Spam Collection: {data['lines']:,} of 5,574 "
            "lines; these figures cannot be compared with the published ones."
        )
    return lines
