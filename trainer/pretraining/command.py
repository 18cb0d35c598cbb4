"""The command ``spam-train pretrain``."""

from pathlib import Path

import click

from batch.cli.options import input_options, make_input
from batch.command import print_line, show_log
from batch.errors import UsageError
from batch.help import MODEL, OPTIMIZER, READ, RUN, TRAIN, WRITE, WRONG, Command, option
from trainer.options import (
    ABOVE_0,
    PATH,
    Number,
    bpe_option,
    cache_option,
    device_option,
    quiet_option,
    restart_option,
)

_COUNT = click.IntRange(1)


@click.command(cls=Command)
@option(READ, "--text", type=PATH, multiple=True, required=True,
    help="CSV, TSV, JSON Lines or Parquet file of messages, or .txt with one a line. More files "
    "may follow it.")  # fmt: skip
@click.argument("more", nargs=-1, type=PATH, metavar="[FILE]...")
@option(WRITE, "--out", type=PATH, default=Path("runs/base"), show_default=True,
    help="Folder of the base to write.")  # fmt: skip
@option(
    TRAIN,
    "--minutes",
    type=ABOVE_0,
    help="Train for so long; the speed of the first steps decides the tokens. Default: 20.",
)
@option(TRAIN, "--tokens", type=_COUNT, help="Train on so many tokens, some of them repeatedly.")
@option(MODEL, "--blocks", type=_COUNT, default=3, show_default=True, help="Transformer blocks.")
@option(MODEL, "--channels", type=_COUNT, default=128, show_default=True,
    help="Channels, a multiple of 32.")  # fmt: skip
@option(MODEL, "--vocab", type=_COUNT, default=12_000, show_default=True,
    help="Rows of the token embedding, at most.")  # fmt: skip
@option(MODEL, "--context", type=click.IntRange(2), default=256, show_default=True,
    help="Tokens of the longest message that it can classify.")  # fmt: skip
@option(OPTIMIZER, "--batch-size", type=_COUNT, default=16, show_default=True,
    help="Rows of 128 tokens in a step.")  # fmt: skip
@option(OPTIMIZER, "--drawn", type=click.IntRange(0), default=512, show_default=True,
    help="Rows that the softmax draws beside the batch's own; 0: all rows.")  # fmt: skip
@option(OPTIMIZER, "--learning-rate", type=ABOVE_0, default=2e-3,
    show_default=True, help="Highest learning rate of AdamW.")  # fmt: skip
@option(TRAIN, "--seed", type=int, default=123, show_default=True, help="Random seed.")
@option(TRAIN, "--held-out", type=Number(0, 0.5, min_open=True), default=0.01,
    show_default=True, help="Share of the messages that the loss is measured on.")  # fmt: skip
@option(TRAIN, "--eval-tokens", type=_COUNT, default=1_000_000, show_default=True,
    help="Tokens between two measurements of that loss.")  # fmt: skip
@option(RUN, "--bf16/--no-bf16", default=True, show_default=True,
    help="Compute in bfloat16 (autocast), on CUDA only.")  # fmt: skip
@option(RUN, "--threads", type=_COUNT, help="Threads of PyTorch. Default: PyTorch's choice.")
@device_option
@option(WRONG, "--max-rejects", default="0", show_default=True, metavar="N|P%",
    help="Bad records, at most, to leave out; more stop the run.")  # fmt: skip
@input_options
@bpe_option
@cache_option
@restart_option
@quiet_option
def pretrain(
    text, more, out, minutes, tokens, blocks, channels, vocab, context, batch_size, drawn,
    learning_rate, seed, held_out, eval_tokens, bf16, threads, device, max_rejects, bpe, cache,
    restart, quiet, **layout,
) -> None:  # fmt: skip
    """Train a small GPT-2 on unlabelled messages, from which fit finetunes a classifier.

    \b
    Example:
      spam-train pretrain --text dumps/*.csv --out runs/base --minutes 20
      spam-train fit --weights runs/base --out runs/spam
      spam-train sample "See you" --weights runs/base

    The folder has base.safetensors, the weights with the lowest loss on held-out text so far.
    The same command resumes a killed run.
    """
    if minutes is not None and tokens is not None:
        raise UsageError("--minutes and --tokens both set the length of the run; give only one")
    show_log("trainer", quiet)
    from batch.writing.rejects import Allowance
    from trainer.pretraining.loop import Budget, LoopOptions
    from trainer.pretraining.pretrain import PretrainOptions
    from trainer.pretraining.pretrain import pretrain as run
    from trainer.pretraining.text import TextOptions

    reading = TextOptions(
        make_input("", overwrite_columns=False, **layout), layout["delimiter"] is None,
        Allowance.parse(max_rejects),
    )  # fmt: skip
    loop = LoopOptions(
        batch_size, drawn, learning_rate, seed, bf16, eval_tokens, progress=not quiet
    )
    options = PretrainOptions(
        (*text, *more), out, reading, blocks, channels, vocab, context, held_out,
        Budget(tokens, 60 * (minutes or 20.0)), loop, bpe, cache, device, threads, restart,
    )  # fmt: skip
    card = run(options)
    print_line(f"validation loss: {card['loss']:.4f} nats a token, after {card['tokens']:,} tokens")
    print_line(f"{card['trained']:,} tokens in {card['seconds']:.0f} s")
    print_line(f"base: {out}")
