"""The commands around a run: ``audit``, ``doctor``, ``info``, ``mend`` and ``report``."""

import click
from click.core import ParameterSource

from batch.cli.options import FILE, FOLDER, csv_options, make_dialect
from batch.command import print_json, print_line
from batch.help import DECIDE, READ, RUN, WRITE, Command, option


@click.command(cls=Command)
@option(DECIDE, "--bundle", type=FOLDER, default="models/spam", show_default=True,
    help="Folder made by spam-export.")  # fmt: skip
@option(RUN, "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
    show_default=True, help="The --device of a run.")  # fmt: skip
def doctor(bundle, device) -> None:
    """Check whether a run would work on this machine, and tell what to type if not.

    \b
    Example:
      spam-batch doctor
      spam-batch doctor --bundle models/spam --device cuda

    Each check prints one line that begins with ok, warning or problem. The exit status is
    0 if a run would work, and 78 otherwise. This takes about three seconds.
    """
    from batch.checks.doctor import PROBLEM, examine
    from batch.errors import BundleError

    problems = 0
    for diagnosis in examine(bundle, device):
        print_line(str(diagnosis))
        problems += diagnosis.state == PROBLEM
    if problems:
        listed = "1 problem" if problems == 1 else f"{problems} problems"
        raise BundleError(f"{listed}; a run would not work")


@click.command(cls=Command)
@click.argument("bundle", type=FOLDER, default="models/spam")
@option(WRITE, "--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def info(bundle, as_json) -> None:
    """Show what is in BUNDLE: labels, threshold, precisions and their verification, hashes.

    \b
    Example:
      spam-batch info models/spam
      spam-batch info models/spam --json

    The default is models/spam. Every file of the bundle is compared with its hash first.
    """
    from batch.checks.info import collect, to_json, to_lines
    from batch.model.bundle import open_bundle

    values = collect(open_bundle(bundle))
    if as_json:
        print_json(to_json(values))
    else:
        for line in to_lines(values):
            print_line(line)


@click.command(cls=Command)
@click.argument("labeled", type=FILE)
@option(DECIDE, "--bundle", type=FOLDER, default="models/spam", show_default=True,
    help="The bundle of the run.")  # fmt: skip
@option(READ, "--input", "input_", type=FILE, help="The input, if it was moved.")
@option(DECIDE, "--sample", type=click.IntRange(0), default=1000, show_default=True,
    help="Number of rows to label again.")  # fmt: skip
@option(WRITE, "--format", "format_", type=click.Choice(["text", "json"]), default="text",
    show_default=True, help="json: a list of objects.")  # fmt: skip
def audit(labeled, bundle, input_, sample, format_) -> None:
    """Compare LABELED, a file that classify wrote, with its run manifest, LABELED.run.json.

    \b
    Example:
      spam-batch audit labeled.csv
      spam-batch audit labeled.csv --bundle models/spam --sample 10000

    The checks hash the output, the rejects and the input, count rows, labels and scores,
    compare each row with its record of the input, and label a sample of the rows again. Each
    check prints one line that begins with ok, unchecked or failed. The exit status is 0 if
    nothing failed, 65 if something did, 66 if there is no manifest, and 78 if --bundle names no
    bundle.
    """
    import json

    from batch.checks.audit import FAILED, audit_output
    from batch.errors import InputError
    from batch.model.bundle import open_bundle

    if click.get_current_context().get_parameter_source("bundle") is not ParameterSource.DEFAULT:
        open_bundle(bundle)  # a name that was typed is that of a bundle, or a mistake
    results = audit_output(labeled, bundle, sample, input_)
    if format_ == "json":
        print_json(json.dumps([result.to_json() for result in results], indent=1))
    else:
        for result in results:
            print_line(str(result))
    failed = sum(result.state == FAILED for result in results)
    if failed:
        checks = f"{failed} of {len(results)} checks failed"
        raise InputError(f"{labeled}: {checks}; something has changed since the run")


@click.command(cls=Command)
@click.argument("labeled", type=FILE)
@option(READ, "--rejects", type=FILE, required=True,
    help="The rejects file, or a copy, with mended records.")  # fmt: skip
@option(DECIDE, "--bundle", type=FOLDER, default="models/spam", show_default=True,
    help="The bundle of the run.")  # fmt: skip
@option(READ, "--input", "input_", type=FILE, help="The input, if it was moved.")
def mend(labeled, rejects, bundle, input_) -> None:
    """Label rejected records that were mended by hand, and put them into LABELED.

    \b
    Example:
      spam-batch mend labeled.csv --rejects mended.csv

    FILE is the rejects file of LABELED, or a copy of it, in which the column record was changed;
    line and byte_offset must stay. Each mended record is labelled by the bundle of the run, and
    gets its place in the order of the input. What is still bad, or was taken out of FILE, stays
    a reject. The exit status is 0 if no reject is left, and 3 otherwise.
    """
    from batch.errors import REJECTED
    from batch.mend.mend import mend_output

    done = mend_output(labeled, rejects, bundle, input_)
    for line in done.lines():
        print_line(line, to_stderr=True)
    click.get_current_context().exit(REJECTED if done.rejects else 0)


@click.command(cls=Command)
@click.argument("labeled", type=FILE)
@option(WRITE, "--out", type=FILE, default="report.html", show_default=True,
    help="Page to write; - is standard output.")  # fmt: skip
@option(
    READ,
    "--date-column",
    metavar="NAME",
    help="Column of dates; the report then has the rate over time.",
)
@option(DECIDE, "--positive-label", metavar="LABEL", help="Default: spam.")
@option(
    WRITE,
    "--show-text",
    is_flag=True,
    help="Show the texts of messages, which are left out by default.",
)
@csv_options
def report(labeled, out, date_column, positive_label, show_text, text_column, **layout) -> None:
    """Write an HTML report on LABELED, a CSV file that classify wrote; - is standard input.

    \b
    Example:
      spam-batch report labeled.csv
      spam-batch report labeled.csv --date-column received --show-text --out report.html

    The page has counts, the rate over time, the scores, campaigns (messages that differ only in
    case, digits and punctuation), and the rows that the model was least sure of. It loads
    nothing from the network.
    """
    from batch.reading.encoding import parse_encoding
    from batch.report.labelled_file import ReportOptions
    from batch.report.write import write_report

    dialect, encoding = make_dialect(labeled, **layout), parse_encoding(layout["encoding"])
    write_report(
        ReportOptions(
            labeled, out, dialect, encoding, text_column, date_column, positive_label, show_text
        )
    )
    if out != "-":
        print_line(f"written: {out}", to_stderr=True)
