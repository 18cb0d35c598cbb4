"""``spam-batch``: label a file, or one message."""

import logging
import os
from dataclasses import asdict
from functools import partial

import click

from batch.cli import checks as cli_tools
from batch.cli.options import (
    layout_options,
    long_option,
    make_input,
    make_layout,
    make_rules,
    metrics_option,
    ray_options,
    rule_options,
)
from batch.command import Cli, show_log
from batch.errors import REJECTED
from batch.version import __version__

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
_digest = click.option(
    "--expect-digest", metavar="SHA256", help="Refuse a bundle whose bundle.json has another one."
)
_precision = click.option(
    "--precision", default="auto", show_default=True,
    help="One of the bundle's: fp32, int8, fp16, bf16; auto: fp32, or one that was verified and "
    "is clearly faster.",
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
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option("--out", help="File to write; - is standard output.")
@click.option("--out-dir", metavar="DIR", help="Folder to write into, each INPUT by its own name.")
@click.option("--force", is_flag=True, help="With --out-dir: what was labelled already, too.")
@_bundle
@click.option("--columns", default="label,score", show_default=True,
    help="Columns to append, of label, score, probability (one for each class), tokens, "
    "truncated, reason.")  # fmt: skip
@rule_options
@layout_options
@click.option("--max-rejects", default="0", show_default=True, metavar="N|P%",
    help="Bad records to set aside, in OUT's .rejects.csv; more stop the run.")  # fmt: skip
@click.option("--restart", is_flag=True, help="Forget an interrupted run; do not go on with it.")
@_device
@_threads
@_digest
@_precision
@_unverified
@ray_options
@click.option("--quiet", is_flag=True, help="Say nothing unless something is wrong.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text",
    show_default=True, help="json: one object a line on standard error.")  # fmt: skip
@metrics_option
def classify(
    inputs, out, out_dir, force, bundle, columns, max_rejects, restart, device, threads,
    precision, expect_digest, allow_unverified, engine, workers, part_bytes, quiet, log_format,
    seen, **layout,
) -> None:  # fmt: skip
    """Label every record of INPUT, a CSV, JSON Lines or Parquet file; - is standard input.

    The output has the input's records in their order and with their own bytes,
    and the new columns behind them. It appears under its name when it is whole.
    A run that was interrupted goes on when the same command is given again.

    \b
    Example:
      spam-batch classify inbox.csv --out labeled.csv
      spam-batch classify dump.csv.gz --out labeled.csv.zst --delimiter ';' --encoding cp1252
      spam-batch classify dumps/ --out-dir labeled/
      ssh mail cat dump.csv | spam-batch classify - --out - > labeled.csv
    """
    show_log("batch", quiet, log_format)
    from batch.formats.columns import parse_columns
    from batch.model.bundle import open_bundle
    from batch.model.classifier import Classifier, resolve_precision
    from batch.model.inference import wanted_device
    from batch.model.lazy_classifier import LazyClassifier
    from batch.run.classify import classify_file
    from batch.run.folder import label_files
    from batch.run.job import Job
    from batch.run.summary import level_of
    from batch.writing.rejects import Allowance

    on_ray = engine == "ray"
    if on_ray and out_dir is None:
        out, out_dir = None, out
    inputs, outs = _pair(inputs, out, out_dir, force)
    progress = not quiet and log_format == "text"
    ours, allowance = parse_columns(columns), Allowance.parse(max_rejects)
    make_layout(**layout)  # refused before the bundle is read
    opened = open_bundle(bundle, expect_digest)
    rules = make_rules(**layout)
    rules.decision(opened.manifest)  # refused here, not once a file
    runs_in = ""
    if not on_ray:  # this machine's device may be none of the workers'
        precision = resolve_precision(opened, device, precision)
        runs_in = f"{precision} on {wanted_device(device)}"
    load = partial(
        Classifier.load, bundle, device, threads, precision, allow_unverified, **asdict(rules)
    )
    lazy = LazyClassifier(opened, load)
    jobs = [
        Job(
            make_input(name, **layout), target, ours, allowance, rules, runs_in, restart=restart,
            progress=progress, replaces_any=out_dir is None or force,
        )
        for name, target in zip(inputs, outs, strict=True)
    ]  # fmt: skip
    if on_ray:
        from batch.cluster.engine import Request, label_on_ray

        request = Request(
            out_dir, device, precision, threads or 1, workers, part_bytes, allow_unverified, force
        )
        click.get_current_context().exit(label_on_ray(jobs, opened, request))
    if out_dir is not None:
        click.get_current_context().exit(label_files(jobs, out_dir, lazy, force, seen.add_file))
    summary = classify_file(jobs[0], lazy)
    seen.add(summary)
    for number, line in enumerate(summary.lines()):
        counts = {} if number else {"counts": summary.counts()}
        log.log(level_of(line), "%s", line, extra=counts)
    if summary.progress.rejects:
        click.get_current_context().exit(REJECTED)


@main.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@_bundle
@long_option
@layout_options
@_device
@_threads
@_digest
@_precision
@_unverified
def estimate(
    inputs, bundle, device, threads, precision, expect_digest, allow_unverified, **layout
) -> None:
    """Say how long labelling INPUT will take, from a sample of it; nothing is written.

    Of several, or a folder's, it says how long all of them will take, those labelled before too.

    \b
    Example:
      spam-batch estimate inbox.csv
      spam-batch estimate dumps/
    """
    show_log("batch")
    from batch.checks.estimate import estimate as estimate_files
    from batch.model.bundle import open_bundle
    from batch.model.classifier import Classifier, resolve_precision
    from batch.model.lazy_classifier import LazyClassifier
    from batch.run.inputs import find_inputs

    opened = open_bundle(bundle, expect_digest)
    precision = resolve_precision(opened, device, precision)
    found = [make_input(name, **layout) for name in find_inputs(inputs)]
    load = partial(
        Classifier.load, bundle, device, threads, precision, allow_unverified,
        long=layout["long"],
    )  # fmt: skip
    name = found[0].name if len(found) == 1 else f"{len(found):,} files"
    for line in estimate_files(found, LazyClassifier(opened, load)).lines(name):
        click.echo(line)


def _pair(inputs, out: str | None, out_dir: str | None, force: bool):
    """The files to read, and the file to write for each."""
    from batch.errors import MissingInputError
    from batch.run.inputs import find_inputs, name_outputs

    if (out is None) == (out_dir is None):
        raise click.UsageError("type either --out FILE, or --out-dir DIR for one or more inputs")
    if out_dir is not None:
        if "-" in inputs:
            raise click.UsageError("--out-dir: standard input has no name; give --out instead")
        files = find_inputs(inputs)
        return files, name_outputs(files, out_dir)
    if force:
        raise click.UsageError("--force: only what --out-dir skips; to begin anew, type --restart")
    if len(inputs) > 1:
        raise click.UsageError(
            f"{len(inputs)} inputs cannot be labelled into one file; type --out-dir DIR"
        )
    if os.path.isdir(inputs[0]):
        raise MissingInputError(f"{inputs[0]} is a folder; to label its files, type --out-dir DIR")
    return inputs, [out]


@main.command()
@click.argument("message")
@_bundle
@rule_options
@_device
@_threads
@_precision
@_digest
@_unverified
def text(
    message, bundle, device, threads, precision, expect_digest, allow_unverified, **rules
) -> None:
    """Label one MESSAGE: prints label, a tab, and the score.

    \b
    Example:
      spam-batch text "You are a winner, call now to claim your prize"
    """
    from batch.model.bundle import open_bundle
    from batch.model.classifier import Classifier

    chosen = make_rules(**rules)
    open_bundle(bundle, expect_digest)
    classifier = Classifier.load(
        bundle, device, threads, precision, allow_unverified, **asdict(chosen)
    )
    result = classifier.classify([message])
    if classifier.session.note:
        click.echo(f"WARNING: {classifier.session.note}", err=True)
    click.echo(f"{result.labels[0]}\t{result.scores[0]:.6f}")


main.add_command(cli_tools.audit)
main.add_command(cli_tools.doctor)
main.add_command(cli_tools.info)
main.add_command(cli_tools.report)
