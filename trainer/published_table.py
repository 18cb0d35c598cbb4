"""The published table of experiments, row by row: ours beside theirs.

The rows and their test accuracies are from LLMs-from-scratch, chapter 6, additional
experiments, with OpenAI's pretrained weights. Every row is the notebook's run (recipe
``book``) with the changes that it names.
"""

import logging
import statistics
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from batch.errors import UsageError
from batch.model.tokenizer import Tokenizer
from trainer.data.labels import check_classes
from trainer.data.reading import ReadOptions, read_messages
from trainer.data.splits import make_split
from trainer.evaluation.scores import wilson
from trainer.fetch.assets import fetch_bpe, fetch_files
from trainer.model.build import select_device
from trainer.model.gpt2 import model_config
from trainer.model.initial_weights import InitialWeights, resolve_weights
from trainer.recipe import get_recipe
from trainer.training.train_model import Trained, train_model

log = logging.getLogger("trainer")

KEYS = ("shape", "seeds", "device", "data", "rows")  # of its JSON
SEED = 123  # of the first run; the next runs have the next numbers


@dataclass(frozen=True)
class Experiment:
    """One row: its changes to the recipe, and the published test accuracy in %."""

    number: int
    title: str
    published: float
    changes: dict = field(default_factory=dict)  # fields of Recipe
    size: str = "gpt2-small"
    random: bool = False


EXPERIMENTS = {
    row.number: row
    for row in (
        Experiment(1, "book: last position, last block", 95.00),
        Experiment(2, "first position", 75.00, {"pooling": "first_position"}),
        Experiment(3, "head only", 72.00, {"trainable": "head"}),
        Experiment(4, "last two blocks", 98.33, {"trainable": "last_two_blocks"}),
        Experiment(5, "all layers", 96.67, {"trainable": "all"}),
        Experiment(6, "medium", 84.67, size="gpt2-medium"),
        Experiment(7, "large", 96.67, size="gpt2-large"),
        Experiment(8, "xl", 98.33, size="gpt2-xl"),
        Experiment(9, "xl, all layers", 98.67, {"trainable": "all"}, size="gpt2-xl"),
        Experiment(10, "random weights, all layers", 93.67, {"trainable": "all"}, random=True),
        Experiment(11, "LoRA, rank 16, alpha 16", 96.67, {"trainable": "lora"}),
        Experiment(12, "xl, LoRA, rank 16, alpha 8", 98.33,
            {"trainable": "lora", "lora_alpha": 8.0}, size="gpt2-xl"),
        Experiment(13, "padded to the model's context", 78.33, {"max_length": "model"}),
        Experiment(14, "no padding, batch 1", 98.00, {"pooling": "last_token", "batch_size": 1}),
        Experiment(15, "no padding, batch 1, accumulate 8", 98.33,
            {"pooling": "last_token", "batch_size": 1, "accumulate": 8}),
        Experiment(16, "last real token", 98.33, {"pooling": "last_token"}),
        Experiment(17, "no causal mask", 95.33, {"causal": False}),
        Experiment(18, "ignore_index for padding", 95.00, {"ignore_index": 50256}),
        Experiment(19, "mean of all positions", 96.33, {"pooling": "mean"}),
    )
}  # fmt: skip

# Small shapes that replace the published sizes with --shape starter: size -> changes.
SCALED = {
    "gpt2-small": {"emb_dim": 64, "layers": 2, "heads": 4},
    "gpt2-medium": {"emb_dim": 80, "layers": 3, "heads": 4},
    "gpt2-large": {"emb_dim": 96, "layers": 4, "heads": 4},
    "gpt2-xl": {"emb_dim": 128, "layers": 5, "heads": 8},
}
# With the published rate of 5e-5 a model from random weights learns nothing.
SCALED_CHANGES = {"learning_rate": 1e-3}


def parse_rows(text: str) -> list[Experiment]:
    """Rows by number, such as ``1,16`` or ``3-5``, or ``all``.

    Raises:
        UsageError: a row that does not exist.
    """
    if text == "all":
        return list(EXPERIMENTS.values())
    rows = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        try:
            numbers = range(int(first), int(last or first) + 1)
            rows += [EXPERIMENTS[number] for number in numbers]
        except (ValueError, KeyError):
            raise UsageError(f"--rows: {part.strip()!r} is not a row; rows are 1 to 19") from None
    return rows


def run_table(
    rows: list[Experiment],
    shape: str,
    seeds: int,
    data: tuple[Path, ...],
    reading: ReadOptions,
    bpe: Path | None,
    cache: Path,
    device_name: str,
    progress: bool = True,
) -> dict:
    """Train every row ``seeds`` times; the result can be written as JSON."""
    data_files = fetch_files(cache, data)
    name = ", ".join(file.name for file in data_files)
    tokenizer = Tokenizer.load(fetch_bpe(cache, bpe).path)
    device = select_device(device_name)
    recipe = get_recipe("book")
    frame = read_messages(data_files, reading, recipe).frame
    check_classes(frame["label"], reading.labels.floor(recipe), name)
    run_row = partial(_run_row, shape, seeds, cache, frame, tokenizer, device, progress)
    return {
        "shape": shape,
        "seeds": list(range(SEED, SEED + seeds)),
        "device": str(device),
        "data": {"name": name, "is_partial": any(file.is_partial for file in data_files)},
        "rows": [run_row(row) for row in rows],
    }


def _run_row(
    shape: str,
    seeds: int,
    cache: Path,
    frame: pd.DataFrame,
    tokenizer: Tokenizer,
    device: torch.device,
    progress: bool,
    row: Experiment,
) -> dict:
    weights = _weights_of(row, shape, cache)
    labels = sorted(frame["label"].unique())
    accuracies, start = [], time.monotonic()
    for seed in range(SEED, SEED + seeds):
        changes = {**(SCALED_CHANGES if shape == "starter" else {}), **row.changes}
        recipe = get_recipe("book", **changes, seed=seed)
        log.info("Row %d, %s, seed %d", row.number, row.title, seed)
        trained = train_model(
            make_split(frame, recipe), labels, tokenizer, weights, recipe, device,
            progress=progress,
        )  # fmt: skip
        accuracies.append(trained.accuracy["test"])
    mean, messages = statistics.mean(accuracies), len(trained.sets["test"])
    low, high = wilson(round(mean * messages), messages)
    return {
        "row": row.number,
        "title": row.title,
        "published": row.published,
        "ours": [round(100 * value, 2) for value in accuracies],
        "mean": round(100 * mean, 2),
        "interval": [round(100 * low, 2), round(100 * high, 2)],
        "seconds_a_seed": round((time.monotonic() - start) / seeds, 1),
        "lengths": _lengths(trained),
        "weights": weights.statement,
    }


def _weights_of(row: Experiment, shape: str, cache: Path) -> InitialWeights:
    if shape == "gpt2":
        return resolve_weights("random" if row.random else "gpt2", row.size, cache)
    scaled = model_config(row.size, **SCALED[row.size])
    statement = f"random weights of a shape scaled down from {row.size}"
    return InitialWeights(row.size, "random", "random", statement, {}, None, scaled)


def _lengths(trained: Trained) -> str:
    """The message lengths in tokens at which the model's graph is valid."""
    if trained.model.config.is_fixed_length:
        return f"{trained.max_length}"
    return f"1 to {trained.max_length}"


def format_table(result: dict) -> list[str]:
    """The table as Markdown, with seeds, device and warnings below it."""
    lines = [
        "| row | experiment | published % | ours % | 95 % interval | seconds a seed | tokens |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["rows"]:
        low, high = row["interval"]
        lines.append(
            f"| {row['row']} | {row['title']} | {row['published']:.2f} | {row['mean']:.2f} "
            f"| {low:.2f} to {high:.2f} | {row['seconds_a_seed']} | {row['lengths']} |"
        )
    seeds = ", ".join(map(str, result["seeds"]))
    lines.append("")
    lines.append(f"Test accuracy; seeds {seeds}; device {result['device']}.")
    if result["shape"] == "starter":
        lines.append(
            "Ours are small shapes from random weights at a learning rate of "
            f"{SCALED_CHANGES['learning_rate']:g}: they show that each row runs, and say nothing "
            "about pretrained GPT-2, from which the published figures come."
        )
    if result["data"]["is_partial"]:
        lines.append("WARNING: the data is an incomplete copy of the SMS Spam Collection.")
    return lines
