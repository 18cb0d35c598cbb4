"""Command-line options for the fields of a recipe."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from batch.errors import UsageError
from trainer.recipe import SCHEDULES, SPLITS_BY_NAME, TRAINABLE

F = TypeVar("F", bound=Callable[..., Any])

_CHOICES = {
    "trainable": TRAINABLE,
    "pooling": ("last_token", "last_position", "first_position", "mean"),
    "split": SPLITS_BY_NAME,
    "schedule": SCHEDULES,
    "keep": ("last", "best"),
}
_SHARE = click.FloatRange(0, 1, max_open=True)

# Option, type, help. The option has the name of the field of Recipe.
_OPTIONS = [
    ("--seed", int, "Random seed of the head, the order of messages and dropout."),
    ("--epochs", click.IntRange(1), "Passes over the training set."),
    ("--learning-rate", click.FloatRange(0, min_open=True), "Learning rate of AdamW."),
    ("--weight-decay", click.FloatRange(0), "Weight decay of AdamW."),
    ("--batch-size", click.IntRange(1), "Messages in a batch."),
    ("--accumulate", click.IntRange(1), "Batches for one step of the optimizer."),
    (
        "--max-length",
        str,
        "Tokens, or model for its whole context. Default: the longest training message.",
    ),
    ("--warmup-fraction", _SHARE, "Share of the steps in which the learning rate grows."),
    ("--clip-norm", click.FloatRange(0, min_open=True), "Clip the gradient to this norm."),
    ("--drop-rate", _SHARE, "Dropout probability."),
    ("--lora-rank", click.IntRange(1), "Rank of the updates with --trainable lora."),
    ("--lora-alpha", float, "Scale of the updates with --trainable lora."),
    ("--ignore-index", int, "Target value that the loss ignores."),
    ("--patience", click.IntRange(1), "Stop after so many epochs without a lower validation loss."),
    ("--balance/--no-balance", bool, "Cut all classes to equal size, or keep the natural mix."),
    ("--causal/--no-causal", bool, "Whether a token sees only the tokens before it."),
    ("--group-by-length/--no-group-by-length", bool, "Make batches of messages of similar length."),
    (
        "--fit-threshold/--no-fit-threshold",
        bool,
        "Of two classes: another threshold than 0.5 if it has clearly fewer validation errors.",
    ),
    ("--bf16/--no-bf16", bool, "Compute in bfloat16 (autocast), on CUDA only."),
]


def recipe_options(command: F) -> F:
    """Decorate a click command with an option for each recipe field; its default is None."""
    for name, choices in _CHOICES.items():
        command = click.option(f"--{name}", type=click.Choice(choices))(command)
    for flag, kind, text in reversed(_OPTIONS):
        command = click.option(flag, type=kind, default=None, help=text)(command)
    return command


def checked_changes(changes: dict) -> dict:
    """The options' values as fields of Recipe.

    Raises:
        UsageError: --max-length is neither a number above 0 nor ``model``.
    """
    length = changes.get("max_length")
    if length is not None and length != "model":
        if not length.isdecimal() or int(length) < 1:
            raise UsageError(f"--max-length {length!r} must be a token count or model")
        changes = {**changes, "max_length": int(length)}
    return changes
