"""Command-line options that several commands have, and those for the fields of a recipe."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import click

from batch.errors import UsageError
from trainer.recipe import LOSSES, SCHEDULES, SPLITS_BY_NAME, TRAINABLE

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
bpe_option = click.option("--bpe", type=PATH, help="A gpt2.tiktoken, or a folder with it.")
run_option = click.option("--run", type=PATH, default=Path("runs/spam"), show_default=True,
    help="Run folder of spam-train fit.")  # fmt: skip
device_option = click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    default="auto", show_default=True, help="auto: CUDA, else MPS, else the CPU.")  # fmt: skip
json_option = click.option(
    "--json", "json_out", type=PATH, help="Also write the result to this file."
)
quiet_option = click.option("--quiet", is_flag=True, help="Show warnings only, and no progress.")
cache_option = click.option(
    "--cache", type=PATH, default=Path("data"), show_default=True,
    help="Folder for fetched files.",
)  # fmt: skip
weights_option = click.option(
    "--weights", default="auto", show_default=True,
    help="auto, gpt2, openai, huggingface, gpt2-mini, random, or the path of a checkpoint folder, "
    "a .safetensors file or a base of spam-train pretrain. auto: GPT-2 small if it can be "
    "fetched, else gpt2-mini, which comes with this program.",
)  # fmt: skip
model_option = click.option(
    "--model", "size", default=None,
    type=click.Choice(["gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl", "starter"]),
    help="Size of the model.",
)  # fmt: skip

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
    (
        "--notices/--no-notices",
        bool,
        "To the SMS Spam Collection, add codes, deliveries and the like that we wrote.",
    ),
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
_OF_STUDENT = (
    "--seed", "--epochs", "--learning-rate", "--weight-decay", "--batch-size", "--max-length",
    "--drop-rate", "--patience", "--bf16/--no-bf16",
)  # fmt: skip


def recipe_options(command: F) -> F:
    """Decorate a click command with an option for each recipe field; its default is None."""
    for name, choices in _CHOICES.items():
        command = click.option(f"--{name}", type=click.Choice(choices))(command)
    return _add_options(command, [option for option, *_ in _OPTIONS])


def student_options(command: F) -> F:
    """As :func:`recipe_options`, for the fields that make sense where a teacher labels."""
    help_of_loss = (
        "margin: square of the error in the margins between classes; soft: cross-entropy with "
        "the teacher's probabilities."
    )
    loss = click.option("--loss", type=click.Choice(LOSSES), help=help_of_loss)
    for name in ("split", "keep"):
        command = click.option(f"--{name}", type=click.Choice(_CHOICES[name]))(command)
    return loss(_add_options(command, _OF_STUDENT))


def _add_options(command: F, flags: Collection[str]) -> F:
    for flag, kind, text in reversed(_OPTIONS):
        if flag in flags:
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
