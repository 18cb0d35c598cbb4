"""``spam-batch audit``, ``doctor``, ``info`` and ``report``: what is there, and what came of it."""

import click

from batch.cli.options import csv_options, make_dialect
from batch.messages import escape_controls


@click.command()
@click.option("--bundle", default="models/spam", show_default=True,
    help="Folder made by spam-export.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
    show_default=True, help="The one that a run would be given.")  # fmt: skip
def doctor(bundle, device) -> None:
    """Say whether a run would work here, and what to type if not.

    Each finding is one line that begins with ok, warning or problem. The exit status is
    0 if a run would work, and 78 otherwise. Takes about three seconds.

    \b
    Example:
      spam-batch doctor
      spam-batch doctor --bundle models/spam --device cuda
    """
    from batch.checks.doctor import PROBLEM, examine
    from batch.errors import BundleError

    problems = 0
    for finding in examine(bundle, device):
        click.echo(escape_controls(str(finding)))
        problems += finding.state == PROBLEM
    if problems:
        listed = "1 problem" if problems == 1 else f"{problems} problems"
        raise BundleError(f"{listed}; a run would not work")


@click.command()
@click.argument("bundle", default="models/spam")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def info(bundle, as_json) -> None:
    """Say what BUNDLE is: labels, threshold, precisions and their verification, scores, hashes.

    Default: models/spam.

    Every file in it is read and compared with its hash first.

    \b
    Example:
      spam-batch info models/spam
      spam-batch info models/spam --json
    """
    from batch.checks.info import collect, to_json, to_lines
    from batch.model.bundle import open_bundle

    values = collect(open_bundle(bundle))
    if as_json:
        click.echo(to_json(values))
    else:
        for line in to_lines(values):
            click.echo(escape_controls(line))


@click.command()
@click.argument("labeled")
@click.option("--bundle", default="models/spam", show_default=True,
    help="Folder of the bundle that labelled.")  # fmt: skip
@click.option("--input", "input_", metavar="FILE", help="Where the input is now, if it was moved.")
@click.option("--sample", type=click.IntRange(0), default=1000, show_default=True,
    help="Rows to label again, evenly spread; 0: none.")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text",
    show_default=True, help="json: a list.")  # fmt: skip
def audit(labeled, bundle, input_, sample, format_) -> None:
    """Hold LABELED, a file that classify wrote, against its run manifest, LABELED.run.json.

    Hashes output, rejects and input anew, counts the rows, labels and scores, looks whether
    each row begins with its record of the input, and labels a sample again with the bundle.
    Each finding is one line that begins with ok, unchecked or failed. The exit status is 0 if
    nothing failed, 65 if something did, and 66 if there is no manifest.

    \b
    Example:
      spam-batch audit labeled.csv
      spam-batch audit labeled.csv --bundle models/spam --sample 10000
    """
    import json

    from batch.checks.audit import FAILED, audit_output
    from batch.errors import InputError

    findings = audit_output(labeled, bundle, sample, input_)
    if format_ == "json":
        click.echo(json.dumps([finding.__dict__ for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(escape_controls(str(finding)))
    failed = sum(finding.state == FAILED for finding in findings)
    if failed:
        checks = f"{failed} of {len(findings)} checks failed"
        raise InputError(f"{labeled}: {checks}; this is not all as the run left it")


@click.command()
@click.argument("labeled")
@click.option("--out", default="report.html", show_default=True,
    help="Page to write; - is standard output.")  # fmt: skip
@click.option("--date-column", metavar="NAME", help="Show the rate over time by it.")
@click.option("--positive-label", metavar="LABEL", help="Default: spam.")
@click.option("--show-text", is_flag=True, help="Show messages; by default none is.")
@csv_options
def report(labeled, out, date_column, positive_label, show_text, text_column, **layout) -> None:
    """Make one HTML page of LABELED, a CSV file that classify wrote; - is standard input.

    Counts, the rate over time, the scores, campaigns (messages that say the same but for case,
    digits and punctuation), and the rows that the model was least sure of, by line. The page
    asks nothing of the network.

    \b
    Example:
      spam-batch report labeled.csv
      spam-batch report labeled.csv --date-column received --show-text --out report.html
    """
    from batch.reading.encoding import parse_encoding
    from batch.report.labelled_file import Request
    from batch.report.write import write_report

    dialect, encoding = make_dialect(labeled, **layout), parse_encoding(layout["encoding"])
    write_report(
        Request(
            labeled, out, dialect, encoding, text_column, date_column, positive_label, show_text
        )
    )
    if out != "-":
        click.echo(f"written: {escape_controls(out)}", err=True)
