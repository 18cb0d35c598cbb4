"""``spam-batch``: label a file, or one message."""

import logging
from functools import partial

import click

from batch import __version__
from batch.command import Cli, show_log

log = logging.getLogger("batch")

REJECTED = 3  # exit status: complete, but some records were rejected

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
_digest = click.option(
    "--expect-digest", metavar="SHA256", help="Refuse a bundle whose bundle.json has another one."
)
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
@click.option("--max-rejects", default="0", show_default=True, metavar="N|P%",
    help="Bad records to set aside, in OUT's .rejects.csv; more stop the run.")  # fmt: skip
@click.option("--restart", is_flag=True, help="Forget an interrupted run; do not go on with it.")
@_device
@_threads
@_digest
@_unverified
@click.option("--quiet", is_flag=True, help="Say nothing unless something is wrong.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text",
    show_default=True, help="json: one object a line on standard error.")  # fmt: skip
def classify(
    input_, out, bundle, text_column, delimiter, columns, max_rejects, restart, device, threads,
    expect_digest, allow_unverified, quiet, log_format,
) -> None:  # fmt: skip
    """Label every record of INPUT, a CSV file with a header; - is standard input.

    The output has the input's records in their order and with their own bytes,
    and the new columns behind them. It appears under its name when it is whole.
    A run that was interrupted goes on when the same command is given again.

    \b
    Example:
      spam-batch classify inbox.csv --out labeled.csv
      zcat dump.csv.gz | spam-batch classify - --out - > labeled.csv
    """
    show_log("batch", quiet, log_format)
    from batch.bundle import open_bundle
    from batch.classifier import Classifier
    from batch.classify import Job, classify_file
    from batch.rejects import Allowance
    from batch.table import parse_columns

    job = Job(
        input_, out, _dialect(input_, delimiter), text_column, parse_columns(columns),
        Allowance.parse(max_rejects), restart, progress=not quiet and log_format == "text",
    )  # fmt: skip
    load = partial(Classifier.load, bundle, device, threads, allow_unverified=allow_unverified)
    summary = classify_file(job, open_bundle(bundle, expect_digest), load)
    for number, line in enumerate(summary.lines()):
        log.info("%s", line, extra={} if number else {"counts": summary.counts()})
    if summary.progress.rejects:
        click.get_current_context().exit(REJECTED)


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
@_digest
@_unverified
def text(message, bundle, device, threads, expect_digest, allow_unverified) -> None:
    """Label one MESSAGE: prints label, a tab, and the score.

    \b
    Example:
      spam-batch text "You are a winner, call now to claim your prize"
    """
    from batch.bundle import open_bundle
    from batch.classifier import Classifier

    open_bundle(bundle, expect_digest)
    classifier = Classifier.load(bundle, device, threads, allow_unverified=allow_unverified)
    result = classifier.classify([message])
    if classifier.session.note:
        click.echo(f"WARNING: {classifier.session.note}", err=True)
    click.echo(f"{result.labels[0]}\t{result.scores[0]:.6f}")
