"""``spam-batch``: label a file, or one message."""

import logging
from functools import partial

import click

from batch import __version__
from batch.command import Cli, show_log

log = logging.getLogger("batch")

_bundle = click.option(
    "--bundle", default="models/spam", show_default=True, help="Folder made by spam-export."
)
_device = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help="auto: the GPU if onnxruntime-gpu is there, else the CPU.",
)  # fmt: skip
_threads = click.option(
    "--threads", type=click.IntRange(1), help="Default: the processors this process may use."
)
_precision = click.option(
    "--precision", default="auto", show_default=True,
    help="One of the bundle's: fp32, int8, fp16, bf16; auto: the fastest that was verified.",
)  # fmt: skip
_unverified = click.option(
    "--allow-unverified", is_flag=True, help="Use a bundle that was never verified."
)


@click.group(cls=Cli, name="spam-batch", context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="spam-batch")
def main() -> None:
    """Label messages with an exported classifier.

    \b
    Example:
      spam-batch classify inbox.csv --out labeled.csv
    """


@main.command()
@click.argument("input_", metavar="INPUT")
@click.option("--out", required=True, help="File to write; - is standard output.")
@_bundle
@click.option("--text-column", help="Default: text, or else the first obvious name.")
@click.option("--delimiter", help="One character; default: a comma, a tab for .tsv.")
@click.option("--columns", default="label,score", show_default=True,
    help="Columns to append, of label, score, tokens, truncated.")  # fmt: skip
@_device
@_threads
@_precision
@_unverified
@click.option("--quiet", is_flag=True, help="Say nothing unless something is wrong.")
def classify(
    input_, out, bundle, text_column, delimiter, columns, device, threads, precision,
    allow_unverified, quiet,
) -> None:  # fmt: skip
    """Label every record of INPUT, a CSV file with a header; - is standard input.

    The output has the input's records in their order and with their own bytes,
    and the new columns behind them. It appears under its name when it is whole.

    \b
    Example:
      spam-batch classify inbox.csv --out labeled.csv
      zcat dump.csv.gz | spam-batch classify - --out - > labeled.csv
    """
    show_log("batch", quiet)
    from batch.classifier import Classifier
    from batch.classify import classify_file
    from batch.table import parse_columns

    load = partial(
        Classifier.load, bundle, device, threads, precision, allow_unverified=allow_unverified
    )
    summary, classifier = classify_file(
        input_, out, load, dialect=_dialect(input_, delimiter), text_column=text_column,
        columns=parse_columns(columns), progress=not quiet,
    )  # fmt: skip
    for line in summary.lines(classifier, out):
        log.info("%s", line)


def _dialect(name: str, delimiter: str | None):
    from batch.dialect import Dialect

    if delimiter is None:
        delimiter = "\t" if name.lower().endswith(".tsv") else ","
    try:
        dialect = Dialect({"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter).encode())
    except ValueError as error:
        raise click.UsageError(f"--delimiter: {error}") from None
    if dialect.delimiter.isalnum() or dialect.delimiter == b".":
        raise click.UsageError(f"--delimiter: {delimiter!r} would stand in our own columns too")
    return dialect


@main.command()
@click.argument("message")
@_bundle
@_device
@_threads
@_precision
@_unverified
def text(message, bundle, device, threads, precision, allow_unverified) -> None:
    """Label one MESSAGE: prints label, a tab, and the score.

    \b
    Example:
      spam-batch text "You are a winner, call now to claim your prize"
    """
    from batch.classifier import Classifier

    classifier = Classifier.load(
        bundle, device, threads, precision, allow_unverified=allow_unverified
    )
    result = classifier.classify([message])
    if classifier.session.note:
        click.echo(f"WARNING: {classifier.session.note}", err=True)
    click.echo(f"{result.labels[0]}\t{result.scores[0]:.6f}")
