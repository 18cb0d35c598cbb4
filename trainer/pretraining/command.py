"""The command ``spam-train pretrain``."""

from pathlib import Path

import click

from batch.cli.options import input_options, make_input
from batch.command import print_line, show_log
from batch.errors import UsageError

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(1)


@click.command()
@click.option("--text", type=_PATH, multiple=True, required=True,
    help="CSV, TSV, JSON Lines or Parquet file of messages, or .txt with one a line. More files "
    "may follow it.")  # fmt: skip
@click.argument("more", nargs=-1, type=_PATH, metavar="[FILE]...")
@click.option("--out", type=_PATH, default=Path("runs/base"), show_default=True,
    help="Folder of the base to write.")  # fmt: skip
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Train for so long; the speed of the first steps decides the tokens. Default: 20.",
)
@click.option("--tokens", type=_COUNT, help="Train on so many tokens, some of them repeatedly.")
@click.option("--blocks", type=_COUNT, default=3, show_default=True, help="Transformer blocks.")
@click.option("--channels", type=_COUNT, default=128, show_default=True,
    help="Channels, a multiple of 32.")  # fmt: skip
@click.option("--vocab", type=_COUNT, default=12_000, show_default=True,
    help="Rows of the token embedding, at most.")  # fmt: skip
@click.option("--context", type=click.IntRange(2), default=256, show_default=True,
    help="Tokens of the longest message that it can classify.")  # fmt: skip
@click.option("--batch-size", type=_COUNT, default=16, show_default=True,
    help="Rows of 128 tokens in a step.")  # fmt: skip
@click.option("--drawn", type=click.IntRange(0), default=512, show_default=True,
    help="Rows that the softmax draws beside the batch's own; 0: all rows.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=2e-3,
    show_default=True, help="Highest learning rate of AdamW.")  # fmt: skip
@click.option("--seed", type=int, default=123, show_default=True, help="Random seed.")
@click.option("--held-out", type=click.FloatRange(0, 0.5, min_open=True), default=0.01,
    show_default=True, help="Share of the messages that the loss is measured on.")  # fmt: skip
@click.option("--eval-tokens", type=_COUNT, default=1_000_000, show_default=True,
    help="Tokens between two measurements of that loss.")  # fmt: skip
@click.option("--bf16/--no-bf16", default=True, show_default=True,
    help="Compute in bfloat16 (autocast), on CUDA only.")  # fmt: skip
@click.option("--threads", type=_COUNT, help="Threads of PyTorch. Default: PyTorch's choice.")
@click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]), default="auto",
    show_default=True, help="auto: CUDA, else MPS, else the CPU.")  # fmt: skip
@click.option("--max-rejects", default="0", show_default=True, metavar="N|P%",
    help="Bad records, at most, to leave out; more stop the run.")  # fmt: skip
@input_options
@click.option("--bpe", type=_PATH, help="A gpt2.tiktoken, or a folder with it.")
@click.option("--cache", type=_PATH, default=Path("data"), show_default=True,
    help="Folder for fetched files.")  # fmt: skip
@click.option("--restart", is_flag=True, help="Start over, even if a killed run left a checkpoint.")
@click.option("--quiet", is_flag=True, help="Show warnings only, and no progress.")
def pretrain(
    text, more, out, minutes, tokens, blocks, channels, vocab, context, batch_size, drawn,
    learning_rate, seed, held_out, eval_tokens, bf16, threads, device, max_rejects, bpe, cache,
    restart, quiet, **layout,
) -> None:  # fmt: skip
    """Train a small GPT-2 on unlabelled messages, from which fit finetunes a classifier.

    The folder has base.safetensors, the weights with the lowest loss on held-out text so far.
    The same command resumes a killed run.

    \b
    Example:
      spam-train pretrain --text dumps/*.csv --out runs/base --minutes 20
      spam-train fit --weights runs/base --out runs/spam
      spam-train sample "See you" --weights runs/base
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
