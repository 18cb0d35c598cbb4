"""Compare two bundles on an input, or two labelled files, and write what was found."""

import csv
import io
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from batch.compare.findings import Agreement, Comparison
from batch.compare.pairs import BundlePairs, FilePairs, Pair
from batch.errors import UsageError
from batch.formats.input import Input
from batch.formats.labelled import LabelledFile
from batch.model.classifier import Classifier
from batch.reading.opening import open_source
from batch.writing.atomic import replace_file, storage_errors
from batch.writing.target import check_not_input, check_replaceable, resolve_path

CHANGED_COLUMNS = ("row", "line", "byte_offset", "before", "after", "score_before", "score_after")
CHANGED_START = ",".join(CHANGED_COLUMNS).encode()


@dataclass(frozen=True)
class CompareOptions:
    """The two models, and what is written."""

    before: str  # a bundle, or a labelled file
    after: str
    given: Input  # how the input is read, or the labelled files
    out: str | None = None  # the page
    changed: str | None = None  # CSV of the changed rows
    truth: str | None = None  # column of true labels
    date_column: str | None = None
    shows_text: bool = False
    device: str = "auto"
    threads: int | None = None


def compare(options: CompareOptions) -> Comparison:
    """Read all pairs; write the page and the file of changed rows, if they are wanted.

    Raises:
        SpamBatchError: the models or the input cannot be used, or a file cannot be written.
    """
    from batch.compare.page import START, draw_page

    page = _resolve(options, options.out, START.encode(), "--out", "page")
    listed = _resolve(options, options.changed, CHANGED_START, "--changed", "list")
    if page and page == listed:
        raise UsageError(f"--out and --changed are both {page.name}; give two names")
    rows = io.StringIO()
    found = _read(options, csv.writer(rows, lineterminator="\n"))
    found.check()
    if listed:
        _replace(listed, options.changed, rows.getvalue().encode("utf-8", "replace"))
    if page:
        _replace(page, options.out, draw_page(found).encode("utf-8"))
    return found


def are_bundles(before: str, after: str, given: str | None) -> bool:
    """True for two bundles and an input, false for two labelled files.

    Raises:
        UsageError: it is neither.
    """
    folders = [Path(name).is_dir() for name in (before, after)]
    if all(folders) and given is None:
        raise UsageError(
            f"{before} and {after} are folders; to compare two bundles, give an input after them, "
            "for example: spam-batch compare models/old models/new inbox.csv"
        )
    if any(folders) and not all(folders):
        raise UsageError(
            f"{before} and {after}: one is a folder and the other is not; give two bundles and an "
            "input, or two labelled files"
        )
    if not any(folders) and given is not None:
        raise UsageError(
            f"{before} and {after} are no bundles, so {given} is one file too many; give two "
            "labelled files, or two bundles and an input"
        )
    return all(folders)


def _resolve(
    options: CompareOptions, out: str | None, start: bytes, option: str, what: str
) -> Path | None:
    if out is None:
        return None
    if out == "-":
        raise UsageError(f"{option} -: a {what} goes to a file; give a name")
    target = resolve_path(out)
    for name in (options.given.name, options.before, options.after):
        check_not_input(out, name)
    check_replaceable(target, start, f"is not a {what} of spam-batch; give another {option}")
    return target


def _replace(target: Path, name: str | None, data: bytes) -> None:
    with storage_errors(name or ""):
        replace_file(target, data, target, ".compare", 0o666)


def _read(options: CompareOptions, changed) -> Comparison:
    """Count all pairs; with ``--changed`` the CSV writer ``changed`` gets those that change."""
    shows_text, lists = options.shows_text, options.changed is not None
    changed.writerow([*CHANGED_COLUMNS, *(["text"] * shows_text)])
    truth, date = options.truth, options.date_column
    others = [column for column in (truth, date) if column is not None]
    with ExitStack() as stack:
        pairs: BundlePairs | FilePairs
        models = (options.before, options.after)
        if Path(options.before).is_dir():
            classifiers = [
                Classifier.load(name, device=options.device, threads=options.threads)
                for name in models
            ]
            source = stack.enter_context(open_source(options.given.name))
            pairs = BundlePairs(source, options.given, others, (classifiers[0], classifiers[1]))
        else:
            sources = [stack.enter_context(open_source(name)) for name in models]
            first, second = (replace(options.given, name=name) for name in models)
            pairs = FilePairs(
                (LabelledFile(sources[0], first, others), LabelledFile(sources[1], second))
            )
        agreement = None if truth is None else Agreement(truth)
        found = Comparison(pairs.name, models, shows_text, date, agreement)
        for pair in pairs:
            if found.add(pair) and lists:
                changed.writerow(_describe(pair) + [found.shown_text(pair)] * shows_text)
        found.bad = pairs.bad
    return found


def _describe(pair: Pair) -> list:
    scores = ["" if s is None else f"{s:.6f}" for s in (pair.before.score, pair.after.score)]
    return [pair.number, pair.line, pair.offset, pair.before.label, pair.after.label, *scores]
