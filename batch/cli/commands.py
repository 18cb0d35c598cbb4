"""``spam-batch``: the commands that label files or one message."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import click

from batch.cli.checks import audit, doctor, info, mend, report
from batch.cli.loop import accuracy, compare, review
from batch.cli.options import (
    FILE,
    FOLDER,
    input_options,
    layout_options,
    long_option,
    make_input,
    make_layout,
    make_rules,
    metrics_option,
    ray_options,
    rule_options,
)
from batch.command import Cli, print_line, show_log
from batch.errors import REJECTED
from batch.help import DECIDE, READ, RUN, WRITE, WRONG, Command, option
from batch.messages import escape_controls
from batch.version import __version__

if TYPE_CHECKING:  # imported late, or --help would be slow
    from batch.model.bundle import Bundle
    from batch.model.lazy_classifier import LazyClassifier
    from batch.model.rules import Rules
    from batch.run.job import Job
    from batch.run.metrics import RunMetrics

log = logging.getLogger("batch")

# Of spam-batch classify; docs/make_cli.py writes the table into the documents.
EXIT_STATUSES = {
    0: "complete: every record has a label",
    2: "wrong options",
    3: "complete, but some records were rejected (--max-rejects)",
    65: "the input is bad",
    66: "an input is missing, is a folder, or cannot be read",
    70: "internal error",
    71: "out of memory",
    73: "the output cannot be created",
    74: "I/O error, such as a full disk",
    75: "another run holds the lock",
    78: "the bundle or the device cannot be used, or a package is missing",
    129: "stopped by SIGHUP; the same command resumes the run",
    130: "interrupted; the same command resumes the run",
    141: "the reader of standard output has closed it",
    143: "stopped by SIGTERM; the same command resumes the run",
}
_STATUS_LINES = "\n".join(f"  {status:<4} {text}" for status, text in EXIT_STATUSES.items())

_bundle = option(DECIDE, "--bundle", type=FOLDER, default="models/spam", show_default=True,
    help="Folder made by spam-export.")  # fmt: skip
_device = option(RUN,
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help="auto: the GPU if onnxruntime-gpu is installed, else the CPU.",
)  # fmt: skip
_threads = option(
    RUN,
    "--threads",
    type=click.IntRange(1),
    help="Default: all processors that this process may use; one for a starter.",
)
_digest = option(
    WRONG, "--expect-digest", metavar="SHA256", help="Refuse a bundle with another digest."
)
_precision = option(DECIDE,
    "--precision", default="auto", show_default=True,
    help="One of the bundle's: fp32, int8, fp16, bf16; auto: fp32, or one that is verified and "
    "clearly faster.",
)  # fmt: skip
_slow_only = option(
    DECIDE, "--slow-only", is_flag=True, help="Of a cascade, run the slow model alone, to compare."
)
_unverified = option(
    WRONG, "--allow-unverified", is_flag=True, help="Use a bundle that was never verified."
)


@click.group(cls=Cli, name="spam-batch", context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="spam-batch")
def main() -> None:
    """Label messages with an exported classifier.

    \b
    Example:
      spam-batch classify inbox.csv --out labeled.csv

    \b
    The commands need a bundle, the folder of a model: models/spam, or what --bundle
    names. To make one, type:
      spam-train fit && spam-export bundle --out models/spam
    """


@main.command(epilog=f"\b\nExit status:\n{_STATUS_LINES}")
@click.argument("inputs", metavar="INPUT...", type=FILE, nargs=-1, required=True)
@option(WRITE, "--out", type=FILE,
    help="File to write; one of this name is replaced. - is standard output.")  # fmt: skip
@option(WRITE, "--out-dir", type=FOLDER, help="Folder for the outputs, named as the inputs.")
@option(WRITE, "--force", is_flag=True,
    help="With --out-dir: label again what was labelled before.")  # fmt: skip
@_bundle
@option(WRITE, "--columns", default="label,score", show_default=True,
    help="Columns to append, from label, score, probability (one for each class), tokens, "
    "truncated, reason; of a cascade, stage: the model that decided.")  # fmt: skip
@rule_options
@layout_options
@option(WRONG, "--max-rejects", default="0", show_default=True, metavar="N|P%",
    help="Bad records, at most, to write to OUT's .rejects.csv; more stop the run.")  # fmt: skip
@option(WRONG, "--restart", is_flag=True, help="Start over instead of resuming an interrupted run.")
@_slow_only
@_device
@_threads
@_digest
@_precision
@_unverified
@ray_options
@option(WRITE, "--quiet", is_flag=True, help="Log only warnings and errors.")
@option(WRITE, "--log-format", type=click.Choice(["text", "json"]), default="text",
    show_default=True, help="json: one object on each line of standard error.")  # fmt: skip
@metrics_option
def classify(
    inputs, out, out_dir, force, bundle, columns, max_rejects, restart, slow_only, device, threads,
    precision, expect_digest, allow_unverified, engine, workers, part_bytes, quiet, log_format,
    metrics, **layout,
) -> None:  # fmt: skip
    """Label every record of INPUT, a CSV, JSON Lines or Parquet file; - is standard input.

    \b
    Example:
      spam-batch classify inbox.csv --out labeled.csv
      spam-batch classify dump.csv.gz --out labeled.csv.zst --delimiter ';' --encoding cp1252
      spam-batch classify dumps/ --out-dir labeled/
      ssh mail cat dump.csv | spam-batch classify - --out - > labeled.csv

    The output has the records of the input, in their order and with the same bytes, and the
    new columns after them. It gets its name when it is complete. The same command resumes a
    run that was interrupted.
    """
    show_log("batch", quiet, log_format)
    from batch.formats.columns import check_stage, parse_columns
    from batch.model.bundle import open_bundle
    from batch.model.cascade.folder import open_slow
    from batch.run.job import Job
    from batch.writing.rejects import Allowance

    on_ray = engine == "ray"
    inputs, outs = _pair_outputs(inputs, out, out_dir, force, on_ray)
    if on_ray:
        out_dir = out_dir or out
    appended, allowance = parse_columns(columns), Allowance.parse(max_rejects)
    make_layout(**layout)  # check the options before the bundle is read
    opened, rules = open_bundle(bundle, expect_digest), make_rules(**layout)
    if slow_only:
        opened = open_slow(opened)
    check_stage(appended, opened)
    rules.decision(opened.manifest)  # check the rules here, not once for each file
    lazy = None  # with Ray, the device is that of the workers
    if not on_ray:
        lazy = _make_lazy(opened, rules, device, threads, precision, allow_unverified)
    progress = not quiet and log_format == "text"
    jobs = [
        Job(
            make_input(name, **layout), target, appended, allowance, rules,
            restart=restart, progress=progress, replaces_any=out_dir is None or force,
        )
        for name, target in zip(inputs, outs, strict=True)
    ]  # fmt: skip
    if lazy is None:
        from batch.cluster.engine import RayOptions, label_on_ray

        options = RayOptions(
            out_dir, device, precision, threads or 1, workers, part_bytes, allow_unverified, force
        )
        status = label_on_ray(jobs, opened, options)
    else:
        status = _label_here(jobs, out_dir, lazy, force, metrics)
    click.get_current_context().exit(status)


def _make_lazy(
    bundle: "Bundle", rules: "Rules", device: str, threads: int | None, precision: str,
    allow_unverified: bool,
) -> "LazyClassifier":  # fmt: skip
    """Makes the loader; an unknown precision or device is an error here, before any load."""
    from batch.model.classifier import Classifier, foresee
    from batch.model.lazy_classifier import LazyClassifier

    arguments = (bundle.folder, device, threads, precision, allow_unverified)
    load = partial(Classifier.load, *arguments, **asdict(rules))
    return LazyClassifier(bundle, load, foresee(bundle, device, precision))


def _label_here(
    jobs: "Sequence[Job]", out_dir: str | None, lazy: "LazyClassifier", force: bool,
    metrics: "RunMetrics",
) -> int:  # fmt: skip
    """Label one file, or the files of a folder, on this machine; returns the exit status."""
    from batch.run.classify import classify_file
    from batch.run.folder import label_files
    from batch.run.summary import level_of

    if out_dir is not None:
        return label_files(jobs, out_dir, lazy, force, metrics)
    summary = classify_file(jobs[0], lazy)
    metrics.add(summary)
    for number, line in enumerate(summary.lines()):
        counts = {} if number else {"counts": summary.counts()}
        log.log(level_of(line), "%s", line, extra=counts)
    return REJECTED if summary.progress.rejects else 0


def _pair_outputs(
    inputs: Sequence[str], out: str | None, out_dir: str | None, force: bool, on_ray: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """The files to read, and the file to write for each."""
    from batch.errors import MissingInputError
    from batch.run.inputs import find_inputs, name_outputs

    if (out is None) == (out_dir is None):
        raise click.UsageError("type either --out FILE, or --out-dir DIR for one or more inputs")
    folder, option = (out, "--out") if on_ray and out is not None else (out_dir, "--out-dir")
    if folder is not None:
        if "-" in inputs:
            other = "a file" if on_ray else "--out"
            raise click.UsageError(f"{option}: standard input has no name; give {other} instead")
        files = find_inputs(inputs)
        return files, name_outputs(files, folder, option)
    assert out is not None
    if force:
        raise click.UsageError("--force: only with --out-dir; to start over, type --restart")
    if len(inputs) > 1:
        raise click.UsageError(
            f"{len(inputs)} inputs cannot be labelled into one file; type --out-dir DIR"
        )
    if os.path.isdir(inputs[0]):
        raise MissingInputError(f"{inputs[0]} is a folder; to label its files, type --out-dir DIR")
    return inputs, [out]


@main.command()
@click.argument("inputs", metavar="INPUT...", type=FILE, nargs=-1, required=True)
@_bundle
@long_option
@input_options
@option(READ, "--overwrite-columns", is_flag=True,
    help="Taken as by classify; it changes nothing here.")  # fmt: skip
@_device
@_threads
@_digest
@_precision
@_unverified
def estimate(
    inputs, bundle, device, threads, precision, expect_digest, allow_unverified, **layout
) -> None:
    """Estimate from a sample how long it takes to label INPUT; nothing is written.

    \b
    Example:
      spam-batch estimate inbox.csv
      spam-batch estimate dumps/

    For several inputs, or a folder, the estimate is for all files, including those that were
    labelled before.
    """
    show_log("batch")
    from batch.checks.estimate import estimate as estimate_files
    from batch.model.bundle import open_bundle
    from batch.run.inputs import find_inputs

    opened, rules = open_bundle(bundle, expect_digest), make_rules(layout["long"])
    lazy = _make_lazy(opened, rules, device, threads, precision, allow_unverified)
    found = [make_input(name, **layout) for name in find_inputs(inputs)]
    for line in estimate_files(found, lazy, typed=inputs).lines():
        print_line(line)


class _TextCommand(Command):
    """Tells how to type a message that looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            is_option = not any(map(str.isspace, error.option_name))  # else it is a message
            what = f"No such option {error.option_name!r}. " if is_option else ""
            raise click.UsageError(
                f"{what}A message that begins with - is typed behind --, for example: "
                "spam-batch text -- '-50% today'",
                ctx,
            ) from None


@main.command(cls=_TextCommand)
@click.argument("message")
@_bundle
@rule_options
@_slow_only
@_device
@_threads
@_precision
@_digest
@_unverified
def text(
    message, bundle, slow_only, device, threads, precision, expect_digest, allow_unverified, **rules
) -> None:
    """Label one MESSAGE; prints the label, a tab, and the score.

    \b
    Example:
      spam-batch text "You are a winner, call now to claim your prize"
    """
    from batch.model.bundle import open_bundle
    from batch.model.cascade.folder import open_slow

    chosen = make_rules(**rules)
    opened = open_bundle(bundle, expect_digest)
    if slow_only:
        opened = open_slow(opened)
    lazy = _make_lazy(opened, chosen, device, threads, precision, allow_unverified)
    classifier = lazy.get()
    result = classifier.classify([message])
    if classifier.session.note:
        print_line(f"WARNING: {classifier.session.note}", to_stderr=True)
    click.echo(f"{escape_controls(result.labels[0])}\t{result.scores[0]:.6f}")


for command in (accuracy, audit, compare, doctor, info, mend, report, review):
    main.add_command(command)
