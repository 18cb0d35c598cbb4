"""One training run, from its input files to its run folder."""

import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path

from batch.errors import InputError, UsageError
from trainer.data.labels import check_classes, find_positive_label
from trainer.data.notices import add_notices, adds_notices, notices_file, read_notices
from trainer.data.reading import LabelledData, ReadOptions, read_messages
from trainer.data.splits import make_split
from trainer.evaluation.held_out import check_band
from trainer.evaluation.scores import format_scores
from trainer.fetch.assets import DataFile, fetch_bpe, fetch_files
from trainer.model.build import select_device
from trainer.model.initial_weights import MINI, SHIPPED, InitialWeights, resolve_weights
from trainer.recipe import get_recipe
from trainer.run_folder import RunConfig, check_folder, read_config
from trainer.run_steps import RunInputs, RunOptions, carry_out

log = logging.getLogger("trainer")


def options_of_config(path: Path, options: RunOptions) -> RunOptions:
    """``options`` with what repeats the run of the ``config.json`` at ``path``.

    Raises:
        MissingInputError: there is no such file.
        InputError: the file is not a ``config.json``, or does not have the run's options.
    """
    config = read_config(path)
    if not config.arguments:
        raise InputError(f"{path}: does not have the options of the run, so it cannot be repeated")
    if config.teacher:
        raise InputError(
            f"{path}: is of a student; fit cannot repeat its run; type spam-train distill with "
            "the same files"
        )
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


def train(options: RunOptions) -> dict:
    """Train a classifier and write its run folder; returns the metrics.

    Raises:
        SpamBatchError: with one sentence on what is wrong.
    """
    return carry_out(options, _prepare(options))


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
    notices = None
    if adds_notices(data_files, options.reading, recipe):
        notices = read_notices(options.reading)
        data_files.append(notices_file())
        messages = messages.join(notices)
    data = describe_data(data_files, messages)
    log.info("%s", messages.sentence())
    check_classes(frame["label"], options.reading.labels.floor(recipe), data["name"])
    positive = _choose_positive_label(options, labels)
    log.info("Positive label, whose probability is the score: %s", positive or "none")
    parts = make_split(frame, recipe)
    if notices is not None:
        parts = add_notices(parts, notices.frame, recipe)
    given = Path(options.weights) if os.path.exists(options.weights) else None
    paths = [*options.data, *(file.path for file in data_files)]
    check_folder(options.out, *paths, bpe_file.path, given)
    weights = resolve_weights(options.weights, options.size, options.cache)
    _check_expected(options.expected, data["sha256"], weights)
    recipe = get_recipe(options.recipe, **weights.starts, **changes)
    log.info("Recipe: %s. Device: %s. Weights: %s", recipe.name, device, weights.statement)
    return RunInputs(
        bpe_file, messages.rejects, data, labels, positive, parts, weights, recipe, device
    )


def describe_data(files: list[DataFile], messages: LabelledData) -> dict:
    """What ``config.json`` says of the data; ``labels`` counts messages before balancing."""
    sha256 = files[0].sha256
    if len(files) > 1:
        sha256 = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
    return {
        "name": ", ".join(file.name for file in files),
        "origin": "; ".join(file.origin for file in files),
        "sha256": sha256,
        "files": [file.sha256 for file in files],
        "lines": sum(file.lines for file in files if file != notices_file()),
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
