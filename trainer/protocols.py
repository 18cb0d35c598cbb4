"""Score one recipe by several protocols and seeds, each time beside the linear SVM.

A protocol is a way to split. ``book`` is the published split, where 12 % of the test
messages are also in the training set, word for word. ``grouped`` keeps near copies in the
same set. ``natural`` does that too, and keeps the natural mix of classes.
"""

import logging
import math
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from batch.errors import UsageError
from batch.model.tokenizer import Tokenizer
from trainer.data.labels import check_classes, default_positive_label
from trainer.data.reading import DEFAULT_OPTIONS, ReadOptions, read_messages
from trainer.data.splits import make_split
from trainer.evaluation.held_out import evaluate_held_out
from trainer.evaluation.scores import format_scores
from trainer.fetch.assets import fetch_bpe, fetch_files
from trainer.model.build import select_device
from trainer.model.initial_weights import resolve_weights
from trainer.recipe import Recipe, get_recipe
from trainer.training.train_model import train_model

log = logging.getLogger("trainer")

# Protocol -> fields of Recipe.
KEYS = ("recipe", "weights", "device", "data", "runs")  # of its JSON
PROTOCOLS = {
    "book": {"split": "book", "balance": True},
    "grouped": {"split": "grouped", "balance": True},
    "natural": {"split": "grouped", "balance": False},
}


@dataclass(frozen=True)
class ScoreOptions:
    """The options of ``spam-train scores``; None leaves the choice to the recipe."""

    protocols: tuple[str, ...] = tuple(PROTOCOLS)
    seeds: int = 1
    new_splits: bool = False  # another split for each seed, else the recipe's for all
    recipe: str = "default"
    weights: str = "auto"
    size: str | None = None
    data: tuple[Path, ...] = ()
    reading: ReadOptions = DEFAULT_OPTIONS
    bpe: Path | None = None
    cache: Path = Path("data")
    device: str = "auto"
    changes: dict = field(default_factory=dict)  # fields of Recipe
    progress: bool = True


def parse_protocols(text: str) -> tuple[str, ...]:
    """Parse ``--protocols``: names, comma-separated.

    Raises:
        UsageError: an unknown name.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in PROTOCOLS:
            raise UsageError(
                f"--protocols: there is no {name!r}; choose from {', '.join(PROTOCOLS)}"
            )
    return names


def score_protocols(options: ScoreOptions) -> dict:
    """Train and score once for each protocol and seed; the result can be written as JSON."""
    data_files = fetch_files(options.cache, options.data)
    name = ", ".join(file.name for file in data_files)
    tokenizer = Tokenizer.load(fetch_bpe(options.cache, options.bpe).path)
    device = select_device(options.device)
    weights = resolve_weights(options.weights, options.size, options.cache)
    results = []
    for protocol in options.protocols:
        for number in range(options.seeds):
            recipe = _recipe(options, protocol, number, weights.starts)
            log.info("%s, seed %d, split seed %d", protocol, recipe.seed, recipe.split_seed)
            frame = read_messages(data_files, options.reading, recipe).frame
            check_classes(frame["label"], options.reading.labels.floor(recipe), name)
            labels = sorted(frame["label"].unique())
            parts = make_split(frame, recipe)
            start = time.monotonic()
            trained = train_model(
                parts, labels, tokenizer, weights, recipe, device, progress=options.progress
            )
            seconds = time.monotonic() - start
            metrics = evaluate_held_out(
                trained.model,
                trained.sets,
                parts,
                labels,
                default_positive_label(labels),
                fit_threshold=recipe.fit_threshold,
            ).metrics
            results.append(
                {
                    "protocol": protocol,
                    "seed": recipe.seed,
                    "split_seed": recipe.split_seed,
                    "seconds": round(seconds, 1),
                    "ours": metrics["scores"]["test"],
                    "svm": metrics["baseline"]["test"],
                    "calibration": metrics["calibration"],
                }
            )
    return {
        "recipe": options.recipe,
        "weights": weights.statement,
        "device": str(device),
        "data": {"name": name, "is_partial": any(file.is_partial for file in data_files)},
        "runs": results,
    }


def _recipe(options: ScoreOptions, protocol: str, number: int, starts: dict) -> Recipe:
    changes = {**options.changes, **PROTOCOLS[protocol]}
    first = get_recipe(options.recipe, **starts, **changes)
    changes["seed"] = first.seed + number
    if options.new_splits:
        changes["split_seed"] = first.split_seed + number
    return get_recipe(options.recipe, **starts, **changes)


def compare_accuracies(ours: list[float], theirs: list[float]) -> dict:
    """Means over paired runs, and the paired difference with its 95 % interval.

    The interval is Student's, over the runs' differences; it is None for a single run. Where all
    runs have the same test set, it covers only the variation by seed.
    """
    from scipy.stats import t

    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.mean(differences)
    interval = None
    if len(differences) > 1:
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        half = float(t.ppf(0.975, len(differences) - 1)) * error
        interval = [mean - half, mean + half]
    return {
        "ours": statistics.mean(ours),
        "theirs": statistics.mean(theirs),
        "difference": mean,
        "interval": interval,
        "above": sum(difference > 0 for difference in differences),
        "equal": sum(difference == 0 for difference in differences),
    }


def format_protocols(result: dict) -> list[str]:
    """For each protocol a table of its runs, then a line with the means over its seeds."""
    lines = []
    for protocol in dict.fromkeys(run["protocol"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["protocol"] == protocol]
        table = {}
        for run in runs:
            name = f"{protocol}, seed {run['seed']}, split {run['split_seed']}"
            table[name] = run["ours"]
            table[f"{name}: SVM"] = run["svm"]
        accuracies = [[run[side]["accuracy"] for run in runs] for side in ("ours", "svm")]
        pair = compare_accuracies(*accuracies)
        sure = ""
        if pair["interval"] is not None:
            low, high = (100 * value for value in pair["interval"])
            sure = f" (95 % interval {low:+.2f} to {high:+.2f})"
        seconds = statistics.mean(run["seconds"] for run in runs)
        lines += [
            *format_scores(table),
            "",
            f"{protocol}: mean of {len(runs)} {100 * pair['ours']:.2f} %, SVM "
            f"{100 * pair['theirs']:.2f} %, difference {100 * pair['difference']:+.2f} points"
            f"{sure}; above in {pair['above']}, equal in {pair['equal']} of {len(runs)}; "
            f"{seconds:.0f} s a training",
            "",
        ]
    lines.append(f"weights: {result['weights']}; device {result['device']}")
    if result["data"]["is_partial"]:
        lines.append("WARNING: the data is an incomplete copy of the SMS Spam Collection.")
    return lines
