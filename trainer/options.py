"""Command-line options for the fields of a recipe."""

import click

from batch.errors import UsageError
from trainer.recipe import SCHEDULES, SPLITS_BY_NAME, TRAINABLE

_CHOICES = {
    "trainable": TRAINABLE,
    "pooling": ("last_token", "last_position", "first_position", "mean"),
    "split": SPLITS_BY_NAME,
    "schedule": SCHEDULES,
    "keep": ("last", "best"),
}
_SHARE = click.FloatRange(0, 1, max_open=True)

# Option, type, help; the field of Recipe has the option's name.
_OPTIONS = [
    ("--seed", int, "Seed of head, order and dropout."),
    ("--epochs", click.IntRange(1), "Passes over the training set."),
    ("--learning-rate", click.FloatRange(0, min_open=True), "Of AdamW."),
    ("--weight-decay", click.FloatRange(0), "Of AdamW."),
    ("--batch-size", click.IntRange(1), "Messages a batch."),
    ("--accumulate", click.IntRange(1), "Batches a step of the optimizer."),
    ("--max-length", str, "Tokens, or model for its whole context; default: longest in training."),
    ("--warmup-fraction", _SHARE, "Share of the steps in which the rate grows."),
    ("--clip-norm", click.FloatRange(0, min_open=True), "Largest norm of the gradient."),
    ("--drop-rate", _SHARE, "Dropout."),
    ("--lora-rank", click.IntRange(1), "Rank of the updates with --trainable lora."),
    ("--lora-alpha", float, "Their scale."),
    ("--ignore-index", int, "A target that the loss leaves out."),
    ("--patience", click.IntRange(1), "Epochs without a better validation loss; then stop."),
    ("--balance/--no-balance", bool, "Cut classes to equal size, or keep the natural mix."),
    ("--causal/--no-causal", bool, "Whether a token sees only what stands before it."),
    ("--group-by-length/--no-group-by-length", bool, "Batches of messages of like length."),
    ("--bf16/--no-bf16", bool, "Autocast to bfloat16, on CUDA."),
]


def recipe_options(command):
    """Decorate a click command with an option for each field; left out, it is None."""
    for name, choices in _CHOICES.items():
        command = click.option(f"--{name}", type=click.Choice(choices))(command)
    for flag, kind, text in reversed(_OPTIONS):
        command = click.option(flag, type=kind, default=None, help=text)(command)
    return command


def checked_changes(changes: dict) -> dict:
    """The options as fields of Recipe.

    Raises:
        UsageError: --max-length is neither a number above 0 nor ``model``.
    """
    length = changes.get("max_length")
    if length is not None and length != "model":
        if not length.isdecimal() or int(length) < 1:
            raise UsageError(f"--max-length {length!r} is neither a number of tokens nor model")
        changes = {**changes, "max_length": int(length)}
    return changes
