"""Label many files into a folder, one after the other, with one load of the classifier."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from batch.command import explain_out_of_memory, status_of
from batch.errors import REJECTED, SpamBatchError, is_out_of_memory
from batch.messages import count
from batch.model.lazy_classifier import LazyClassifier
from batch.run.classify import classify_file
from batch.run.job import Job
from batch.run.metrics import RunMetrics
from batch.run.run_manifest import RunManifest, find_done
from batch.run.summary import Summary, level_of
from batch.writing.atomic import making_folder
from batch.writing.lock import hold_lock

log = logging.getLogger("batch")

# With several exit statuses, the command's is the first of these: what a user must fix first.
WORST_FIRST = (70, 71, 74, 73, 78, 2, 75, 66, 65, REJECTED, 0)


def label_files(
    jobs: Iterable[Job], folder: str, lazy: LazyClassifier, force: bool, metrics: RunMetrics
) -> int:
    """Do the jobs in order, count each in ``metrics``, and return the worst exit status.

    A job that was done before is skipped, unless ``force``. The error of a job is logged, and
    the next job starts. A bundle that cannot be loaded ends the run.

    Raises:
        SpamBatchError: another run labels into ``folder``, it cannot be created, or the bundle is
            not usable.
    """
    with making_folder(Path(folder)), hold_lock(Path(folder)):
        return _label_all(jobs, lazy, force, metrics)


def _label_all(jobs: Iterable[Job], lazy: LazyClassifier, force: bool, metrics: RunMetrics) -> int:
    bundle = lazy.bundle
    statuses: list[int] = []
    for job in jobs:
        if not force and (done := find_done(job, bundle)):
            log_skipped(job.input.name, done)
            statuses.append(REJECTED if done.counts["rejects"] else 0)
            metrics.add_file("skipped")
            continue
        try:
            summary = label_file(job, lazy)
            metrics.add_file("labelled", summary)
            statuses.append(REJECTED if summary.progress.rejects else 0)
        except (SpamBatchError, MemoryError) as error:
            if lazy.error:
                raise
            if is_out_of_memory(error):
                error = explain_out_of_memory(error, "spam-batch", "classify")
                log.error("error: %s: %s", job.input.name, error)
            else:
                log.error("error: %s", error)
            statuses.append(status_of(error))
            metrics.add_file("failed")
    if metrics.files["labelled"]:
        log.info("weights: %s", bundle.manifest.weights)
    counts = list_outcomes(metrics.files)
    status = min(statuses, key=WORST_FIRST.index)
    files = count(len(statuses), "file")
    log.info("%s: %s", files, counts, extra={"exit": status} if status else {})
    return status


def list_outcomes(outcomes: Counter[str]) -> str:
    """The number of files labelled, skipped and failed, for the last line of a run."""
    return ", ".join(f"{outcomes[key]:,} {key}" for key in ("labelled", "skipped", "failed"))


def log_skipped(name: str, done: RunManifest) -> None:
    """Log that a file was labelled before; as a warning if it has rejects."""
    rejects = done.counts["rejects"]
    rejected = f", with {rejects:,} rejected" if rejects else ""
    level = logging.WARNING if rejects else logging.INFO
    log.log(level, "%s: was labelled already%s", name, rejected)


def label_file(job: Job, lazy: LazyClassifier, warns_of_drift: bool = True) -> Summary:
    """Label one of a folder's files, and log its summary."""
    # A folder's run drops an interrupted run of another input or bundle without a question.
    summary = classify_file(replace(job, drops_stale=True), lazy)
    first, *rest = summary.lines()
    log.info("%s: %s", job.input.name, first, extra={"counts": summary.counts()})
    for line in rest:
        if line.startswith("WARNING: drift") and not warns_of_drift:
            continue
        if line.startswith(("WARNING", "rejected")):
            log.log(level_of(line), "%s: %s", job.input.name, line)
    return summary
