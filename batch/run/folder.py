"""Label many files into a folder: each by itself, the classifier loaded once."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from batch.errors import REJECTED, SpamBatchError
from batch.messages import count
from batch.model.lazy_classifier import LazyClassifier
from batch.run.classify import classify_file
from batch.run.job import Job
from batch.run.run_manifest import RunManifest, find_done
from batch.run.summary import Summary, level_of
from batch.writing.lock import hold_lock

log = logging.getLogger("batch")

# Of several exit statuses the first of these is the command's: what a user must mend first.
WORST_FIRST = (70, 74, 73, 78, 2, 75, 66, 65, REJECTED, 0)


def label_files(
    jobs: Iterable[Job],
    folder: str,
    lazy: LazyClassifier,
    force: bool = False,
    seen: Callable[..., None] = lambda what, summary=None: None,
) -> int:
    """Do the jobs in order, except those done already; returns the worst exit status.

    ``seen`` is told of each what became of it: ``labelled``, with its summary, ``skipped``, or
    ``failed``.

    A job that fails is said and does not stop the others; that the bundle cannot be loaded does.

    Raises:
        SpamBatchError: another run labels into ``folder``, or the bundle is not usable.
    """
    with hold_lock(Path(folder)):
        return _label_all(jobs, lazy, force, seen)


def _label_all(
    jobs: Iterable[Job],
    lazy: LazyClassifier,
    force: bool,
    seen: Callable[..., None],
) -> int:
    bundle = lazy.bundle
    statuses: list[int] = []
    what: Counter[str] = Counter()
    for job in jobs:
        if not force and (done := find_done(job, bundle)):
            say_skipped(job.input.name, done)
            statuses.append(REJECTED if done.counts["rejects"] else 0)
            what["skipped"] += 1
            seen("skipped")
            continue
        try:
            summary = label_file(job, lazy)
            seen("labelled", summary)
            statuses.append(REJECTED if summary.progress.rejects else 0)
            what["labelled"] += 1
        except SpamBatchError as error:
            if lazy.error:
                raise
            log.error("error: %s", error)
            statuses.append(error.exit_code)
            what["failed"] += 1
            seen("failed")
    if what["labelled"]:
        log.info("weights: %s", bundle.manifest.weights)
    counts = ", ".join(f"{what[key]:,} {key}" for key in ("labelled", "skipped", "failed"))
    status = min(statuses, key=WORST_FIRST.index)
    files = count(len(statuses), "file")
    log.info("%s: %s", files, counts, extra={"exit": status} if status else {})
    return status


def say_skipped(name: str, done: RunManifest) -> None:
    """Tell of what needs no labelling, and that a person should look at its rejects."""
    rejects = done.counts["rejects"]
    said = f", with {rejects:,} rejected" if rejects else ""
    level = logging.WARNING if rejects else logging.INFO
    log.log(level, "%s: was labelled already%s", name, said)


def label_file(job: Job, lazy: LazyClassifier) -> Summary:
    """Label one of a folder's files, and say how that went."""
    # What an interrupted run kept of another input or bundle is worth nothing to a folder's run.
    summary = classify_file(replace(job, drops_stale=True), lazy)
    first, *rest = summary.lines()
    log.info("%s: %s", job.input.name, first, extra={"counts": summary.counts()})
    for line in rest:
        if line.startswith(("WARNING", "rejected")):
            log.log(level_of(line), "%s: %s", job.input.name, line)
    return summary
