"""The commands around a model: ``accuracy``, ``compare`` and ``review``."""

import click

from batch.cli.options import FILE, input_options, make_input
from batch.command import print_line
from batch.help import DECIDE, READ, RUN, WRITE, Command, option


@click.command(cls=Command)
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.argument("input_", metavar="[INPUT]", type=FILE, required=False)
@option(WRITE, "--out", type=FILE, help="Page to write.")
@option(DECIDE, "--max-changed", metavar="N|P%",
    help="Exit status 1 if more labels change.")  # fmt: skip
@option(READ, "--truth", metavar="NAME", help="Column of true labels, to see which model is right.")
@option(READ, "--date-column", metavar="NAME",
    help="Column of dates; the page then has the changes over time.")  # fmt: skip
@option(WRITE, "--changed", type=FILE,
    help="CSV file to write: the rows that change, for review.")  # fmt: skip
@option(
    WRITE,
    "--show-text",
    is_flag=True,
    help="Show the texts of messages, which are left out by default.",
)
@option(RUN, "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
    show_default=True, help="Of two bundles: as for classify.")  # fmt: skip
@option(RUN, "--threads", type=click.IntRange(1),
    help="Of two bundles: default: all processors that this process may use.")  # fmt: skip
@input_options
def compare(
    before, after, input_, out, max_changed, truth, date_column, changed, show_text, device,
    threads, **layout,
) -> None:  # fmt: skip
    """Compare two bundles, BEFORE and AFTER, on INPUT; or two labelled files of the same input.

    \b
    Example:
      spam-batch compare models/spam models/tickets inbox.csv --max-changed 5%
      spam-batch compare models/spam models/tickets inbox.csv --truth expected --out compare.html

    Prints how many labels change and from what to what, how far the scores move, and, with
    --truth, which model is right more often. With --max-changed it is a gate: the exit status is
    1 if more labels change than that, 0 otherwise.
    """
    from batch.compare.compare import CompareOptions, are_bundles, compare
    from batch.writing.rejects import Allowance

    allowed = None
    if max_changed is not None:
        allowed = Allowance.parse(max_changed, "--max-changed", "rows")
    name = input_ if are_bundles(before, after, input_) else before
    found = compare(
        CompareOptions(
            before, after, make_input(name, overwrite_columns=False, **layout), out, changed,
            truth, date_column, show_text, device, threads,
        )
    )  # fmt: skip
    for line in found.lines():
        print_line(line)
    for written in filter(None, (changed, out)):
        print_line(f"written: {written}", to_stderr=True)
    if allowed and not allowed.allows(found.total, found.rows):
        share = f"{found.total:,} of {found.rows:,} labels change"
        print_line(f"{share}, more than --max-changed {allowed.typed} allows", to_stderr=True)
        click.get_current_context().exit(1)


@click.command(cls=Command)
@click.argument("labeled", type=FILE)
@option(WRITE, "--out", type=FILE, default="review.html", show_default=True,
    help="Page to write.")  # fmt: skip
@option(DECIDE, "--random", "random_", type=click.IntRange(0), default=200, show_default=True,
    help="Random rows, for an honest estimate; the same number of each label.")  # fmt: skip
@option(DECIDE, "--unsure", type=click.IntRange(0), default=100, show_default=True,
    help="Rows of which the model was least sure.")  # fmt: skip
@option(DECIDE, "--campaigns", type=click.IntRange(0), default=50, show_default=True,
    help="Texts that are repeated most often, once each.")  # fmt: skip
@option(READ, "--changed", type=FILE, help="Rows that compare --changed has found.")
@option(DECIDE, "--labels", metavar="NAME,NAME", default="",
    help="Labels that no row has, and that a row may get.")  # fmt: skip
@option(DECIDE, "--seed", type=int, default=0, show_default=True,
    help="Another number gives other random rows.")  # fmt: skip
@input_options
def review(
    labeled, out, random_, unsure, campaigns, changed, labels, seed, **layout
) -> None:  # fmt: skip
    """Write a page by which a person labels rows of LABELED again, with keys.

    \b
    Example:
      spam-batch review labeled.csv
      spam-batch review labeled.csv --random 500 --out review.html

    The page has a random sample, the rows that the model was least sure of, campaigns (messages
    that differ only in case, digits and punctuation) once each, and those that compare found.
    It works without a network, keeps its state in the browser, and saves corrections.csv, which
    spam-batch accuracy and spam-train fit read. It has the texts of messages.
    """
    from batch.review.review import ReviewOptions, write_review
    from batch.review.selection import Wanted

    names = tuple(name.strip() for name in labels.split(",") if name.strip())
    rows = write_review(
        ReviewOptions(
            make_input(labeled, overwrite_columns=False, **layout), out,
            Wanted(random_, unsure, campaigns, seed=seed), changed, names,
        )
    )  # fmt: skip
    print_line(f"written: {out}, with {len(rows):,} rows", to_stderr=True)


@click.command(cls=Command)
@click.argument("labeled", type=FILE)
@option(READ, "--corrections", type=FILE, required=True,
    help="What the page of review has saved.")  # fmt: skip
@input_options
def accuracy(labeled, corrections, **layout) -> None:
    """Estimate how good the labels of LABELED are, from the random rows that a person corrected.

    \b
    Example:
      spam-batch accuracy labeled.csv --corrections corrections.csv

    Prints accuracy, and precision and recall of each label, with 95 % intervals. Each random row
    counts for as many rows of the file as it stands for. Rows that were chosen because the model
    was unsure, and the like, are not counted.
    """
    from batch.review.accuracy import read_sample

    given = make_input(labeled, overwrite_columns=False, **layout)
    for line in read_sample(given, corrections).lines():
        print_line(line)
