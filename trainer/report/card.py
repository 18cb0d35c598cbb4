"""The card of a model: data, protocol, scores, and what it is not for, as Markdown."""

import re
from collections.abc import Sequence
from pathlib import Path

from batch.messages import count, escape_controls
from batch.writing.atomic import replace_file
from trainer.evaluation.scores import format_scores
from trainer.run_folder import RunConfig

MOST_LABELS = 20  # that are listed
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")
_SPLITS = {
    "book": "at random; near copies of a message can be in two sets, so the scores may be too good",
    "grouped": "near copies of a message (case, digits and punctuation aside) are in the same set",
}
_NAMES = {"precision": "precision", "recall": "recall", "false_positive_rate": "false positives"}


def write_card(path: Path, config: RunConfig, metrics: dict, usage: Sequence[str]) -> None:
    """Write the card; ``usage`` are the lines on how to use the files beside it."""
    sections = [
        ["---", "pipeline_tag: text-classification", "tags: [gpt2, spam-batch]", "---", ""],
        ["# A text classifier: " + plain(", ".join(config.labels[:MOST_LABELS])), ""],
        _describe(config), usage, _data(config), _protocol(config, metrics),
        _scores(config, metrics), _limits(config),
    ]  # fmt: skip
    blocks = ["\n".join(section).strip("\n") for section in sections if section]
    replace_file(path, ("\n\n".join(blocks) + "\n").encode(), path, ".md", 0o666)


def plain(text: str) -> str:
    """A name of the user's as Markdown shows it: without control characters or markup."""
    return _MARKUP.sub(r"\\\1", escape_controls(text))


def _describe(config: RunConfig) -> list[str]:
    model = config.model_config
    return [
        f"GPT-2's architecture ({count(model.layers, 'layer')} of {model.emb_dim} channels) with a "
        f"linear layer to {len(config.labels)} classes, made with spam-batch. It reads the first "
        f"{count(config.max_length, 'token')} of a message and gives one label.",
        "",
        f"- Weights: {plain(config.weights['statement'])}",
        f"- Positive label: {plain(config.positive_label or 'none')}",
    ]  # fmt: skip


def _data(config: RunConfig) -> list[str]:
    data = config.data
    if "rows" not in data:
        return ["## Data", "", "Not known: the folder that this was made from does not say it."]
    lines = [
        "## Data",
        "",
        f"{plain(Path(data['name']).name)}, {data['rows']:,} messages, SHA-256 `{data['sha256']}`.",
    ]
    if labels := data.get("labels"):
        shown = list(labels.items())[:MOST_LABELS]
        lines += ["", "| label | messages |", "| --- | ---: |"]
        lines += [f"| {plain(name)} | {number:,} |" for name, number in shown]
    if data.get("is_partial"):
        lines += ["", "It is an incomplete copy of the SMS Spam Collection."]
    return lines


def _protocol(config: RunConfig, metrics: dict) -> list[str]:
    recipe, messages = config.recipe, metrics.get("messages", {})
    if "split" not in recipe:
        return []
    sizes = ", ".join(f"{number:,} {name}" for name, number in messages.items())
    mix = "cut to equal size" if recipe.get("balance") else "in their natural mix"
    return [
        "## Protocol",
        "",
        f"Recipe {plain(recipe['name'])}. Split: {_SPLITS.get(recipe['split'], recipe['split'])}; "
        f"classes {mix}; {sizes} messages. The validation set chose temperature and threshold; "
        "the test set chose nothing.",
    ]


def _scores(config: RunConfig, metrics: dict) -> list[str]:
    test = metrics.get("scores", {}).get("test")
    if not test:
        return ["## Scores", "", "Not measured on labelled messages."]
    rows = {"this model": test}
    if baseline := metrics.get("baseline"):
        rows[baseline["name"]] = baseline["test"]
    lines = ["## Scores", "", "On the test set, with 95 % intervals (Wilson).", ""]
    lines += [*format_scores(rows), ""]
    found = test["intervals"]
    lines += [
        f"- {name}: {_share(test[key], found[key])}"
        for key, name in _NAMES.items()
        if found.get(key)
    ]
    recalls = zip(config.labels, test["recall_per_class"], found["recall_per_class"], strict=True)
    lines += [
        f"- recall of {plain(label)}: {_share(value, interval)}"
        for label, value, interval in list(recalls)[:MOST_LABELS]
        if interval
    ]
    return lines


def _share(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{100 * value:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def _limits(config: RunConfig) -> list[str]:
    lines = [
        "## What it is not for",
        "",
        "- Messages of another source, language or time than its data: score it on your own first "
        "(`spam-train evaluate --data yours.csv`).",
        "- A decision about a person without a person, or deleting mail that nobody has seen.",
        "- Messages written to deceive it: that was not tested.",
        "- Anything that depends on what stands behind the first "
        f"{count(config.max_length, 'token')} of a message.",
    ]
    if config.weights["kind"] == "random":
        lines.append("- Words that its data does not have: it knows no language besides that data.")
    return lines
