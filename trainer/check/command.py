"""``spam-train check``."""

import click

from batch.command import print_line, show_log
from batch.help import DECIDE, MODEL, WRITE, Command, option
from trainer.data_options import data_options
from trainer.options import PATH, cache_option


@click.command("check", cls=Command)
@data_options(as_arguments=True)
@option(WRITE, "--out", type=PATH, metavar="FILE",
    help="Write the doubted rows to this CSV file, with their texts, worst first.")  # fmt: skip
@option(DECIDE, "--run", type=PATH, metavar="RUN",
    help="Doubt labels by the probabilities of this run, not by cross-validation.")  # fmt: skip
@option(DECIDE, "--max-length", type=click.IntRange(1), metavar="TOKENS",
    help="Count longer messages. Default: that of --run, else 1024.")  # fmt: skip
@option(MODEL, "--bpe", type=PATH, help="A gpt2.tiktoken, or a folder with it, to count tokens.")
@cache_option
def check(data, reading, out, run, max_length, bpe, cache) -> None:
    """Show what is odd in labelled FILEs, and the rows whose label may be wrong.

    \b
    Example:
      spam-train check tickets.csv --out doubts.csv
      spam-train check tickets.csv --run runs/spam

    Prints classes, repeated texts, texts with two labels, near copies across classes, lengths,
    scripts, and the lines of the 50 most doubted rows; never a text. A row is doubted if a model
    that has not seen it gives another label: TF-IDF with logistic regression, on five folds, near
    copies in the same fold. The order is cleanlab's (the extra check).
    """
    show_log("trainer")
    from trainer.check.lead import CheckOptions, check_lines

    for line in check_lines(CheckOptions(data, reading, out, run, max_length, bpe, cache)):
        print_line(line)
