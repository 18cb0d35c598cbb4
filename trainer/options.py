"""Command-line options that several commands have, and those for the fields of a recipe."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from batch.errors import UsageError
from batch.help import (
    DECIDE,
    MODEL,
    OPTIMIZER,
    RUN,
    TRAIN,
    WRITE,
    WRONG,
    Decorator,
    option,
    together,
)
from trainer.recipe import LOSSES, SCHEDULES, SPLITS_BY_NAME, TRAINABLE

PATH = click.Path(path_type=Path)
bpe_option = option(MODEL, "--bpe", type=PATH, help="A gpt2.tiktoken, or a folder with it.")
run_option = option(MODEL, "--run", type=PATH, default=Path("runs/spam"), show_default=True,
    help="Run folder of spam-train fit.")  # fmt: skip
device_option = option(RUN, "--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    default="auto", show_default=True, help="auto: CUDA, else MPS, else the CPU.")  # fmt: skip
json_option = option(
    WRITE, "--json", "json_out", type=PATH, help="Also write the result to this file."
)
quiet_option = option(WRITE, "--quiet", is_flag=True, help="Show warnings only, and no progress.")
restart_option = option(WRONG, "--restart", is_flag=True,
    help="Start over, even if a killed run left a checkpoint.")  # fmt: skip
cache_option = option(MODEL,
    "--cache", type=PATH, default=Path("data"), show_default=True,
    help="Folder for fetched files.",
)  # fmt: skip
weights_option = option(MODEL,
    "--weights", default="auto", show_default=True,
    help="auto, gpt2, openai, huggingface, gpt2-mini, random, or the path of a checkpoint folder, "
    "a .safetensors file or a base of spam-train pretrain. auto: GPT-2 small if it can be "
    "fetched, else gpt2-mini, which comes with this program.",
)  # fmt: skip
model_option = option(MODEL,
    "--model", "size", default=None,
    type=click.Choice(["gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl", "starter"]),
    help="Size of the model.",
)  # fmt: skip


class Number(click.FloatRange):
    """A finite number within a range. click would take ``nan``, too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


ABOVE_0 = Number(0, min_open=True)
_SHARE = Number(0, 1, max_open=True)
_COUNT = click.IntRange(1)

# Heading of the help -> option, type, help. The option has the name of the field of Recipe.
_OPTIONS: dict[str, list[tuple[str, Any, str]]] = {
    MODEL: [
        ("--pooling", click.Choice(("last_token", "last_position", "first_position", "mean")),
            "Position whose logits classify."),
        ("--max-length", str,
            "Tokens, or model for its whole context. Default: the longest training "
            "message{longest}."),
        ("--causal/--no-causal", bool, "Whether a token sees only the tokens before it."),
    ],
    TRAIN: [
        ("--trainable", click.Choice(TRAINABLE), "Which weights are trained."),
        ("--lora-rank", _COUNT, "Rank of the updates with --trainable lora."),
        ("--lora-alpha", ABOVE_0, "Scale of those updates."),
        ("--seed", int, "Random seed of the head, the order of messages and dropout."),
        ("--epochs", _COUNT, "Passes over the training set."),
        ("--keep", click.Choice(("last", "best")), "Epoch whose weights are kept."),
        ("--patience", _COUNT, "Stop after so many epochs without a lower validation loss."),
        ("--split", click.Choice(SPLITS_BY_NAME), "How messages are divided into three sets."),
        ("--notices/--no-notices", bool,
            "Train on our notices, too; only with the SMS data, unbalanced and grouped."),
        ("--balance/--no-balance", bool, "Cut all classes to equal size, or keep the natural mix."),
    ],
    OPTIMIZER: [
        ("--batch-size", _COUNT, "Messages in a batch."),
        ("--accumulate", _COUNT, "Batches for one step of the optimizer."),
        ("--learning-rate", ABOVE_0, "Learning rate of AdamW."),
        ("--schedule", click.Choice(SCHEDULES), "How the learning rate changes."),
        ("--warmup-fraction", _SHARE, "Share of the steps in which the learning rate grows."),
        ("--weight-decay", Number(0), "Weight decay of AdamW."),
        ("--clip-norm", ABOVE_0, "Clip the gradient to this norm."),
        ("--group-by-length/--no-group-by-length", bool,
            "Make batches of messages of similar length."),
        ("--drop-rate", _SHARE, "Dropout probability."),
        ("--ignore-index", int, "Target value that the loss ignores."),
    ],
    DECIDE: [
        ("--fit-threshold/--no-fit-threshold", bool,
            "Of two classes: another threshold than 0.5 if it has clearly fewer validation "
            "errors."),
    ],
    RUN: [("--bf16/--no-bf16", bool, "Compute in bfloat16 (autocast), on CUDA only.")],
}  # fmt: skip
_OF_STUDENT = (
    "--seed", "--epochs", "--learning-rate", "--weight-decay", "--batch-size", "--max-length",
    "--drop-rate", "--patience", "--bf16/--no-bf16", "--split", "--keep",
)  # fmt: skip
_loss_option = option(TRAIN, "--loss", type=click.Choice(LOSSES),
    help="margin: square of the error in the margins between classes; soft: cross-entropy with "
    "the teacher's probabilities.")  # fmt: skip


def _fields(only: Collection[str] = (), longest: str = "") -> Decorator:
    """An option for each recipe field, or for those named; its default is None.

    ``longest`` is what the help of ``--max-length`` says more of the default.
    """
    return together(*(
        option(heading, flag, type=kind, default=None, help=text.format(longest=longest))
        for heading, rows in _OPTIONS.items() for flag, kind, text in rows
        if not only or flag in only
    ))  # fmt: skip


recipe_options = _fields()
# For the fields that make sense where a teacher labels.
student_options = together(_loss_option, _fields(_OF_STUDENT, longest=", at most 256"))


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
