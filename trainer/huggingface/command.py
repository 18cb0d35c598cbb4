"""``spam-train to-hf``."""

from pathlib import Path

import click

from batch.command import print_line, show_log
from batch.help import Command

_PATH = click.Path(path_type=Path)


@click.command("to-hf", cls=Command)
@click.argument("run", type=_PATH)
@click.argument("folder", metavar="DIR", type=_PATH)
def to_hf(run: Path, folder: Path) -> None:
    """Write the classifier of a run folder as the new folder DIR for Hugging Face's transformers.

    \b
    Example:
      spam-train to-hf runs/spam hub/spam

    DIR has config.json, model.safetensors, the tokenizer and a model card. It is loaded with
    pipeline("text-classification", DIR). Before DIR gets its name its logits are compared with
    those of RUN: with transformers where that is installed, else with our own reader.
    """
    show_log("trainer")
    from trainer.huggingface.write import result_lines, to_huggingface

    for line in result_lines(to_huggingface(run, folder)):
        print_line(line)
