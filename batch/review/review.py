"""Write the review page of a labelled file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batch.errors import InputError, UsageError
from batch.formats.input import Input
from batch.formats.labelled import LabelledFile
from batch.model.decision import UNSURE
from batch.reading.opening import open_source
from batch.review.selection import Chosen, Selection, Wanted, choose_letters, read_changed
from batch.run.run_manifest import find_bounds, read_manifest_if_good
from batch.writing.atomic import replace_file, storage_errors
from batch.writing.target import check_not_input, check_replaceable, resolve_path

MOST_LABELS = 1000


@dataclass(frozen=True)
class ReviewOptions:
    """The file to review, and what is shown of it."""

    given: Input
    out: str
    wanted: Wanted
    changed: str | None = None
    labels: Sequence[str] = ()  # that rows may get, besides those that rows have


def write_review(options: ReviewOptions) -> list[Chosen]:
    """Write the page to ``options.out``; only its owner may read it, as it has texts.

    Raises:
        SpamBatchError: the input cannot be read, or the page cannot be written.
    """
    from batch.review.page import START, draw_page

    name = options.given.name
    if options.out == "-":
        raise UsageError("--out -: a page goes to a file; give a name")
    target = resolve_path(options.out)
    check_not_input(options.out, name)
    problem = "is not a review page of spam-batch; give another --out"
    check_replaceable(target, START.encode(), problem)
    wanted = options.wanted
    if options.changed is not None:
        wanted = replace(wanted, changed=read_changed(options.changed))
    manifest = read_manifest_if_good(name) if Path(name).is_file() else None
    selection = Selection(wanted, find_bounds(manifest))
    with open_source(name) as source:
        for row in LabelledFile(source, options.given):
            selection.add(row)
            if len(selection.labels) > MOST_LABELS:
                raise InputError(
                    f"{name}: has more than {MOST_LABELS:,} different labels; is 'label' the "
                    "column that spam-batch wrote?"
                )
    if not selection.labels:
        raise InputError(f"{name}: has no rows to review")
    of_run = manifest.counts["labels"] if manifest else {}
    letters = choose_letters(sorted({*selection.labels, *of_run, *options.labels}))
    if not letters:
        raise InputError(
            f"{name}: has no row with another label than {UNSURE}, so the page would have no "
            "keys; name the labels, for example with --labels ham,spam"
        )
    rows = selection.choose()
    page = draw_page(name, letters, rows)
    with storage_errors(options.out):
        replace_file(target, page.encode("utf-8"), target, ".review", 0o600)
    return rows
